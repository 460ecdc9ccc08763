"""Specification of `bench.metrics`; its golden numbers are in test_metrics_golden.py."""

from __future__ import annotations

import gzip
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from bench.costs import log_odds
from bench.det import curve_of
from bench.errors import DataError, UsageError
from bench.metrics import Slice, breakdown, decide, det, eer, evaluate, log_odds_costs
from tests.oracles.metrics import brute_auc, brute_eer, official_eer, roc_eer

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]


def mixed(bonafide: Any, spoof: Any) -> tuple[Floats, Labels]:
    """Scores and labels of two classes in a shuffled order."""
    scores = np.concatenate((np.asarray(bonafide, dtype=float), np.asarray(spoof, dtype=float)))
    labels = np.concatenate((np.ones(len(bonafide), dtype=np.int8), np.zeros(len(spoof), dtype=np.int8)))
    order = np.random.default_rng(0).permutation(scores.size)
    return scores[order], labels[order]


def classes(values: st.SearchStrategy[float], largest: int = 25) -> st.SearchStrategy[tuple[Floats, Labels]]:
    """Small score sets with both classes."""
    side = st.lists(values, min_size=1, max_size=largest)
    return st.tuples(side, side).map(lambda sides: mixed(*sides))


tied = classes(st.integers(-4, 4).map(float))
any_scores = tied | classes(st.floats(-1e300, 1e300))


@pytest.fixture(scope="module")
def in_the_wild(shared: Path) -> tuple[Floats, Labels]:
    """Released scores of a re-trained XLS-R + SLS on the 31,779 trials of In-the-Wild, with the labels of its key."""
    folder = shared / "golden" / "scores"
    with gzip.open(folder / "itw_key.txt.gz", "rt") as key:
        labels = {row.split()[1]: row.split()[5] == "bona-fide" for row in key}
    with gzip.open(folder / "sls_v1_itw.txt.gz", "rt") as file:
        rows = [row.split() for row in file]
    scores = np.array([float(score) for _, score in rows])
    return scores, np.array([labels[name] for name, _ in rows], dtype=np.int8)


class TestRealScores:
    def test_published_numbers(self, in_the_wild: tuple[Floats, Labels]) -> None:
        """The released SLS scores give the published 7.84 % on In-the-Wild, with the known threshold and ties."""
        result = evaluate(*in_the_wild)
        assert result["eer"] == pytest.approx(0.07835662614, abs=1e-9)
        assert result["eer_threshold"] == pytest.approx(-9.481046677, abs=1e-8)
        assert result["frr"] == pytest.approx(0.07834493814, abs=1e-9)
        assert result["far"] == pytest.approx(0.07836831415, abs=1e-9)
        assert result["auc"] == pytest.approx(0.9746870001, abs=1e-9)
        assert result["min_dcf"] == pytest.approx(0.2212008372, abs=1e-9)
        assert (result["n_bonafide"], result["n_spoof"]) == (19_963, 11_816)
        assert (result["n_distinct"], result["largest_tie"]) == (31_623, 3)

    def test_side_of_the_threshold(self, in_the_wild: tuple[Floats, Labels]) -> None:
        """The known F1 accepts the trial on the threshold, a spoof; ours rejects it and is right once more."""
        scores, labels = in_the_wild
        result = evaluate(scores, labels)
        inclusive = decide(scores, labels, math.nextafter(result["eer_threshold"], -math.inf))
        assert inclusive["f1_bonafide"] == pytest.approx(0.93659803, abs=1e-9)
        assert inclusive["f1_spoof"] == pytest.approx(0.8973587704, abs=1e-9)
        accepted = scores > result["eer_threshold"]
        assert result["f1_bonafide"] == pytest.approx(f1_score(labels, accepted), abs=1e-12)
        assert result["f1_spoof"] == pytest.approx(f1_score(1 - labels, ~accepted), abs=1e-12)
        assert result["accuracy"] - inclusive["accuracy"] == pytest.approx(1 / scores.size, abs=1e-12)

    def test_inclusive_accuracies(self, in_the_wild: tuple[Floats, Labels]) -> None:
        """With the trial on the threshold accepted, accuracy and balanced accuracy are those of the facts."""
        scores, labels = in_the_wild
        inclusive = decide(scores, labels, math.nextafter(evaluate(scores, labels)["eer_threshold"], -math.inf))
        assert inclusive["accuracy"] == pytest.approx(0.921615, abs=5e-7)
        assert inclusive["balanced_accuracy"] == pytest.approx(0.921601, abs=5e-7)

    def test_log_odds(self, in_the_wild: tuple[Floats, Labels]) -> None:
        """Log-probabilities as log-odds have the known actDCF and Cllr, and the ranks that they had."""
        scores, labels = in_the_wild
        turned = log_odds(scores)
        found = log_odds_costs(turned, labels)
        assert found["act_dcf"] == pytest.approx(0.898580, abs=5e-7)
        assert found["cllr"] == pytest.approx(2.022539, abs=5e-7)
        assert (np.argsort(turned, kind="stable") == np.argsort(scores, kind="stable")).all()

    def test_own_threshold(self, in_the_wild: tuple[Floats, Labels]) -> None:
        """At the detector's own threshold, P = .5 of a log-probability, F1 and accuracy are those of the facts."""
        result = decide(*in_the_wild, threshold=math.log(0.5))
        assert result["f1_bonafide"] == pytest.approx(0.658059, abs=5e-7)
        assert result["f1_spoof"] == pytest.approx(0.697807, abs=5e-7)
        assert result["accuracy"] == pytest.approx(0.679159, abs=5e-7)

    def test_float32(self, in_the_wild: tuple[Floats, Labels]) -> None:
        """Scores stored as float32 are compared with a float64 threshold in float64."""
        scores, labels = in_the_wild
        narrow = scores.astype(np.float32)
        assert evaluate(narrow, labels) == evaluate(narrow.astype(np.float64), labels)
        above = float(np.nextafter(np.float32(0.1), np.float32(1)))
        assert decide(np.array([above, 0.0], dtype=np.float32), [1, 0], math.nextafter(above, 0.0))["frr"] == 0.0


class TestToys:
    @pytest.mark.parametrize(
        ("bonafide", "spoof", "official", "rate", "auc", "min_dcf", "act_dcf", "cllr"),
        [
            pytest.param([2, 1], [0, -1], 0, 0, 1, 0, 0.5, 0.521750, id="separable"),
            pytest.param([3, 2, 1, -0.5], [0, -1, -2, -3], 0.25, 0.25, 0.9375, 0.25, 0.25, 0.476951, id="one swap"),
            pytest.param([0] * 10, [0] * 30, 1, 0.5, 0.5, 1, 1, 1, id="constant"),
            pytest.param([1] * 8 + [0] * 2, [0] * 9 + [1], 0.20, 0.15, 0.85, 0.48, 1, 0.825508, id="binary"),
            pytest.param([-2, -1], [0, 1], 1, 1, 0, 1, 2.9, 1.964445, id="inverted"),
            pytest.param(
                [5, 4, 3, 2, 1, 0.5, -0.2],
                [4.5, 1.5, *range(0, -9, -1)],
                0.1623376623,
                0.1623376623,
                0.8701298701,
                0.2727272727,
                0.2727272727,
                0.670809,
                id="unequal counts",
            ),
            pytest.param([1, 1, 1, 2, 2], [0, 0, 1, 1, 2], 0.60, 0.40, 0.72, 0.60, 1, 1.057984, id="ties"),
        ],
    )
    def test_table(
        self,
        bonafide: list[float],
        spoof: list[float],
        official: float,
        rate: float,
        auc: float,
        min_dcf: float,
        act_dcf: float,
        cllr: float,
    ) -> None:
        """EER, AUC and costs of cases that fit on paper; with ties across the classes the organisers' EER is higher."""
        result = evaluate(*mixed(bonafide, spoof))
        assert result["eer"] == pytest.approx(rate, abs=1e-9)
        assert result["auc"] == pytest.approx(auc, abs=1e-9)
        assert result["min_dcf"] == pytest.approx(min_dcf, abs=1e-9)
        assert result["act_dcf"] == pytest.approx(act_dcf, abs=1e-9)
        assert result["cllr"] == pytest.approx(cllr, abs=5e-7)
        assert official_eer(np.array(bonafide, float), np.array(spoof, float))[0] == pytest.approx(official, abs=1e-9)

    @pytest.mark.parametrize(
        ("digits", "official", "rate"), [(15, 0.153, 0.153), (1, 0.155250, 0.152750), (0, 0.302, 0.186)]
    )
    def test_rounded_gaussians(self, digits: int, official: float, rate: float) -> None:
        """Rounding scores inflates the organisers' EER far more than the tie-aware one."""
        draw = np.random.RandomState(0)
        bonafide, spoof = np.round(draw.randn(1000) + 2, digits), np.round(draw.randn(2000), digits)
        assert eer(*mixed(bonafide, spoof)).eer == pytest.approx(rate, abs=5e-4)
        assert official_eer(bonafide, spoof)[0] == pytest.approx(official, abs=5e-4)

    def test_equally_near_vertices(self) -> None:
        """Of two vertices equally near the diagonal the first counts, so the mirrored case has another EER."""
        assert eer([0, -1, 1], [1, 0, 0]).eer == 0.25
        assert eer([0, 1, -1], [0, 1, 1]).eer == 0.75

    def test_values_by_hand(self) -> None:
        """One bona fide trial of four below the threshold, one spoof of two above it: every number by hand."""
        result = decide([3, 2, 1, -1, 5, -2], [1, 1, 1, 1, 0, 0], 0)
        assert result == {
            "frr": 1 / 4,
            "far": 1 / 2,
            "f1_bonafide": 6 / 8,
            "f1_spoof": 2 / 4,
            "f1_macro": 5 / 8,
            "accuracy": 4 / 6,
            "balanced_accuracy": (3 / 4 + 1 / 2) / 2,
            "hter": 3 / 8,
        }

    def test_det_by_hand(self) -> None:
        """The curve starts with everything accepted and has one vertex a distinct score."""
        thresholds, frr, far = det([1, 2, 2, 3], [0, 1, 0, 1])
        assert thresholds.tolist() == [1 - 0.001, 1, 2, 3]
        assert frr.tolist() == [0, 0, 0.5, 1]
        assert far.tolist() == [1, 0.5, 0, 0]

    @pytest.mark.parametrize("level", [0.0, -1e17, 1e300, -sys.float_info.max])
    def test_threshold_that_accepts_everything(self, level: float) -> None:
        """The first threshold is below every score, however coarse the floats are there."""
        result = eer([level, level], [1, 0])
        assert (result.eer, result.frr, result.far) == (0.5, 0.0, 1.0)
        assert level > result.threshold


class TestOracles:
    @given(tied | classes(st.floats(-1e9, 1e9)))
    def test_brute_force(self, trials: tuple[Floats, Labels]) -> None:
        """EER, rates and AUC equal those of counting every trial at every threshold."""
        scores, labels = trials
        rate, threshold, frr, far = brute_eer(scores.tolist(), labels.tolist())
        assert tuple(eer(scores, labels)) == (rate, threshold, frr, far)
        assert evaluate(scores, labels)["auc"] == pytest.approx(brute_auc(scores.tolist(), labels.tolist()), abs=1e-15)

    @given(any_scores)
    def test_scikit_learn(self, trials: tuple[Floats, Labels]) -> None:
        """EER, AUC, F1 and accuracies equal those of scikit-learn's ROC and classification metrics."""
        scores, labels = trials
        result = evaluate(scores, labels)
        assert (result["eer"], result["frr"], result["far"]) == roc_eer(scores, labels)
        accepted = (scores > result["eer_threshold"]).astype(np.int8)
        expected = {
            "auc": roc_auc_score(labels, scores),
            "f1_bonafide": f1_score(labels, accepted, pos_label=1, zero_division=0),
            "f1_spoof": f1_score(labels, accepted, pos_label=0, zero_division=0),
            "accuracy": accuracy_score(labels, accepted),
            "balanced_accuracy": balanced_accuracy_score(labels, accepted),
        }
        assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-12)

    @given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30, unique=True), st.data())
    def test_official_without_ties(self, scores: list[float], data: st.DataObject) -> None:
        """On distinct scores the EER and its threshold are the organisers', to the last bit."""
        cut = data.draw(st.integers(1, len(scores) - 1))
        bonafide, spoof = np.array(scores[:cut]), np.array(scores[cut:])
        assert tuple(eer(*mixed(bonafide, spoof)))[:2] == official_eer(bonafide, spoof)


class TestProperties:
    @given(any_scores)
    def test_bounds(self, trials: tuple[Floats, Labels]) -> None:
        """Rates are fractions, the EER is the mean of two of them, and F1 and accuracy are those of `decide`."""
        scores, labels = trials
        result = evaluate(scores, labels)
        counted = {"n_bonafide", "n_spoof", "n_distinct", "largest_tie"}
        beyond = {"eer_threshold", "min_dcf_threshold", "act_dcf", "cllr"}
        assert all(0 <= result[key] <= 1 for key in result.keys() - counted - beyond)
        assert result["min_dcf"] - 1e-12 <= result["act_dcf"] <= 2.9 + 1e-12
        assert 0 <= result["cllr"] < math.inf
        assert result["eer"] == (result["frr"] + result["far"]) / 2
        assert result["f1_macro"] == (result["f1_bonafide"] + result["f1_spoof"]) / 2
        decided = decide(scores, labels, result["eer_threshold"])
        assert decided.pop("hter") == result["eer"]
        assert {key: result[key] for key in decided} == decided
        _, counts = np.unique(scores, return_counts=True)
        assert (result["n_distinct"], result["largest_tie"]) == (counts.size, counts.max())

    @given(any_scores)
    def test_curve(self, trials: tuple[Floats, Labels]) -> None:
        """Thresholds ascend strictly, FRR climbs from 0 to 1 and FAR falls from 1 to 0; each vertex is what it says."""
        scores, labels = trials
        thresholds, frr, far = det(scores, labels)
        assert (np.diff(thresholds) > 0).all()
        assert (frr[0], frr[-1], far[0], far[-1]) == (0, 1, 1, 0)
        for threshold, missed, fooled in zip(thresholds, frr, far, strict=True):
            assert missed == (scores[labels == 1] <= threshold).mean()
            assert fooled == (scores[labels == 0] > threshold).mean()

    @given(st.integers(1, 30), st.integers(1, 30), st.floats(-1e9, 1e9))
    def test_constant(self, n_bonafide: int, n_spoof: int, value: float) -> None:
        """A detector that says the same of everything has an EER and an AUC of one half."""
        result = evaluate(*mixed([value] * n_bonafide, [value] * n_spoof))
        assert (result["eer"], result["auc"], result["n_distinct"]) == (0.5, 0.5, 1)
        assert result["largest_tie"] == n_bonafide + n_spoof

    @given(tied)
    def test_separated_and_inverted(self, trials: tuple[Floats, Labels]) -> None:
        """Separated classes have EER 0 and AUC 1, inverted ones EER 1 and AUC 0."""
        scores, labels = trials
        apart = scores + 9.0 * labels
        best = evaluate(apart, labels)
        assert (best["eer"], best["auc"], best["f1_bonafide"], best["f1_spoof"]) == (0, 1, 1, 1)
        worst = evaluate(apart, 1 - labels)
        assert (worst["eer"], worst["auc"], worst["f1_bonafide"], worst["f1_spoof"]) == (1, 0, 0, 0)

    @given(any_scores, st.randoms(use_true_random=False))
    def test_permutation(self, trials: tuple[Floats, Labels], random: Any) -> None:
        """The order of the trials changes nothing."""
        scores, labels = trials
        order = list(range(scores.size))
        random.shuffle(order)
        after, before = evaluate(scores[order], labels[order]), evaluate(scores, labels)
        # The mean of floats depends on their order, by its last digits.
        assert after.pop("cllr") == pytest.approx(before.pop("cllr"), rel=1e-12)
        assert after == before

    @given(tied, st.sampled_from([lambda x: 3 * x - 7, np.exp, lambda x: x**3, np.arctan]))
    def test_monotone_maps(self, trials: tuple[Floats, Labels], transform: Callable[[Floats], Floats]) -> None:
        """A strictly increasing map of the scores moves thresholds, and what takes them for log-odds, alone."""
        scores, labels = trials
        before, after = evaluate(scores, labels), evaluate(transform(scores), labels)
        for numbers in (before, after):
            for of_the_scores_themselves in ("eer_threshold", "min_dcf_threshold", "act_dcf", "cllr"):
                del numbers[of_the_scores_themselves]
        assert after == before

    @given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=40, unique=True), st.data())
    def test_mirror(self, values: list[int], data: st.DataObject) -> None:
        """Turning the scores and swapping the classes moves the EER of distinct scores by less than a trial at most."""
        cut = data.draw(st.integers(1, len(values) - 1))
        scores, labels = mixed(values[:cut], values[cut:])
        there, back = evaluate(scores, labels), evaluate(-scores, 1 - labels)
        assert abs(there["eer"] - back["eer"]) <= 0.5 / min(cut, len(values) - cut) + 1e-12
        assert back["auc"] == there["auc"]

    @given(any_scores)
    def test_mirror_with_ties(self, trials: tuple[Floats, Labels]) -> None:
        """With ties turning and swapping moves the EER by at most |FRR - FAR| where it is read, up to half a block.

        Both curves have the same vertices in opposite order, and FRR - FAR rises from one to the next: at most two
        neighbours are nearest to the diagonal, -d and d, and the first counts. Their EERs differ by half of
        |step of FRR - step of FAR|, at most half of the sum of both steps, 2 d. A step of distinct scores is one trial.
        """
        scores, labels = trials
        there, back = evaluate(scores, labels), evaluate(-scores, 1 - labels)
        gap = abs(there["frr"] - there["far"])
        assert abs(there["eer"] - back["eer"]) <= gap + 1e-12
        assert gap <= there["largest_tie"] / (2 * min(there["n_bonafide"], there["n_spoof"])) + 1e-12

    def test_a_tie_breaks_the_bound_of_distinct_scores(self) -> None:
        """Two spoofs tied between two bona fide: half a trial of two would be .25, the EER moves by .5."""
        scores, labels = np.array([0.0, 2.0, 1.0, 1.0]), np.array([1, 1, 0, 0])
        assert (eer(scores, labels).eer, eer(-scores, 1 - labels).eer) == (0.75, 0.25)

    @given(any_scores, st.data())
    def test_one_more_trial(self, trials: tuple[Floats, Labels], data: st.DataObject) -> None:
        """A further trial moves the EER by at most one trial of its class and half of both gaps |FRR - FAR|.

        At any threshold one rate moves by at most 1 / (N + 1), and the lower rate at one vertex never exceeds the
        higher rate at another.
        """
        scores, labels = trials
        score = data.draw(st.sampled_from(scores.tolist()) | st.floats(-1e300, 1e300))
        label = data.draw(st.sampled_from([0, 1]))
        before, after = eer(scores, labels), eer(np.append(scores, score), np.append(labels, label))
        gaps = (abs(before.frr - before.far) + abs(after.frr - after.far)) / 2
        assert abs(before.eer - after.eer) <= gaps + 1 / (np.count_nonzero(labels == label) + 1) + 1e-12

    @given(any_scores)
    def test_weights_of_one(self, trials: tuple[Floats, Labels]) -> None:
        """A trial that counts once counts as without weights."""
        scores, labels = trials
        assert eer(scores, labels, np.ones(scores.size, dtype=int)) == eer(scores, labels)

    @given(any_scores, st.data())
    def test_weights_are_copies(self, trials: tuple[Floats, Labels], data: st.DataObject) -> None:
        """A trial of weight k counts as k copies of it, one of weight 0 not at all."""
        scores, labels = trials
        weights = data.draw(st.lists(st.integers(0, 3), min_size=scores.size, max_size=scores.size))
        for label in (0, 1):
            weights[int((labels == label).argmax())] += 1
        copies = [row for row, weight in enumerate(weights) for _ in range(weight)]
        weighted, copied = curve_of(scores, labels, weights), curve_of(scores[copies], labels[copies])
        assert eer(scores, labels, weights) == eer(scores[copies], labels[copies])
        assert (weighted.n_bonafide, weighted.n_spoof) == (copied.n_bonafide, copied.n_spoof)
        assert weighted.auc == copied.auc

    @given(any_scores)
    def test_f1_is_a_function_of_the_rates(self, trials: tuple[Floats, Labels]) -> None:
        """F1 at a threshold follows from FRR, FAR and the counts alone."""
        result = evaluate(*trials)
        kept = (1 - result["frr"]) * result["n_bonafide"]
        fooled = result["far"] * result["n_spoof"]
        assert result["f1_bonafide"] == pytest.approx(2 * kept / (kept + fooled + result["n_bonafide"]), abs=1e-12)

    def test_inputs_stay(self) -> None:
        """Nothing that is passed in is changed."""
        scores, labels = np.array([3.0, 1.0, 2.0]), np.array([1, 0, 1])
        evaluate(scores, labels)
        decide(scores, labels, 1.5)
        breakdown(scores, labels, ["a", "b", "a"], spoof_only=True)
        assert (scores.tolist(), labels.tolist()) == ([3, 1, 2], [1, 0, 1])


class TestBreakdown:
    scores = (5.0, 4.0, 1.0, 0.0, 2.0, 4.5, 3.0)
    labels = (1, 1, 1, 0, 0, 0, 0)

    def test_spoof_only(self) -> None:
        """All bona fide trials stand against the spoofs of each value, whatever the column says of bona fide."""
        groups = ["", "-", "A02", "A01", "A01", "A02", "A02"]
        assert breakdown(self.scores, self.labels, groups, spoof_only=True) == [
            Slice("A01", 3, 2, eer([5, 4, 1, 0, 2], [1, 1, 1, 0, 0]).eer),
            Slice("A02", 3, 2, eer([5, 4, 1, 4.5, 3], [1, 1, 1, 0, 0]).eer),
        ]

    def test_both_classes(self) -> None:
        """Trials of both classes are taken by value, and a value that lacks a class has counts and no EER."""
        groups = ["mp3", "wav", "wav", "mp3", "wav", "wav", "ogg"]
        assert breakdown(self.scores, self.labels, groups, spoof_only=False) == [
            Slice("mp3", 1, 1, 0.0),
            Slice("ogg", 0, 1, None),
            Slice("wav", 2, 2, eer([4, 1, 2, 4.5], [1, 1, 0, 0]).eer),
        ]

    def test_one_class(self) -> None:
        """A list of spoofs alone still has its counts."""
        assert breakdown([1, 2], [0, 0], ["x", "y"], spoof_only=True) == [
            Slice("x", 0, 1, None),
            Slice("y", 0, 1, None),
        ]

    @given(tied, st.booleans(), st.data())
    def test_each_slice_is_a_selection(
        self, trials: tuple[Floats, Labels], spoof_only: bool, data: st.DataObject
    ) -> None:
        """A slice is what selecting its trials one value at a time gives."""
        scores, labels = trials
        groups = np.array(data.draw(st.lists(st.sampled_from("xyz"), min_size=scores.size, max_size=scores.size)))
        found = {part.value: part for part in breakdown(scores, labels, groups, spoof_only)}
        assert list(found) == sorted(set(groups[labels == 0] if spoof_only else groups))
        for value, part in found.items():
            rows = (groups == value) | ((labels == 1) if spoof_only else False)
            n_bonafide, n_spoof = int((labels[rows] == 1).sum()), int((labels[rows] == 0).sum())
            rate = eer(scores[rows], labels[rows]).eer if n_bonafide and n_spoof else None
            assert part == Slice(value, n_bonafide, n_spoof, rate)

    def test_length(self) -> None:
        """An attribute of another length is refused."""
        with pytest.raises(UsageError, match="2 groups but 3 scores"):
            breakdown([1, 2, 3], [1, 0, 1], ["a", "b"], spoof_only=False)


def decide_at_zero(scores: Any, labels: Any) -> dict[str, float]:
    return decide(scores, labels, 0.0)


def breakdown_of_one(scores: Any, labels: Any) -> list[Slice]:
    return breakdown(scores, labels, ["x"] * len(scores), spoof_only=False)


class TestErrors:
    @pytest.mark.parametrize("function", [evaluate, log_odds_costs, eer, det, decide_at_zero, breakdown_of_one])
    @pytest.mark.parametrize(
        ("scores", "labels", "error", "text"),
        [
            pytest.param([1.0, 2.0, 3.0], [1, 0], UsageError, "3 scores but 2 labels", id="length"),
            pytest.param([], [], DataError, "no trial to evaluate", id="empty"),
            pytest.param(
                [1.0, 2.0, 3.0, 4.0],
                [1, 0, 2, -1],
                UsageError,
                r"2 of 4 labels are neither 1 nor 0, the first at index 2 \(2\)",
                id="label",
            ),
            pytest.param(
                [1.0, 2.0], [1.0, math.nan], UsageError, r"1 of 2 labels are neither .* index 1 \(nan\)", id="nan label"
            ),
            pytest.param([1.0], ["bonafide"], UsageError, r"labels must be numbers.*\n.*is_bonafide", id="text label"),
            pytest.param(["1.0"], [1], UsageError, "scores must be numbers, not <U3", id="text score"),
            pytest.param([[1.0], [2.0]], [1, 0], UsageError, r"scores must hold one .* not \(2, 1\)", id="shape"),
            pytest.param(
                [1.0, math.nan, math.inf, 2.0],
                [1, 0, 1, 0],
                DataError,
                r"2 of 4 scores are not finite, the first at index 1 \(nan\)",
                id="nan",
            ),
            pytest.param(
                [1.0, -math.inf], [1, 0], DataError, r"1 of 2 scores are not finite, .* index 1 \(-inf\)", id="inf"
            ),
        ],
    )
    def test_input(
        self, function: Callable[[Any, Any], object], scores: Any, labels: Any, error: type[Exception], text: str
    ) -> None:
        """Every function refuses what is no score or no label, says how many and where the first is."""
        with pytest.raises(error, match=text):
            function(scores, labels)

    @pytest.mark.parametrize("function", [evaluate, log_odds_costs, eer, det, decide_at_zero])
    @pytest.mark.parametrize(("label", "name"), [(0, "bona fide"), (1, "spoofed")])
    def test_missing_class(self, function: Callable[[Any, Any], object], label: int, name: str) -> None:
        """An error rate needs both classes, and the error names the one that is missing."""
        with pytest.raises(DataError, match=f"no {name} trial among 2: error rates need both classes"):
            function([1.0, 2.0], [label, label])

    @pytest.mark.parametrize("weights", [[1, 1], [1, 1, -1], [1.0, 1.0, 1.0], [[1, 1, 1]]])
    def test_weights(self, weights: Any) -> None:
        """A weight is how many times a trial counts, one a trial."""
        with pytest.raises(UsageError, match="weights must be one integer a trial, 0 or more"):
            eer([1.0, 2.0, 3.0], [0, 1, 1], weights)

    def test_threshold(self) -> None:
        """A threshold that is not a number decides nothing."""
        with pytest.raises(UsageError, match="threshold is NaN"):
            decide([1.0, 2.0], [1, 0], math.nan)


def test_import_is_light() -> None:
    """Metrics come without torch, pandas and scikit-learn, so a script that only evaluates starts at once."""
    program = "import sys, bench.metrics; print({'torch', 'pandas', 'sklearn'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"
