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
        self._ids = pd.Index(trials["trial"])
        self._store = store
        self._folder = store.cell_folder(self.dataset, self.detector, manifest["key"])
        self._blocks: list[pd.DataFrame] = []
        self._unwritten: list[pd.DataFrame] = []
        self._embeddings = embeddings.read_parts(self._folder)
        self._new_embeddings: list[pd.DataFrame] = []
        self.known = self._read_known()

    def _read_known(self) -> np.ndarray:
        """Load what is stored of this cell; which rows of the trial list need no scoring, bool (rows,)."""
        cell = read_cell(self._folder)
        if cell is None or not cell.finished:
            write_json(self._folder / "cell.json", {**self.manifest, "status": "running"})
        # Parts before scores: another run that finishes meanwhile writes the scores before it drops its parts.
        self._blocks = read_parts(self._folder)
        scores = self._folder / "scores.parquet"
        if scores.is_file():
            # Finished before. A file that could not be decoded may have been mended since.
            blocks = [read_parquet(scores, remedy=f"delete the folder {self._folder} and run again"), *self._blocks]
            self._blocks = [block[block["score"].notna()] for block in blocks]
        known = np.zeros(len(self._ids), dtype=bool)
        for block in self._blocks:
            known[self._rows(block)] = True
        return known

    def _rows(self, block: pd.DataFrame) -> np.ndarray:
        """The row of each trial of a block in the trial list."""
        rows: np.ndarray = self._ids.get_indexer(pd.Index(block["trial"]))
        if (rows < 0).any():
            stranger = block["trial"].iloc[int((rows < 0).argmax())]
            raise StoreError(
                f"trial {stranger!r} has a score but is not in the list of this cell",
                where=self._folder,
                remedy="delete this folder and run again",
            )
        return rows

    def reuse(self, scores: pd.DataFrame) -> None:
        """Take over scores that another list's cell of the same scorer has for trials of this one."""
        rows = self._ids.get_indexer(pd.Index(scores["trial"]))
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
        rows = self._rows(block)
        if embedded is not None:
            self._new_embeddings.append(embedded)
        new = int((~self.known[rows]).sum())
        self.known[rows] = True
        self._unwritten.append(block)
        return new

    def flush(self) -> None:
        """Write what was added since the last flush; embeddings before the scores, by which trials are known."""
        if self._new_embeddings:
            table = pd.concat(self._new_embeddings, ignore_index=True)
            write_parquet(self._folder / embeddings.PARTS / f"{uuid.uuid4().hex}.parquet", table)
            self._embeddings.append(table)
            self._new_embeddings = []
        if self._unwritten:
            part = self._folder / "parts" / f"{uuid.uuid4().hex}.parquet"
            table = pd.concat(self._unwritten, ignore_index=True)
            write_parquet(part, table)
            self._blocks.append(table)  # one table a part: a small one a batch would cost gigabytes
            self._unwritten = []

    def finish(self, facts: Mapping[str, Any]) -> Cell:
        """Write scores.parquet, then cell.json with `facts`, then drop the parts. Every trial once, or StoreError."""
        blocks = [*self._blocks, *self._unwritten]
        table = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame({"trial": [], "score": []})
        # A score counts more than the note of an earlier or simultaneous run that could not read the file.
        table = table.iloc[table["score"].isna().to_numpy().argsort(kind="stable")]
        table = table[~table["trial"].duplicated()].set_index("trial")
        absent = self._ids.difference(table.index)
        if len(absent):
            raise StoreError(
                f"{len(absent)} trials were never scored, the first is {absent[0]!r}",
                where=self._folder,
                remedy="run again",
            )
        table = table.loc[self._ids].reset_index()
        # A batch without a readable file has no extras: the order of the columns must not depend on which came first.
        extras = [name for name in table if name not in ("trial", "score", "seconds", "note")]
        table = table[["trial", "score", *extras, "seconds", "note"]]
        notes = table.loc[table["score"].isna(), "note"].tolist()
        embeddings.write(self._folder, [*self._embeddings, *self._new_embeddings], self._ids)
        write_parquet(self._folder / "scores.parquet", table)
        status: Status = "incomplete" if notes else "complete"
        counts = {"scored": len(table) - len(notes), "failed": len(notes), "first_failure": notes[0] if notes else ""}
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
