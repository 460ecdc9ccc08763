"""Audio for training: trials -> changed and cropped clips -> batches, by worker processes ahead of the device.

Every random draw of an utterance comes from a generator of its own, seeded by the recipe's seed, the stage, the epoch
and the trial id. So an epoch is the same whatever the number of workers, and one that is resumed in its middle too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench import audio
from bench.augmentation import Augment
from bench.cards import AudioRecipe
from bench.errors import BenchError, DataError
from bench.recipes import Pieces, Stage
from bench.trials import is_bonafide, span


class Batch(NamedTuple):
    """Clips of one optimiser step, or of one validation step.

    wave: float32 (B, T), zero behind `lengths` (B,) int64. labels: float32 (B,), 1 = bona fide, 0 = spoof.
    rows: of the trial list; a clip and its changed copy are of one row.
    """

    wave: Tensor
    lengths: Tensor
    labels: Tensor
    rows: np.ndarray


def derived(*facts: object) -> int:
    """A seed in [0, 2^63) that follows from these facts and from nothing else."""
    text = "\x00".join(map(str, facts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class Clips:
    """The utterances of a trial list as a stage wants them.

    augment: how they are changed, None not at all. draw: what the random draws follow from, beside the trial id.
    crop: see `bench.recipes.Stage`. double: a changed copy beside each clip.
    """

    trials: pd.DataFrame
    recipe: AudioRecipe
    draw: tuple[object, ...] = ()
    augment: Augment | None = None
    crop: str = "first"
    pieces: Pieces | None = None
    double: bool = False

    def at(self, *draw: object) -> Clips:
        """The same utterances with other draws: those of an epoch."""
        return replace(self, draw=draw)

    def clips(self, row: int) -> list[tuple[np.ndarray, int]]:
        """The clip of an utterance, float32 (T,), with its real samples; behind it a changed copy, if any.

        Raises:
            AudioError: a file that cannot be decoded. Training on the rest would be another recipe.
        """
        trial = self.trials.iloc[row]
        generator = np.random.default_rng(derived(*self.draw, trial["trial"]))
        raw, rate = audio.decode(trial["path"], span(trial.get("start", ""), trial.get("stop", "")))
        wave = audio.resample(self._piece(raw, rate, generator), rate, self.recipe.rate, trial["path"])
        if self.augment is not None:
            wave = self.augment.utterance(wave, generator)
        wave = self._cropped(wave, generator)
        if self.augment is None:
            return [self._filled(wave)]
        changed = self._filled(self.augment.clip(wave, generator))
        return [self._filled(wave), changed] if self.double else [changed]

    def _filled(self, wave: np.ndarray) -> tuple[np.ndarray, int]:
        clip = audio.fit_window(wave, self.recipe)
        return clip, min(len(wave), len(clip)) if self.recipe.window == "pad" else len(clip)

    def _piece(self, raw: np.ndarray, rate: int, generator: np.random.Generator) -> np.ndarray:
        if self.pieces is None or len(raw) <= self.pieces.longest * rate:
            return raw
        samples = round(generator.uniform(*self.pieces.seconds) * rate)
        start = int(generator.integers(len(raw) - samples + 1))
        return raw[start : start + samples]

    def _cropped(self, wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The samples of the window; a shorter utterance as it is, it is filled up behind the augmentation."""
        samples = self.recipe.samples
        if samples is None or len(wave) <= samples:
            return wave
        start = int(generator.integers(len(wave) - samples + 1)) if self.crop == "random" else 0
        return wave[start : start + samples]


class _Batches(Dataset[Batch | BenchError]):
    """Whole batches, decoded in whatever process asks for them, or why one cannot be."""

    def __init__(self, clips: Clips, batches: Sequence[np.ndarray]) -> None:
        self._clips, self._batches = clips, batches
        self._labels = is_bonafide(clips.trials)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch | BenchError:
        try:
            return self._batch(index)
        except BenchError as error:  # raised in a worker, it would arrive as one text with the worker's traceback
            return error

    def _batch(self, index: int) -> Batch:
        found = [(row, *clip) for row in self._batches[index] for clip in self._clips.clips(row)]
        rows = np.array([row for row, _, _ in found])
        wave = np.zeros((len(found), max(len(clip) for _, clip, _ in found)), dtype=np.float32)
        for place, (_, clip, _) in zip(wave, found, strict=True):
            place[: len(clip)] = clip
        labels = torch.from_numpy(self._labels[rows].astype(np.float32))
        return Batch(torch.from_numpy(wave), torch.tensor([length for *_, length in found]), labels, rows)


def batches(clips: Clips, rows: Sequence[np.ndarray], *, workers: int = 0, pin: bool = False) -> Iterator[Batch]:
    """Decoded batches of these rows of the list, in their order.

    Raises:
        AudioError: as `Clips.clips`, also where a worker met it.
        DataError: a worker died.
    """
    processes = min(workers, len(rows))
    loader = DataLoader(
        _Batches(clips, rows),
        batch_size=None,
        shuffle=False,
        collate_fn=_unchanged,
        num_workers=processes,
        prefetch_factor=4 if processes else None,
        pin_memory=pin,
    )
    try:
        for found in loader:
            if isinstance(found, BenchError):
                raise found
            yield found
    except RuntimeError as error:  # torch has no class of its own for a worker that died
        if "DataLoader worker (pid" not in str(error):
            raise
        remedy = "memory or shared memory (/dev/shm) may have run out: run again with --workers 0"
        raise DataError(f"decoding ended: {error}", remedy=remedy) from error


def _unchanged(batch: Any) -> Any:
    return batch


def in_order(count: int, size: int) -> list[np.ndarray]:
    """Rows 0 to `count` in batches of `size`, the last one maybe smaller."""
    return np.split(np.arange(count), range(size, count, size))


def shuffled(stage: Stage, seconds: np.ndarray | None, count: int, draw: tuple[object, ...]) -> list[np.ndarray]:
    """The batches of an epoch: row numbers of the list in random order, a function of `draw` alone.

    Args:
        seconds: of each file (count,), needed where the stage batches by length.
    """
    generator = np.random.default_rng(derived(*draw, "order"))
    if stage.batch_seconds is None:
        assert stage.batch_size is not None, "a stage has one of the two"
        order = generator.permutation(count)
        found = np.split(order, range(stage.batch_size, count, stage.batch_size))
        return found[:-1] if stage.drop_last and len(found[-1]) < stage.batch_size else found
    assert seconds is not None, "durations are read before"
    return _by_length(seconds, stage.batch_seconds, generator)


BUCKETS = 20  # of like durations at most, from each of which batches are made: AntiDeepfake's number


def _by_length(seconds: np.ndarray, most: float, generator: np.random.Generator) -> list[np.ndarray]:
    """Batches of at most `most` seconds of padded audio, of files of like length, in random order."""
    found: list[np.ndarray] = []
    buckets = max(min(int(seconds.sum() / most), BUCKETS), 1)  # of a short list fewer, or they would not fill a batch
    for bucket in np.array_split(np.argsort(seconds, kind="stable"), buckets):
        rows: list[int] = []
        longest = 0.0
        for row in generator.permutation(bucket):
            longest = max(longest, float(seconds[row]))
            if rows and (len(rows) + 1) * longest > most:
                found.append(np.array(rows))
                rows, longest = [], float(seconds[row])
            rows.append(int(row))
        if rows:
            found.append(np.array(rows))
    return [found[index] for index in generator.permutation(len(found))]
