"""Detection costs of the ASVspoof 5 evaluation plan: pure functions of a DET curve, or of scores that are log-odds.

    Pspoof = .05, Cmiss = 1, Cfa = 10

A miss is a bona fide trial rejected, a false alarm a spoofed one accepted. Costs are normalised by the cheaper of
rejecting and of accepting everything, so 1 is a detector that tells nothing.

Source: ASVspoof 5 evaluation plan, and `calculate_modules.py` of its evaluation package.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.det import Curve, Floats

P_SPOOF, C_MISS, C_FALSE_ALARM = 0.05, 1.0, 10.0
MISS, FALSE_ALARM = C_MISS * (1 - P_SPOOF), C_FALSE_ALARM * P_SPOOF  # what each costs, by how often it can happen


class Cost(NamedTuple):
    """A normalised cost, and the threshold that it is reached at (accept iff score > threshold)."""

    value: float
    threshold: float


def detection_cost(frr: Floats, far: Floats) -> Floats:
    """The normalised cost of error rates: (.95 frr + .5 far) / .5."""
    return (MISS * frr + FALSE_ALARM * far) / min(MISS, FALSE_ALARM)


def min_dcf(curve: Curve) -> Cost:
    """The lowest detection cost that any threshold reaches, and the first such threshold; value in [0, 1]."""
    costs = detection_cost(curve.frr, curve.far)
    best = int(np.argmin(costs))
    return Cost(float(costs[best]), float(curve.thresholds[best]))
