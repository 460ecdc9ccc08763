"""Recordings of other sounds and of rooms, mixed into a clip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from bench import audio
from bench.augmentation.signals import at_snr, convolved, levelled, rms
from bench.errors import AudioError


def with_noise(
    wave: np.ndarray, generator: np.random.Generator, *, paths: Sequence[str], snr_db: tuple[float, float], rate: int
) -> np.ndarray:
    """A clip (T,) plus a random piece of a random recording, repeated where it is shorter: float64 (T,).

    The signal-to-noise ratio is uniform between the two values in decibels and that of the whole clip, whose level is
    kept. A piece that is silent adds nothing.

    Raises:
        AudioError: the recording cannot be decoded.
    """
    noise = recording(_any_of(paths, generator), rate)
    start = int(generator.integers(max(len(noise) - len(wave), 0) + 1))
    return at_snr(wave, np.resize(noise[start : start + len(wave)], len(wave)), generator.uniform(*snr_db))


def in_room(wave: np.ndarray, generator: np.random.Generator, *, paths: Sequence[str], rate: int) -> np.ndarray:
    """A clip (T,) as heard in the room of a random impulse response: float64 (T,).

    The direct sound, taken to be the response's peak, stays where it was; what rings on behind the clip is cut off.
    The level is kept: the result has the RMS of the clip.

    Raises:
        AudioError: the response cannot be decoded, or is silent.
    """
    path = _any_of(paths, generator)
    response = recording(path, rate)
    direct = int(np.abs(response).argmax())
    if not response[direct]:
        raise AudioError("a room impulse response is silent", where=path, remedy="take it out of the folder")
    first = max(direct - len(wave) + 1, 0)  # taps farther from the direct sound than the clip is long meet no sample
    heard = response[None, first : direct + len(wave)]
    return levelled(convolved([wave], heard, lead=direct - first), rms(wave))


@lru_cache(maxsize=16)  # a small collection is decoded once a process; of a large one little is kept in memory
def recording(path: str, rate: int) -> np.ndarray:
    """A file's samples at this rate, float32 (T,), read-only: they are shared."""
    raw, own_rate = audio.decode(path)
    samples = audio.resample(raw, own_rate, rate, path)
    samples.flags.writeable = False
    return samples


def _any_of(paths: Sequence[str], generator: np.random.Generator) -> str:
    return paths[int(generator.integers(len(paths)))]
