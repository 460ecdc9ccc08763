"""Trainings that a command asks for: which there are, what became of them, and what is said before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bench
from bench import training, trainings
from bench.cards import DetectorCard
from bench.cores import decode_workers
from bench.errors import BenchError, DataError, StoreError, UsageError
from bench.progress import Silent
from bench.trainings import Training
from tests.tiny import World, files_below


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A detector `det` that is trained with seed 3 on the files 11 to 14, one with weights, and one without any."""
    world = World(tmp_path)
    world.dataset("train", range(11, 15))
    detector(world)
    world.detector("released", weights={"file": "w.pt", "source": "its author", "licence": "MIT"})
    world.detector("plain")
    return world


def detector(world: World, name: str = "det", broken: bool = False, **recipe: Any) -> None:
    arguments = {"log": str(world.log), "broken": broken}
    world.detector(name, "Trainable", arguments=arguments, recipe={"train": "train", "seed": 3, **recipe})


def fits(world: World) -> int:
    return world.log.read_text().count("fit") if world.log.exists() else 0


def train(world: World, names: str, **options: Any) -> list[Training]:
    places = {"data_root": world.data, "results": world.results, "cards": world.cards, "device": "cpu"}
    return bench.train(names, **places, **options)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_recipe_is_carried_out_once(world: World) -> None:
    """With each seed; the weights are those that a run then finds, and the record says what they are of."""
    (first,) = train(world, "det")
    assert (first.detector, first.seed, first.state, first.ok) == ("det", 3, "trained", True)
    again = train(world, "det", seeds=2)
    assert [(one.seed, one.state) for one in again] == [(3, "done"), (4, "trained")]
    assert (again[0].weights, again[0].record) == (first.weights, first.record)
    assert first.weights is not None
    assert first.weights.is_file()
    assert first.record is not None
    assert (first.record["detector"], first.record["recipe"]["seed"]) == ("det", 3)
    assert fits(world) == 2
    world.dataset("set", range(1, 7))
    assert [pair.state for pair in world.plan("det", "set", seeds=2)] == ["score", "score"]


def test_a_plan_says_what_would_happen_and_writes_nothing(world: World) -> None:
    """To be trained, trained before, blocked with reason and remedy, or on a corpus that is made first."""
    detector(world, "lacking", train="gone")
    world.dataset("gone", range(4), audio=False)
    train(world, "det")
    before = sorted(files_below(world.root))
    workspace = world.workspace(seeds=2)
    planned = trainings.plan(workspace, ["det", "lacking", "lfcc-gmm-demo"])
    assert [(one.detector, one.seed, one.state) for one in planned] == [
        ("det", 3, "done"),
        ("det", 4, "train"),
        ("lacking", 3, "blocked"),
        ("lacking", 4, "blocked"),
        ("lfcc-gmm-demo", 0, "make"),
        ("lfcc-gmm-demo", 1, "make"),
    ]
    assert planned[1].weights == workspace.trained(workspace.detectors["det"], 4).file
    assert planned[2].reason.startswith("training lacking needs gone: 4 of 4 audio files are missing")
    assert (planned[2].remedy, planned[2].weights, planned[4].weights) == ("get gone from its author", None, None)
    assert sorted(files_below(world.root)) == before


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("released", "released is not trained here: its weights are released\n  remedy: detectors with a recipe: "),
        ("det,plain", "plain is not trained here: it learns nothing"),
        ("p*", "none of these detectors has a recipe"),
        ("dett", "no detector is called 'dett'\n.*did you mean det"),
    ],
)
def test_names_without_a_recipe(names: str, told: str, world: World) -> None:
    """A name is meant, and its detector cannot be trained: an error; of a glob the others are left out."""
    with pytest.raises(UsageError, match=told):
        train(world, names)
    assert [one.detector for one in trainings.plan(world.workspace(), ["[dpr]et*,plai?,det"])] == ["det"]
    assert fits(world) == 0


def test_what_fails_stops_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is kept; a defect of the detector's own code leaves its traceback in a note; a full disk ends all."""
    detector(world, "broken", broken=True)
    workspace, display = world.workspace(), Notes()
    failed, done = trainings.carry_out(workspace, trainings.plan(workspace, ["broken", "det"]), display)
    assert (failed.state, failed.ok, done.state) == ("failed", False, "trained")
    assert failed.reason.startswith("ArithmeticError: the loss exploded (")
    assert ["Traceback (most recent call last)" in note for note in display.notes] == [True]
    assert not (world.results / "weights" / "broken").exists()

    def full(*_: object, **options: object) -> Path:
        raise StoreError("cannot be written: No space left on device", remedy="free some space")

    monkeypatch.setattr(training, "train", full)
    with pytest.raises(StoreError, match="No space left"):
        train(world, "broken")


def test_a_missing_corpus_blocks_its_trainings_alone(world: World) -> None:
    """Nothing is trained for them, the others are."""
    detector(world, "lacking", train="gone")
    world.dataset("gone", range(4), audio=False)
    blocked, done = train(world, "lacking,det")
    assert (blocked.state, blocked.ok, done.state) == ("blocked", False, "trained")
    assert blocked.remedy == "get gone from its author"


def test_a_damaged_record_is_told_beside_good_weights(world: World) -> None:
    """The weights are used nevertheless."""
    (first,) = train(world, "det")
    assert first.weights is not None
    (first.weights.parent / "train.json").write_text("{")
    (again,) = train(world, "det")
    assert (again.state, again.ok, again.record) == ("done", True, None)
    assert again.reason.startswith("not readable: ")


def test_what_training_is_told_of_the_machine(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device, workers, the place of features and their limit, the card with its seed; lists that differ are noted."""
    world.dataset("train", range(11, 15), counts={"trials": 5, "bonafide": 2, "spoof": 3})
    given: dict[str, Any] = {}

    def fake(card: DetectorCard, materials: training.Materials, folder: Path, **options: Any) -> Path:
        given.update(options, seed=card.recipe and card.recipe.seed, lists=list(materials.lists))
        raise DataError("not today")

    monkeypatch.setattr(training, "train", fake)
    workspace, display = world.workspace(workers=None, feature_limit=5, seeds=1), Notes()
    workers = decode_workers("cpu")
    trainings.carry_out(workspace, trainings.plan(workspace, ["det"]), display)
    assert given.pop("display") is display
    assert given == {
        "device": "cpu",
        "workers": workers,
        "features": world.results / "features",
        "feature_limit": 5,
        "seed": 3,
        "lists": ["train"],
    }
    (warning,) = display.notes
    assert warning.startswith("warning: det is trained on this list: train is not the published list: trials 4 (")
    with pytest.raises(UsageError, match="cuda:99 is not there"):
        trainings.carry_out(world.workspace(device="cuda:99"), [], display)


def test_an_estimate_is_of_what_is_not_trained_yet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a detector, in the words of `bench.training`; where there can be none the reason stands in its place."""
    calls: list[int] = []

    def estimate(card: DetectorCard, materials: training.Materials, device: str) -> str:
        assert card.recipe is not None
        calls.append(card.recipe.seed)
        if card.name == "other":
            raise BenchError("all trials are spoof", where="train")
        return f"about 3 h on {device}"

    monkeypatch.setattr(training, "estimate", estimate)
    detector(world, "other", seed=0)
    found = trainings.estimates(world.workspace(), {"det": [5, 6], "other": [None]})
    assert found == [
        ("det", (5, 6), "about 3 h on cpu"),
        ("other", (0,), "no estimate: all trials are spoof (train)"),
    ]
    assert calls == [5, 0]


def test_several_processes_train_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not the main one trains alike, needs no place it may write to and reads no record."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(training, "train", lambda *_, **__: Path("elsewhere"))
    (one,) = train(world, "det")
    assert (one.state, one.record, one.reason) == ("trained", None, "")
    assert not world.results.exists()


def test_the_package_is_a_command() -> None:
    """`python -m bench` is `bench`: what `accelerate launch -m bench` starts."""
    ran = subprocess.run([sys.executable, "-m", "bench", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("bench, version ")
