"""What a detector made of a trial before its last layer, kept for a sample of the trials: the map on a cell's page.

    results/<dataset>/<detector>/<key12>/embeddings.parquet     trial, embedding (float16, a list of D)

No number follows from them, so they are no part of a cell's key. A detector without embeddings has no file, and trials
whose scores were taken over from another list are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.errors import StoreError
from bench.files import read_parquet, write_parquet
from bench.trials import hashes, is_bonafide

FILE = "embeddings.parquet"
PARTS = "parts/embeddings"
SAMPLE = 400  # trials of a cell: as many as a map can show, and 0.8 MB of 1,024 numbers each


def sample(trials: pd.DataFrame, size: int = SAMPLE) -> np.ndarray:
    """Which trials of a list to keep embeddings of, bool (rows,).

    Both classes alike, and in each all attacks, as far as there are trials; inside by a hash of the trial id, so that
    the choice depends on the list alone and lists that share trials share choices.
    """
    hashed = hashes(trials["trial"])
    group = 2 * pd.factorize(trials["attack"])[0] + is_bonafide(trials)
    rows = np.lexsort((hashed, group))
    stops = np.bincount(group, minlength=1).cumsum()
    firsts = [rows[start:stop][:size] for start, stop in zip([0, *stops], stops, strict=False)]
    rows, rank = np.concatenate(firsts), np.concatenate([np.arange(len(first)) for first in firsts])
    # The first of every attack, the second, ...; then so of every class.
    rows = rows[np.lexsort((rows, hashed[rows], rank))]
    rank = pd.Series(rows).groupby(group[rows] % 2).cumcount().to_numpy()
    chosen = np.zeros(len(trials), dtype=bool)
    chosen[rows[rank.argsort(kind="stable")[:size]]] = True
    return chosen


def table(trials: Sequence[str], rows: np.ndarray) -> pd.DataFrame:
    """Trials and their embeddings (n, D) as they are stored: what half precision cannot hold becomes its largest."""
    largest = np.finfo(np.float16).max
    return pd.DataFrame({"trial": list(trials), "embedding": list(np.clip(rows, -largest, largest).astype(np.float16))})


def read(folder: Path) -> pd.DataFrame | None:
    """Of a cell: `trial` and `embedding`, each an array (D,) of float16; None where none were kept.

    Raises:
        StoreError: a file that cannot be read, or holds something else.
    """
    place = folder / FILE
    if not place.is_file():
        return None
    remedy = "delete this file: the scores are not touched, and the page has no map"
    found = read_parquet(place, remedy=remedy)
    if list(found) != ["trial", "embedding"] or found["trial"].dtype != "str" or not _of_one_length(found["embedding"]):
        raise StoreError("it holds no embeddings of one length", where=place, remedy=remedy)
    return found


def _of_one_length(rows: pd.Series) -> bool:
    numbers = all(isinstance(row, np.ndarray) and row.dtype.kind in "iuf" for row in rows)
    return numbers and rows.map(len).nunique() == 1


def read_parts(folder: Path) -> list[pd.DataFrame]:
    """What a cell that is not finished has so far, and what it had when it was finished before."""
    places = [folder / FILE, *sorted((folder / PARTS).glob("*.parquet"))]
    found = []
    for place in places:
        try:
            found.append(read_parquet(place))
        except StoreError:  # absent, damaged, or another run has just finished the cell: the map has fewer points
            continue
    return found


def write(folder: Path, blocks: Sequence[pd.DataFrame], trials: pd.Series) -> None:
    """Keep embeddings, each trial once and in the order of these ids; nothing where there are none."""
    if not blocks:
        return
    whole = pd.concat(blocks, ignore_index=True).drop_duplicates("trial").set_index("trial")
    write_parquet(folder / FILE, whole.loc[trials[trials.isin(whole.index)]].reset_index())
