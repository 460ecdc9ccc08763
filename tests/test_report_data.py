"""The leaderboard as data: valid by its own schema, the numbers of the store, nothing lost for an odd cell."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench import results
from bench.averages import averages
from bench.cellmetrics import METRICS
from bench.report import data, measured
from bench.report.measured import Measured
from bench.report.records import CellRecord
from bench.report.site import Site
from bench.report.tables import Files
from bench.store import Store
from tests.stores import gaussian, put, put_classes, trial_list

PUBLISHED = {"dataset": "itw", "eer": 0.83, "f1": None, "source": "Table 3", "note": "all phases"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def files(store: Store, site: Site | None = None) -> Files:
    results_ = results.collect(store)
    found = [Measured(result, None) for result in results_]
    return data.files(found, averages(results_, store), measured.lines(found), site or Site())


def records(store: Store, site: Site | None = None) -> dict[str, Any]:
    made = files(store, site)
    told: dict[str, Any] = json.loads(made["data/leaderboard.json"])
    jsonschema.validate(told, json.loads(made["data/leaderboard.schema.json"]))
    return told


def test_the_numbers_are_those_of_bench_show(store: Store) -> None:
    """Every field of `bench show --json` is in the record of the cell, unchanged."""
    for seed, name in enumerate(("one", "two")):
        put_classes(store, name, "itw", *gaussian(seed), leakage="held-out")
    store.block("itw", "three", "no checkpoint", "bench fetch")
    shown = json.loads(json.dumps(results.as_json(results.collect(store))))["cells"]
    told = records(store)["cells"]
    assert [{name: cell[name] for name in shown[0]} for cell in told] == shown
    assert set(METRICS) <= set(CellRecord.model_fields)


def test_what_the_site_adds(store: Store) -> None:
    """Rank, verdicts as fractions, speed, date and page of a cell; card of its detector; counts of its list."""
    weights = {"file": "w.pth", "sha256": "ab" * 32, "verified": True, "licence": "CC0"}
    card = {"title": "One", "family": "fam", "parameters": 12, "weights": weights, "published": [PUBLISHED]}
    timings = {"audio_seconds_per_second": 12.5}
    cell = put_classes(store, "one", "itw", *gaussian(0), card=card, timings=timings, finished="2026-01-02T03:04:05")
    told = records(store, Site("https://example.org/board/"))
    assert (told["$schema"], told["schema"]) == ("leaderboard.schema.json", 1)
    assert told["url"] == "https://example.org/board/"
    (found,) = told["cells"]
    assert (found["rank"], found["audio_seconds_per_second"], found["finished"]) == (1, 12.5, "2026-01-02T03:04:05")
    assert found["page"] == "cells/itw/one/index.html"
    (verdict,) = found["published"]
    assert (verdict["eer"], verdict["kind"], verdict["source"], verdict["note"]) == (
        0.0083, "not comparable", "Table 3", "all phases"
    )  # fmt: skip
    assert told["detectors"] == [
        {
            "name": "one",
            "title": "One",
            "family": "fam",
            "licence": "MIT",
            "weights_licence": "CC0",
            "weights_sha256": "ab" * 32,
            "parameters": 12,
            "page": "detectors/one/index.html",
        }
    ]
    digest = cell.manifest["dataset"]["digest"]
    counts = {"trials": 200, "bonafide": 60, "spoof": 140}
    about = {"name": "itw", "digest": digest, "title": "itw", "licence": "none", "page": "datasets/itw/index.html"}
    assert told["datasets"] == [{**about, **counts}]


def test_cells_of_older_versions_and_blocked_ones_are_records(store: Store) -> None:
    """A manifest without leakage, timings, dates or card, and a pair without any manifest, leave nulls."""
    put(store, trial_list(["b1", "b2", "s1", "s2"]), {"b1": 2.0, "b2": 1.0, "s1": 0.0, "s2": -1.0}, detector="old")
    store.block("only-blocked", "absent", "no checkpoint", "bench fetch")
    told = records(store)
    assert [(cell["detector"], cell["leakage"], cell["finished"]) for cell in told["cells"]] == [
        ("absent", "unknown", None),
        ("old", "unknown", None),
    ]
    assert [(one["name"], one["family"], one["licence"]) for one in told["detectors"]] == [
        ("absent", "", None),
        ("old", "", None),
    ]
    assert [(one["name"], one["digest"] is None, one["trials"]) for one in told["datasets"]] == [
        ("only-blocked", True, None),
        ("set", False, 4),
    ]


def test_a_list_with_cells_hides_no_blocked_one(store: Store) -> None:
    """A name is told once for each of its lists; a blocked cell does not make one more."""
    put_classes(store, "one", "itw", *gaussian(0))
    put_classes(store, "two", "itw", *gaussian(1), prefix="other-")
    store.block("itw", "three", "no checkpoint", "bench fetch")
    told = records(store)
    assert len({one["digest"] for one in told["datasets"]}) == len(told["datasets"]) == 2
    assert None not in {one["digest"] for one in told["datasets"]}


def test_the_flat_table_has_a_row_a_cell(store: Store) -> None:
    """The CSV holds the metrics of the records to the last digit, and the ends of every interval."""
    put_classes(store, "one", "itw", *gaussian(0), card={"published": [PUBLISHED]})
    store.block("itw", "two", "=no checkpoint", "bench fetch")
    made = files(store)
    one, two = csv.DictReader(io.StringIO(made["data/leaderboard.csv"].decode(), newline=""))
    cell = records(store)["cells"][0]
    assert {name: float(one[name]) for name in METRICS if one[name]} == {
        name: cell[name] for name in METRICS if cell[name] is not None
    }
    assert [float(one["auc_low"]), float(one["auc_high"])] == cell["intervals"]["auc"]
    assert one["published"].startswith("0.83: not comparable")
    assert (two["eer"], two["eer_low"], two["reason"]) == ("", "", "'=no checkpoint")


def test_several_seeds_have_their_mean_beside_the_number_of_one(store: Store) -> None:
    """The table has the mean and how many seeds; the record has all of them."""
    for seed in (1, 2):
        put_classes(store, "det", "itw", *gaussian(seed), card={"weights": {"seed": seed, "verified": True}})
    cells = {cell.manifest["detector"]["weights"]["seed"]: cell for cell in store.pair("itw", "det")}
    store.resolve_band(cells)
    (row,) = csv.DictReader(io.StringIO(files(store)["data/leaderboard.csv"].decode(), newline=""))
    (cell,) = records(store)["cells"]
    eers = [one["eer"] for one in cell["band"]["cells"]]
    assert len(set(eers)) == 2
    assert row["seeds"] == "2"
    assert float(row["eer_mean"]) == pytest.approx(sum(eers) / 2)
    assert float(row["eer"]) == cell["eer"] in eers


def test_averages_are_those_of_bench_show(store: Store) -> None:
    """One row a detector and scope, with its interval and the datasets that it is over."""
    for seed, dataset in enumerate(("itw", "mlaad-en")):
        put_classes(store, "one", dataset, *gaussian(seed), leakage="held-out")
    found = averages(results.collect(store), store)
    (first, second) = csv.DictReader(io.StringIO(files(store)["data/averages.csv"].decode(), newline=""))
    (average,) = found.scopes[0].groups[0].averages
    assert (first["cells"], second["cells"]) == ("all", "held-out")
    assert (first["datasets"], first["detector"], first["rank"]) == ("itw, mlaad-en", "one", "1")
    assert float(first["macro_eer"]) == average.macro
    assert float(first["macro_eer_high"]) == average.interval.high
    assert float(first["pooled_eer"]) == average.pooled


def test_an_empty_store_is_valid(store: Store) -> None:
    """No cell, no detector, and a header alone."""
    told = records(store)
    assert (told["cells"], told["detectors"], told["datasets"]) == ([], [], [])
    assert files(store)["data/leaderboard.csv"].decode().count("\r\n") == 1
