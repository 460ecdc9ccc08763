"""Audio for training: the windows of scoring, random draws that follow from seed, epoch and trial, batches."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import audio
from bench.augmentation import Augment
from bench.cards import AudioRecipe
from bench.corpora import Dataset
from bench.errors import AudioError, BenchError, DataError
from bench.recipes import Pieces, Stage
from bench.training.loading import BUCKETS, Batch, Clips, batches, derived, in_order, shuffled
from bench.trials import validate
from tests.training import toys

WHOLE = AudioRecipe(window="whole")
DRAW = (1, "stage", 0)


def recipe(**fields: Any) -> AudioRecipe:
    return AudioRecipe.model_validate({"window": "tile", "samples": 600, **fields})


def ramps(root: Path, *lengths: int, rate: int = toys.RATE) -> pd.DataFrame:
    """Files whose sample number n is n / 32768: a clip tells where it was cut out."""
    rows = []
    for number, length in enumerate(lengths):
        path = root / f"{number}.wav"
        soundfile.write(path, np.arange(length, dtype=np.int16), rate, subtype="PCM_16")
        rows.append((f"r{number}", str(path), "spoof" if number % 2 else "bonafide"))
    return validate(pd.DataFrame(rows, columns=["trial", "path", "label"]), "ramps")


def starts(clips: Clips, draws: int) -> list[int]:
    """The first sample of the clip of row 0, by epoch."""
    return [round(clips.at(1, "stage", epoch).clips(0)[0][0][0] * 32768) for epoch in range(draws)]


# --- clips ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"epsilon": 1e-7}, {"rate": 8_000, "epsilon": 1e-5}, {"rate": 22_050}])
@pytest.mark.parametrize("window", ["tile", "pad", "whole"])
def test_unchanged_clips_are_those_that_are_scored(
    lists: Mapping[str, Dataset], window: str, fields: dict[str, Any]
) -> None:
    """Bit for bit what `audio.prepare` gives of shorter and longer files, with the samples that are real."""
    wanted = recipe(window=window, samples=None if window == "whole" else 800, **fields)
    trials = lists["train"].trials
    for row, path in enumerate(trials["path"]):
        ((wave, length),) = Clips(trials, wanted, DRAW).clips(row)
        expected = audio.prepare(path, wanted)
        np.testing.assert_array_equal(wave, expected.wave)
        assert (str(wave.dtype), length) == ("float32", expected.length)


def test_a_random_crop_begins_anywhere_in_the_utterance(tmp_path: Path) -> None:
    """At each of the sample numbers that leave a whole window, both ends included, and alike often."""
    clips = Clips(ramps(tmp_path, 604), recipe(), crop="random")
    found = starts(clips, 300)
    assert set(found) == set(range(5))
    assert np.abs(np.bincount(found) / 300 - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 300)


@pytest.mark.parametrize("length", [1, 599, 600])
def test_a_file_no_longer_than_the_window_is_not_cropped(tmp_path: Path, length: int) -> None:
    """Not even where it is exactly as long, which the authors of AASIST stumble over."""
    trials = ramps(tmp_path, length)
    ((wave, _),) = Clips(trials, recipe(), DRAW, crop="random").clips(0)
    np.testing.assert_array_equal(wave, audio.prepare(trials["path"][0], recipe()).wave)


def test_a_long_file_gives_a_piece_cut_before_it_is_resampled(tmp_path: Path) -> None:
    """Of a random length between the two, from anywhere in the file, resampled by itself."""
    trials = ramps(tmp_path, 8_000, rate=8_000)
    raw, _ = audio.decode(trials["path"][0])
    same_rate = Clips(
        trials, AudioRecipe(window="whole", rate=8_000), DRAW, pieces=Pieces(longest=0.5, seconds=(0.1, 0.2))
    )
    lengths, first = [], []
    for epoch in range(60):
        ((piece, length),) = same_rate.at(epoch).clips(0)
        begin = round(piece[0] * 32768)
        np.testing.assert_array_equal(piece, raw[begin : begin + length])
        ((resampled, _),) = Clips(trials, WHOLE, (epoch,), pieces=same_rate.pieces).clips(0)
        np.testing.assert_array_equal(resampled, audio.resample(piece, 8_000, 16_000))
        lengths.append(length)
        first.append(begin)
    assert (min(lengths) >= 800, max(lengths) <= 1_600, len(set(lengths)) > 30) == (True, True, True)
    assert (min(first) < 1_000, max(first) > 5_800) == (True, True)


def test_a_file_that_is_not_too_long_gives_no_piece(tmp_path: Path) -> None:
    """Exactly the longest that is taken whole."""
    trials = ramps(tmp_path, 8_000)
    ((wave, _),) = Clips(trials, WHOLE, DRAW, pieces=Pieces(longest=0.5, seconds=(0.1, 0.2))).clips(0)
    assert len(wave) == 8_000


class Changes:
    """An augmentation that tells what it was given: an utterance times 2, a clip plus a random number."""

    def __init__(self) -> None:
        self.utterances: list[int] = []
        self.clips: list[int] = []

    def utterance(self, wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        self.utterances.append(len(wave))
        return wave * np.float32(2)

    def clip(self, wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        self.clips.append(len(wave))
        return wave + np.float32(generator.integers(1, 1_000))


def test_the_utterance_is_changed_before_the_crop_and_the_clip_behind_it(tmp_path: Path) -> None:
    """The first sees all of the file, the second the window, unfilled where the file is shorter."""
    changes = Changes()
    clips = Clips(ramps(tmp_path, 700, 100), recipe(), DRAW, augment=cast("Augment", changes))
    (long, _), (short, _) = (clips.clips(row)[0] for row in range(2))
    assert (changes.utterances, changes.clips) == ([700, 100], [600, 100])
    drawn = long[0]
    assert 1 <= drawn < 1_000
    np.testing.assert_array_equal(long, np.arange(600, dtype=np.float32) / 16384 + drawn)
    np.testing.assert_array_equal(short, np.resize(short[:100], 600))


def test_a_changed_copy_lies_beside_its_clip(tmp_path: Path) -> None:
    """Both behind what changes the utterance; labels and rows are those of the clip."""
    clips = Clips(ramps(tmp_path, 700, 700), recipe(), DRAW, augment=cast("Augment", Changes()), double=True)
    (batch,) = batches(clips, [np.array([1, 0])])
    assert (batch.rows.tolist(), batch.labels.tolist()) == ([1, 1, 0, 0], [0, 0, 1, 1])
    plain = np.arange(600, dtype=np.float32) / 16384
    np.testing.assert_array_equal(batch.wave[::2].numpy(), [plain, plain])
    assert (batch.wave[1::2, 0] >= 1).all()


# --- random draws -----------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.one_of(st.integers(), st.text(st.characters(codec="utf-8", exclude_characters="\x00")), st.none()),
        max_size=4,
    )
)
@settings(deadline=None)
def test_seeds_follow_from_facts(facts: list[Any]) -> None:
    """In [0, 2^63), which torch and numpy take; other facts, another seed."""
    assert 0 <= derived(*facts) < 2**63
    assert derived(*facts) == derived(*facts)
    assert derived(*facts) != derived(*facts, "order")
    assert derived("a", "bc") != derived("ab", "c")


def augmented(trials: pd.DataFrame, epoch: int = 0, **fields: Any) -> Clips:
    return Clips(trials, recipe(samples=300), (1, "stage", epoch), crop="random", augment=fields.get("augment"))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return all(
        all(np.array_equal(np.asarray(one), np.asarray(other)) for one, other in zip(batch, again, strict=True))
        for batch, again in zip(first, second, strict=True)
    )


def test_draws_follow_from_epoch_and_trial_not_from_order_or_workers(lists: Mapping[str, Dataset]) -> None:
    """Worker processes, another order, a start in the middle: the same clips; another epoch: others."""
    trials = lists["train"].trials
    rows = in_order(13, 4)
    clips = augmented(trials, augment=Changes())
    expected = list(batches(clips, rows))
    state = repr(np.random.get_state())
    assert same(list(batches(clips, rows, workers=2)), expected)
    assert same(list(batches(clips, rows[2:])), expected[2:])
    assert same(list(batches(clips, rows[::-1]))[::-1], expected)
    assert not any(same([one], [other]) for one, other in zip(expected, batches(clips.at(1), rows), strict=True))
    assert repr(np.random.get_state()) == state


# --- batches ----------------------------------------------------------------------------------------------------------


def test_rows_are_zero_behind_their_lengths(tmp_path: Path) -> None:
    """Whole files of several lengths as one array, with labels 1 for bona fide."""
    trials = ramps(tmp_path, 50, 80, 20)
    (batch,) = batches(Clips(trials, WHOLE, DRAW), [np.array([0, 1, 2])])
    assert (tuple(batch.wave.shape), batch.lengths.tolist(), batch.labels.tolist()) == (
        (3, 80),
        [50, 80, 20],
        [1, 0, 1],
    )
    for row, length in enumerate(batch.lengths.tolist()):
        np.testing.assert_array_equal(batch.wave[row, :length].numpy(), np.arange(length) / np.float32(32768))
        assert not batch.wave[row, length:].any()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path, workers: int) -> None:
    """The same error whether a worker process met it or not."""
    trials = ramps(tmp_path, 50, 80, 20)
    Path(trials["path"][1]).write_text("no audio")
    found = batches(Clips(trials, WHOLE, DRAW), in_order(3, 1), workers=workers)
    assert next(found).lengths.tolist() == [50]
    with pytest.raises(AudioError) as raised:
        list(found)
    assert raised.value.what.startswith("no decoder reads this file (")
    assert (raised.value.where, raised.value.remedy) == (
        str(tmp_path / "1.wav"),
        "it is damaged, cut short or no audio: fetch it again",
    )


class Broken(Changes):
    """A worker process that meets a defect, or dies."""

    def __init__(self, dies: bool) -> None:
        super().__init__()
        self.dies = dies

    def utterance(self, wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("a defect")


def test_a_worker_that_dies_is_told(lists: Mapping[str, Dataset]) -> None:
    """With what may have killed it."""
    clips = augmented(lists["train"].trials, augment=Broken(dies=True))
    with pytest.raises(DataError, match=r"decoding ended: .*exited unexpectedly(?s:.*)run again with --workers 0"):
        list(batches(clips, in_order(13, 4), workers=1))


def test_a_defect_in_a_worker_is_no_lack_of_memory(
    lists: Mapping[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as what it is, with the traceback of the worker."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)  # torch's wait for such a worker
    clips = augmented(lists["train"].trials, augment=Broken(dies=False))
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*a defect") as raised:
        list(batches(clips, in_order(13, 4), workers=1))
    assert not isinstance(raised.value, BenchError)
    del raised
    gc.collect()  # the loader, which waits at its end


# --- which rows make a batch ------------------------------------------------------------------------------------------


@given(st.integers(1, 70), st.integers(1, 12), st.booleans(), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_an_epoch_has_every_row_once(count: int, size: int, drop_last: bool, epoch: int) -> None:
    """In batches of the wanted size, the last one smaller or left out; in an order of its own."""
    stage = Stage.model_validate(toys.stage(batch_size=size, drop_last=drop_last))
    found = shuffled(stage, None, count, (1, "stage", epoch))
    sizes = [len(rows) for rows in found]
    whole = [size] * (count // size)
    assert sizes == whole if drop_last or not count % size else sizes == [*whole, count % size]
    rows = [row for batch in found for row in batch]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(count))
    again = shuffled(stage, None, count, (1, "stage", epoch))
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in found]


def test_orders_differ_between_epochs_and_are_uniform() -> None:
    """Of 4 rows, each stands first in a quarter of 400 epochs, within five standard errors."""
    stage = Stage.model_validate(toys.stage(batch_size=4))
    first = [int(shuffled(stage, None, 4, (1, "stage", epoch))[0][0]) for epoch in range(400)]
    assert np.abs(np.bincount(first) / 400 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 400)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=150), st.floats(1, 40), st.integers(0, 3))
@settings(deadline=None)
def test_batches_by_length_keep_the_limit(seconds: list[float], most: float, epoch: int) -> None:
    """Every file once; the padded audio of a batch is within the limit, a longer file is alone."""
    durations = np.array(seconds)
    stage = Stage.model_validate(toys.stage(batch_size=None, batch_seconds=most))
    found = shuffled(stage, durations, len(seconds), (1, "stage", epoch))
    assert sorted(row for rows in found for row in rows) == list(range(len(seconds)))
    assert all(len(rows) * durations[rows].max() <= most or len(rows) == 1 for rows in found)


def test_batches_by_length_are_of_like_files_and_full() -> None:
    """Of 2,000 files of 1 to 13 s less than a tenth of the batches' seconds is padding, and few batches are small."""
    seconds = np.random.default_rng(0).uniform(1, 13, 2_000)
    stage = Stage.model_validate(toys.stage(batch_size=None, batch_seconds=100.0))
    found = shuffled(stage, seconds, 2_000, DRAW)
    padded = np.array([len(rows) * seconds[rows].max() for rows in found])
    assert seconds.sum() / padded.sum() > 0.9
    assert (padded < 70).sum() <= BUCKETS
    lengths = [seconds[rows].mean() for rows in found]
    assert np.abs(np.corrcoef(lengths, np.arange(len(found)))[0, 1]) < 0.2
