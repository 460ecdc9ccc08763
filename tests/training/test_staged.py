"""Stages one after the other: killed at any step, with other seeds and workers, from other weights; errors of cards."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import training
from bench.cards import DetectorCard
from bench.corpora import Dataset
from bench.errors import AudioError, CardError, DataError, StoreError, UsageError, WeightsError
from bench.models.wav2vec2 import Reading
from bench.progress import Silent
from bench.training import engine
from bench.training.staged import initial, stage_lists
from bench.training.state import read_facts
from bench.weights import Checkpoint
from tests.training import toys

Lists = Mapping[str, Dataset]

# --- kills ------------------------------------------------------------------------------------------------------------

HEAD = toys.stage(epochs=2, learning_rate={"head": 0.05})
AUGMENTED = {"rawboost": 3, "choices": {"spectrum": {"drop_chunk": {"samples": [50, 100]}}}, "keep_original": True}
RECIPES: dict[str, dict[str, Any]] = {
    "two stages": {"head": HEAD, "body": toys.stage(keep="average", accumulate=2, ties=True, crop="random")},
    "patience on the training loss": {
        "head": toys.stage(epochs=9, learning_rate={"head": 0.05}, monitor="training loss", patience=1),
        "body": toys.stage(
            keep="last",
            steps=7,
            schedule={"name": "cosine", "warmup": 0.3},
            learning_rate={"head": [0.05, 0], "body": [0.05, 0.01]},
        ),
    },
    "falling rate, clipping, batches by length": {
        "body": toys.stage(
            learning_rate={"head": 0.3, "body": 0.3},
            batch_size=None,
            batch_seconds=0.2,
            monitor="validation loss",
            patience=4,
            validate_every=2,
            schedule={"name": "step", "factor": 0.1, "epochs": 1},
            optimiser={"name": "adamw", "weight_decay": 0.1},
            clip_norm=0.1,
        )
    },
    "disjoint stages": {
        "head": toys.stage(epochs=1, learning_rate={"head": 0.05}),
        "rest": toys.stage(epochs=1, learning_rate={"body": 0.05}),
    },
    "augmented": {
        "body": toys.stage(epochs=2, augmentation=AUGMENTED, pieces={"longest": 0.05, "seconds": [0.02, 0.04]})
    },
}


def killed_again_and_again(card: DetectorCard, lists: Lists, folder: Path) -> int:
    """A training that dies behind each file it writes, as soon as that brings it further; how often it died."""
    state, kills, writes = folder / engine.STATE_FILE, 0, 1
    while not (folder / training.WEIGHTS_FILE).exists():
        before = state.read_bytes() if state.exists() else b""
        try:
            with toys.killed_at(writes, written=True):
                toys.train(card, lists, folder)
        except toys.Killed:
            kills += 1
        writes = 1 if state.exists() and state.read_bytes() != before else writes + 1
    return kills


@pytest.mark.parametrize("name", RECIPES)
def test_killed_behind_every_step_it_ends_in_the_same_weights(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Bit for bit, with the same curves: stages, accumulation, patience, averages, schedules, augmentation, dropout."""
    monkeypatch.setattr(engine, "LOSSES_AN_EPOCH", 1)
    card = toys.card(RECIPES[name])
    expected = toys.final(toys.train(card, lists, tmp_path / "undisturbed"))
    monkeypatch.setattr(engine, "SAVE_SECONDS", -1.0)
    stages = training.record(tmp_path / "undisturbed")["stages"]
    steps = sum(stage["steps"] for stage in stages)
    if "falling" in name:  # it has fallen before the end
        assert len({point["learning_rate"]["body"] for point in stages[-1]["curve"]}) > 1
    assert killed_again_and_again(card, lists, tmp_path / "killed") > steps
    assert toys.final(tmp_path / "killed") == expected


def test_killed_at_any_file_it_ends_in_the_same_weights(tmp_path: Path, lists: Lists) -> None:
    """Before and behind each: the best weights, the state that counts them, the end of a stage, the result."""
    stages = {"head": HEAD | {"epochs": 1}, "body": toys.stage(epochs=2)}
    card = toys.card(stages)
    expected = toys.final(toys.train(card, lists, tmp_path / "undisturbed"))
    for write, written in ((write, written) for write in itertools.count(1) for written in (False, True)):
        folder = tmp_path / f"{write}{written}"
        try:
            with toys.killed_at(write, written=written):
                toys.train(card, lists, folder)
        except toys.Killed:
            if not (folder / training.WEIGHTS_FILE).exists():
                toys.train(card, lists, folder)
            assert toys.final(folder) == expected
        else:
            break
    assert write > 7


def test_killed_in_between_two_saves_it_loses_the_steps_behind_the_last(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state each so many seconds, by a clock that ticks once a step; what follows is done again."""
    card = toys.card({"body": toys.stage(epochs=2, batch_size=2)})
    expected = toys.final(toys.train(card, lists, tmp_path / "undisturbed"))
    monkeypatch.setattr(engine, "SAVE_SECONDS", 0.0)
    saved: list[int] = []
    for write in (2, 3, 4):
        with toys.killed_at(write, written=True), pytest.raises(toys.Killed):
            toys.train(card, lists, tmp_path / "killed")
        saved.append(read_facts(tmp_path / "killed" / engine.STATE_FILE)["progress"]["step"])
    assert saved == sorted(saved)
    assert toys.final(toys.train(card, lists, tmp_path / "killed")) == expected


@pytest.fixture(scope="module")
def children() -> Any:
    """What starts processes: a fork has imported all that a training needs, but beside a GPU autograd refuses it."""
    return multiprocessing.get_context("forkserver" if torch.cuda.is_available() else "fork")


def test_a_killed_process_is_gone_on_with(tmp_path: Path, lists: Lists, children: Any) -> None:
    """SIGKILL at random moments, each behind another state file: the weights of an undisturbed training, no rubbish."""
    card = toys.card({"head": HEAD, "body": toys.stage(keep="average")})
    expected, folder = toys.final(toys.train(card, lists, tmp_path / "undisturbed")), tmp_path / "killed"
    moments, kills = random.Random(1), 0
    state = folder / engine.STATE_FILE
    for _ in range(4):
        before = state.stat().st_mtime_ns if state.exists() else 0
        child = children.Process(target=toys.train_in_child, args=(card, lists, folder, -1.0))
        child.start()
        end = time.monotonic() + 60
        while child.is_alive() and (not state.exists() or state.stat().st_mtime_ns == before):
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
    assert kills >= 3
    (folder / ".0123.part").write_bytes(b"half a state")  # as a kill while it is written leaves it
    assert toys.final(toys.train(card, lists, folder)) == expected
    assert sorted(path.name for path in folder.iterdir()) == [*sorted(expected)[:-1], "train.json", "train.log"]


def test_a_damaged_state_is_told(tmp_path: Path, lists: Lists) -> None:
    """Nothing is trained over it; without it the training begins anew."""
    card = toys.card({"body": toys.stage(epochs=1)})
    tmp_path = tmp_path / "key"
    with toys.killed_at(2, written=True), pytest.raises(toys.Killed):
        toys.train(card, lists, tmp_path)
    state = tmp_path / engine.STATE_FILE
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(
        WeightsError, match=rf"(?s)not readable: .*remedy: delete the folder {tmp_path}: the training begins"
    ):
        toys.train(card, lists, tmp_path)
    state.unlink()
    assert toys.train(card, lists, tmp_path) == tmp_path


def test_an_unreadable_file_ends_the_training_and_mended_it_goes_on(tmp_path: Path, lists: Lists) -> None:
    """Named, in whatever process it was met; the last good state is kept and leads to the same weights."""
    local = {**lists, "train": toys.corpus(tmp_path, "train", 6, 7)}
    card = toys.card({"head": HEAD, "body": toys.stage()})
    expected = toys.final(toys.train(card, local, tmp_path / "undisturbed"))
    folder = tmp_path / "disturbed"
    with toys.killed_at(6, written=True), pytest.raises(toys.Killed):
        toys.train(card, local, folder)
    state = (folder / engine.STATE_FILE).read_bytes()
    damaged = Path(local["train"].trials["path"][3])
    sound = damaged.read_bytes()
    damaged.write_bytes(sound[:60])
    for workers in (0, 1):
        with pytest.raises(AudioError) as raised:
            toys.train(card, local, folder, workers=workers)
        assert raised.value.where == str(damaged)
        assert raised.value.what.startswith("truncated: ")
        assert (folder / engine.STATE_FILE).read_bytes() == state
    damaged.write_bytes(sound)
    assert toys.final(toys.train(card, local, folder)) == expected


def test_a_full_disk_ends_the_training_and_with_room_it_goes_on(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file it is that does not fit: nothing that was there is lost."""
    card = toys.card({"head": HEAD, "body": toys.stage(epochs=2)})
    expected = toys.final(toys.train(card, lists, tmp_path / "undisturbed"))
    folder, real, room = tmp_path / "full", Path.write_bytes, 0

    def full(path: Path, content: bytes) -> int:
        nonlocal room
        room -= 1
        if room < 0:
            real(path, content[:20])
            raise OSError(28, os.strerror(28))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    for files in (0, 1, 1, 1, 2, 2):
        room = files
        with pytest.raises(StoreError, match=r"(?s)cannot be written: No space left on device.*free some space"):
            toys.train(card, lists, folder)
        assert not list(folder.glob(".*"))
    room = 1_000
    assert toys.final(toys.train(card, lists, folder)) == expected


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path, lists: Lists) -> None:
    """As any other file of the results."""
    (tmp_path / "key" / "train.log").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot be written: Is a directory\n  where: .*train\.log"):
        toys.train(toys.card({"body": toys.stage(epochs=1)}), lists, tmp_path / "key")


# --- what determines the weights --------------------------------------------------------------------------------------


def test_one_seed_gives_one_set_of_files(tmp_path: Path, lists: Lists) -> None:
    """Whatever is random elsewhere and however many workers decode; another seed gives others."""
    stages = {"head": HEAD, "body": toys.stage(epochs=1, crop="random", augmentation=AUGMENTED)}
    expected = toys.final(toys.train(toys.card(stages), lists, tmp_path / "first"))
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    again = toys.final(toys.train(toys.card(stages), lists, tmp_path / "again", workers=1))
    after = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    assert again == expected
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    other = toys.final(toys.train(toys.card(stages, seed=2), lists, tmp_path / "other"))
    assert other["model.safetensors"] != expected["model.safetensors"]


def test_balanced_class_weights_follow_from_the_training_list(tmp_path: Path, lists: Lists) -> None:
    """N / (2 n) of spoof and bona fide: 13 / 14 and 13 / 12."""
    balanced, told = (
        toys.tensors(toys.train(card, lists, tmp_path / str(number)) / "model.safetensors")
        for number, value in enumerate(["balanced", [13 / 14, 13 / 12]])
        for card in [toys.card({"body": toys.stage(loss={"class_weights": value})}, "Plain")]
    )
    for name, value in told.items():
        torch.testing.assert_close(balanced[name], value, rtol=1e-4, atol=1e-6, msg=name)


@given(st.integers(0, 2**40))
@settings(max_examples=5, deadline=None)
def test_initial_weights_follow_from_the_seed(seed: int) -> None:
    """And from no generator that others use."""
    card = toys.card(seed=seed)
    assert card.recipe is not None
    first = initial(card, card.recipe, {}).state_dict()
    state = torch.get_rng_state()
    torch.rand(1)
    again = initial(card, card.recipe, {}).state_dict()
    torch.set_rng_state(state)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    other = card.recipe.model_copy(update={"seed": seed + 1})
    assert not torch.equal(initial(card, other, {}).state_dict()["head.1.weight"], first["head.1.weight"])


def test_training_starts_from_the_weights_it_is_given(tmp_path: Path) -> None:
    """Of a part, or of the whole detector; the rest is random as ever."""
    card = toys.card()
    assert card.recipe is not None
    plain = initial(card, card.recipe, {}).state_dict()
    head = {"1.weight": torch.ones(2, 4), "1.bias": torch.zeros(2)}
    safetensors.torch.save_file(head, tmp_path / "head.safetensors")
    whole = {name: torch.full_like(value, 2) for name, value in plain.items()}
    safetensors.torch.save_file(whole, tmp_path / "whole.safetensors")
    part = initial(card, card.recipe, {"head": Checkpoint(tmp_path / "head.safetensors", True)}).state_dict()
    assert {name for name in plain if not torch.equal(part[name], plain[name])} == {"head.1.weight", "head.1.bias"}
    assert torch.equal(part["head.1.weight"], head["1.weight"])
    found = initial(card, card.recipe, {"detector": Checkpoint(tmp_path / "whole.safetensors", True)}).state_dict()
    assert all(torch.equal(found[name], value) for name, value in whole.items())


def test_a_part_that_the_detector_does_not_have_is_told(tmp_path: Path) -> None:
    """`recipe.start` of another architecture."""
    card = toys.card()
    assert card.recipe is not None
    with pytest.raises(CardError, match=r"`recipe\.start`: tests\.training\.toys:Toy has no part 'backbone'"):
        initial(card, card.recipe, {"backbone": None})


# --- frozen encoders --------------------------------------------------------------------------------------------------

ENCODED = {"head": toys.stage(learning_rate={"head": 0.05}), "body": toys.stage(epochs=1)}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each forward pass of an encoder."""
    rows: list[int] = []
    real = Reading.__call__

    def counted(reading: Reading, wave: torch.Tensor) -> torch.Tensor:
        rows.append(len(wave))
        return real(reading, wave)

    monkeypatch.setattr(Reading, "__call__", counted)
    return rows


def encoded(lists: Lists, folder: Path, stages: Mapping[str, Any] = ENCODED, **options: Any) -> Path:
    """The folder of a training from a random encoder."""
    materials = training.Materials(lists, {"backbone": None})
    return training.train(toys.card(stages, "Encoded"), materials, folder, **options).parent


def test_a_frozen_encoder_hears_each_list_once(tmp_path: Path, lists: Lists, heard: list[int]) -> None:
    """Where its features are kept; the weights are those without, and other trainings on it need not hear at all."""
    features: dict[str, Any] = {"features": tmp_path / "features", "feature_limit": 1 << 30}
    kept = encoded(lists, tmp_path / "kept", {"head": ENCODED["head"]}, **features)
    assert sum(heard) == 13 + 10
    heard.clear()
    encoded(lists, tmp_path / "again", {"head": ENCODED["head"] | {"epochs": 1, "batch_size": 5}}, **features)
    assert not heard
    plain = encoded(lists, tmp_path / "plain", {"head": ENCODED["head"]})
    assert sum(heard) == 3 * (13 + 10)
    assert [training.record(folder)["stages"][0]["features_kept"] for folder in (kept, plain)] == [True, False]
    found, expected = (toys.tensors(folder / "model.safetensors") for folder in (kept, plain))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_features_are_kept_only_where_they_stay_the_same(tmp_path: Path, lists: Lists, heard: list[int]) -> None:
    """Not of random crops, where those of the dev list are; nor of an encoder that learns; nor without room."""
    features: dict[str, Any] = {"features": tmp_path / "features", "feature_limit": 1 << 30}
    stages = {"head": {**ENCODED["head"], "crop": "random"}, "body": {**ENCODED["body"]}}
    record = training.record(encoded(lists, tmp_path / "kept", stages, **features))
    assert [stage["features_kept"] for stage in record["stages"]] == [False, False]
    assert sum(heard) == 3 * 13 + 10 + 13 + 10
    display = Counted()
    full = encoded(lists, tmp_path / "full", features=tmp_path / "none", feature_limit=1, display=display)
    assert [stage["features_kept"] for stage in training.record(full)["stages"]] == [False, False]
    assert "not kept but computed in each epoch" in display.notes[0]


def test_killed_on_kept_features_it_ends_in_the_same_weights(
    tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the head to the encoder, bit for bit."""
    features: dict[str, Any] = {"features": tmp_path / "features", "feature_limit": 1 << 30}
    expected = toys.final(encoded(lists, tmp_path / "undisturbed", **features))
    monkeypatch.setattr(engine, "SAVE_SECONDS", -1.0)
    for write in (3, 4, 12):
        with toys.killed_at(write, written=True), pytest.raises(toys.Killed):
            encoded(lists, tmp_path / "killed", **features)
    assert toys.final(encoded(lists, tmp_path / "killed", **features)) == expected


# --- what a card may get wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "model", "message"),
    [
        (
            {"head": HEAD, "body": toys.stage(learning_rate={"head": 0.1})},
            "Toy",
            "stage `body` trains head, body, and has a learning rate for head\n  where: detector card toy\n"
            "  remedy: give each of these groups its `learning_rate`, and no other",
        ),
        (
            {"head": toys.stage()},
            "Toy",
            "stage `head` trains head, and has a learning rate for head, body\n",
        ),
        (
            {"head": HEAD, "body": toys.stage(loss={"class_wights": [1, 1]})},
            "Toy",
            "stage `body` does not take these options of its `loss`: got an unexpected keyword argument 'class_wights'",
        ),
        ({"head": HEAD, "tail": toys.stage()}, "Toy", "no stage of Toy is called 'tail'\n  remedy: "),
        (
            {
                "real": toys.stage(
                    train=[{"dataset": "train", "where": {"label": "bonafide"}}],
                    validation={"dataset": "dev", "where": {"label": "bonafide"}},
                )
            },
            "RealOnly",
            "stage `real` tells no classes, so it has no EER to watch\n  where: detector card toy\n"
            "  remedy: let it watch the `validation loss`",
        ),
    ],
    ids=["group missing", "group unknown", "option of the loss", "stage", "EER of one class"],
)
def test_a_stage_that_is_not_the_detectors_is_told_before_any_training(
    tmp_path: Path, lists: Lists, stages: dict[str, Any], model: str, message: str
) -> None:
    """Also of a later stage; the estimate of a dry run says the same, and nothing is left behind."""
    card, materials = toys.card(stages, model), training.Materials(lists, {})
    for carried_out in (
        lambda: toys.train(card, lists, tmp_path / "weights" / "toy" / "key"),
        lambda: training.estimate(card, materials, "cpu"),
    ):
        with pytest.raises(UsageError) as raised:
            carried_out()
        assert str(raised.value).startswith(message)
    assert not list(tmp_path.iterdir())


REAL = {"dataset": "train", "where": {"label": "bonafide"}}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("body", {"train": [REAL]}, "the 6 training trials of train are all bona fide"),
        ("body", {"train": [{**REAL, "where": {"label": "spoof"}}]}, "the 7 training trials of train are all spoof"),
        ("body", {"validation": REAL}, "the 6 validation trials of train are all bona fide"),
        ("real", {"monitor": "validation loss"}, "7 of the 13 training trials of train are spoof"),
        ("real", {"monitor": "validation loss", "train": [REAL]}, "5 of the 10 validation trials of dev are spoof"),
        ("body", {"validation": {"dataset": "dev", "where": {"attack": "A77"}}}, "dev has no trial of attack A77"),
        ("body", {"train": [REAL, REAL]}, "trial 'train0' is in two of the lists train"),
    ],
)
def test_lists_that_a_stage_cannot_use_are_told_before_any_training(
    tmp_path: Path, lists: Lists, name: str, changes: dict[str, Any], message: str
) -> None:
    """One class, both where real speech is wanted, nothing at all, the same twice; nothing is left behind."""
    stages = {"head": HEAD, name: toys.stage(**changes)}
    with pytest.raises(DataError) as raised:
        toys.train(toys.card(stages, "RealOnly"), lists, tmp_path / "weights" / "toy" / "key")
    assert raised.value.what.startswith(message)
    assert not list(tmp_path.iterdir())


def test_a_dev_list_of_one_class_has_a_loss(lists: Lists) -> None:
    """Nothing but the EER needs both."""
    found = stage_lists(toys.card({"body": toys.stage(validation=REAL, monitor="validation loss")}), lists)
    assert found["body"].validation is not None
    assert len(found["body"].validation.trials) == 6


@pytest.mark.parametrize(
    ("audio", "changes"),
    [(toys.AUDIO, {}), ({"window": "whole"}, {"pieces": {"longest": 0.04, "seconds": [0.025, 0.032]}})],
    ids=["window", "pieces"],
)
def test_batches_by_length_go_by_what_is_cut_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audio: dict[str, Any], changes: dict[str, Any]
) -> None:
    """A fixed window is as long for every file, and a file that is too long gives a piece: six fit into 0.2 s."""
    monkeypatch.setattr(toys.Watched, "shapes", [])
    files = {
        name: toys.corpus(tmp_path, name, 6, 6, seconds=seconds) for name, seconds in (("train", 0.1), ("dev", 0.01))
    }
    fields = {"batch_size": None, "batch_seconds": 0.2, "epochs": 1, **changes}
    toys.train(toys.card({"body": toys.stage(**fields)}, "Watched", audio), files, tmp_path / "key")
    assert [rows for rows, _ in toys.Watched.shapes] == [6, 6]
    assert max(samples for _, samples in toys.Watched.shapes) <= 512


# --- what is told on the way ------------------------------------------------------------------------------------------


class Counted(Silent):
    """What was shown: notes, and the rows of each epoch, to go and done."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[tuple[str, int]] = []
        self.done: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, what: str, total: int) -> None:
        self.begun.append((what, total))
        self.done.append(0)

    def advance(self, count: int) -> None:
        self.done[-1] += count


def test_a_training_tells_how_it_goes(tmp_path: Path, lists: Lists) -> None:
    """A bar an epoch, a line a validation, which the log file has, too; one that goes on says so."""
    card, display = toys.card({"head": HEAD, "body": toys.stage(epochs=1, drop_last=True)}), Counted()
    with toys.killed_at(2, written=True), pytest.raises(toys.Killed):
        toys.train(card, lists, tmp_path, display=display)
    toys.train(card, lists, tmp_path, display=display)
    assert display.begun == [
        ("training toy, seed 1, head, epoch 1 of 2 at most", 13),
        ("training toy, seed 1, head, epoch 2 of 2 at most", 13),
        ("training toy, seed 1, body, epoch 1 of 1 at most", 12),
    ]
    assert display.done == [13, 13, 12]
    head, body = training.record(tmp_path)["stages"]
    first = head["curve"][0]
    assert display.notes[0] == (
        f"head, epoch 1, step 4: training loss {first['training_loss']:.6f}, dev loss {first['validation_loss']:.6f}, "
        f"dev EER {100 * first['validation_eer']:.2f} %, best so far"
    )
    assert display.notes[1] == "head: goes on behind step 4, epoch 2"
    assert [note.split(":")[0] for note in display.notes[2:]] == ["head, epoch 2, step 8", "body, epoch 1, step 3"]
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines] == display.notes
    assert (head["epochs"], body["epochs"], len(head["curve"]), len(body["curve"])) == (2, 1, 2, 1)


def test_only_the_last_stage_leaves_its_end(tmp_path: Path, lists: Lists) -> None:
    """`last.safetensors` is of the last stage, and is not there where that kept its last weights."""
    head = toys.stage(learning_rate={"head": 0.05}, monitor="training loss", epochs=3)
    values = {"training": [1.0, 2.0, 3.0]}
    first = toys.card({"head": {**head, "batch_size": 13}}, "Dictated", model_arguments=values)
    assert (toys.train(first, lists, tmp_path / "one") / "last.safetensors").exists()
    stages = {"head": {**head, "batch_size": 13}, "body": toys.stage(keep="last")}
    both = toys.train(toys.card(stages, "Dictated", model_arguments=values), lists, tmp_path / "two")
    assert sorted(path.name for path in both.iterdir()) == ["model.safetensors", "train.json", "train.log"]


# --- several processes ------------------------------------------------------------------------------------------------


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_two_processes_train_as_one(tmp_path: Path, lists: Lists, children: Any) -> None:
    """As `accelerate launch` starts them: one of them writes, and the weights are those of one process."""
    stages = {
        "head": toys.stage(epochs=1, learning_rate={"head": 0.05}, batch_size=5, accumulate=2),
        "body": toys.stage(epochs=2, keep="average", batch_size=5),
    }
    card = toys.card(stages, "Plain")
    alone = toys.train(card, lists, tmp_path / "alone")
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    started = [
        children.Process(
            target=toys.train_in_child,
            args=(
                card,
                lists,
                tmp_path / "both",
                0.0,
                {**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            ),
        )
        for rank in range(2)
    ]
    for child in started:
        child.start()
    for child in started:
        child.join(60)
        child.kill()
    assert [child.exitcode for child in started] == [0, 0]
    record = training.record(tmp_path / "both")
    assert [stage["processes"] for stage in record["stages"]] == [2, 2]
    for file in ("model.safetensors", "last.safetensors"):
        found, expected = toys.tensors(tmp_path / "both" / file), toys.tensors(alone / file)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=f"{file}: {name}")
    curves = [
        [point["training_loss"] for stage in training.record(folder)["stages"] for point in stage["curve"]]
        for folder in (alone, tmp_path / "both")
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
