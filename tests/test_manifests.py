"""What a manifest must be so that every reader of it can go on; what it need not be."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.files import write_json
from bench.manifests import fault
from bench.results import collect
from bench.store import Store
from tests.stores import gaussian, put_classes

WHOLE: dict[str, Any] = {
    "key": "k",
    "status": "complete",
    "dataset": {"name": "set", "digest": "d", "trials": 3, "counts": {"trials": 3, "speakers": None}, "notes": ["n"]},
    "detector": {
        "name": "det",
        "licence": None,
        "weights": {
            "verified": False,
            "start": {"head": "random"},
            "lists": [{"name": "l", "digest": "d", "trials": 1}],
        },
        "decision": {"column": "score", "threshold": 0},
    },
    "timings": {"audio_seconds_per_second": 7.5},
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """The whole manifest with another value in one place."""
    told = copy.deepcopy(WHOLE)
    *way, last = place.split(".")
    inner: Any = told
    for name in way:
        inner = inner[int(name) if isinstance(inner, list) else name]
    inner[last] = value
    return told


def test_what_a_run_writes_and_what_older_versions_did() -> None:
    """Absent fields, unknown ones and null where nobody knows are no fault."""
    assert fault(WHOLE) == ""
    assert fault(WHOLE | {"later": object()}) == ""
    assert fault({"key": "", "status": "running", "dataset": {"name": "set"}, "detector": {"name": "det"}}) == ""


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("dataset.trials", "3", "dataset.trials: Input should be a valid integer"),
        ("dataset.trials", -1, "dataset.trials: Input should be greater than or equal to 0"),
        ("dataset.licence", ["MIT"], "dataset.licence: Input should be a valid string"),
        ("dataset.notes", "n", "dataset.notes: Input should be a valid list"),
        ("detector.parameters", 10**400, "detector.parameters: Input should be less than 9007199254740992"),
        ("detector.weights.lists.0.digest", None, "detector.weights.lists.0.digest: Input should be a valid string"),
        ("detector.decision", {"column": "score"}, "no detector.decision.threshold"),
        ("detector.decision.threshold", float("nan"), "detector.decision.threshold: Input should be a finite number"),
        ("timings.audio_seconds_per_second", [], "timings.audio_seconds_per_second: Input should be a valid number"),
        ("finished", 5, "finished: Input should be a valid string"),
    ],
)
def test_the_first_fault_is_told_with_its_place(place: str, value: Any, told: str) -> None:
    """Another type, a missing part of a record, a number that is none."""
    assert fault(changed(place, value)) == told


def test_one_damaged_manifest_among_others(tmp_path: Path) -> None:
    """It is failed, with its reason, on the site, too; the other cell keeps its number."""
    store = Store(tmp_path / "results")
    bad, _ = (put_classes(store, name, "set", *gaussian(0, counts=(20, 30))) for name in ("bad", "good"))
    assert bad.path is not None
    write_json(bad.path / "cell.json", {**bad.manifest, "timings": [1]})
    found = {result.cell.detector: result for result in collect(store)}
    assert found["bad"].cell.reason.startswith("not a cell of this version: timings: Input should be a valid dict")
    assert (found["bad"].cell.status, found["bad"].eer, found["good"].eer is None) == ("failed", None, False)
    report.write(store, tmp_path / "site", processes=1)
    assert b"not a cell of this version: timings" in (tmp_path / "site" / "index.html").read_bytes()


def test_a_manifest_without_a_trial_list(tmp_path: Path) -> None:
    """What was scored cannot be told: failed, and no other cell with it."""
    store = Store(tmp_path)
    cell = put_classes(store, "det", "set", *gaussian(0, counts=(20, 30)))
    assert cell.path is not None
    write_json(cell.path / "cell.json", {**cell.manifest, "dataset": {"name": "set", "trials": 50}})
    (result,) = collect(store)
    assert result.cell.reason.startswith(f"its manifest names no trial list ({cell.path})")
