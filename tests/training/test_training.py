"""Weights made here: once for a recipe, kept with their record, and named by everything that determines them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import bench
from bench import training
from bench.corpora import Dataset
from bench.errors import Blocked, CardError, StoreError
from bench.matrix import run
from bench.progress import Silent
from bench.training import Materials, recipe_key
from bench.weights import Checkpoint, sha256_of
from tests.tiny import World, files_below, score_bytes
from tests.training import toys

Lists = Mapping[str, Dataset]
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


# --- the key and the record -------------------------------------------------------------------------------------------


def test_everything_that_determines_the_weights_is_in_the_recipe_key(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recipe, seed, arguments, lists, start weights, model and its version, audio, engine; a card's texts are not."""
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors")
    starts = [Checkpoint(tmp_path / f"{name}.safetensors", True) for name in "ab"]
    other = toys.corpus(tmp_path, "train", 2, 2)
    own = toys.dataset("dev", lists["dev"].trials, own=True)

    def key(card: Any = None, datasets: Lists = lists, start: Checkpoint | None = None) -> str:
        return recipe_key(card or toys.card(), Materials(datasets, {"body": start}))

    plain = toys.card()
    drawn = toys.card({"body": toys.stage(train=[{"dataset": "train", "where": {"attack": "A1"}}])})
    trials = lists["train"].trials
    relabelled = trials.assign(attack=trials["attack"].replace("A2", "A1"))
    texts = {"name": "other", "title": "T", "licence": "GPL", "listed": False, "notes": ("N",)}
    assert len(key()) == 64
    assert key(plain.model_copy(update=texts)) == key(plain)
    assert key(datasets={name: lists[name] for name in ("dev", "train")}) == key()
    found = [
        key(),
        *(key(start=start) for start in starts),
        key(datasets={**lists, "train": other}),
        key(datasets={**lists, "dev": own}),
        key(datasets={**lists, "train": toys.dataset("train", lists["train"].trials[::-1])}),
        *(key(drawn, {**lists, "train": toys.dataset("train", table)}) for table in (trials, relabelled)),
        key(toys.card(seed=2)),
        key(toys.card(dev="train")),
        key(toys.card({"body": toys.stage(epochs=4)})),
        key(toys.card({"body": toys.stage(), "head": toys.stage()})),
        key(toys.card({"head": toys.stage(), "body": toys.stage()})),
        key(toys.card(model_arguments={"width": 5})),
        key(toys.card(model="Plain")),
        key(toys.card(audio={**toys.AUDIO, "samples": 513})),
        key(toys.card(audio={**toys.AUDIO, "epsilon": 1e-5})),
        key(toys.card(stages={}, arguments={"gain": 1.0})),
    ]
    monkeypatch.setattr(toys.Toy, "version", 2, raising=False)
    found.append(key())
    monkeypatch.setattr(training, "ENGINE_VERSION", 99)
    found.append(key())
    assert len(set(found)) == len(found)


def test_the_record_tells_all_that_determined_the_outcome(tmp_path: Path, lists: Lists) -> None:
    """Card, recipe, start weights, lists, versions, hardware; a stage with its curve, the seconds of all together."""
    head = toys.Toy().head.state_dict()
    safetensors.torch.save_file(head, tmp_path / "head.safetensors")
    card = toys.card({"head": toys.stage(learning_rate={"head": 0.01}), "body": toys.stage(epochs=1)})
    checkpoint = Checkpoint(tmp_path / "head.safetensors", verified=False)
    folder = training.train(card, Materials(lists, {"head": checkpoint, "body": None}), tmp_path / "key").parent
    record = training.record(folder)
    assert card.recipe is not None
    assert record["recipe"] == card.recipe.model_dump(mode="json")
    assert (record["detector"], record["model"], record["arguments"]) == ("toy", card.model, {})
    told = {"file": "head.safetensors", "sha256": sha256_of(checkpoint.path), "verified": False}
    assert record["start"] == {"head": told, "body": "random"}
    assert record["lists"] == {
        name: {"digest": found.digest, "trials": len(found.trials), "warnings": []} for name, found in lists.items()
    }
    assert (record["engine"], "torch" in record["versions"]) == (training.ENGINE_VERSION, True)
    assert set(record["hardware"]) == {"device", "cpu", "cores", "system"}
    assert [stage["stage"] for stage in record["stages"]] == ["head", "body"]
    assert record["seconds"] == pytest.approx(sum(stage["seconds"] for stage in record["stages"]), abs=2e-3)
    assert sorted(path.name for path in folder.glob("*.json")) == ["train.json"]


def test_a_record_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    """With the file; the weights beside it stay what they are."""
    with pytest.raises(
        StoreError, match=r"the record of the training is missing\n  where: .*train\.json\n  remedy: train"
    ):
        training.record(tmp_path)
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(StoreError, match=r"not readable: (?s:.*)where: .*train\.json"):
        training.record(tmp_path)


@pytest.mark.parametrize("recipe", [{"stages": {"body": toys.stage()}}, {"stages": {}}], ids=["stages", "fit"])
def test_a_class_that_cannot_carry_out_its_recipe_is_told(tmp_path: Path, lists: Lists, recipe: dict[str, Any]) -> None:
    """Before anything is read or written."""
    card = toys.card(model="Nothing", **recipe)
    lacking = "trainable" if recipe["stages"] else "fit"
    for refused in (lambda: training.check(card), lambda: toys.train(card, lists, tmp_path / "key")):
        with pytest.raises(CardError, match=rf"toys:Nothing cannot be trained by this recipe: it has no `{lacking}`"):
            refused()
    assert not list(tmp_path.iterdir())
    with pytest.raises(CardError, match="this detector has no recipe\n  where: detector card toy"):
        training.check(card.model_copy(update={"recipe": None}))


def test_one_process_trains_at_a_time(tmp_path: Path, lists: Lists) -> None:
    """Another one is told so, and leaves the folder alone."""
    folder = tmp_path / "key"
    folder.mkdir()
    with (folder / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Blocked) as raised:
            toys.train(toys.card(), lists, folder)
        assert str(raised.value) == (
            f"another process trains these weights\n  where: {folder}\n  remedy: wait for it, or end it"
        )
        assert [path.name for path in folder.iterdir()] == [".lock"]
    assert (toys.train(toys.card(), lists, folder) / "model.safetensors").exists()
    assert not (folder / ".lock").exists()


def test_the_main_process_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that `accelerate launch` starts, by their RANK; without it there is no other."""
    monkeypatch.delenv("RANK", raising=False)
    assert training.main_process()
    monkeypatch.setenv("RANK", "1")
    assert not training.main_process()


# --- in the matrix ----------------------------------------------------------------------------------------------------


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
    place = world.workspace().trained(world.workspace().detectors["det"])
    assert folder == place.folder
    assert folder.name == recipe_key(place.card, place.materials)[:12]
    record = json.loads((folder / "train.json").read_text())
    assert record["detector"] == "det"
    assert record["recipe"] == {**RECIPE, "dev": None, "start": {}, "stages": {}}
    weights = cell.manifest["detector"]["weights"]
    assert (weights["sha256"], weights["recipe_key"]) == (sha256_of(folder / "model.safetensors"), folder.name)
    assert (weights["trained"], weights["verified"]) == (True, True)
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


def test_a_class_that_cannot_be_trained_blocks_its_detector(world: World) -> None:
    """With what it lacks."""
    world.detector("det", recipe=RECIPE)
    (outcome,) = world.run("det", "set")
    assert (outcome.ok, outcome.as_cell.status) == (False, "blocked")
    assert outcome.as_cell.reason == (
        "tests.tiny:Tiny cannot be trained by this recipe: it has no `fit` (detector card det)"
    )


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
