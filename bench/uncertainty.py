"""How far a number would move with other speakers and other attacks: intervals, differences, ranks.

The bootstrap of `bench.resampling` and `bench.replicates`: every replicate weighs the trials anew, and every detector
on one list is measured under the same replicates. So the interval of a difference is that of the replicates'
differences: what is hard about the trials is hard for both and cancels. Two intervals that overlap say nothing of it.

An interval describes the stated unit on this list. It is no promise about corpora that were collected otherwise, and
for few clusters or few errors it holds the truth less often than it says (benchmarks/coverage.py): see its warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.det import Floats

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """The middle `LEVEL` of the replicates, ends as fractions."""

    low: float
    high: float

    @property
    def told(self) -> str:
        """In percent: `6.71–9.02`."""
        return f"{100 * self.low:.2f}–{100 * self.high:.2f}"

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Difference:
    """One detector minus another on the same trials, as fractions.

    interval: of the replicates' differences. p_value: two-sided, twice the share of replicates on the other side of 0.
    """

    value: float
    interval: Interval
    p_value: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return not self.interval.holds(0.0)

    @property
    def told(self) -> str:
        """In percentage points: `+3.21 pp (95 %: +1.10 to +5.02)`."""
        low, high = 100 * self.interval.low, 100 * self.interval.high
        return f"{100 * self.value:+.2f} pp (95 %: {low:+.2f} to {high:+.2f})"


def interval(replicates: Floats) -> Interval:
    """The percentile interval of replicates (R,)."""
    return intervals(replicates[None])[0]


def intervals(replicates: Floats) -> list[Interval]:
    """As `interval`, of each row of replicates (M, R)."""
    ends = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return [Interval(low, high) for low, high in ends.T.tolist()]


def difference(value: float, first: Floats, second: Floats) -> Difference:
    """First minus second: the observed `value`, and what replicates (R,) of both under the same draws tell of it."""
    replicates = first - second
    above, below = np.count_nonzero(replicates >= 0), np.count_nonzero(replicates <= 0)
    p_value = min(1.0, 2 * (1 + min(above, below)) / (1 + len(replicates)))
    return Difference(value, interval(replicates), float(p_value))


def p_told(value: float) -> str:
    """A p value in words: `= 0.012`, `< 0.005` where it is about as low as so many replicates can tell."""
    return f"= {value:.3f}" if value >= 0.005 else "< 0.005"


def ranks(values: Mapping[str, float], replicates: Mapping[str, Floats]) -> dict[str, int]:
    """Ranks with tie groups, lowest value first.

    A detector shares the rank of the best one of its group while the interval of their difference holds zero; the first
    that does not begins the next group, whose rank is 1 + the number of detectors before it. No correction for the
    number of comparisons is made.
    """
    found: dict[str, int] = {}
    leader = ""
    for place, name in enumerate(sorted(values, key=lambda name: (values[name], name)), start=1):
        if leader and interval(replicates[name] - replicates[leader]).holds(0.0):
            found[name] = found[leader]
        else:
            found[name], leader = place, name
    return found
