"""RawBoost as one would write it down: a loop over bands and over powers, scipy's firwin, freqz and lfilter.

An independent reference, from the published definition; nothing is shared with `bench.augmentation.rawboost`.
`benchmarks/training.py` measures against `rawboost`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
RATE = 16_000


def rawboost(wave: Array, algorithm: int, random: np.random.RandomState) -> Array:
    """Algorithm 0 to 8 on (T,), in float64."""
    x = np.asarray(wave, dtype=np.float64)
    if algorithm in (1, 4, 5, 6):
        x = convolutive(x, [notch_taps(gain, random) for gain in gains(random)])
    if algorithm in (2, 4, 5, 7):
        x = impulsive(x, random)
    if algorithm in (3, 4, 6, 7):
        white = random.normal(0, 1, len(x))
        taps = notch_taps(0.0, random)
        x = coloured(x, white, taps, random.uniform(10, 40))
    if algorithm == 8:
        first = convolutive(x, [notch_taps(gain, random) for gain in gains(random)])
        x = below_one(first + impulsive(x, random))
    return x


def gains(random: np.random.RandomState) -> list[float]:
    """Peak gains in dB of the filters of the powers 1 to 5."""
    return [0.0] + [random.uniform(-20, -5) for _ in range(4)]


def notch_taps(gain_db: float, random: np.random.RandomState) -> Array:
    """Five random band-stop filters in a row, scaled to this peak gain."""
    taps = np.ones(1)
    for _ in range(5):
        centre, width, count = random.uniform(20, 8000), random.uniform(100, 1000), int(random.uniform(10, 100))
        taps = np.convolve(taps, band_stop(centre - width / 2, centre + width / 2, count + (count % 2 == 0)))
    return taps * 10 ** (gain_db / 20) / peak_gain(taps)


def band_stop(lower: float, upper: float, count: int) -> Array:
    edges = [lower if lower > 0 else 0.001, upper if upper < RATE / 2 else RATE / 2 - 0.001]
    taps: Array = signal.firwin(count, edges, window="hamming", fs=RATE)
    return taps


def peak_gain(taps: Array) -> float:
    _, response = signal.freqz(taps, 1, fs=RATE)
    return float(np.abs(response).max())


def filtered(x: Array, taps: Array) -> Array:
    """Zeros at the end, the filter, and as much off either end."""
    extra = len(taps) + 1
    y: Array = signal.lfilter(taps, 1, np.concatenate([x, np.zeros(extra)]))
    return y[extra // 2 : len(y) - extra // 2]


def convolutive(x: Array, filters: list[Array]) -> Array:
    y = np.zeros(len(x))
    for power, taps in enumerate(filters, start=1):
        y = y + filtered(x**power, taps)
    return below_one(y - np.mean(y))


def impulsive(x: Array, random: np.random.RandomState) -> Array:
    percent = random.uniform(0, 10)
    places = random.permutation(len(x))[: int(len(x) * percent / 100)]
    factors = random.uniform(-1, 1, len(places)) * random.uniform(-1, 1, len(places))
    y = x.copy()
    y[places] = x[places] + 2 * x[places] * factors
    return below_one(y)


def coloured(x: Array, white: Array, taps: Array, snr_db: float) -> Array:
    noise = filtered(white, taps)
    noise = noise / np.abs(noise).max()
    y: Array = x + noise / np.linalg.norm(noise) * np.linalg.norm(x) / 10 ** (snr_db / 20)
    return y


def below_one(x: Array) -> Array:
    y: Array = x / max(1.0, np.abs(x).max())
    return y
