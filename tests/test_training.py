"""Weights made here: once for a recipe, kept with their record, and named by everything that determines them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import bench
from bench import training
from bench.errors import AudioError, Blocked, CardError, StoreError
from bench.matrix import run
from bench.progress import Silent
from bench.trials import digest
from tests.tiny import TILE, World, card, files_below, score_bytes

RECIPE: dict[str, Any] = {"train": "train", "seed": 3, "arguments": {"gain": 2.0}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A detector `det` that is trained on the files 11 to 14, and two datasets to score."""
    world = World(tmp_path)
    world.dataset("train", range(11, 15))
    world.dataset("set", range(1, 7))
    world.dataset("set-2", range(3, 9))
    detector(world)
    return world


def detector(world: World, name: str = "det", broken: bool = False, **recipe: Any) -> str:
    arguments = {"log": str(world.log), "broken": broken}
    return world.detector(name, "Trainable", arguments=arguments, recipe={**RECIPE, **recipe})


def fits(world: World) -> int:
    return world.log.read_text().count("fit") if world.log.exists() else 0


def trained_card(**changes: Any) -> Any:
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    return card(model="Trainable", recipe=recipe, **changes)


# --- a recipe carried out -------------------------------------------------------------------------------------------


def test_a_detector_is_trained_once_and_its_weights_are_used_again(world: World) -> None:
    """The plan says so; two datasets, two runs and `load_detector` share one training."""
    assert [pair.state for pair in world.plan("det", "set")] == ["train"]
    assert not world.results.exists()
    first, second = world.run("det", "set,set-2")
    assert (first.as_cell.status, second.as_cell.status, fits(world)) == ("complete", "complete", 1)
    weight = torch.tensor(2 * (11 + 13) / 2 / 32768 + 3, dtype=torch.float32).double()
    expected = [number / 32768 * weight.item() for number in range(1, 7)]
    assert first.as_cell.scores()["score"].tolist() == pytest.approx(expected, rel=1e-12)
    world.dataset("set-3", range(1, 4))
    assert [pair.state for pair in world.plan("det", "set,set-2,set-3")] == ["done", "done", "score"]
    assert world.cell("det", "set-3").status == "complete"
    loaded = bench.load_detector("det", data_root=world.data, cards=world.cards, results=world.results, device="cpu")
    assert loaded(torch.full((1, 64), 0.5), torch.tensor([64])).tolist() == [0.5 * weight.item()]
    assert fits(world) == 1


def test_the_weights_lie_under_their_recipe_key_with_a_record(world: World) -> None:
    """model.safetensors and train.json in results/weights/<detector>/<key12>; the cell names their sha256."""
    cell = world.cell("det", "set")
    (folder,) = (world.results / "weights" / "det").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "train.json"]
    train = world.workspace().dataset("train")
    assert folder.name == training.recipe_key(world.workspace().detectors["det"], train.digest, 1)[:12]
    record = json.loads((folder / "train.json").read_text())
    assert record["detector"] == "det"
    assert record["recipe"] == {**RECIPE, "dev": None, "start": {}}
    assert record["dataset"] == {"name": "train", "digest": digest(train.trials), "trials": 4}
    assert (record["engine"], record["seconds"] >= 0, "torch" in record["versions"]) == (1, True, True)
    assert set(record["hardware"]) == {"device", "cpu", "cores", "system"}
    weights = cell.manifest["detector"]["weights"]
    checkpoint = world.workspace().trained(world.workspace().detectors["det"]).checkpoint
    assert checkpoint is not None
    assert weights == {
        "file": "model.safetensors",
        "sha256": checkpoint.sha256,
        "verified": True,
        "trained": True,
        "recipe_key": folder.name,
        "train_list": {"name": "train", "digest": train.digest, "trials": 4, "warnings": []},
    }
    assert list(safetensors.torch.load_file(folder / "model.safetensors")) == ["weight"]


def test_trained_anew_it_gives_the_same_bytes(world: World) -> None:
    """Weights deleted, or another results folder: the same key, the same weights, the same scores."""
    cell = world.cell("det", "set")
    scores, place = score_bytes(cell), next(world.results.rglob("model.safetensors"))
    weights = place.read_bytes()
    place.unlink()
    (again,) = world.run("det", "set")
    assert (again.planned.state, again.as_cell, fits(world)) == ("done", cell, 2)
    assert place.read_bytes() == weights
    assert world.scores("det", "set", results=world.root / "elsewhere") == scores
    assert fits(world) == 3


def test_a_changed_recipe_is_trained_anew_and_makes_another_cell(world: World) -> None:
    """Seed by seed, each with its own weights; back to the first one, nothing is trained."""
    keys = []
    for seed in (0, 1, 0):
        detector(world, seed=seed)
        keys.append(world.cell("det", "set").key)
    assert (keys[0] == keys[2], keys[0] != keys[1], fits(world)) == (True, True, 2)
    assert len(list((world.results / "weights" / "det").iterdir())) == 2


def test_everything_that_determines_the_weights_is_in_the_recipe_key() -> None:
    """Recipe, seed, arguments, list, model, version, audio; the texts of the card are not."""
    key = training.recipe_key(trained_card(), "d", 1)
    assert len(key) == 64
    assert training.recipe_key(trained_card(name="other", title="T", licence="GPL", listed=False), "d", 1) == key
    other = [
        training.recipe_key(trained_card(), "e", 1),
        training.recipe_key(trained_card(), "d", 2),
        training.recipe_key(trained_card(), "d", 1, "files"),
        training.recipe_key(trained_card(recipe={"seed": 4}), "d", 1),
        training.recipe_key(trained_card(recipe={"train": "train-2"}), "d", 1),
        training.recipe_key(trained_card(recipe={"arguments": {}}), "d", 1),
        training.recipe_key(trained_card(arguments={"log": "x"}), "d", 1),
        training.recipe_key(trained_card(audio={**TILE, "samples": 65}), "d", 1),
        training.recipe_key(trained_card(audio={**TILE, "epsilon": 1e-5}), "d", 1),
    ]
    assert len({key, *other}) == 1 + len(other)


def test_files_of_the_users_own_that_changed_are_trained_on_anew(world: World) -> None:
    """Same names, same labels, another recording: other weights."""
    own = {"data": {"mine": world.corpus("list", range(21, 25))}}
    detector(world, train="mine")
    first = world.cell("det", "set", **own)
    assert world.cell("det", "set", **own) == first
    place = world.data / "audio" / "21.wav"
    place.write_bytes(world.audio(25).read_bytes())
    os.utime(place, (1, 1))
    assert world.cell("det", "set", **own).key != first.key
    assert fits(world) == 2


def test_the_training_list_is_read_in_order_as_often_as_wanted(world: World) -> None:
    """Waves as the recipe wants them, labels 1 = bona fide and 0 = spoof, one step of progress a file."""
    steps: list[int] = []
    utterances = training.Utterances(world.workspace().dataset("train"), card().audio, steps.append)
    for _ in range(2):
        found = [(round(float(wave[0]) * 32768), len(wave), wave.dtype, label) for wave, label in utterances]
        assert found == [(number, 64, torch.float32, number % 2) for number in range(11, 15)]
    assert steps == [1] * 8


# --- what can go wrong ----------------------------------------------------------------------------------------------


def test_a_training_corpus_that_is_not_here_blocks_with_what_to_get(world: World) -> None:
    """The list, or some of its audio: the remedy is the card's, other detectors run."""
    world.detector("other")
    (world.data / "audio" / "12.wav").unlink()
    blocked, other = world.run("det,other", "set")
    assert blocked.as_cell.reason == (
        f"training det needs train: 1 of 4 audio files are missing ({world.data}/audio/12.wav)"
    )
    assert (blocked.as_cell.remedy, blocked.ok, other.ok) == ("get train from its author", False, True)
    (world.data / "train.csv").unlink()
    blocked, _ = world.run("det*,other", "set")
    assert blocked.as_cell.reason.startswith("training det needs train: the list of trials is not here")
    assert blocked.as_cell.remedy.startswith("get train from its author")
    assert (blocked.ok, fits(world)) == (True, 0)
    with pytest.raises(Blocked, match="training det needs train"):
        bench.load_detector("det", data_root=world.data, cards=world.cards, results=world.results)


def test_a_training_file_that_cannot_be_decoded_blocks_with_its_name(world: World) -> None:
    """Training on the rest would be another recipe; nothing is left behind, and mended it is trained."""
    world.audio(13).write_text("no audio")
    (outcome,) = world.run("det", "set")
    assert outcome.as_cell.status == "blocked"
    assert outcome.as_cell.reason.startswith("training failed: no decoder reads this file (")
    assert outcome.as_cell.reason.endswith(f"({world.data}/audio/13.wav)")
    assert outcome.as_cell.remedy == "it is damaged, cut short or no audio: fetch it again"
    assert not (world.results / "weights").exists()
    world.audio(13)
    assert world.cell("det", "set").status == "complete"
    with pytest.raises(AudioError):
        world.audio(13).write_text("no audio")
        list(training.Utterances(world.workspace().dataset("train"), card().audio, lambda count: None))


def test_a_defect_of_fit_blocks_its_detector_alone_and_shows_the_traceback(world: World) -> None:
    """Tried once for all datasets, a failure even where nobody named the detector; the others are scored."""
    world.detector("other")
    detector(world, broken=True)
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    workspace = world.workspace()
    outcomes = run(workspace, world.plan("det*,other", "set,set-2"), Notes())
    assert [outcome.ok for outcome in outcomes] == [False, True] * 2
    reason = "training failed: ArithmeticError: the loss exploded (`fit` of tests.tiny:Trainable)"
    assert [outcome.as_cell.reason for outcome in outcomes[::2]] == [reason] * 2
    assert (fits(world), len(notes)) == (1, 1)
    assert "Traceback (most recent call last)" in notes[0]
    assert "in fit" in notes[0]


def test_a_recipe_that_fit_does_not_take_is_told(world: World) -> None:
    """A misspelt argument is a defect of the card, said in the reason."""
    detector(world, arguments={"gian": 2.0})
    assert "unexpected keyword argument 'gian'" in world.cell("det", "set").reason


def test_a_class_without_fit_cannot_be_trained(world: World) -> None:
    """Nor can a card without a recipe: both are errors of the card."""
    world.detector("det", recipe=RECIPE)
    (outcome,) = world.run("det", "set")
    assert (outcome.ok, outcome.as_cell.status) == (False, "blocked")
    assert outcome.as_cell.reason == "its recipe needs gradient training, which this version does not have yet"
    train = world.workspace().dataset("train")
    with pytest.raises(CardError, match="this detector has no recipe"):
        training.train(card(), train, world.root, lambda count: None)


def test_weights_appear_whole_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when they are written ends the run with the remedy; the next run trains again."""
    real = Path.write_bytes

    def full(place: Path, content: bytes) -> int:
        real(place, content[:10])
        if place.parent.parent.name == "det":
            raise OSError(28, os.strerror(28))
        return len(content)

    with monkeypatch.context() as patch, pytest.raises(StoreError, match=r"(?s)No space left.*free some space"):
        patch.setattr(Path, "write_bytes", full)
        world.run("det", "set")
    assert [path.name for path in files_below(world.results / "weights")] == ["train.json"]
    assert (world.cell("det", "set").status, fits(world)) == ("complete", 2)


def test_untrained_weights_are_never_used(world: World) -> None:
    """`load_detector` says what trains it; weights that are not finite are refused, their cell fails."""
    with pytest.raises(Blocked, match="det is not trained yet"):
        bench.load_detector("det", data_root=world.data, cards=world.cards, results=world.results, device="cpu")
    detector(world, arguments={"gain": 1e300})
    cell = world.cell("det", "set")
    assert (cell.status, "1 tensors not finite (weight)" in cell.reason) == ("failed", True)
