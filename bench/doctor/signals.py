"""Signals that are made by a formula, for golden scores: the same samples on any machine, up to the last bit or two.

    chirp-v1       4 s, n = 0 ... 63,999, t = n / 16,000:  0.5 sin(2 pi (100 t + 862.5 t^2)), from 100 Hz to 7,000 Hz
    harmonics-v1   2.5 s, n = 0 ... 39,999:  0.1 (1 + sin(6 pi t)) sum over k = 1 ... 20 of sin(240 pi k t) / k

Computed in float64, rounded to float32, at 16 kHz. Another formula is another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

RATE = 16_000


def _chirp() -> NDArray[np.float32]:
    t = np.arange(4 * RATE) / RATE
    return (0.5 * np.sin(2 * np.pi * (100 * t + 862.5 * t**2))).astype(np.float32)


def _harmonics() -> NDArray[np.float32]:
    t = np.arange(5 * RATE // 2) / RATE
    voice = sum(np.sin(240 * np.pi * k * t) / k for k in range(1, 21))
    return (0.1 * (1 + np.sin(6 * np.pi * t)) * voice).astype(np.float32)


SIGNALS: Mapping[str, Callable[[], NDArray[np.float32]]] = {"chirp-v1": _chirp, "harmonics-v1": _harmonics}
