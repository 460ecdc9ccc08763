"""The replicates of a cell's error rates: made once, kept beside its scores, and what follows from them.

    results/<dataset>/<detector>/<key12>/replicates.parquet     one column a measure, one row a replicate

The file names what it was made of, scores and trial list, and is made again where these are others now. It saves time
and nothing else: a store that cannot be written is read all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.det import Floats
from bench.errors import StoreError
from bench.files import read_parquet, write_parquet
from bench.replicates import MEASURES, REPLICATES, replicate
from bench.resampling import FACTORS, Resampling, Unit
from bench.scored import Scored
from bench.uncertainty import Interval, interval

FILE = "replicates.parquet"
VERSION = 1  # of the draws and of what is made of them: raised whenever a replicate changes


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How the numbers of a cell, or the means over seeds, move under the draws of their trial list.

    draws: names what they follow from, trials, speakers and attacks in their order.
    replicates: (REPLICATES,) of each of `MEASURES`; those of two cells may be subtracted only under the same `draws`.
    """

    unit: Unit
    draws: str
    replicates: Mapping[str, Floats]

    def interval(self, measure: str) -> Interval:
        """The 95 % interval of one of `MEASURES`."""
        return interval(self.replicates[measure])


class Uncertainties:
    """Of cells of one store: the draws of a trial list are made once."""

    def __init__(self) -> None:
        self._draws: dict[str, Resampling] = {}
        self._hashes: dict[tuple[str, str], str] = {}

    def of(self, scored: Scored) -> Uncertainty:
        """Read where they are kept, else made and kept."""
        assert scored.cell.path is not None, scored.cell.detector
        place, trials = scored.cell.path / FILE, self._hash(scored)
        if trials not in self._draws:
            self._draws[trials] = Resampling(scored.trials, REPLICATES)
        draws = self._draws[trials]
        made_of = hashlib.sha256(f"{VERSION} {REPLICATES} {trials}".encode() + scored.values.tobytes()).hexdigest()
        if (kept := _kept(place, made_of)) is not None:
            return Uncertainty(draws.unit, trials, kept)
        found = replicate(draws, scored.values, MEASURES)
        with contextlib.suppress(StoreError):  # a store that is only read: they are made again next time
            write_parquet(place, pd.DataFrame({**found, "made_of": made_of}))
        return Uncertainty(draws.unit, trials, found)

    def _hash(self, scored: Scored) -> str:
        """What the draws follow from; of a whole list taken once."""
        if scored.unscored:
            return _hash_of(scored.trials)
        place = (scored.cell.dataset, scored.cell.manifest["dataset"]["digest"])
        if place not in self._hashes:
            self._hashes[place] = _hash_of(scored.trials)
        return self._hashes[place]


def mean(members: Sequence[Uncertainty]) -> Uncertainty:
    """Of the means over several seeds: the draws are the same, so replicates are averaged one by one."""
    replicates = {name: np.mean([one.replicates[name] for one in members], axis=0) for name in MEASURES}
    return Uncertainty(members[0].unit, members[0].draws, replicates)


def _hash_of(trials: pd.DataFrame) -> str:
    """What the draws follow from: trials, classes, speakers and attacks, row by row."""
    hashed = pd.util.hash_pandas_object(trials[["trial", "label", *FACTORS]], index=False)
    return hashlib.sha256(hashed.to_numpy().tobytes()).hexdigest()


def _kept(place: Path, made_of: str) -> dict[str, Floats] | None:
    """Stored replicates, None where they are absent, damaged or of something else."""
    try:
        table = read_parquet(place)
    except StoreError:
        return None
    whole = len(table) == REPLICATES and {"made_of", *MEASURES} <= set(table)
    if not whole or not (table["made_of"] == made_of).all():
        return None
    found = {name: table[name].to_numpy() for name in MEASURES}
    sound = all(values.dtype == np.float64 and np.isfinite(values).all() for values in found.values())
    return found if sound else None
