"""How long a recipe will take: the count of its steps is exact, the time is of the size that it turns out to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import training
from bench.corpora import Dataset
from bench.training import Materials, timing
from tests.training import toys

Lists = Mapping[str, Dataset]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TIMED_SECONDS", 0.002)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"drop_last": True},
        {"steps": 5},
        {"batch_size": 50},
        {"accumulate": 2, "validate_every": 3},
        {"monitor": "training loss", "loss": {"class_weights": "balanced"}},
        {"keep": "last", "crop": "random", "augmentation": {"rawboost": 3}},
    ],
)
def test_the_steps_are_those_that_are_trained(tmp_path: Path, lists: Lists, changes: dict[str, Any]) -> None:
    """Where no patience ends them, over all stages together."""
    stages = {"head": toys.stage(learning_rate={"head": 0.01}, epochs=1, batch_size=13), "body": toys.stage(**changes)}
    card = toys.card(stages)
    told = training.estimate(card, Materials(lists, {}), "cpu")
    record = training.record(toys.train(card, lists, tmp_path))
    steps = sum(stage["steps"] for stage in record["stages"])
    assert re.fullmatch(rf"at most {steps} steps, about \S+ s on cpu", told)


class Clock:
    """Every pass of the timed stage takes a second to train with, and a tenth to validate with."""

    def training(self) -> float:
        return 1.0

    def evaluation(self) -> float:
        return 0.1

    kept = False


@pytest.mark.parametrize(
    ("changes", "kept", "expected"),
    [
        ({}, False, 3 * 13 * 1 + 3 * 10 * 0.1),
        ({"validate_every": 2}, False, 3 * 13 * 1 + 6 * 10 * 0.1),
        ({"augmentation": {"choices": {"spectrum": {}}, "keep_original": True}}, False, 2 * 3 * 13 * 1 + 3 * 10 * 0.1),
        ({"validation": {"dataset": "dev", "trials": 4}}, False, 3 * 13 * 1 + 3 * 4 * 0.1),
        ({"steps": 2}, False, 2 * 4 * 1 + 10 * 0.1),
        ({}, True, (13 + 10) * 0.1 + 3 * 13 * 0.9),
    ],
    ids=["epochs", "validate_every", "doubled", "validation", "steps", "kept features"],
)
def test_the_time_is_that_of_all_passes(
    lists: Lists, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], kept: bool, expected: float
) -> None:
    """Of training and validation, a changed copy as a clip of its own; kept features are computed once."""
    monkeypatch.setattr(timing, "_Timed", lambda *_: Clock())
    monkeypatch.setattr(Clock, "kept", kept)
    monkeypatch.setattr(timing, "spoken", lambda seconds: f"{seconds:.3f} s")
    told = training.estimate(toys.card({"body": toys.stage(**changes)}), Materials(lists, {}), "cpu")
    assert told.endswith(f", about {expected:.3f} s on cpu")


def test_an_estimate_changes_nothing(tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, what is frozen is timed frozen, and the global generator goes on as if it had not been."""
    monkeypatch.setattr(toys.Watched, "seen", set())
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    card = toys.card({"head": toys.stage(learning_rate={"head": 0.01})}, "Watched")
    training.estimate(card, Materials(lists, {}), "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert toys.Watched.seen == {(True, False, True), (False, False, False)}
    assert not list(tmp_path.iterdir())


def test_a_stage_of_real_speech_is_timed_with_real_speech(lists: Lists) -> None:
    """Which alone its loss can take."""
    real = {"dataset": "train", "where": {"label": "bonafide"}}
    fields = {"monitor": "training loss", "train": [real], "validation": real}
    card = toys.card({"real": toys.stage(**fields)}, "RealOnly")
    assert training.estimate(card, Materials(lists, {}), "cpu").startswith("at most 6 steps, about ")


def test_without_a_gradient_there_are_only_utterances(lists: Lists) -> None:
    """How long `fit` takes, only the detector knows."""
    card = toys.card(stages={}, model="Fitted")
    assert training.estimate(card, Materials(lists, {}), "cpu") == "13 utterances, without a gradient"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1 s"),
        (0.4, "1 s"),
        (59.6, "60 s"),
        (119, "119 s"),
        (120, "2.0 min"),
        (1500, "25 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (12_600, "3.5 h"),
        (47 * 3600, "47 h"),
        (12 * 86_400, "12 days"),
    ],
)
def test_durations_are_spoken_with_two_digits(seconds: float, expected: str) -> None:
    """In the unit of which there are at least two."""
    assert timing.spoken(seconds) == expected
