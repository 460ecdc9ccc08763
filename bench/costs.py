"""Detection costs: pure functions of a DET curve, of the scores of each class, or of speaker verification rates. numpy.

    minDCF, actDCF, Cllr    ASVspoof 5: Pspoof = .05, Cmiss = 1, Cfa = 10
    min t-DCF               ASVspoof 2019 (legacy) and 2021: a detector in front of a speaker verification system (ASV)

A miss is a bona fide trial rejected, a false alarm a spoofed one accepted. The DCF and the t-DCF of 2019 are normalised
by the cheaper of rejecting and of accepting everything, so 1 is a detector that tells nothing; that of 2021 is so, too,
but keeps the errors of the ASV, which no detector removes: perfect scores have C0 / (C0 + min(C1, C2)), not 0.

Sources: ASVspoof 5 evaluation plan and `calculate_modules.py` of its package; `eval_metrics.py` of the packages of 2019
(v1, legacy) and 2021; Kinnunen et al., "Tandem assessment of spoofing countermeasures and automatic speaker
verification: fundamentals", 2020.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from bench.det import Curve, Floats, curve_between
from bench.errors import DataError, UsageError

P_SPOOF, C_MISS, C_FALSE_ALARM = 0.05, 1.0, 10.0
MISS, FALSE_ALARM = C_MISS * (1 - P_SPOOF), C_FALSE_ALARM * P_SPOOF  # what each costs, by how often it can happen
BAYES_THRESHOLD = -math.log(MISS / FALSE_ALARM)  # of log-odds at equal priors: -.6419

# Of t-DCF. C_MISS and C_FALSE_ALARM hold for targets and nontargets, for spoofs, and for either system.
P_TARGET, P_NONTARGET = (1 - P_SPOOF) * 0.99, (1 - P_SPOOF) * 0.01
FEWEST_SCORES = 3  # distinct ones; the organisers' t-DCF refuses fewer, which are decisions rather than scores


Rates = TypeVar("Rates", float, Floats)


class Cost(NamedTuple):
    """A normalised cost, and the threshold that it is reached at (accept iff score > threshold)."""

    value: float
    threshold: float


class VerificationRates(NamedTuple):
    """Errors of a speaker verification system at its own threshold, as fractions of the trials of each kind."""

    pmiss: float  # targets rejected
    pfa: float  # nontargets accepted
    pfa_spoof: float  # spoofed targets accepted


class Tandem(NamedTuple):
    """What a detector in front of a given ASV costs: c0 + c1 FRR + c2 FAR."""

    c0: float
    c1: float
    c2: float

    def cost(self, frr: Floats, far: Floats) -> Floats:
        """The t-DCF of error rates of the detector, normalised."""
        return (self.c0 + self.c1 * frr + self.c2 * far) / (self.c0 + min(self.c1, self.c2))


def detection_cost(frr: Rates, far: Rates) -> Rates:
    """The normalised cost of error rates: (.95 frr + .5 far) / .5."""
    return (MISS * frr + FALSE_ALARM * far) / min(MISS, FALSE_ALARM)


def min_dcf(curve: Curve) -> Cost:
    """The lowest detection cost that any threshold reaches, and the first such threshold; value in [0, 1]."""
    return _lowest(curve, detection_cost(curve.frr, curve.far))


def min_tdcf(curve: Curve, tandem: Tandem) -> Cost:
    """The lowest t-DCF that any threshold of the detector reaches, and the first such threshold; value in [0, 1].

    Raises:
        DataError: fewer than 3 distinct scores, as in the organisers' packages.
    """
    if curve.n_distinct < FEWEST_SCORES:
        raise DataError(
            f"t-DCF needs {FEWEST_SCORES} distinct scores or more, not {curve.n_distinct}",
            remedy="give scores, not decisions; raw logits or log-probabilities do not saturate",
        )
    return _lowest(curve, tandem.cost(curve.frr, curve.far))


def _lowest(curve: Curve, costs: Floats) -> Cost:
    best = int(np.argmin(costs))
    return Cost(float(costs[best]), float(curve.thresholds[best]))


# --- scores that are log-odds ---------------------------------------------------------------------------------------


def act_dcf(bonafide: Floats, spoof: Floats) -> float:
    """The detection cost of deciding by `BAYES_THRESHOLD`, of log-odds (Nb,) and (Ns,); value in [0, 2.9].

    As in the organisers' package a score on the threshold is accepted: miss = bona fide < t, false alarm = spoof >= t.
    """
    return detection_cost(float(np.mean(bonafide < BAYES_THRESHOLD)), float(np.mean(spoof >= BAYES_THRESHOLD)))


def cllr(bonafide: Floats, spoof: Floats) -> float:
    """Cost of log-odds (Nb,) and (Ns,), in bits: 0 for certain and right ones, 1 for zeros, unbounded for wrong ones.

    (mean log2(1 + exp(-bonafide)) + mean log2(1 + exp(spoof))) / 2, without the overflow of the organisers' code.
    """
    # Each share before the sum: means of scores near the end of float64 would overflow.
    nats = (np.logaddexp(0.0, side) / side.size for side in (-bonafide, spoof))
    return 0.5 / math.log(2) * sum(float(shares.sum()) for shares in nats)


def log_odds(log_probabilities: ArrayLike) -> Floats:
    """Natural log-odds of natural log-probabilities (N,): ln p - ln(1 - p), accurate for p near 1.

    Raises:
        DataError: NaN, an infinity, a value above 0, or 0 itself: a p so near 1 that ln p underflowed has no log-odds.
    """
    values = np.asarray(log_probabilities, dtype=np.float64)
    finite = np.isfinite(values)
    for wrong, what, remedy in (
        (~finite, "not finite", "score these trials again"),
        (finite & (values > 0), "above 0, no log-probabilities", "check on the detector's card what its scores are"),
        (
            values == 0,
            "0: p is so near 1 that ln p underflowed, and the log-odds are infinite",
            "use the difference of the two logits, which does not underflow",
        ),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{np.count_nonzero(wrong):,} of {values.size:,} scores are {what}, the first at index {row} "
                f"({values[row]})",
                remedy=remedy,
            )
    return values - np.log(-np.expm1(values))


# --- a detector in front of speaker verification --------------------------------------------------------------------


def verification_rates(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike) -> VerificationRates:
    """Errors of an ASV at its EER threshold t of targets against nontargets, from its scores (N,) of each kind.

    Miss = target < t, false alarm = nontarget >= t and spoof >= t: here the organisers accept a score on the threshold.
    The EER is the tie-aware one of `bench.metrics`; the organisers' threshold is another only where the crossing falls
    on scores that targets share with nontargets.

    Raises:
        UsageError: scores that are not one number a trial.
        DataError: NaN or infinite scores, no target, no nontarget or no spoof trial.
    """
    kinds = {"target": _scores(target, "target"), "nontarget": _scores(nontarget, "nontarget")}
    kinds["spoof"] = _scores(spoof, "spoof")
    threshold = curve_between(kinds["target"], kinds["nontarget"]).equal_error_rate.threshold
    return VerificationRates(
        pmiss=float(np.mean(kinds["target"] < threshold)),
        pfa=float(np.mean(kinds["nontarget"] >= threshold)),
        pfa_spoof=float(np.mean(kinds["spoof"] >= threshold)),
    )


def _scores(given: ArrayLike, kind: str) -> Floats:
    scores = np.asarray(given)
    if scores.ndim != 1 or (scores.size and scores.dtype.kind not in "biuf"):
        raise UsageError(f"{kind} scores must be one number a trial, shape (N,)")
    if not scores.size:
        raise DataError(f"no {kind} trial: t-DCF needs target, nontarget and spoof trials of the ASV system")
    if not np.isfinite(scores).all():
        row = int((~np.isfinite(scores)).argmax())
        raise DataError(f"ASV scores of {kind} trials are not finite, the first at index {row} ({scores[row]})")
    return scores.astype(np.float64)


def tandem_2019(asv: VerificationRates) -> Tandem:
    """The legacy t-DCF of ASVspoof 2019: c1 = Ptar Cmiss (1 - pmiss) - Pnon Cfa pfa, c2 = Pspoof Cfa pfa_spoof.

    Raises:
        DataError: rates that leave no positive cost to normalise by, see `tandem_2021`.
    """
    c1 = P_TARGET * C_MISS * (1 - asv.pmiss) - P_NONTARGET * C_FALSE_ALARM * asv.pfa
    return _possible(Tandem(0.0, c1, C_FALSE_ALARM * P_SPOOF * asv.pfa_spoof), asv)


def tandem_2021(asv: VerificationRates) -> Tandem:
    """The t-DCF of ASVspoof 2021: c0 = Ptar Cmiss pmiss + Pnon Cfa pfa, c1 = Ptar Cmiss - c0, c2 as in 2019.

    Raises:
        DataError: an ASV so poor that c1 < 0, or one that makes no error at all: there is nothing to normalise by.
    """
    c0 = P_TARGET * C_MISS * asv.pmiss + P_NONTARGET * C_FALSE_ALARM * asv.pfa
    return _possible(Tandem(c0, P_TARGET * C_MISS - c0, P_SPOOF * C_FALSE_ALARM * asv.pfa_spoof), asv)


def _possible(tandem: Tandem, asv: VerificationRates) -> Tandem:
    if not (min(tandem) >= 0 and tandem.c0 + min(tandem.c1, tandem.c2) > 0):
        told = ", ".join(f"C{place} = {cost:.6g}" for place, cost in enumerate(tandem))
        rates = ", ".join(f"{name} {rate:.6g}" for name, rate in zip(asv._fields, asv, strict=True))
        raise DataError(
            f"t-DCF is not defined behind this ASV system: {told}",
            where=rates,
            remedy="costs are 0 or more and not all 0: check the ASV scores, higher = more likely the target",
        )
    return tandem
