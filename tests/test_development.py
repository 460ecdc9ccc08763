"""What a development set chooses is applied to the same detector elsewhere, or a reason says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import development, results
from bench.development import Applied, Numbers
from bench.errors import DataError, UsageError
from bench.results import Result
from bench.scored import Scored
from bench.store import Cell, Store
from tests.stores import NAN, put_classes


def apply(store: Store, dev: str = "dev", shown: list[Result] | None = None) -> dict[str, Applied]:
    """The mean score of the development set, and how far that of another set is from it, by `detector on dataset`."""

    def choose(trials: Scored) -> float:
        if trials.values[0] == 99:
            raise DataError("99 cannot be borne", remedy="bear it")
        return float(trials.values.mean())

    def measure(chosen: float, trials: Scored) -> Numbers:
        return {"chosen": chosen, "moved": float(trials.values.mean()) - chosen}

    found = [Result(cell) for cell in store.current()] if shown is None else shown
    rows = development.applied(store, found, dev, choose, measure)
    return {f"{row.result.cell.detector} on {row.result.cell.dataset}": row for row in rows}


def test_each_detector_has_its_own_choice(tmp_path: Path) -> None:
    """Every shown cell that is not on the development set is measured with the choice of its own detector."""
    store = Store(tmp_path)
    for detector, there, here in (("a", 1.0, 2.0), ("b", 5.0, 3.0)):
        put_classes(store, detector, "dev", [there], [there])
        put_classes(store, detector, "test", [here], [here])
    rows = apply(store)
    assert {name: row.numbers for name, row in rows.items()} == {
        "a on test": {"chosen": 1.0, "moved": 1.0},
        "b on test": {"chosen": 5.0, "moved": -2.0},
    }
    assert all((row.reason, row.remarks) == ("", ()) for row in rows.values())


def test_the_development_cell_need_not_be_shown(tmp_path: Path) -> None:
    """The cell on the development set is looked up in the store, not among the shown results."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", [1.0], [1.0])
    shown = [Result(put_classes(store, "a", "test", [2.0], [2.0]))]
    assert apply(store, shown=shown)["a on test"].numbers == {"chosen": 1.0, "moved": 1.0}


def test_an_unknown_development_set(tmp_path: Path) -> None:
    """A name under which nothing is stored is a usage error that knows the nearest one."""
    store = Store(tmp_path)
    put_classes(store, "a", "asvspoof2019-la-dev", [1.0], [1.0])
    with pytest.raises(UsageError, match="no stored dataset is called 'asvspoof2019-dev'") as error:
        apply(store, "asvspoof2019-dev")
    assert "did you mean asvspoof2019-la-dev?" in str(error.value)


@pytest.mark.parametrize(
    ("dev", "test", "reason"),
    [
        (None, {}, "no cell on dev"),
        (
            {"scorer": "other"},
            {},
            "a on dev is another scorer than on test: weights, audio recipe, version or precision differ",
        ),
        ({"bonafide": [NAN, 1.0]}, {}, "the cell on dev is incomplete: it has no number"),
        ({"bonafide": []}, {}, "the scored trials of dev are all of one class"),
        ({"bonafide": [99.0]}, {}, "99 cannot be borne (dev)"),
        ({}, {"bonafide": [NAN, 1.0]}, "the cell on test is incomplete: it has no number"),
        ({}, {"spoof": []}, "the scored trials of test are all of one class"),
    ],
)
def test_a_cell_that_cannot_be_measured_has_a_reason(
    tmp_path: Path, dev: dict[str, Any] | None, test: dict[str, Any], reason: str
) -> None:
    """Instead of numbers; the row of another detector is not disturbed."""
    store = Store(tmp_path)
    scores: dict[str, Any] = {"bonafide": [1.0], "spoof": [0.0]}
    if dev is not None:
        put_classes(store, "a", "dev", **{**scores, **dev})
    put_classes(store, "a", "test", **{**scores, **test})
    put_classes(store, "b", "dev", [1.0], [0.0])
    put_classes(store, "b", "test", [1.0], [0.0])
    rows = apply(store)
    assert (rows["a on test"].numbers, rows["a on test"].reason) == (None, reason)
    assert rows["b on test"].numbers == {"chosen": 0.5, "moved": 0.0}


def test_a_damaged_cell_has_a_reason(tmp_path: Path) -> None:
    """Scores that cannot be read are told with the file, and do not stop the rest."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", [1.0], [0.0])
    damaged = put_classes(store, "a", "test", [1.0], [0.0])
    assert damaged.path is not None
    (damaged.path / "scores.parquet").write_bytes(b"PAR1")
    assert apply(store)["a on test"].reason.startswith("not readable: ")


@pytest.mark.parametrize(("dev", "test"), [(None, "mine"), ("mine", None), (None, None)])
def test_an_import_is_taken_to_be_the_same(tmp_path: Path, dev: str | None, test: str | None) -> None:
    """Nobody knows what scored an import: it has numbers, and the row says what they rest on."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", [1.0], [0.0], scorer=dev)
    put_classes(store, "a", "test", [1.0], [0.0], scorer=test)
    row = apply(store)["a on test"]
    assert row.numbers is not None
    assert row.remarks == ("imported, taken to be the same detector",)


def test_what_lacks_scores_is_said(tmp_path: Path) -> None:
    """Cells that were accepted without some trials are measured over the rest, of both datasets."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", [1.0, NAN], [0.0], allow_missing=True)
    put_classes(store, "a", "test", [3.0, NAN, NAN], [0.0], allow_missing=True)
    row = apply(store)["a on test"]
    assert row.numbers == {"chosen": 0.5, "moved": 1.0}
    told = [f"without {count} trials of {name} that have no score" for count, name in ((1, "dev"), (2, "test"))]
    assert row.remarks == tuple(told)


def test_trials_of_both_lists_are_counted(tmp_path: Path) -> None:
    """A choice made on trials of the test list is no longer made beforehand, and the row says how many."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", [1.0, 2.0], [0.0], prefix="same")
    put_classes(store, "a", "test", [1.0, 2.0], [0.0, 1.0], prefix="same")
    assert apply(store)["a on test"].remarks == ("3 of its 4 trial ids are on dev, too",)


def trained(store: Store, detector: str, dataset: str, seed: int, offset: float) -> Cell:
    """The cell of one training, another scorer than those of other seeds."""
    card = {"weights": {"seed": seed, "verified": True}}
    return put_classes(store, detector, dataset, [offset + 1], [offset - 1], scorer=f"seed {seed}", card=card)


def seeds(store: Store, detector: str, dataset: str, offsets: dict[int, float]) -> None:
    """A band: the scores of each seed lie at its offset."""
    members = {seed: trained(store, detector, dataset, seed, offset) for seed, offset in offsets.items()}
    store.resolve_band(members)


def test_each_seed_has_its_own_choice_and_the_mean_counts(tmp_path: Path) -> None:
    """The choice for seed 1 meets the cell of seed 1; the numbers are averaged afterwards."""
    store = Store(tmp_path)
    seeds(store, "a", "dev", {1: 10.0, 2: 20.0})
    seeds(store, "a", "test", {1: 11.0, 2: 24.0})
    row = apply(store, shown=results.collect(store, breakdowns=False))["a on test"]
    assert row.seeds == {1: {"chosen": 10.0, "moved": 1.0}, 2: {"chosen": 20.0, "moved": 4.0}}
    assert row.numbers == {"chosen": 15.0, "moved": 2.5}
    told = development.as_json("dev", [row])["cells"][0]
    assert told["numbers"] == {"chosen": 15.0, "moved": 2.5}
    assert told["seeds"] == [{"seed": 1, "chosen": 10.0, "moved": 1.0}, {"seed": 2, "chosen": 20.0, "moved": 4.0}]


def test_a_seed_that_the_development_set_lacks(tmp_path: Path) -> None:
    """There is no mean over some of the seeds."""
    store = Store(tmp_path)
    seeds(store, "a", "dev", {1: 10.0, 2: 20.0})
    seeds(store, "a", "test", {1: 11.0, 3: 24.0})
    put_classes(store, "a", "imported", [1.0], [0.0], scorer=None)
    rows = apply(store, shown=results.collect(store, breakdowns=False))
    assert (rows["a on test"].numbers, rows["a on test"].reason) == (None, "no cell of seed 3 on dev")
    assert rows["a on imported"].reason == "several seeds on dev"


def test_one_seed_is_found_in_a_band(tmp_path: Path) -> None:
    """A single training meets its own seed among those of the development set; of a band, each seed needs its own."""
    store = Store(tmp_path)
    seeds(store, "a", "dev", {1: 10.0, 2: 20.0})
    trained(store, "a", "test", 2, 24.0)
    shown = results.collect(store, breakdowns=False)
    assert apply(store, shown=shown)["a on test"].numbers == {"chosen": 20.0, "moved": 4.0}
    assert apply(store, "test", shown)["a on dev"].reason == "no cell of seed 1 on test"


def test_the_table_tells_reasons_and_remarks_once(tmp_path: Path) -> None:
    """Numbers stand in the table; below it the caption, each remark by its mark, and each reason with its datasets."""
    store = Store(tmp_path)
    put_classes(store, "a", "dev", [1.0], [0.0])
    for name in ("one", "two"):
        put_classes(store, "a", name, [1.0], [0.0], scorer=None)
        put_classes(store, "[red]b", name, [1.0], [0.0])
    rows = list(apply(store).values())
    shown = development.table(rows, {"moved": lambda found: f"{found['moved']:.1f}"}, "what this is")
    columns = [[str(text) for text in column.cells] for column in shown.columns]
    assert columns == [["a", "a"], ["one", "two"], ["0.0", "0.0"], ["[1]", "[1]"]]
    assert str(shown.caption).splitlines() == [
        "what this is",
        "[1] imported, taken to be the same detector",
        "no numbers for [red]b on one, two: no cell on dev",
    ]


def test_json_of_a_reason(tmp_path: Path) -> None:
    """A row without numbers has null, and says why."""
    store = Store(tmp_path)
    cell = put_classes(store, "a", "test", np.array([1.0]), np.array([0.0]))
    put_classes(store, "b", "dev", [1.0], [0.0])
    told = development.as_json("dev", [apply(store)["a on test"]])
    identity = {"detector": "a", "dataset": "test", "digest": cell.manifest["dataset"]["digest"], "key": cell.key}
    nothing: dict[str, Any] = {"reason": "no cell on dev", "remarks": [], "numbers": None, "seeds": []}
    assert told == {"dataset": "dev", "cells": [{**identity, **nothing}]}
