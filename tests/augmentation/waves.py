"""Waves to augment: noise, and a voice of harmonics that glide and pause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch


def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def voice(rate: int, seconds: float = 1.0) -> np.ndarray:
    """Peak 0.5; harmonics up to 3.5 kHz, so that a telephone keeps them all."""
    time = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 1.3 * time)) / rate
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 26))
    wave = harmonics * np.clip(np.sin(2 * np.pi * 2.1 * time + 0.5), 0, 1)
    levelled: np.ndarray = 0.5 * wave / np.abs(wave).max()
    return levelled.astype(np.float32)


def saved(path: Path, wave: np.ndarray, rate: int = 16_000) -> str:
    """The path of a file that holds exactly these samples."""
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return str(path)


def lag(wave: np.ndarray, reference: np.ndarray) -> int:
    """By how many samples the wave is late, where the two correlate best."""
    return int(np.correlate(wave, reference[200:-200], "valid").argmax()) - 200


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """With so many threads inside torch, and then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
