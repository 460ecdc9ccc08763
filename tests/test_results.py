"""From stored scores to numbers: which cells have any, over which trials, and in which words they are told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import metrics, results
from bench.cellwriter import CellWriter
from bench.errors import DataError, StoreError, UsageError
from bench.files import write_parquet
from bench.results import Result
from bench.store import Cell, Store
from bench.trials import digest
from tests.stores import put, trial_list

SCORES = {"b1": 2.0, "b2": 1.0, "b3": -0.5, "b4": 3.0, "s1": -1.0, "s2": 0.0, "s3": -2.0, "s4": 1.5}


def evaluated(store: Store, cell: Cell) -> tuple[Result, Mapping[str, Any]]:
    result = results.evaluate_cell(store, cell)
    assert result.metrics is not None
    return result, result.metrics


def brute_eer(bonafide: Sequence[float], spoof: Sequence[float]) -> float:
    """The definition, one threshold at a time."""
    thresholds = [-np.inf, *sorted({*bonafide, *spoof})]
    rates = [
        (sum(score <= t for score in bonafide) / len(bonafide), sum(score > t for score in spoof) / len(spoof))
        for t in thresholds
    ]
    frr, far = min(rates, key=lambda pair: abs(pair[0] - pair[1]))
    return (frr + far) / 2


def test_a_complete_cell_is_measured_over_every_trial(tmp_path: Path) -> None:
    """Two errors in eight, one of each class: EER 25 %, and F1, AUC and counts that follow by hand."""
    store = Store(tmp_path)
    result, found = evaluated(store, put(store, trial_list(list(SCORES)), SCORES))
    assert (found["eer"], found["eer_threshold"], found["n_bonafide"], found["n_spoof"]) == (0.25, 0.0, 4, 4)
    assert (found["f1_bonafide"], found["auc"]) == (0.75, 13 / 16)
    assert (result.native, result.breakdowns, result.caveat, result.trials) == (None, {}, "", 8)


@settings(max_examples=40, deadline=None)
@given(
    bonafide=st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12),
    spoof=st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_scores_meet_their_labels_by_trial_not_by_row(
    tmp_path_factory: pytest.TempPathFactory, bonafide: list[float], spoof: list[float], order: Any
) -> None:
    """Whatever the order of the rows in scores.parquet, the EER is that of the definition."""
    scores = {f"b{row}": score for row, score in enumerate(bonafide)} | {f"s{row}": s for row, s in enumerate(spoof)}
    store = Store(tmp_path_factory.mktemp("store"))
    cell = put(store, trial_list(list(scores)), scores)
    assert cell.path is not None
    rows = list(range(len(scores)))
    order.shuffle(rows)
    write_parquet(cell.path / "scores.parquet", cell.scores().iloc[rows])
    _, found = evaluated(store, cell)
    assert found["eer"] == brute_eer(bonafide, spoof)


def test_an_incomplete_cell_has_no_number_until_the_run_allowed_it(tmp_path: Path) -> None:
    """Without `allow_missing` nothing is computed; with it the scored trials are, and the result says how many lack."""
    scores = {**SCORES, "b3": float("nan")}
    store = Store(tmp_path)
    refused = results.evaluate_cell(store, put(store, trial_list(list(SCORES)), scores, detector="strict"))
    assert (refused.cell.status, refused.metrics, refused.caveat) == ("incomplete", None, "")
    allowed, found = evaluated(store, put(store, trial_list(list(SCORES)), scores, allow_missing=True))
    assert found["eer"] == brute_eer([2.0, 1.0, 3.0], [-1.0, 0.0, -2.0, 1.5])
    assert (found["n_bonafide"], allowed.unscored) == (3, 1)
    assert allowed.caveat == "over the scored trials only: 1 of 8 have no score"


@pytest.mark.parametrize("status", ["failed", "running"])
def test_an_unfinished_cell_has_no_number(tmp_path: Path, status: Any) -> None:
    """A failed or running cell gives an empty result, even where scores were allowed to be missing."""
    store = Store(tmp_path)
    trials = trial_list(list(SCORES))
    about = {"dataset": {"name": "set", "digest": digest(trials), "trials": 8}, "detector": {"name": "det"}}
    writer = CellWriter(store, {**about, "key": "0" * 64, "allow_missing": True}, trials)
    writer.close(status, {"reason": "no memory"})
    (result,) = results.collect(store)
    assert (result.cell.status, result.metrics, result.caveat) == (status, None, "")


def test_scores_of_one_class_have_no_error_rate(tmp_path: Path) -> None:
    """A list without spoof is told as such instead of failing the whole table."""
    store = Store(tmp_path)
    result = results.evaluate_cell(store, put(store, trial_list(["b1", "b2"]), {"b1": 1.0, "b2": 2.0}))
    assert (result.metrics, result.cell.status) == (None, "complete")
    assert result.caveat == "no error rates: they need scored trials of both classes"


def test_a_complete_cell_that_lacks_scores_is_refused(tmp_path: Path) -> None:
    """A score removed behind the manifest's back is an error with the folder, not an EER of fewer trials."""
    store = Store(tmp_path)
    cell = put(store, trial_list(list(SCORES)), SCORES)
    assert cell.path is not None
    write_parquet(cell.path / "scores.parquet", cell.scores().iloc[1:])
    with pytest.raises(StoreError, match="says complete, but 1 of 8 trials have no score") as caught:
        results.evaluate_cell(store, cell)
    assert caught.value.where == str(cell.path)


@pytest.mark.parametrize("stray", ["s4", "elsewhere"])
def test_scores_of_another_list_are_refused(tmp_path: Path, stray: str) -> None:
    """A trial scored twice, or one the dataset does not have, stops the evaluation and is named."""
    store = Store(tmp_path)
    cell = put(store, trial_list(list(SCORES)), SCORES)
    assert cell.path is not None
    more = cell.scores().tail(1).assign(trial=stray)
    write_parquet(cell.path / "scores.parquet", pd.concat([cell.scores(), more]))
    with pytest.raises(
        StoreError, match=f"1 stored scores repeat a trial or are of none of dataset set, first '{stray}'"
    ):
        results.evaluate_cell(store, cell)


def test_a_changed_trial_list_is_refused(tmp_path: Path) -> None:
    """Labels edited in the store no longer hash to the digest of the cell."""
    store = Store(tmp_path)
    trials = trial_list(list(SCORES))
    cell = put(store, trials, SCORES)
    (place,) = tmp_path.glob("set/trials-*.parquet")
    write_parquet(place, trials.assign(label=trials["label"].to_numpy()[::-1]).drop(columns="path"))
    with pytest.raises(StoreError, match="the stored trial list of set is not the one its digest"):
        results.evaluate_cell(store, cell)


def test_an_infinite_score_names_its_cell(tmp_path: Path) -> None:
    """An error of the metrics is told with the folder of the cell it came from."""
    store = Store(tmp_path)
    cell = put(store, trial_list(list(SCORES)), {**SCORES, "s1": float("inf")})
    with pytest.raises(DataError, match="not finite") as caught:
        results.evaluate_cell(store, cell)
    assert caught.value.where == str(cell.path)


def test_the_native_decision_uses_the_column_and_threshold_of_the_detector(tmp_path: Path) -> None:
    """A margin column with threshold 0.5 decides, whatever the score says; without that column there is no decision."""
    store = Store(tmp_path)
    trials = trial_list(list(SCORES))
    margin = {"margin": [1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 2.0]}
    decision = {"column": "margin", "threshold": 0.5}
    native = results.evaluate_cell(store, put(store, trials, SCORES, extras=margin, decision=decision)).native
    assert native is not None
    assert (native["accuracy"], native["frr"], native["far"]) == (5 / 8, 1 / 2, 1 / 4)
    assert (native["column"], native["threshold"]) == ("margin", 0.5)
    bare = put(store, trials, SCORES, detector="imported", decision=decision)
    assert results.evaluate_cell(store, bare).native is None


def test_breakdowns_follow_the_kind_of_the_attribute(tmp_path: Path) -> None:
    """An attack meets all bona fide trials; a codec selects both classes; speakers and constants are no attribute."""
    store = Store(tmp_path)
    trials = trial_list(
        list(SCORES),
        speaker=list("abcdabcd"),
        attack=["", "", "", "", "A01", "A01", "A02", "A02"],
        codec=["x", "x", "y", "y", "x", "y", "x", "y"],
        phase=["eval"] * 8,
    )
    result = results.evaluate_cell(store, put(store, trials, SCORES))
    assert list(result.breakdowns) == ["attack", "codec"]
    bonafide = [2.0, 1.0, -0.5, 3.0]
    assert result.breakdowns["attack"] == [
        ("A01", 4, 2, brute_eer(bonafide, [-1.0, 0.0])),
        ("A02", 4, 2, brute_eer(bonafide, [-2.0, 1.5])),
    ]
    assert result.breakdowns["codec"] == [("x", 2, 2, 0.0), ("y", 2, 2, brute_eer([-0.5, 3.0], [0.0, 1.5]))]


@pytest.mark.parametrize(("values", "shown"), [(1, False), (2, True), (60, True), (61, False)])
def test_an_attribute_is_broken_down_up_to_sixty_values(tmp_path: Path, values: int, shown: bool) -> None:
    """One value says nothing new and more than sixty are not an attribute one compares by."""
    store = Store(tmp_path)
    ids = [f"{letter}{row}" for row in range(values) for letter in "bs"]
    trials = trial_list(ids, source=[f"v{row // 2}" for row in range(2 * values)])
    cell = put(store, trials, {name: float(row) for row, name in enumerate(ids)})
    assert ("source" in results.evaluate_cell(store, cell).breakdowns) is shown


def test_an_attribute_that_never_holds_both_classes_is_left_out(tmp_path: Path) -> None:
    """A breakdown in which no value has an EER is no breakdown."""
    store = Store(tmp_path)
    trials = trial_list(list(SCORES), source=["real"] * 4 + ["fake"] * 4)
    assert results.evaluate_cell(store, put(store, trials, SCORES)).breakdowns == {}


@pytest.fixture
def mixed(tmp_path: Path) -> Store:
    """Two datasets; on one a good, a bad, a partial and a blocked detector."""
    store = Store(tmp_path)
    trials = trial_list(list(SCORES))
    put(store, trials, {name: -score for name, score in SCORES.items()}, detector="bad")
    put(store, trials, SCORES, detector="[red]good[/red]")
    put(store, trials, {**SCORES, "b3": float("nan")}, detector="a-partial", allow_missing=True)
    put(store, trials, SCORES, detector="good", dataset="another")
    store.block("set", "absent", "no checkpoint absent.pth\nin any folder", "bench fetch detectors absent")
    return store


def test_collect_orders_and_selects(mixed: Store) -> None:
    """Datasets by name; whole lists by EER, then incomplete ones, then cells without numbers."""
    assert [result.cell.detector for result in results.collect(mixed)] == [
        "good",
        "[red]good[/red]",
        "bad",
        "a-partial",
        "absent",
    ]


@pytest.mark.parametrize(
    ("datasets", "detectors", "found"),
    [
        (["set"], ["bad,good"], ["bad"]),
        (["another,set"], ["*good*"], ["good", "[red]good[/red]"]),
        (["all"], ["a*"], ["a-partial", "absent"]),
        (["set"], ["[red]good[/red]"], ["[red]good[/red]"]),
    ],
)
def test_a_selection_is_names_globs_and_lists(
    mixed: Store, datasets: list[str], detectors: list[str], found: list[str]
) -> None:
    """Names, globs, comma lists and `all` select among the stored cells, blocked ones too."""
    assert [result.cell.detector for result in results.collect(mixed, datasets, detectors)] == found


def test_a_selection_that_fits_nothing_is_refused(mixed: Store) -> None:
    """A misspelt name gives the nearest stored ones instead of an empty table."""
    with pytest.raises(UsageError, match="no stored dataset is called 'anothr'") as caught:
        results.collect(mixed, datasets=["anothr"])
    assert caught.value.remedy == "did you mean another? known: another, set"


def test_json_has_every_name_for_every_cell(mixed: Store) -> None:
    """Fractions under the names of `bench.evaluate`, null for a blocked cell, and nothing JSON cannot hold."""
    cells = json.loads(json.dumps(results.as_json(results.collect(mixed)), allow_nan=False))["cells"]
    by_name = {(cell["dataset"], cell["detector"]): cell for cell in cells}
    good, absent = by_name["another", "good"], by_name["set", "absent"]
    assert good["eer"] == 0.25
    assert good["digest"] == digest(trial_list(list(SCORES)))
    assert (absent["status"], absent["reason"]) == ("blocked", "no checkpoint absent.pth\nin any folder")
    assert absent["remedy"] == "bench fetch detectors absent"
    assert {cell[name] for cell in [absent] for name in metrics.evaluate([0, 1], [0, 1])} == {None}
    assert good.keys() == absent.keys()


def trained(seed: int, own: int = 3, **weights: Any) -> dict[str, Any]:
    """The part of a manifest that tells of weights made here; `own` is the seed of the card."""
    return {"weights": {"trained": True, "verified": True, "seed": seed, **weights}, "recipe": {"seed": own}}


def seeds(store: Store, scores: Mapping[int, Mapping[str, float]]) -> None:
    """The cells of several seeds, resolved as a run does."""
    cells = {}
    for seed, found in scores.items():
        cells[seed] = put(store, trial_list(list(SCORES)), found, made=trained(seed), key=str(seed) * 64)
    store.resolve_band(cells)


BAD = {name: -score for name, score in SCORES.items()}
PERFECT = {name: 1.0 if name.startswith("b") else -1.0 for name in SCORES}


def test_a_pair_of_several_seeds_is_ranked_by_its_mean(tmp_path: Path) -> None:
    """Means of EER and F1 over the stored cells; the metrics stay those of the cell of the card's seed."""
    found = []
    for place, scores in (("a", {3: BAD, **dict.fromkeys((4, 5, 6), PERFECT)}), ("b", {3: PERFECT, 4: BAD, 5: BAD})):
        store = Store(tmp_path / place)
        seeds(store, scores)
        put(store, trial_list(list(SCORES)), SCORES, detector="other")
        found.append(results.collect(store))
    assert [[(one.cell.detector, one.eer) for one in collected] for collected in found] == [
        [("det", 0.1875), ("other", 0.25)],
        [("other", 0.25), ("det", 0.5)],
    ]
    first, second = found[1]
    assert second.metrics is not None
    assert second.metrics["eer"] == 0.0
    assert second.f1_bonafide == pytest.approx((1 + 2 * 0.25) / 3)
    assert second.remarks[0] == "mean of 3 seeds, best 0.00, worst 75.00"
    (told,) = (cell for cell in results.as_json([second])["cells"])
    assert (told["eer"], told["band"]["eer"]["mean"], told["band"]["seeds"]) == (0.0, 0.5, [3, 4, 5])
    assert results.as_json([first])["cells"][0]["band"] is None


def test_a_damaged_seed_leaves_no_mean(tmp_path: Path) -> None:
    """The cell that is shown says that it stands alone; its number is its own."""
    store = Store(tmp_path)
    seeds(store, {3: SCORES, 4: PERFECT})
    (store.cell_folder("set", "det", "4" * 64) / "scores.parquet").unlink()
    (result,) = results.collect(store)
    assert (result.eer, result.remarks[0]) == (0.25, "seed 3 alone, no mean of 2 seeds: seed 4 is failed")
    json.dumps(results.as_json([result]), allow_nan=False)


def test_what_must_be_said_of_trained_weights(tmp_path: Path) -> None:
    """Another seed than the card's, and parts that started from random weights."""
    store = Store(tmp_path)
    start = {"backbone": "random", "style": {"file": "w.pt", "sha256": "0" * 64, "verified": True}}
    cell = put(store, trial_list(list(SCORES)), SCORES, made=trained(4, start=start))
    result = results.evaluate_cell(store, cell)
    assert (result.seed, result.random_parts, result.weights) == (4, ("backbone",), "trained here")
    assert result.remarks == [
        "trained with seed 4, the card says 3",
        "random backbone",
        "few errors (1 bona fide, 1 spoofed): the interval may be too narrow",
    ]
    assert results.as_json([result])["cells"][0]["random_parts"] == ["backbone"]
    both = {"detector": trained(3, start=dict.fromkeys(("style", "content"), "random"))}
    assert Result(Cell("set", "det", "k", "failed", manifest=both)).remarks == ["random style and content"]
    plain = results.evaluate_cell(store, put(store, trial_list(list(SCORES)), SCORES, detector="plain"))
    assert (plain.seed, plain.random_parts, plain.remarks[:-1]) == (None, (), [])


def perturbed(store: Store, scores: Mapping[str, float], scorer: str | None, detector: str = "det") -> results.Result:
    """The result on `set+mulaw`, of trials that are also those of `set`."""
    facts = {"clean": "set", "perturbation": "mulaw"}
    cell = put(
        store, trial_list(list(SCORES)), scores, dataset="set+mulaw", detector=detector, facts=facts, scorer=scorer
    )
    return results.evaluate_cell(store, cell)


def test_a_perturbed_cell_is_set_against_the_clean_one(tmp_path: Path) -> None:
    """By the paired difference of the same scorer; of another one, or of none, the reason is told."""
    store, worse = Store(tmp_path), {name: -score for name, score in SCORES.items()}
    found = perturbed(store, worse, "a")
    assert found.degradation is not None
    assert found.degradation.told == "no difference to set: det has no cell on set"
    put(store, trial_list(list(SCORES)), SCORES, scorer="a")
    found = perturbed(store, worse, "a")
    assert found.eer is not None
    assert found.degradation is not None
    assert found.degradation.difference is not None
    assert found.degradation.difference.value == found.eer - 0.25
    assert found.degradation.told in found.remarks
    assert found.degradation.told.startswith("to set +50.00 pp (95 %: ")
    other = perturbed(store, worse, "b").degradation
    assert other is not None
    assert other.told == "no difference to set: the cell on set is of other weights, seeds or another version"
    put(store, trial_list(list(SCORES)), SCORES, scorer=None, detector="import")
    told = perturbed(store, worse, None, "import").remarks
    assert any(one.endswith(", both imported, taken to be the same detector") for one in told)


def test_one_seed_under_a_perturbation_is_set_against_that_seed(tmp_path: Path) -> None:
    """Not against the mean of those that were run on clean audio."""
    store = Store(tmp_path)
    worse = {name: -score for name, score in SCORES.items()}
    cells = {}
    for seed, scores in ((3, SCORES), (4, worse)):
        trained_with = {"weights": {"seed": seed}}
        cells[seed] = put(
            *(store, trial_list(list(SCORES)), scores),
            made=trained_with,
            key=str(seed) * 64,
            scorer=f"of seed {seed}",
        )
    store.resolve_band(cells)
    found = perturbed(store, SCORES, "of seed 3").degradation
    assert found is not None
    assert found.difference is not None
    assert found.difference.value == 0


@pytest.mark.parametrize("changed", ["order", "speakers"])
def test_a_difference_needs_the_same_draws(tmp_path: Path, changed: str) -> None:
    """A clean and a perturbed list of one digest may differ in what the draws follow from: that is no pair."""
    store, ids = Store(tmp_path), list(SCORES)
    clean = trial_list(ids[::-1]) if changed == "order" else trial_list(ids, speaker=[f"S{name}" for name in ids])
    put(store, clean, SCORES, scorer="a")
    found = perturbed(store, SCORES, "a").degradation
    assert found is not None
    assert found.difference is None
    assert "have their trials in another order, or name speakers or attacks otherwise" in found.told
