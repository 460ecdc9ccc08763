"""Is it drawn as it should be? Seeds are fixed, so a test of these passes always or never."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

LEAST = 0.001  # p; of a wrong distribution it is far below


def assert_uniform(values: Sequence[float] | np.ndarray, low: float, high: float) -> None:
    """Between the bounds, as often anywhere, and up to both of them."""
    assert stats.kstest(values, "uniform", (low, high - low)).pvalue > LEAST
    span, near = high - low, max(10 / len(values), 0.01)
    assert -0.001 < (min(values) - low) / span < near
    assert -0.001 < (high - max(values)) / span < near


def assert_alike(ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray) -> None:
    """Two samples of one distribution."""
    assert stats.ks_2samp(ours, theirs).pvalue > LEAST


def assert_even(counts: Iterable[int]) -> None:
    """Cases that are as likely as each other."""
    assert stats.chisquare(list(counts)).pvalue > LEAST
