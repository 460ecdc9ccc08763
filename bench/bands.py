"""Several seeds of one detector: what is said of them together, and when nothing can be.

A single training is one draw; the field's recipes differ by more from seed to seed than many papers claim to gain.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.results import Result


@dataclass(frozen=True)
class Spread:
    """A measure over two seeds or more, as fractions; `standard_deviation` is that of a sample (n - 1)."""

    mean: float
    best: float
    worst: float
    standard_deviation: float


@dataclass(frozen=True)
class Band:
    """One detector trained with several seeds, on one dataset.

    results: of each seed, that of the card first. eer, f1_bonafide: None where a seed has no number.
    """

    results: Mapping[int, Result]
    eer: Spread | None
    f1_bonafide: Spread | None

    @property
    def reason(self) -> str:
        """Which seeds have no number, '' where all have one."""
        lacking = {seed: result.cell for seed, result in self.results.items() if result.metrics is None}
        told = {seed: "has no number" if cell.has_number else f"is {cell.status}" for seed, cell in lacking.items()}
        return ", ".join(f"seed {seed} {why}" for seed, why in told.items())

    @property
    def told(self) -> str:
        """EERs in percent, `mean of 3 seeds, best 13.10, worst 15.00`; or why there is no mean."""
        count = f"{len(self.results)} seeds"
        if self.eer is None:
            return f"no mean of {count}: {self.reason}"
        return f"mean of {count}, best {100 * self.eer.best:.2f}, worst {100 * self.eer.worst:.2f}"

    def as_json(self) -> dict[str, Any]:
        """What `bench show --json` says of it: fractions, null without a number."""
        return {
            "seeds": list(self.results),
            "reason": self.reason,
            "eer": self.eer and asdict(self.eer),
            "f1_bonafide": self.f1_bonafide and asdict(self.f1_bonafide),
            "cells": [
                {
                    "seed": seed,
                    "key": result.cell.key or None,
                    "status": result.cell.status,
                    "reason": result.cell.reason,
                    **{name: (result.metrics or {}).get(name) for name in ("eer", "f1_bonafide")},
                }
                for seed, result in self.results.items()
            ],
        }


def band(results: Mapping[int, Result]) -> Band:
    """The results of two seeds or more together; no mean where one of them has no number."""
    measured = [result.metrics for result in results.values() if result.metrics is not None]
    if len(measured) < len(results):
        return Band(results, None, None)
    eers, f1s = ([float(found[name]) for found in measured] for name in ("eer", "f1_bonafide"))
    return Band(results, _spread(eers, min, max), _spread(f1s, max, min))


def _spread(values: Sequence[float], best: Any, worst: Any) -> Spread:
    return Spread(statistics.fmean(values), best(values), worst(values), statistics.stdev(values))
