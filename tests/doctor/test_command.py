"""`bench doctor` from the command line: which audit is made, what is printed, how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import doctor
from bench.cli import main
from tests.tiny import World


@pytest.fixture
def world(elsewhere: Path, tmp_path: Path) -> World:
    return World(tmp_path)


def run(world: World, *arguments: object) -> Result:
    places = ("--data-root", world.data, "--cards", world.cards, "--weights", world.root / "weights")
    return CliRunner().invoke(main, ["doctor", *map(str, (*arguments, *places))])


def test_everything_that_is_here(world: World) -> None:
    """Without names every dataset that is here is examined, unlisted ones too; the rest is one line, and no error."""
    world.dataset("d", range(4))
    world.dataset("d-train", range(4, 8), sibling_of="d", listed=False)
    done = run(world)
    assert done.exit_code == 0
    assert "d\n  4 trials" in done.stdout and "d-train\n  4 trials" in done.stdout
    assert "examined: 2 datasets, 0 score files, 0 checkpoints; 8 files read" in done.stdout
    assert done.stdout.count("itw") == 1


def test_json(world: World) -> None:
    """JSON has every subject under its kind, all findings with all examples, and the totals."""
    world.dataset("d", range(12), audio=False)
    world.detector("det", "tests.tiny:Power", {"window": "whole"})
    done = run(world, "-s", "d", "-d", "det", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert list(told) == ["datasets", "score_files", "checkpoints", "summary"]
    (dataset,), (checkpoint,) = told["datasets"], told["checkpoints"]
    assert (dataset["name"], dataset["healthy"], len(dataset["findings"][0]["examples"])) == ("d", False, 12)
    assert (checkpoint["name"], checkpoint["healthy"]) == ("det", True)
    assert told["summary"] == {
        "datasets": 1,
        "score_files": 0,
        "checkpoints": 1,
        "files": 12,
        "errors": 1,
        "warnings": 0,
        "notes": 1,
    }


def test_score_files(world: World) -> None:
    """With score files the audio of the dataset is not read; an error is exit 1."""
    world.dataset("d", range(4), audio=False)
    good, bad = world.root / "good.txt", world.root / "bad.txt"
    good.write_text("0 -1\n1 1.5\n2 -2\n3 2\n")
    bad.write_text("0 -1\n")
    assert run(world, "--scores", good, "-s", "d").exit_code == 0
    done = run(world, "--scores", good, "--scores", bad, "-s", "d")
    assert done.exit_code == 1
    assert f"{good}\n  4 lines" in done.stdout
    assert f"first: {bad}: 3 of 4 trials of d without a line" in done.stdout


@pytest.mark.parametrize(("datasets", "number"), [((), 0), (("-s", "d,e"), 2)])
def test_score_files_need_one_dataset(world: World, datasets: tuple[str, ...], number: int) -> None:
    """A score file is of one dataset: none, or several, are wrong usage."""
    world.dataset("d", range(4), audio=False)
    world.dataset("e", range(4), audio=False)
    done = run(world, "--scores", world.root / "scores.txt", *datasets)
    assert done.exit_code == 2
    assert f"--scores needs one dataset to compare with, not {number}" in done.stderr


def test_what_is_named_and_not_here(world: World) -> None:
    """A dataset or detector asked for by name that is not here is exit 1; from a glob it is not."""
    world.dataset("d", range(4))
    world.detector("det-a", weights={"file": "none.pth", "source": "its author", "licence": "MIT"})
    assert run(world, "-s", "itw").exit_code == 1
    assert run(world, "-d", "det-a").exit_code == 1
    globbed = run(world, "-d", "det-*")
    assert globbed.exit_code == 0
    assert "not here: det-a (`bench list detectors` tells how to get them)" in globbed.stdout


def test_an_interrupt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is exit 130 and says that nothing was stored."""
    world.dataset("d", range(4))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    done = run(world, "-s", "d")
    assert done.exit_code == 130
    assert "interrupted; `bench doctor` stores nothing" in done.stderr
