"""The replicates that are kept beside a cell's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import intervals
from bench.errors import StoreError
from bench.files import read_parquet, write_parquet
from bench.intervals import Uncertainties, Uncertainty
from bench.replicates import MEASURES, replicate
from bench.scored import Scored
from bench.store import Cell
from bench.trials import validate


def scored(folder: Path, shift: float = 0.0, speaker: str = "") -> Scored:
    """A cell of 60 trials, made of nothing but a folder; every other speaker is `speaker`, where it is given."""
    generator = np.random.default_rng(0)
    labels = ["bonafide", "spoof"] * 30
    names = [speaker or f"S{number % 10}" if number % 4 < 2 else f"S{number % 10}" for number in range(60)]
    ids = [f"T{number}" for number in range(60)]
    trials = validate(pd.DataFrame({"trial": ids, "label": labels, "speaker": names}), "list")
    scores = pd.DataFrame({"trial": ids, "score": generator.normal(size=60) + shift * (np.arange(60) % 2 == 0)})
    manifest = {"dataset": {"digest": "of these trials"}}
    return Scored(Cell("set", "one", "key", "complete", folder, manifest=manifest), scores, trials, 0)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever replicates are computed."""
    times: list[int] = []
    real = replicate

    def counted(*arguments: object) -> object:
        times.append(1)
        return real(*arguments)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(intervals, "replicate", counted)
    return times


def same(first: Uncertainty, second: Uncertainty) -> bool:
    return all((first.replicates[name] == second.replicates[name]).all() for name in MEASURES)


def test_replicates_are_computed_once(tmp_path: Path, computed: list[int]) -> None:
    """A second look, also by another process, reads them, and gets the same numbers to the last bit."""
    first, second = Uncertainties().of(scored(tmp_path)), Uncertainties().of(scored(tmp_path))
    assert same(first, second)
    assert computed == [1]
    assert first.unit.text == "speaker (10 speakers)"
    low, high = np.quantile(first.replicates["eer"], [0.025, 0.975])
    assert (first.interval("eer").low, first.interval("eer").high) == (low, high)


@pytest.mark.parametrize("changed", [{"shift": 0.5}, {"speaker": "S99"}])
def test_other_scores_or_speakers_are_computed_anew(
    tmp_path: Path, computed: list[int], changed: dict[str, Any]
) -> None:
    """What is kept is of certain scores and a certain list."""
    Uncertainties().of(scored(tmp_path))
    Uncertainties().of(scored(tmp_path, **changed))
    assert computed == [1, 1]


def damage(place: Path, how: str) -> None:
    if how == "garbage":
        place.write_bytes(b"PAR1 no")
        return
    table = read_parquet(place)
    changed = {
        "cut short": table.head(10),
        "a column is missing": table.drop(columns="auc"),
        "text": table.assign(eer="x"),
        "NaN": table.assign(eer=float("nan")),
    }
    write_parquet(place, changed[how])


@pytest.mark.parametrize("how", ["garbage", "cut short", "a column is missing", "text", "NaN"])
def test_a_damaged_file_is_made_again(tmp_path: Path, computed: list[int], how: str) -> None:
    """It only saves time: nothing is lost with it."""
    whole = Uncertainties().of(scored(tmp_path))
    damage(tmp_path / intervals.FILE, how)
    assert same(Uncertainties().of(scored(tmp_path)), whole)
    assert same(Uncertainties().of(scored(tmp_path)), whole)
    assert computed == [1, 1]


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's results are looked at without leave to write there."""

    def refused(place: Path, table: pd.DataFrame) -> None:
        raise StoreError("cannot be written: Permission denied", where=place)

    monkeypatch.setattr(intervals, "write_parquet", refused)
    assert len(Uncertainties().of(scored(tmp_path)).replicates["eer"]) == 1000
    assert list(tmp_path.iterdir()) == []


def test_the_mean_over_seeds_is_averaged_replicate_by_replicate(tmp_path: Path) -> None:
    """Not the mean of two intervals: the draws are the same."""
    known = Uncertainties()
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = known.of(scored(tmp_path / "a")), known.of(scored(tmp_path / "b", shift=1.0))
    together = intervals.mean([first, second])
    assert together.unit == first.unit
    assert together.replicates["eer"] == pytest.approx((first.replicates["eer"] + second.replicates["eer"]) / 2)
