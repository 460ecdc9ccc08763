"""Error rates of a detector: pure functions of (scores, labels). numpy alone, no state, nothing read or written.

Conventions, and the errors that all functions raise, are those of `bench.det`. Every rate is a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.costs import act_dcf, cllr, min_dcf
from bench.det import EqualErrorRate, Floats, checked, classes, curve_between, curve_of, same_length
from bench.errors import UsageError

Rows: TypeAlias = NDArray[np.intp]


class Slice(NamedTuple):
    """One value of an attribute: the trials its EER is of; `eer` is None where one class has no trial."""

    value: str
    n_bonafide: int
    n_spoof: int
    eer: float | None


def evaluate(scores: ArrayLike, labels: ArrayLike) -> dict[str, float | int]:
    """Everything a result holds of one cell, as fractions and counts.

    Returns:
        eer, eer_threshold, frr, far: as `eer` defines them.
        f1_bonafide, f1_spoof, f1_macro, accuracy, balanced_accuracy: as `decide` defines them, at `eer_threshold`. That
            threshold is chosen on these very trials: F1 adds no information to the EER and the counts.
        auc: probability that a random bona fide score exceeds a random spoof score, plus half that of a tie
            (Mann-Whitney U / (Nb Ns)); below .5 the scores are inverted.
        min_dcf, min_dcf_threshold: the lowest detection cost and where it is reached, see `bench.costs.min_dcf`.
        act_dcf, cllr: as `log_odds_costs` of the scores. They mean something only where these are natural log-odds.
        n_bonafide, n_spoof: trials of each class.
        n_distinct, largest_tie: different scores, and trials that share the most frequent one. Far fewer distinct
            scores than trials mean that the detector saturates.
    """
    bonafide, spoof = classes(scores, labels)
    curve = curve_between(bonafide, spoof)
    best, vertex, cheapest = curve.equal_error_rate, curve.crossing, min_dcf(curve)
    return {
        "eer": best.eer,
        "eer_threshold": best.threshold,
        **_decisions(int(curve.missed[vertex]), int(curve.fooled[vertex]), curve.n_bonafide, curve.n_spoof),
        "auc": curve.auc,
        "min_dcf": cheapest.value,
        "min_dcf_threshold": cheapest.threshold,
        **_log_odds_costs(bonafide, spoof),
        "n_bonafide": curve.n_bonafide,
        "n_spoof": curve.n_spoof,
        "n_distinct": curve.n_distinct,
        "largest_tie": int(np.diff(curve.missed - curve.fooled).max()),
    }


def log_odds_costs(log_odds: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """How good the numbers are that scores say, beyond their order, for natural log-odds of bona fide against spoof.

    Returns:
        act_dcf: the detection cost of the Bayes decision, `bench.costs.act_dcf`.
        cllr: the cost in bits over all priors, `bench.costs.cllr`.
    """
    return _log_odds_costs(*classes(log_odds, labels))


def eer(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> EqualErrorRate:
    """Equal error rate, tie-aware: the ASVspoof organisers' value wherever all scores are distinct.

    The DET curve has one vertex a distinct score u (accept iff score > u) behind the vertex that accepts everything,
    whose threshold is the lowest score - 0.001. The EER is (FRR + FAR) / 2 at the first vertex, in ascending order,
    with the smallest |FRR - FAR|: no interpolation, no convex hull. Constant scores give .5, separated 0, inverted 1.
    `weights`, integers (N,), count a trial so many times.

    Source: `compute_eer` of the ASVspoof 2019 (v2), 2021 and 5 evaluation packages. It has a vertex a trial, bona fide
    first inside a block of equal scores; where the crossing falls into such a block its value is higher (constant
    scores: 1.0) and no threshold reaches it.
    """
    return curve_of(scores, labels, weights).equal_error_rate


def det(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Vertices of the DET curve that `eer` chooses from.

    Returns:
        thresholds, FRR, FAR, each (n_distinct + 1,): thresholds ascend strictly, FRR rises from 0 to 1, FAR falls from
        1 to 0. Thresholds are the distinct scores behind one that is lower than every score.
    """
    curve = curve_of(scores, labels)
    return curve.thresholds, curve.frr, curve.far


def decide(scores: ArrayLike, labels: ArrayLike, threshold: float) -> dict[str, float]:
    """Quality of the decisions `bona fide iff score > threshold`, for a threshold that was fixed before these trials.

    Returns:
        f1_bonafide, f1_spoof: 2 TP / (2 TP + FP + FN) with the named class as the positive one; f1_macro: their mean.
        accuracy: share of correct decisions; balanced_accuracy: 1 - hter.
        frr, far: share of bona fide rejected, share of spoof accepted; hter: their mean, half total error rate.

    Raises:
        UsageError: the threshold is NaN.
    """
    if math.isnan(threshold):
        raise UsageError("the decision threshold is NaN", remedy="give the score above which a trial is bona fide")
    bonafide, spoof = classes(scores, labels)
    missed = int(np.count_nonzero(bonafide <= threshold))
    fooled = int(np.count_nonzero(spoof > threshold))
    decided = _decisions(missed, fooled, bonafide.size, spoof.size)
    return {**decided, "hter": (decided["frr"] + decided["far"]) / 2}


def breakdown(scores: ArrayLike, labels: ArrayLike, groups: Iterable[str], spoof_only: bool) -> list[Slice]:
    """EER of each value of an attribute, values in alphabetical order.

    Args:
        groups: the attribute of each trial, (N,).
        spoof_only: the attribute says something of spoofs alone (`bench.trials.SPOOF_ATTRIBUTES`): all bona fide trials
            stand against the spoofs of each value, and what the column holds for bona fide is not looked at. Otherwise
            a slice is the trials of both classes with that value.

    Source of the two rules: the ASVspoof 2021 evaluation package (by attack and vocoder, by codec).

    Raises:
        UsageError: `groups` has another length. A class without trials is no error here: its slices have no EER.
    """
    values, flags = checked(scores, labels)
    found = []
    for value, bonafide, spoof in slices(groups, flags, spoof_only):
        both = bonafide.size and spoof.size
        rate = curve_between(values[bonafide], values[spoof]).equal_error_rate.eer if both else None
        found.append(Slice(value, bonafide.size, spoof.size, rate))
    return found


def slices(groups: Iterable[str], flags: NDArray[np.bool_], spoof_only: bool) -> list[tuple[str, Rows, Rows]]:
    """The trials of each value of an attribute, values in alphabetical order; arguments and errors of `breakdown`.

    Args:
        flags: whether each trial is bona fide, bool (N,).

    Returns:
        value, rows of its bona fide trials, rows of its spoofed ones, each in the order of the list.
    """
    column = list(map(str, groups))
    same_length("groups", len(column), "scores", flags.size)
    values = sorted(set(column))
    number = {value: code for code, value in enumerate(values)}
    codes = np.fromiter(map(number.__getitem__, column), dtype=np.min_scalar_type(len(values)), count=len(column))

    # One sort puts each slice side by side, a fast one for small types; a mask a value would cost (values x trials).
    rows = np.argsort(codes, kind="stable")
    parts = np.split(rows, np.cumsum(np.bincount(codes))[:-1])
    every_bonafide = np.flatnonzero(flags)
    found = []
    for value, part in zip(values, parts, strict=True):
        spoof = part[~flags[part]]
        if spoof_only and not spoof.size:
            continue
        found.append((value, every_bonafide if spoof_only else part[flags[part]], spoof))
    return found


def _log_odds_costs(bonafide: Floats, spoof: Floats) -> dict[str, float]:
    return {"act_dcf": act_dcf(bonafide, spoof), "cllr": cllr(bonafide, spoof)}


def _decisions(missed: int, fooled: int, n_bonafide: int, n_spoof: int) -> dict[str, float]:
    errors = missed + fooled
    kept, caught = n_bonafide - missed, n_spoof - fooled
    f1_bonafide, f1_spoof = 2 * kept / (2 * kept + errors), 2 * caught / (2 * caught + errors)
    return {
        "frr": missed / n_bonafide,
        "far": fooled / n_spoof,
        "f1_bonafide": f1_bonafide,
        "f1_spoof": f1_spoof,
        "f1_macro": (f1_bonafide + f1_spoof) / 2,
        "accuracy": (kept + caught) / (n_bonafide + n_spoof),
        "balanced_accuracy": (kept / n_bonafide + caught / n_spoof) / 2,
    }
