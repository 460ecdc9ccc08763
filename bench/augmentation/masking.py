"""Parts of time and frequency that are left out: SpeechBrain's DropFreq and DropChunk, and SpecAugment."""

from __future__ import annotations

import numpy as np
import torch

from bench.augmentation.signals import convolved
from bench.recipes import DropChunk, DropFrequency, Masks, Spectrum

NOTCH_REACH = 50  # taps on either side of the middle of a notch filter
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01  # of the short-time spectrum that `mask` works on


def left_out(wave: np.ndarray, generator: np.random.Generator, *, recipe: Spectrum, rate: int) -> np.ndarray:
    """A clip (T,) without the parts that the recipe leaves out, one kind after the other: (T,)."""
    if recipe.drop_frequency is not None:
        wave = drop_frequency(wave, generator, recipe.drop_frequency)
    if recipe.drop_chunk is not None:
        wave = drop_chunk(wave, generator, recipe.drop_chunk)
    if recipe.masks is not None:
        wave = mask(wave, generator, recipe.masks, rate)
    return wave


def drop_frequency(wave: np.ndarray, generator: np.random.Generator, recipe: DropFrequency) -> np.ndarray:
    """A clip (T,) through a number of notch filters in a row, each at a random frequency: float64 (T,).

    The row is cut to the length of one filter, as SpeechBrain 1.0 does (`augment.time_domain.DropFreq`).
    """
    count = generator.integers(*recipe.count, endpoint=True)
    row = np.eye(1, 2 * NOTCH_REACH + 1, NOTCH_REACH)[0]
    for frequency in generator.uniform(recipe.low, recipe.high, count):
        row = np.convolve(row, notch(frequency, recipe.width), mode="same")
    return convolved([wave], row[None], lead=NOTCH_REACH)


def notch(frequency: float, width: float) -> np.ndarray:
    """A notch filter (101,): a low-pass plus a high-pass, both Blackman-windowed sinc functions.

    Args:
        frequency, width: shares of half the sample rate.

    As SpeechBrain 1.0 has it (`processing.signal_processing.notch_filter`), where `frequency` is the lower edge, the
    upper one lies twice the width above it, half the sample rate is 3 instead of pi, and the window is periodic.
    """
    position = np.arange(-NOTCH_REACH, NOTCH_REACH + 1)
    window = np.blackman(len(position) + 1)[:-1]
    low = np.sinc(3 / np.pi * frequency * position) * window
    high = np.sinc(3 / np.pi * (frequency + 2 * width) * position) * window
    taps: np.ndarray = low / low.sum() - high / high.sum()
    taps[NOTCH_REACH] += 1
    return taps


def drop_chunk(wave: np.ndarray, generator: np.random.Generator, recipe: DropChunk) -> np.ndarray:
    """A clip (T,) with a number of stretches of random lengths set to zero, which may overlap: (T,).

    As SpeechBrain 1.0 has it (`augment.time_domain.DropChunk`): every stretch begins at least the longest one's length
    before the end; all begin at the first sample where the clip is no longer than that.
    """
    count = generator.integers(*recipe.count, endpoint=True)
    lengths = generator.integers(*recipe.samples, count, endpoint=True)
    latest = max(len(wave) - int(lengths.max(initial=0)), 0)
    changed = wave.copy()
    for start, length in zip(generator.integers(latest, size=count, endpoint=True), lengths, strict=True):
        changed[start : start + length] = 0
    return changed


def mask(wave: np.ndarray, generator: np.random.Generator, recipe: Masks, rate: int) -> np.ndarray:
    """A clip (T,) whose short-time spectrum has a number of bands and as many stretches of frames zeroed: (T,).

    The spectrum has Hann windows of 25 ms every 10 ms. A mask's extent and place are drawn as torchaudio's
    `FrequencyMasking` and `TimeMasking` draw them (SpecAugment, Park et al., Interspeech 2019), but never beyond the
    spectrum, and from `generator`.
    """
    size, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    window = torch.hann_window(size, dtype=torch.float64)
    whole = torch.from_numpy(wave.astype(np.float64))
    spectrum = torch.stft(whole, size, hop, window=window, pad_mode="constant", return_complex=True)
    bins, frames = spectrum.shape
    for _ in range(generator.integers(*recipe.count, endpoint=True)):
        spectrum[span(bins, recipe.frequency, generator)] = 0
        spectrum[:, span(frames, recipe.time, generator)] = 0
    masked: np.ndarray = torch.istft(spectrum, size, hop, window=window, length=len(wave)).numpy()
    return masked


def span(size: int, most: int, generator: np.random.Generator) -> slice:
    """Below `most` of 0 to `size`, somewhere."""
    extent = generator.uniform(0, min(most, size))
    start = int(generator.uniform(0, size - extent))
    return slice(start, start + int(extent))
