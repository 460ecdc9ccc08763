"""What a board means, of pairs that are accepted and pairs that are only stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import boards
from bench.accepted import Board, Pair
from bench.errors import UsageError

FILE = Path("leaderboard.yml")
ACCEPTED = {
    *(("itw", "det"), ("calls", "det"), ("demo", "det")),
    *(("itw+mp3@64k", "det"), ("itw:200", "det"), ("itw", "aasist-retrained")),
}
STORED = {
    *(("itw", "det"), ("itw", "other"), ("news", "other"), ("demo", "other")),
    *(("itw+mp3@64k", "other"), ("itw:200", "other"), ("news+reverb", "det"), ("itw", "rawnet2-retrained")),
}


def meant(datasets: Sequence[str], detectors: Sequence[str]) -> tuple[set[Pair], set[Pair]]:
    board = Board(datasets=tuple(datasets), detectors=tuple(detectors))
    return boards.pairs_of(board, ACCEPTED, STORED, cards=None, where=FILE)


@pytest.mark.parametrize(
    ("patterns", "det", "other"),
    [
        (["all"], {"itw", "calls", "itw+mp3@64k", "itw:200"}, {"itw", "news"}),
        (["*"], {"itw", "calls", "demo", "itw+mp3@64k", "itw:200"}, {"itw", "news", "demo"}),
        (["itw*"], {"itw", "itw+mp3@64k", "itw:200"}, {"itw"}),
        (["n*"], set(), {"news"}),
        (["*+*"], {"itw+mp3@64k", "news+reverb"}, {"itw+mp3@64k"}),
        (["itw:*"], {"itw:200"}, {"itw:200"}),
        (["itw+mp3@64k"], {"itw+mp3@64k"}, {"itw+mp3@64k"}),
        (["news", "itw:*"], {"news", "itw:200"}, {"news", "itw:200"}),
    ],
)
def test_datasets(patterns: Sequence[str], det: set[str], other: set[str]) -> None:
    """An accepted sample or perturbed dataset is meant by `all` and every glob, others by one with its own part."""
    found, _ = meant(patterns, ["det", "other"])
    plain = {name for name in patterns if "*" not in name and name != "all"}
    assert {dataset for dataset, detector in found if detector == "det"} == det | plain
    assert {dataset for dataset, detector in found if detector == "other"} == other | plain


def test_detectors() -> None:
    """A glob that fits an accepted one that `bench run` would not train means it, and none that is only stored."""
    assert meant(["itw"], ["a*"])[0] == {("itw", "aasist-retrained")}
    assert meant(["itw"], ["r*"])[0] == set()
    assert meant(["itw"], ["all"])[0] == {("itw", "det"), ("itw", "other")}


def test_names_without_globs() -> None:
    """Every pair of them is demanded, here or not."""
    chosen, named = meant(["itw", "gone", "n*"], ["det", "nobody", "a*"])
    assert named == {(dataset, detector) for dataset in ("itw", "gone") for detector in ("det", "nobody")}
    assert chosen == named | {("itw", "aasist-retrained")}


@pytest.mark.parametrize(
    ("datasets", "detectors", "told"),
    [
        (["itv*"], ["all"], "no dataset fits 'itv*' of the board: no card, nothing here"),
        (["all"], ["det", "aasits-*"], "no detector fits 'aasits-*' of the board: no card, nothing here"),
    ],
)
def test_a_glob_that_fits_nothing(datasets: Sequence[str], detectors: Sequence[str], told: str) -> None:
    """A slip of the pen must not pass a check: wrong usage, with the file."""
    with pytest.raises(UsageError) as error:
        meant(datasets, detectors)
    assert (error.value.what, error.value.where) == (told, "leaderboard.yml")
    assert (error.value.remedy or "").startswith("mend it in the file; see `bench list d")
