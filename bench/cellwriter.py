"""Writes a cell: blocks of scores as they come, kept in parts against a kill, and in the end the whole cell.

parts/<random>.parquet               blocks of scores, as they will be in scores.parquet
parts/embeddings/<random>.parquet    those of the sample that have one, see `bench.embeddings`
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench import embeddings
from bench.errors import StoreError
from bench.files import read_parquet, write_json, write_parquet
from bench.store import Cell, Status, Store, read_cell, read_parts
from bench.trials import RowFinder

PART_ROWS = 100_000  # of scores that wait to be written: a detector that reads no audio may score millions in a second

# What a manifest says of how scores were computed.
COMPUTED = ("executor", "compiled", "batch_size", "decode_workers", "threads", "versions", "hardware")


class CellWriter:
    """Collects the scores of one cell, keeps them in parts against a kill, and finishes the cell.

    Blocks are tables with the columns trial, score, extras..., seconds, note. A trial that is known already, from an
    earlier run or another one on the same store, keeps its first score: on the same hardware and batch size they are
    the same.
    """

    def __init__(self, store: Store, manifest: Mapping[str, Any], trials: pd.DataFrame) -> None:
        self.manifest = dict(manifest)
        self.dataset: str = manifest["dataset"]["name"]
        self.detector: str = manifest["detector"]["name"]
        self._ids = trials["trial"]
        self._finder = RowFinder(self._ids)
        self._folder = store.cell_folder(self.dataset, self.detector, manifest["key"])
        # The cell so far, rows as in the list: blocks, and copies of them, would be most of the memory of a run.
        self.known = np.zeros(len(trials), dtype=bool)
        self._numbers = {"score": np.full(len(trials), np.nan)}
        self._notes = np.full(len(trials), "", dtype=object)
        self._unwritten: list[np.ndarray] = []  # rows
        self._waiting = 0  # of them
        self._embeddings = embeddings.read_parts(self._folder)
        self._new_embeddings: list[pd.DataFrame] = []
        self._read_known()

    def _read_known(self) -> None:
        """Load what is stored of this cell."""
        cell = read_cell(self._folder)
        self.before = cell if cell is not None and cell.finished else None
        if cell is not None and not cell.finished:
            self._remember(cell)
        if self.before is None:
            write_json(self._folder / "cell.json", {**self.manifest, "status": "running"})
        # Parts before scores: another run that finishes meanwhile writes the scores before it drops its parts.
        blocks = read_parts(self._folder)
        scores = self._folder / "scores.parquet"
        if scores.is_file():
            # Finished before. A file that could not be decoded may have been mended since.
            blocks = [read_parquet(scores, remedy=f"delete the folder {self._folder} and run again"), *blocks]
            blocks = [block[block["score"].notna()] for block in blocks]
        for block in blocks:
            self._take(block)

    def _remember(self, cell: Cell) -> None:
        """Keep how an unfinished run computed, where this one does it otherwise: its scores are part of the cell."""
        told, now = ({name: facts.get(name) for name in COMPUTED} for facts in (cell.manifest, self.manifest))
        if told != now and any((self._folder / "parts").glob("*.parquet")):
            self.manifest["earlier"] = [*cell.manifest.get("earlier", []), told]
        elif cell.manifest.get("earlier"):
            self.manifest["earlier"] = cell.manifest["earlier"]

    def _take(self, block: pd.DataFrame) -> tuple[np.ndarray, int]:
        """Put the rows of a block where they belong; those it told more of than was known (n,), how many are new."""
        rows = self._finder.rows(block["trial"])
        if (rows < 0).any():
            stranger = block["trial"].iloc[int((rows < 0).argmax())]
            raise StoreError(
                f"trial {stranger!r} has a score but is not in the list of this cell",
                where=self._folder,
                remedy="delete this folder and run again",
            )
        lacks = np.isnan(block["score"].to_numpy(dtype=np.float64))
        # A score counts more than the note of an earlier or simultaneous run that could not read the file.
        order = lacks.argsort(kind="stable")
        rows, firsts = np.unique(rows[order], return_index=True)
        order = order[firsts]
        new = ~self.known[rows]
        better = new | (np.isnan(self._numbers["score"][rows]) & ~lacks[order])
        rows, order = rows[better], order[better]
        for name in block.columns.drop(["trial", "note"]):
            column = self._numbers.setdefault(name, np.full(len(self.known), np.nan))
            column[rows] = block[name].to_numpy(dtype=np.float64)[order]
        self._notes[rows] = block["note"].to_numpy(dtype=object)[order]
        self.known[rows] = True
        return rows, int(new.sum())

    def _table(self, rows: np.ndarray | slice) -> pd.DataFrame:
        """What is known of these rows, as it is stored."""
        numbers = {name: column[rows] for name, column in self._numbers.items()}
        seconds = numbers.pop("seconds")  # behind the extras, whatever came first
        columns = {"trial": self._ids.iloc[rows].array, **numbers, "seconds": seconds, "note": self._notes[rows]}
        return pd.DataFrame(columns, copy=False)

    def reuse(self, scores: pd.DataFrame) -> None:
        """Take over scores that another list's cell of the same scorer has for trials of this one."""
        rows = self._finder.rows(scores["trial"])
        wanted = (rows >= 0) & scores["score"].notna().to_numpy()
        wanted[wanted] = ~self.known[rows[wanted]]
        if wanted.any():
            self.add(scores[wanted])
            self.flush()

    def add(self, block: pd.DataFrame, embedded: pd.DataFrame | None = None) -> int:
        """Take a block, and the embeddings of those of its trials that are in the sample (`bench.embeddings.table`).

        Returns:
            How many of its trials were not known before.
        """
        rows, new = self._take(block)
        self._unwritten.append(rows)
        self._waiting += len(rows)
        if embedded is not None:
            self._new_embeddings.append(embedded)
        if self._waiting >= PART_ROWS:
            self.flush()
        return new

    def flush(self) -> None:
        """Write what was added since the last flush; embeddings before the scores, by which trials are known."""
        if self._new_embeddings:
            table = pd.concat(self._new_embeddings, ignore_index=True)
            write_parquet(self._folder / embeddings.PARTS / f"{uuid.uuid4().hex}.parquet", table)
            self._embeddings.append(table)
            self._new_embeddings = []
        if self._waiting:
            part = self._folder / "parts" / f"{uuid.uuid4().hex}.parquet"
            write_parquet(part, self._table(np.concatenate(self._unwritten)))
            self._unwritten, self._waiting = [], 0

    def finish(self, facts: Mapping[str, Any]) -> Cell:
        """Write scores.parquet, then cell.json with `facts`, then drop the parts. Every trial once, or StoreError."""
        absent = np.flatnonzero(~self.known)
        if len(absent):
            raise StoreError(
                f"{len(absent)} trials were never scored, the first is {self._ids.iloc[absent[0]]!r}",
                where=self._folder,
                remedy="run again",
            )
        embeddings.write(self._folder, [*self._embeddings, *self._new_embeddings], self._ids)
        write_parquet(self._folder / "scores.parquet", self._table(slice(None)))
        failed = np.flatnonzero(np.isnan(self._numbers["score"]))
        status: Status = "incomplete" if len(failed) else "complete"
        first = self._notes[failed[0]] if len(failed) else ""
        counts = {"scored": len(self.known) - len(failed), "failed": len(failed), "first_failure": first}
        cell = self.close(status, {**counts, **facts})
        shutil.rmtree(self._folder / "parts", ignore_errors=True)  # another run on this store may be writing there
        return cell

    def close(self, status: Status, facts: Mapping[str, Any]) -> Cell:
        """Write cell.json; a status other than finished keeps the parts for the next run."""
        self.flush()
        write_json(self._folder / "cell.json", {**self.manifest, **facts, "status": status})
        cell = read_cell(self._folder)
        if cell is None:
            raise StoreError("the cell vanished while it was written", where=self._folder, remedy="run again")
        return cell
