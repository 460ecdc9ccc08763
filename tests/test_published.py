"""Published numbers against ours: when they are reproduced, off, or not comparable, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import imports, metrics, registry, results, scored
from bench.bands import band
from bench.errors import StoreError
from bench.published import Verdict, verdicts
from bench.results import Result
from bench.store import Cell
from bench.uncertainty import Interval
from bench.workspace import Options, Workspace

ENTRY = {"dataset": "itw", "eer": 7.84, "source": "a paper"}
ITW = {"name": "itw", "digest": "d" * 64, "trials": 31_779, "bonafide": 19_963, "spoof": 11_816}


def result(
    eer: float | None = 7.84,
    dataset: dict[str, Any] | None = None,
    published: tuple[dict[str, Any], ...] = (ENTRY,),
    weights: dict[str, Any] | None = None,
    status: Any = "complete",
    unscored: int = 0,
    **manifest: Any,
) -> Result:
    """A result with an EER in percent; entries as a manifest holds them."""
    facts = {**ITW, **(dataset or {})}
    about = {"dataset": facts, "detector": {"published": list(published), "weights": weights}, **manifest}
    measured = None if eer is None else {"eer": eer / 100, "f1_bonafide": 0.9}
    return Result(Cell(facts["name"], "det", "k", status, manifest=about), measured, unscored=unscored)


def verdict(found: Result, interval: Interval | None = None) -> Verdict:
    (one,) = verdicts(found, interval)
    return one


@pytest.mark.parametrize(
    ("ours", "interval", "kind", "text"),
    [
        (7.8357, None, "reproduced", "reproduced to the printed digits"),
        (7.8449, None, "reproduced", "reproduced to the printed digits"),
        (7.835, None, "reproduced", "reproduced to the printed digits"),  # just half a unit
        (7.8349, None, "off", "off by -0.01 pp (we have no interval)"),
        (8.26, (7.84, 8.7), "reproduced", "reproduced: inside our 95 % interval, 7.84 to 8.70"),
        (8.26, (7.845, 8.7), "reproduced", "reproduced: inside our 95 % interval, 7.84 to 8.70"),  # half a unit outside
        (8.26, (7.8451, 8.7), "off", "off by +0.42 pp (our 95 % interval 7.85 to 8.70)"),
        (7.0, (6.5, 7.835), "reproduced", "reproduced: inside our 95 % interval, 6.50 to 7.83"),
        (7.0, (6.5, 7.8349), "off", "off by -0.84 pp (our 95 % interval 6.50 to 7.83)"),
        (7.84, (8.0, 9.0), "reproduced", "reproduced to the printed digits"),  # an interval need not hold the EER
    ],
)
def test_a_number_of_the_same_list_is_reproduced_or_off(
    ours: float, interval: tuple[float, float] | None, kind: str, text: str
) -> None:
    """Ours minus the published one; inside the interval, or within half a unit of the last digit of its ends."""
    held = None if interval is None else Interval(interval[0] / 100, interval[1] / 100)
    found = verdict(result(ours), held)
    assert (found.kind, found.text) == (kind, text)
    assert (found.entry.dataset, found.entry.eer) == ("itw", 7.84)


@pytest.mark.parametrize(
    ("published", "ours", "text"),
    [
        (7.8, 7.84, "off by +0.04 pp (we have no interval)"),  # the card lost a zero of 7.80, or there was none
        (7.8, 7.804, "reproduced to the printed digits"),
        (22.383, 22.3835, "reproduced to the printed digits"),
        (22.383, 22.3836, "off by +0.001 pp (we have no interval)"),
        (7.0, 8.0, "off by +1.00 pp (we have no interval)"),
    ],
)
def test_digits_are_those_of_the_card_and_two_at_least(published: float, ours: float, text: str) -> None:
    """What is granted for rounding never grows by a zero that the card lost."""
    assert verdict(result(ours, published=({**ENTRY, "eer": published},))).text == text


@given(
    published=st.decimals(0, 100, places=2), ours=st.floats(0, 1), width=st.tuples(st.floats(0, 0.1), st.floats(0, 0.1))
)
def test_what_is_off_lies_outside_what_reproduces(published: Any, ours: float, width: tuple[float, float]) -> None:
    """A verdict of `off` means farther than half a unit from every number in the interval, and the converse."""
    interval = Interval(ours - width[0], ours + width[1])
    distance = max(100 * interval.low - float(published), float(published) - 100 * interval.high, 0)
    found = verdict(result(100 * ours, published=({**ENTRY, "eer": float(published)},)), interval)
    assert found.kind == ("off" if distance > 0.005 + 1e-9 else "reproduced")


def test_a_band_reproduces_what_lies_between_its_best_and_its_worst() -> None:
    """The mean over seeds is what is off; without an interval the spread decides alone, beside one either does."""
    seeds = {seed: result(eer) for seed, eer in enumerate((7.0, 7.5, 9.5))}
    one = result(7.0)
    banded = Result(one.cell, one.metrics, band=band(seeds))
    assert verdict(banded).text == "reproduced: inside our 3 seeds, 7.00 to 9.50"
    assert verdict(banded, Interval(0.079, 0.081)).text == "reproduced: inside our 3 seeds, 7.00 to 9.50"
    assert verdict(banded, Interval(0.07, 0.09)).text == "reproduced: inside our 95 % interval, 7.00 to 9.00"
    far = Result(one.cell, one.metrics, band=band({3: result(8.0), 4: result(9.0)}))
    text = "off by +0.66 pp (our 95 % interval 8.10 to 8.90, our 2 seeds 8.00 to 9.00)"
    assert verdict(far, Interval(0.081, 0.089)).text == text
    lost = Result(one.cell, one.metrics, band=band({3: result(8.0), 4: result(None, status="failed")}))
    why = "ours is no number over the whole list: no mean of 2 seeds: seed 4 is failed"
    assert verdict(lost).text == f"not comparable because {why}"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"published": ({**ENTRY, "comparable": False, "note": "of a sample"},)}, "of a sample"),
        ({"published": ({**ENTRY, "comparable": False},)}, "its card says so"),
        ({"dataset": {"name": "itw:200", "trials": 200}}, "ours is over a sample of 200 trials"),
        ({"dataset": {"name": "itw+mp3@64k", "perturbation": "mp3@64k"}}, "ours is under mp3@64k"),
        ({"dataset": {"name": "itw+trim:9", "perturbation": "trim", "trials": 9}}, "ours is under trim"),
        (
            {"dataset": {"trials": 31_778, "spoof": 11_815}},
            "our list is not the published one: trials 31,778 (published 31,779), spoof 11,815 (published 11,816)",
        ),
        (
            {"dataset": {"counts": {"trials": 5, "bonafide": 19_963, "spoof": 11_816}}},
            "our list is not the published one: trials 31,779 (published 5)",
        ),
        (
            {
                "dataset": {"name": "calls", "warnings": ["calls is not the published list: trials 5 (published 6)"]},
                "published": ({**ENTRY, "dataset": "calls"},),
            },
            "calls is not the published list: trials 5 (published 6)",
        ),
        ({"eer": None, "status": "incomplete"}, "ours is no number over the whole list: the cell is incomplete"),
        ({"eer": None, "status": "failed"}, "ours is no number over the whole list: the cell is failed"),
        (
            {"unscored": 2, "status": "incomplete", "allow_missing": True},
            "ours is no number over the whole list: over the scored trials only: 2 of 31,779 have no score",
        ),
        ({"weights": {"start": {"backbone": "random"}}}, "ours was trained from a random backbone"),
    ],
)
def test_what_is_of_something_else_is_not_compared(changed: dict[str, Any], why: str) -> None:
    """Another measure, list or audio, part of the list, another training: the reason is told."""
    found = verdict(result(**changed), Interval(0, 1))
    assert (found.kind, found.text) == ("not comparable", f"not comparable because {why}")


def test_another_list_of_the_corpus_is_told_and_another_corpus_is_not() -> None:
    """A number on all phases stands beside the phase eval, refused; one on another corpus is no matter of this cell."""
    entries = tuple({**ENTRY, "dataset": name} for name in ("itw", "asvspoof2021-df-all", "asvspoof2021-df", "nowhere"))
    facts = {"name": "asvspoof2021-df", "trials": 533_928, "bonafide": 14_869, "spoof": 519_059}
    texts = [one.text for one in verdicts(result(7.84, facts, entries), None)]
    assert texts == [
        "not comparable because it is of asvspoof2021-df-all, another list",
        "reproduced to the printed digits",
    ]
    assert verdicts(Result(Cell("itw", "det", "", "blocked")), None) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"imported": True}, "our scores are imported"),
        ({"weights": {"verified": False}}, "our weights are unverified"),
        ({"weights": {"lists": [{"warnings": ["other counts"]}]}}, "ours was trained on another list"),
        ({"published": ({**ENTRY, "f1": 0.97},)}, "F1 0.97 is not compared: its threshold and class are not known"),
        (
            {"dataset": {"name": "calls", "counts": None}, "published": ({**ENTRY, "dataset": "calls"},)},
            "how many trials the published list has is not known",
        ),
    ],
)
def test_what_is_compared_nevertheless_is_said(changed: dict[str, Any], said: str) -> None:
    """Imported scores and unverified weights have a verdict; what a reader must know stands behind it."""
    assert verdict(result(**changed)).text == f"reproduced to the printed digits; {said}"


def test_speakers_that_are_not_given_make_no_other_list() -> None:
    """The warnings of a dataset may be of its attributes alone: the trials and their classes are what counts."""
    counts = {"trials": 31_779, "bonafide": 19_963, "spoof": 11_816, "speakers": 54}
    assert verdict(result(dataset={"counts": counts, "warnings": ["speakers 0 (published 54)"]})).kind == "reproduced"


def test_a_manifest_with_other_numbers_is_refused() -> None:
    """A hand-edited manifest is an error with the cell, not a verdict."""
    with pytest.raises(StoreError, match="published numbers in the manifest cannot be read"):
        verdicts(result(published=({**ENTRY, "eer": "seven"},)), None)


@pytest.mark.parametrize("name", [card.name for card in registry.detectors().cards.values() if card.published])
def test_every_published_number_of_the_cards_gets_a_verdict(name: str) -> None:
    """On its own dataset, measured as published: what the card calls comparable is reproduced, the rest is not."""
    card = registry.detectors()[name]
    for entry in card.published:
        counts = registry.datasets()[entry.dataset].counts
        facts = {"name": entry.dataset, **(counts.model_dump() if counts else {"trials": 9})}
        one = result(entry.eer, facts, (entry.model_dump(mode="json"),))
        assert verdict(one).kind == ("reproduced" if entry.comparable else "not comparable")


def test_the_released_scores_of_sls_v1(shared: Path, tmp_path: Path) -> None:
    """7.84 % as its README has it, 7.8357 % from the released scores on the list of In-the-Wild."""
    scores = shared / "golden" / "scores"
    workspace = Workspace(Options(data_root=scores, results=tmp_path))
    cell, _ = imports.import_scores(workspace, scores / "sls_v1_itw.txt.gz", "xlsr-sls-v1", "itw")
    trials = scored.load(cell, scored.trial_lists(workspace.store))
    found = Result(cell, metrics.evaluate(trials.values, trials.labels))
    assert found.eer == pytest.approx(0.07835663, abs=1e-8)
    assert (found.leakage, results.as_json([found])["cells"][0]["leakage"]) == ("held-out", "held-out")
    (one,) = verdicts(found, None)
    assert (one.kind, one.text) == ("reproduced", "reproduced to the printed digits; our scores are imported")
