"""The verdicts on numbers alone: what fails, what does not, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import regression
from bench.regression import Kind, Verdict
from bench.resampling import Unit
from bench.store import Cell
from bench.uncertainty import Difference, Interval

CLEAR = Difference(0.01, Interval(0.004, 0.02), 0.012)
UNCLEAR = Difference(0.01, Interval(-0.001, 0.02), 0.3)
TRIALS = Unit((), (), {}, {})
MADE = {"model": "m:M", "arguments": {}, "audio": {"rate": 16000}, "weights": "w", "precision": "fp32", "scorer": "s"}


def cell(detector: dict[str, Any], **manifest: Any) -> Cell:
    """A complete cell in the folder `det`."""
    about = {"scorer": "s", **manifest, "detector": detector}
    return Cell("set", "det", "k", "complete", Path("det"), manifest=about)


@pytest.mark.parametrize(
    ("change", "difference", "kind"),
    [
        (0.0, None, "equivalent"),
        (0.05, None, "equivalent"),
        (-0.05, None, "equivalent"),
        (0.050000001, None, "regressed"),
        (1.0, CLEAR, "regressed"),
        (1.0, UNCLEAR, "uncertain"),
        (-0.050000001, None, "improved"),
        (-1.0, None, "improved"),
    ],
)
def test_the_verdict(change: float, difference: Difference | None, kind: Kind) -> None:
    """Strictly more than 0.05 pp worse is regressed, unless the interval of the difference holds zero."""
    assert regression.decide(change, 0.05, difference) == kind


@given(accepted=st.integers(0, 2000), steps=st.integers(-2000, 2000))
def test_exactly_the_tolerance_is_within_it(accepted: int, steps: int) -> None:
    """Whatever floats make of a difference of hundredths, it is worse than a tolerance of as many only if larger."""
    change = regression.points(accepted / 10_000, (accepted + steps) / 10_000)
    assert regression.decide(change, abs(steps) / 100, None) == "equivalent"
    assert change == steps / 100


@pytest.mark.parametrize(
    ("change", "difference", "told"),
    [
        (0.0, None, "the same EER, within the tolerance of 0.05 pp"),
        (0.02, None, "0.0200 pp worse, within the tolerance of 0.05 pp"),
        (-0.02, None, "0.0200 pp better, within the tolerance of 0.05 pp"),
        (1.0, None, "1.0000 pp worse, the tolerance is 0.05 pp; no accepted scores, hence no interval"),
        (-1.0, None, "1.0000 pp better, the tolerance is 0.05 pp"),
        (
            1.0,
            CLEAR,
            "1.0000 pp worse, the tolerance is 0.05 pp; its 95 % interval +0.4000 to +2.0000 pp excludes zero, "
            "p = 0.012; drawn: single trials",
        ),
        (
            1.0,
            UNCLEAR,
            "1.0000 pp worse, the tolerance is 0.05 pp; its 95 % interval -0.1000 to +2.0000 pp holds zero, "
            "p = 0.300; drawn: single trials",
        ),
    ],
)
def test_the_reason(change: float, difference: Difference | None, told: str) -> None:
    """One sentence has the change, the tolerance, and where there is one the interval, its p value and its unit."""
    assert regression.reason(change, 0.05, difference, TRIALS) == told


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({}, MADE, ["other key"]),
        (MADE, {}, ["other key"]),
        (MADE, MADE, ["other key"]),
        (MADE, {**MADE, "weights": "v", "scorer": "t"}, ["new weights"]),
        (MADE, {**MADE, "precision": "bf16", "scorer": "t"}, ["new precision"]),
        (MADE, {**MADE, "audio": {"rate": 8000}, "scorer": "t"}, ["new audio recipe"]),
        (MADE, {**MADE, "model": "m:N", "arguments": {"a": 1}, "scorer": "t"}, ["new architecture"]),
        (MADE, {**MADE, "weights": "v", "precision": "bf16", "scorer": "t"}, ["new weights", "new precision"]),
        (MADE, {**MADE, "scorer": "t"}, ["new code version"]),
    ],
)
def test_what_is_new_in_a_detector(before: dict[str, Any], now: dict[str, Any], told: list[str]) -> None:
    """Another key is told by what changed, or as that where nothing more is known; an equal key by nothing."""
    assert regression.changes(False, before, now) == told
    assert regression.changes(True, before, now) == []


def test_what_made_scores_is_read_off_the_manifest() -> None:
    """Architecture, arguments, audio recipe, weights, precision and scorer; nothing of an import."""
    detector = {"name": "d", "model": "m:M", "arguments": {}, "audio": {"rate": 16000}, "weights": {"sha256": "w"}}
    assert regression.made_by(cell(detector, precision="fp32")) == MADE
    assert regression.made_by(cell({**detector, "weights": None}))["weights"] is None
    assert regression.made_by(cell(detector, scorer=None)) == {}


@pytest.mark.parametrize(
    ("weights", "recipe", "other"),
    [
        (None, {"seed": 3}, False),
        ({"sha256": "w"}, {"seed": 3}, False),
        ({"seed": 3}, {"seed": 3}, False),
        ({"seed": 4}, {"seed": 3}, True),
        ({"seed": 4}, None, False),
    ],
)
def test_a_seed_that_is_not_the_cards(weights: Any, recipe: Any, other: bool) -> None:
    """Weights trained here say their seed; the recipe that they were trained by says its own."""
    assert regression.of_other_seed(cell({"name": "d", "weights": weights, "recipe": recipe})) == other


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"A1": 0.02, "A17": 0.021, "A2": 0.5}, {"A1": 0.03, "A17": 0.483, "A2": 0.5}, ["A17: 2.10 -> 48.30 %"]),
        ({"A1": 0.1, "A2": 0.2}, {"A1": 0.2, "A2": 0.3}, ["A1: 10.00 -> 20.00 %"]),
        ({"A1": 0.1, "A2": 0.2}, {"A1": 0.1, "A2": 0.1}, []),
        ({"A1": 0.1}, {"A1": 0.9}, []),
        ({}, {}, []),
    ],
)
def test_where_it_got_worse(before: dict[str, float], now: dict[str, float], told: list[str]) -> None:
    """The attack whose EER rose by the largest difference, in percent; none where none rose, or only one is known."""
    assert regression.most_risen("attack", before, now) == [f"most in attack {one}" for one in told]


def test_the_worst_is_first() -> None:
    """What fails stands above what does not; of one kind the largest rise of the EER first, then by name."""
    kinds: list[Kind] = ["identical", "new", "equivalent", "missing", "improved", "uncertain", "invalid", "regressed"]
    verdicts = [Verdict("d", "a", kind, "") for kind in kinds]
    verdicts += [Verdict("d", name, "regressed", "", accepted=0.1, eer=eer) for name, eer in [("b", 0.2), ("c", 0.3)]]
    verdicts.append(Verdict("d", "e", "not comparable", "", accepted=0.1, eer=0.9))
    found = [(one.kind, one.detector) for one in regression.worst_first(verdicts)]
    assert found[:3] == [("regressed", "c"), ("regressed", "b"), ("regressed", "a")]
    assert [kind for kind, _ in found[3:]] == [
        *("not comparable", "invalid", "missing", "uncertain", "new", "improved", "equivalent", "identical")
    ]
    assert [one.fails for one in regression.worst_first(verdicts)] == [True] * 6 + [False] * 5


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ([], "nothing was compared: no result is accepted; nothing is stored here"),
        (["new", "new"], "nothing was compared: no result is accepted; 2 new (--accept accepts what is new)"),
        (["identical"], "none of 1 cell fails: 1 identical"),
        (["new", "identical", "missing"], "1 of 3 cells fails: 1 missing; 1 new, 1 identical"),
        (["missing", "regressed"], "2 of 2 cells fail: 1 regressed, 1 missing"),
    ],
)
def test_the_summary(kinds: list[Kind], told: str) -> None:
    """How many fail, of what kinds; that nothing was compared is said."""
    assert regression.summary([Verdict("d", "a", kind, "") for kind in kinds]) == told


def test_numbers_of_other_trial_lists_are_not_subtracted() -> None:
    """A cell that is not comparable has no change, whatever EERs are known."""
    about: dict[str, Any] = {"accepted": 0.1, "eer": 0.2}
    assert Verdict("d", "a", "not comparable", "", **about).change is None
    assert Verdict("d", "a", "regressed", "", **about).change == 10.0


def test_json() -> None:
    """Fractions, but for change and tolerance; null for what there is not."""
    about: dict[str, Any] = {"difference": CLEAR, "unit": TRIALS, "notes": ("new weights",)}
    found = Verdict("d", "a", "regressed", "why", "do", 0.1, 0.11, 0.05, **about).as_json()
    assert found == {
        "detector": "a",
        "dataset": "d",
        "verdict": "regressed",
        "fails": True,
        "why": "why",
        "notes": ["new weights"],
        "remedy": "do",
        "accepted_eer": 0.1,
        "eer": 0.11,
        "change_pp": 1.0,
        "tolerance_pp": 0.05,
        "interval": [0.004, 0.02],
        "p_value": 0.012,
        "unit": "single trials",
    }
    empty = Verdict("d", "a", "missing", "why").as_json()
    assert [empty[name] for name in ("accepted_eer", "eer", "change_pp", "interval", "p_value", "unit")] == [None] * 6
