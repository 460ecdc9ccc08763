"""Training without a gradient: what `fit` is given, and what its defects become."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench import audio, training
from bench.corpora import Dataset
from bench.errors import AudioError, BenchError, CardError
from bench.training.fit import Utterances
from bench.trials import is_bonafide
from tests.training import toys

Lists = Mapping[str, Dataset]


def fit(folder: Path, lists: Lists, seed: int = 1, arguments: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """The folder of a training of `Fitted`."""
    model_arguments = options.pop("model_arguments", {})
    recipe = {"stages": {}, "seed": seed, "arguments": arguments or {}, "model_arguments": model_arguments}
    return toys.train(toys.card(model="Fitted", **recipe), lists, folder, **options)


def test_the_training_list_is_read_in_order_as_often_as_wanted(lists: Lists) -> None:
    """Windows as they are scored, labels 1 = bona fide and 0 = spoof, one step of progress a file."""
    steps: list[int] = []
    recipe, trials = toys.card().audio, lists["train"].trials
    utterances = Utterances(lists["train"], recipe, steps.append)
    for _ in range(2):
        waves, labels = zip(*utterances, strict=True)
        assert labels == tuple(is_bonafide(trials))
        for wave, path in zip(waves, trials["path"], strict=True):
            np.testing.assert_array_equal(wave.numpy(), audio.prepare(path, recipe).wave)
    assert steps == [1] * 26


def test_pieces_of_files_are_learnt_from_as_pieces(tmp_path: Path, lists: Lists) -> None:
    """Not as the whole file again and again."""
    path = lists["train"].trials["path"][0]
    rows = [("a", path, "bonafide", "0.005", "0.01"), ("b", path, "spoof", "0.01", "")]
    pieces = toys.dataset("pieces", pd.DataFrame(rows, columns=["trial", "path", "label", "start", "stop"]))
    (first, _), (second, _) = Utterances(pieces, toys.card(audio={"window": "whole"}).audio, lambda count: None)
    raw, _ = audio.decode(path)
    np.testing.assert_array_equal(first.numpy(), raw[80:160])
    np.testing.assert_array_equal(second.numpy(), raw[160:])


def test_what_is_learnt_follows_from_list_seed_and_arguments(tmp_path: Path, lists: Lists) -> None:
    """Also what the constructor draws, whatever the global generator has drawn before; that is left as it was."""
    torch.manual_seed(0)
    first = fit(tmp_path / "first", lists, arguments={"gain": 2.0})
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = fit(tmp_path / "again", lists, arguments={"gain": 2.0})
    assert torch.equal(torch.get_rng_state(), state)
    assert toys.final(first) == toys.final(again)
    found, other = (toys.tensors(folder / "model.safetensors") for folder in (first, fit(tmp_path / "other", lists, 2)))
    recipe, trials = toys.card().audio, lists["train"].trials
    mean = np.mean([audio.prepare(path, recipe).wave for path in trials["path"][:6]])
    assert found["mean"].item() == pytest.approx(2 * mean + 1, rel=1e-5)
    assert other["mean"].item() == pytest.approx(mean + 2, rel=1e-5)
    assert found["factor"] != other["factor"]


def test_the_record_has_no_stages(tmp_path: Path, lists: Lists) -> None:
    """But everything else that determined the outcome."""
    record = training.record(fit(tmp_path, lists))
    assert record["stages"] == []
    assert record["lists"]["train"]["digest"] == lists["train"].digest
    assert record["seconds"] >= 0


def test_a_defect_of_fit_is_told_as_such(tmp_path: Path, lists: Lists) -> None:
    """With its exception as the cause; nothing is left behind."""
    with pytest.raises(BenchError) as raised:
        fit(tmp_path / "weights" / "toy" / "key", lists, model_arguments={"broken": True})
    assert raised.value.reason() == "ArithmeticError: the toy broke (`fit` of tests.training.toys:Fitted)"
    assert isinstance(raised.value.__cause__, ArithmeticError)
    assert not list(tmp_path.iterdir())


def test_an_argument_that_fit_does_not_take_is_told(tmp_path: Path, lists: Lists) -> None:
    """By its name."""
    with pytest.raises(BenchError, match="unexpected keyword argument 'gian'"):
        fit(tmp_path, lists, arguments={"gian": 2.0})


def test_a_file_that_cannot_be_decoded_ends_the_training(tmp_path: Path) -> None:
    """Named: training on the rest would be another recipe."""
    lists = {"train": toys.corpus(tmp_path, "train", 2, 2), "dev": toys.corpus(tmp_path, "dev", 1, 1)}
    damaged = Path(lists["train"].trials["path"][1])
    damaged.write_text("no audio")
    with pytest.raises(AudioError) as raised:
        fit(tmp_path / "key", lists)
    assert raised.value.where == str(damaged)


def test_a_class_without_fit_cannot_be_trained_so(tmp_path: Path, lists: Lists) -> None:
    """An error of the card, before anything is read."""
    card = toys.card(stages={}, model="Nothing")
    with pytest.raises(CardError) as raised:
        toys.train(card, lists, tmp_path / "key")
    assert str(raised.value) == (
        "tests.training.toys:Nothing cannot be trained by this recipe: it has no `fit`\n  where: detector card toy\n"
        "  remedy: give the card `weights`, or the class what bench/models/__init__.py asks for"
    )
    assert not list(tmp_path.iterdir())
