"""Specification of `bench.costs`; its golden numbers are in test_metrics_golden.py."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.costs import (
    BAYES_THRESHOLD,
    Tandem,
    VerificationRates,
    act_dcf,
    cllr,
    detection_cost,
    log_odds,
    min_dcf,
    min_tdcf,
    tandem_2019,
    tandem_2021,
    verification_rates,
)
from bench.det import Curve, curve_between
from bench.errors import DataError, UsageError
from tests.oracles.metrics import naive_cllr, naive_dcf, official_eer

Floats = NDArray[np.float64]

# The organisers' coefficients of ASVspoof 2021 LA eval, A07 without codec.
A07 = Tandem(0.03051131804, 0.90998868196, 0.46944035346)

scores = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=25).map(np.array)
rates = st.integers(1, 900).map(lambda n: n / 1000)


def curve(bonafide: Any, spoof: Any) -> Curve:
    return curve_between(np.array(bonafide, dtype=float), np.array(spoof, dtype=float))


class TestDetectionCost:
    def test_by_hand(self) -> None:
        """Rejecting a tenth of bona fide costs .19, accepting a tenth of spoof .1."""
        assert detection_cost(0.1, 0.1) == pytest.approx(0.29, abs=1e-15)
        assert detection_cost(np.array([0.0, 1.0]), np.array([1.0, 0.0])).tolist() == [1.0, 1.9]

    @given(scores, scores)
    def test_the_minimum_is_that_of_every_threshold(self, bonafide: Floats, spoof: Floats) -> None:
        """minDCF is the lowest cost among all distinct scores and one below, at the first of them."""
        found = min_dcf(curve(bonafide, spoof))
        candidates = [min([*bonafide, *spoof]) - 0.001, *sorted({*bonafide, *spoof})]
        costs = [naive_dcf(bonafide, spoof, math.nextafter(t, math.inf)) for t in candidates]
        assert found.value == pytest.approx(min(costs), abs=1e-12)
        assert naive_dcf(bonafide, spoof, math.nextafter(found.threshold, math.inf)) == pytest.approx(found.value)
        assert 0 <= found.value <= 1

    def test_a_score_on_the_bayes_threshold_is_accepted(self) -> None:
        """Miss is below the threshold, false alarm at or above it."""
        on, below = np.array([BAYES_THRESHOLD]), np.array([math.nextafter(BAYES_THRESHOLD, -math.inf)])
        assert pytest.approx(-0.6418538862) == BAYES_THRESHOLD
        assert (act_dcf(on, below), act_dcf(on, on), act_dcf(below, below)) == (0.0, 1.0, 1.9)

    @given(scores, scores)
    def test_the_actual_cost_is_one_of_the_curve(self, bonafide: Floats, spoof: Floats) -> None:
        """actDCF is what counting gives, and no better than minDCF."""
        found = act_dcf(bonafide, spoof)
        assert found == pytest.approx(naive_dcf(bonafide, spoof, -math.log(1.9)), abs=1e-12)
        assert found >= min_dcf(curve(bonafide, spoof)).value - 1e-12


class TestCllr:
    @given(scores, scores)
    def test_naive(self, bonafide: Floats, spoof: Floats) -> None:
        """Where the plain formula does not overflow, it is the plain formula."""
        assert cllr(bonafide, spoof) == pytest.approx(naive_cllr(bonafide, spoof), abs=1e-12)

    @given(st.integers(1, 40), st.integers(1, 40))
    def test_zeros(self, n_bonafide: int, n_spoof: int) -> None:
        """Scores that say nothing cost one bit, whatever the counts."""
        assert cllr(np.zeros(n_bonafide), np.zeros(n_spoof)) == pytest.approx(1.0, abs=1e-15)

    def test_large_scores(self) -> None:
        """A right score of any size costs nothing, a wrong one its size in bits; nothing overflows."""
        huge = np.array([1e308, 1e308])
        assert cllr(huge, -huge) == 0.0
        assert cllr(-huge, -huge) == pytest.approx(0.5e308 / math.log(2))
        assert cllr(np.array([-800.0]), np.array([-800.0])) == pytest.approx(400 / math.log(2))
        assert naive_cllr(np.array([-800.0]), np.array([-800.0])) == math.inf

    @given(scores, scores, st.floats(0.1, 50))
    def test_more_of_a_wrong_score_costs_more(self, bonafide: Floats, spoof: Floats, more: float) -> None:
        """Cllr is never negative, and taking log-odds away from bona fide raises it."""
        assert 0 <= cllr(bonafide, spoof) < cllr(bonafide - more, spoof)


class TestLogOdds:
    def test_by_hand(self) -> None:
        """p = 1/2 is even, p = 3/4 is three to one; where p is small its logarithm is all."""
        found = log_odds([math.log(0.5), math.log(0.75), -800.0])
        assert found == pytest.approx([0.0, math.log(3), -800.0], abs=1e-15)

    @pytest.mark.parametrize("value", [-1e-300, -2.5e-17, -2.384185507e-07, -1e-3, -0.7, -30.0])
    def test_near_one(self, value: float) -> None:
        """Where 1 - p would lose all digits of float64 the log-odds keep theirs: an exact reckoning agrees."""
        with localcontext(prec=400):
            p = Decimal(value).exp()
            expected = float((p / (1 - p)).ln())
        assert log_odds([value])[0] == pytest.approx(expected, rel=1e-14)

    @given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
    def test_inverse_of_log_softmax(self, margins: list[float]) -> None:
        """The log-probability of two logits comes back as their difference."""
        probabilities = -np.logaddexp(0.0, -np.array(margins))
        assert log_odds(probabilities) == pytest.approx(margins, rel=1e-9, abs=1e-9)

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            pytest.param(
                [-1.0, 0.0, -0.0], r"2 of 3 scores are 0: p is so near 1 that ln p underflowed, .* index 1", id="one"
            ),
            pytest.param([0.5, -1.0], r"1 of 2 scores are above 0, no log-prob.* index 0 \(0.5\)", id="odds"),
            pytest.param([-1.0, math.nan], r"1 of 2 scores are not finite, the first at index 1 \(nan\)", id="nan"),
            pytest.param([-math.inf], r"1 of 1 scores are not finite", id="zero probability"),
        ],
    )
    def test_refused(self, values: list[float], text: str) -> None:
        """What has no finite log-odds is told with its number and its first place, and what to do."""
        with pytest.raises(DataError, match=text) as caught:
            log_odds(values)
        assert caught.value.remedy


class TestVerificationRates:
    def test_by_hand(self) -> None:
        """The nontarget on the EER threshold, 1.5, is accepted: one trial more than at that vertex of the curve."""
        found = verification_rates([1, 2, 3, 4], [0, 0.5, 1.5, 2], [2, 2.5, 1, 0, 9])
        assert found == VerificationRates(pmiss=0.25, pfa=0.5, pfa_spoof=0.6)

    @given(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=30, unique=True), scores, st.integers(1, 29))
    def test_organisers(self, speech: list[int], spoof: Floats, cut: int) -> None:
        """Where targets and nontargets share no score, the threshold is that of the organisers' EER."""
        cut = min(cut, len(speech) - 1)
        target, nontarget = np.array(speech[:cut], dtype=float), np.array(speech[cut:], dtype=float)
        _, threshold = official_eer(target, nontarget)
        assert verification_rates(target, nontarget, spoof) == (
            sum(target < threshold) / target.size,
            sum(nontarget >= threshold) / nontarget.size,
            sum(spoof >= threshold) / spoof.size,
        )

    @pytest.mark.parametrize("kind", ["target", "nontarget", "spoof"])
    @pytest.mark.parametrize(
        ("values", "error", "text"),
        [
            ([], DataError, "no {} trial: t-DCF needs target, nontarget and spoof trials"),
            ([1.0, math.nan], DataError, r"ASV scores of {} trials are not finite, the first at index 1 \(nan\)"),
            ([[1.0]], UsageError, "{} scores must be one number a trial"),
            (["x"], UsageError, "{} scores must be one number a trial"),
        ],
    )
    def test_refused(self, kind: str, values: Any, error: type[Exception], text: str) -> None:
        """Each kind of trial must be there, in finite numbers."""
        given: dict[str, Any] = {name: [0.0, 1.0] for name in ("target", "nontarget", "spoof")}
        with pytest.raises(error, match=text.format(kind)):
            verification_rates(**given | {kind: values})


class TestTandem:
    def test_coefficients_of_the_organisers(self) -> None:
        """Rates that give the organisers' C0 and C2 of ASVspoof 2021 LA (A07, no codec) give their C1."""
        equal = A07.c0 / (0.9405 + 10 * 0.0095)
        assert tandem_2021(VerificationRates(equal, equal, A07.c2 / 0.5)) == pytest.approx(A07, abs=1e-10)

    def test_legacy_by_hand(self) -> None:
        """C1 is what bona fide targets cost less what the ASV would have rejected anyway; there is no C0."""
        found = tandem_2019(VerificationRates(pmiss=0.1, pfa=0.2, pfa_spoof=0.5))
        assert found == pytest.approx((0.0, 0.9405 * 0.9 - 0.0095 * 10 * 0.2, 0.25), abs=1e-15)

    @pytest.mark.parametrize(
        ("bonafide", "spoof", "value"),
        [
            pytest.param([3, 2, 1, -0.5], [0, -1, -2, -3], 0.295771, id="one swap"),
            pytest.param([5, 4, 3, 2, 1, 0.5, -0.2], [4.5, 1.5, *range(0, -9, -1)], 0.317112, id="unequal counts"),
            pytest.param([2, 1], [0, -1], 0.0610, id="separable"),
        ],
    )
    def test_toys(self, bonafide: list[float], spoof: list[float], value: float) -> None:
        """Cases that fit on paper, behind the ASV of the organisers; perfect scores keep its errors."""
        assert min_tdcf(curve(bonafide, spoof), A07).value == pytest.approx(value, abs=5e-5 if value < 0.1 else 5e-7)

    def test_accepting_and_rejecting_everything(self) -> None:
        """Behind that ASV accepting everything costs 1 and rejecting everything 1.881182."""
        found = A07.cost(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
        assert found == pytest.approx([1.0, 1.881182], abs=5e-7)

    @given(scores, scores, rates, rates, rates)
    def test_bounds(self, bonafide: Floats, spoof: Floats, pmiss: float, pfa: float, pfa_spoof: float) -> None:
        """Each is at most 1, at least what perfect scores have, and the lowest of the curve at its first threshold."""
        vertices, asv = curve(bonafide, spoof), VerificationRates(pmiss, pfa, pfa_spoof)
        assume(vertices.n_distinct >= 3)
        for of_asv in (tandem_2019, tandem_2021):
            tandem = of_asv(asv)
            found = min_tdcf(vertices, tandem)
            assert tandem.c0 / (tandem.c0 + min(tandem.c1, tandem.c2)) - 1e-12 <= found.value <= 1 + 1e-12
            costs = tandem.cost(vertices.frr, vertices.far).tolist()
            assert found == (min(costs), vertices.thresholds[costs.index(min(costs))])

    @given(scores, scores)
    def test_separated_and_legacy(self, bonafide: Floats, spoof: Floats) -> None:
        """Separated scores have a legacy t-DCF of 0, and inverted ones cost as much as no detector."""
        apart = curve([20.0, 21.0, *(bonafide + 20)], spoof - 20)
        asv = tandem_2019(VerificationRates(0.04, 0.05, 0.3))
        assert min_tdcf(apart, asv).value == 0.0
        assert min_tdcf(curve(spoof - 20, [20.0, 21.0, *(bonafide + 20)]), asv).value == pytest.approx(1.0)

    @pytest.mark.parametrize(
        ("of_asv", "rates", "text"),
        [
            pytest.param(tandem_2019, (1.0, 0.5, 0.3), r"C0 = 0, C1 = -0.0475, C2 = 0.15", id="2019, poor ASV"),
            pytest.param(tandem_2021, (1.0, 0.5, 0.3), r"C1 = -0.0475, C2 = 0.15", id="2021, poor ASV"),
            pytest.param(tandem_2019, (0.1, 0.1, 0.0), "C2 = 0", id="2019, no spoof passes"),
            pytest.param(tandem_2021, (0.0, 0.0, 0.0), "C0 = 0, C1 = 0.9405, C2 = 0", id="2021, no error"),
            pytest.param(tandem_2021, (-0.1, 0.0, 0.3), "C0 = -0.09405", id="negative C0"),
            pytest.param(tandem_2021, (0.1, 0.1, -0.3), "C2 = -0.15", id="negative C2"),
            pytest.param(tandem_2021, (math.nan, 0.1, 0.3), "C0 = nan", id="nan"),
        ],
    )
    def test_an_asv_without_a_tdcf(self, of_asv: Any, rates: tuple[float, ...], text: str) -> None:
        """Negative costs, or none to normalise by, are refused with the coefficients and the rates."""
        with pytest.raises(DataError, match=f"t-DCF is not defined behind this ASV system: .*{text}") as caught:
            of_asv(VerificationRates(*rates))
        assert caught.value.where == f"pmiss {rates[0]:.6g}, pfa {rates[1]:.6g}, pfa_spoof {rates[2]:.6g}"

    @pytest.mark.parametrize("distinct", [1, 2])
    def test_few_scores(self, distinct: int) -> None:
        """Fewer than three distinct scores are decisions, as for the organisers."""
        spoof = list(range(distinct))
        with pytest.raises(DataError, match=f"t-DCF needs 3 distinct scores or more, not {distinct}"):
            min_tdcf(curve([0, 0], spoof), A07)
