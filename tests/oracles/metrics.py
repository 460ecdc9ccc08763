"""Independent references for `bench.metrics` and `bench.costs`: definitions spelt out, and scikit-learn's ROC.

Nothing here is shared with the code under test. `benchmarks/metrics.py` measures against `official_eer` and `roc_eer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

Array = NDArray[np.float64]


def brute_eer(scores: Sequence[float], labels: Sequence[int]) -> tuple[float, float, float, float]:
    """(eer, threshold, frr, far) by counting every trial at every candidate threshold, O(N^2).

    Candidates ascend: lowest score - 0.001 (everything accepted), then each distinct score. Source: `tie_aware` in the
    definitions of the golden metrics.
    """
    bonafide = [score for score, label in zip(scores, labels, strict=True) if label == 1]
    spoof = [score for score, label in zip(scores, labels, strict=True) if label == 0]
    best: tuple[float, float, float, float] | None = None
    for threshold in [min(scores) - 0.001, *sorted(set(scores))]:
        frr = sum(not score > threshold for score in bonafide) / len(bonafide)
        far = sum(score > threshold for score in spoof) / len(spoof)
        if best is None or abs(frr - far) < abs(best[2] - best[3]):
            best = ((frr + far) / 2, threshold, frr, far)
    assert best is not None
    return best


def brute_auc(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Share of (bona fide, spoof) pairs in the right order, ties counted half, exact until the last step, O(N^2)."""
    won, pairs = Fraction(0), 0
    for score, label in zip(scores, labels, strict=True):
        for other, other_label in zip(scores, labels, strict=True):
            if label == 1 and other_label == 0:
                pairs += 1
                won += 1 if score > other else Fraction(1, 2) if score == other else 0
    return float(won / pairs)


def official_det(bonafide: Array, spoof: Array) -> tuple[Array, Array, Array]:
    """(FRR, FAR, thresholds) as the ASVspoof evaluation packages define them: one vertex a trial, ties included.

    Bona fide precede spoof inside a block of equal scores. The packages of 2019 (v2), 2021 and 5 agree on it.
    """
    scores = np.concatenate((bonafide, spoof))
    target = np.concatenate((np.ones(bonafide.size), np.zeros(spoof.size)))
    order = np.argsort(scores, kind="stable")
    rejected_targets = np.cumsum(target[order])
    remaining_spoofs = spoof.size - (np.arange(1, scores.size + 1) - rejected_targets)
    frr = np.concatenate(([0.0], rejected_targets / bonafide.size))
    far = np.concatenate(([1.0], remaining_spoofs / spoof.size))
    return frr, far, np.concatenate(([scores[order[0]] - 0.001], scores[order]))


def official_eer(bonafide: Array, spoof: Array) -> tuple[float, float]:
    """(EER, threshold) of `official_det`."""
    frr, far, thresholds = official_det(bonafide, spoof)
    vertex = np.argmin(np.abs(frr - far))
    return float((frr[vertex] + far[vertex]) / 2), float(thresholds[vertex])


def roc_eer(scores: Array, labels: NDArray[np.int8]) -> tuple[float, float, float]:
    """(eer, frr, far) on every point of scikit-learn's ROC, ordered by ascending threshold.

    The default `drop_intermediate` would drop vertices. Rates become whole trials again first: 1 - tpr is rounded
    differently from misses / trials, which settles ties between two equally near vertices at random.
    """
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    n_bonafide = np.count_nonzero(labels)
    n_spoof = labels.size - n_bonafide
    frr = (n_bonafide - np.rint(tpr[::-1] * n_bonafide)) / n_bonafide
    far = np.rint(fpr[::-1] * n_spoof) / n_spoof
    vertex = np.argmin(np.abs(frr - far))
    return float((frr[vertex] + far[vertex]) / 2), float(frr[vertex]), float(far[vertex])


def roc_argmin_eer(scores: Array, labels: NDArray[np.int8]) -> float:
    """Mean of FPR and FNR at the first minimum of their distance on scikit-learn's ROC, thresholds descending."""
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    fnr = 1 - tpr
    vertex = np.argmin(np.abs(fnr - fpr))
    return float((fpr[vertex] + fnr[vertex]) / 2)


def roc_interpolated_eer(scores: Array, labels: NDArray[np.int8]) -> float:
    """The root of 1 - x - TPR(x) on [0, 1], the ROC of scikit-learn interpolated linearly."""
    fpr, tpr, _ = roc_curve(labels, scores)
    return float(brentq(lambda x: 1.0 - x - np.interp(x, fpr, tpr), 0.0, 1.0))


def nearest_eers(bonafide: Array, spoof: Array, *, ties: bool) -> list[float]:
    """The EERs of the vertices that are nearest to FRR = FAR in whole trials, each once, the lowest first.

    Args:
        ties: whether vertices lie inside a block of equal scores, bona fide first, as in the official code.
    """
    ordered = sorted([(score, 0) for score in bonafide.tolist()] + [(score, 1) for score in spoof.tolist()])
    missed, fooled, vertices = 0, spoof.size, [(0, spoof.size)]
    for place, (score, is_spoof) in enumerate(ordered, start=1):
        missed, fooled = missed + (1 - is_spoof), fooled - is_spoof
        if ties or place == len(ordered) or ordered[place][0] != score:
            vertices.append((missed, fooled))
    gaps = [abs(missed * spoof.size - fooled * bonafide.size) for missed, fooled in vertices]
    smallest = min(gaps)
    nearest = [vertex for vertex, gap in zip(vertices, gaps, strict=True) if gap == smallest]
    return sorted({float(Fraction(m, bonafide.size) + Fraction(f, spoof.size)) / 2 for m, f in nearest})


def naive_dcf(bonafide: Array, spoof: Array, threshold: float) -> float:
    """ASVspoof 5: (.95 miss + .5 false alarm) / .5, where a score on the threshold is accepted."""
    miss = sum(score < threshold for score in bonafide.tolist()) / len(bonafide)
    false_alarm = sum(score >= threshold for score in spoof.tolist()) / len(spoof)
    return float((0.95 * miss + 0.5 * false_alarm) / 0.5)


def naive_cllr(bonafide: Array, spoof: Array) -> float:
    """Bits, with the overflow of the plain formula: infinite for large scores on the wrong side."""

    def bits(score: float) -> float:
        try:
            return math.log2(1 + math.exp(score))
        except OverflowError:
            return math.inf

    return float(np.mean([bits(-s) for s in bonafide.tolist()]) + np.mean([bits(s) for s in spoof.tolist()])) / 2


def tdcf_2021(frr: Array, far: Array, costs: tuple[float, float, float]) -> float:
    """The lowest of a curve's normalised costs, by its (C0, C1, C2)."""
    c0, c1, c2 = costs
    return float(((c0 + c1 * frr + c2 * far) / (c0 + min(c1, c2))).min())


def coefficients_2021(model: Mapping[str, float], asv: Mapping[str, float]) -> tuple[float, float, float]:
    c0 = model["Ptar"] * model["Cmiss"] * asv["Pmiss_asv"] + model["Pnon"] * model["Cfa"] * asv["Pfa_asv"]
    return c0, model["Ptar"] * model["Cmiss"] - c0, model["Pspoof"] * model["Cfa_spoof"] * asv["Pfa_spoof_asv"]


def tdcf_2019(frr: Array, far: Array, model: Mapping[str, float], asv: Mapping[str, float]) -> float:
    """The lowest of a curve's normalised costs, legacy form."""
    refused = 1 - asv["Pfa_spoof_asv"]
    c1 = model["Ptar"] * (model["Cmiss_cm"] - model["Cmiss_asv"] * asv["Pmiss_asv"])
    c1 -= model["Pnon"] * model["Cfa_asv"] * asv["Pfa_asv"]
    c2 = model["Cfa_cm"] * model["Pspoof"] * (1 - refused)
    return float(((c1 * frr + c2 * far) / min(c1, c2)).min())
