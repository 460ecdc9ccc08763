"""Results on disk: everything a cell is, so that numbers can be computed later and elsewhere.

    results/<dataset>/trials-<digest12>.parquet      the trial list without paths: results need no corpus
    results/<dataset>/audit-<digest12>.json          what `bench doctor` found in its audio, see `bench.audits`
    results/<dataset>/<detector>/latest.json         what the last run resolved this pair to, or why it was blocked;
                                                     of several seeds, each of them; and when
    results/<dataset>/<detector>/<key12>/
        cell.json        everything that determined the scores; counts, versions, hardware, timings; written last
        scores.parquet   trial, score, extras..., seconds (duration of the audio), note; rows as in the trial list
        embeddings.parquet   of a sample of trials, where the detector has them
        parts/           what a running or killed run has written so far
    results/weights/<detector>/<recipe key12>/       what training made
    results/features/                                what frozen encoders gave in training
    results/tuning.json                              batch sizes that were found on GPUs, see `bench.tuning`

Every file is written beside its place and renamed, so a reader never sees half of one, at any moment of a kill. Two
runs on one store write parts of their own names and then the same final bytes. Names of datasets and detectors are
percent-encoded, so no name leads out of the results folder.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import pandas as pd

from bench import audits, embeddings, manifests
from bench.errors import StoreError, UsageError
from bench.files import explained, read_json, read_parquet, write_json, write_parquet
from bench.trials import COLUMNS

Status = Literal["complete", "incomplete", "failed", "running", "blocked"]
KEY_CHARACTERS = 12  # of a sha256 in a folder name: 2^48 keys a pair
LATEST = ("key", "reason", "remedy", "written")  # texts in latest.json


@dataclass(frozen=True)
class Cell:
    """One detector on one dataset, as stored. `key` is the full sha256, '' for a blocked cell, which has no folder.

    band: where the last run asked for several seeds, the cells of all of them by seed; this cell is one of them.
    """

    dataset: str
    detector: str
    key: str
    status: Status
    path: Path | None = None
    reason: str = ""
    remedy: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    band: Mapping[int, Cell] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.status in ("complete", "incomplete")

    @property
    def has_number(self) -> bool:
        """Whether it may be measured: all of it was scored, or what is missing was accepted."""
        accepted = self.status == "incomplete" and bool(self.manifest.get("allow_missing"))
        return self.status == "complete" or accepted

    def scores(self) -> pd.DataFrame:
        """The stored scores of a finished cell: trial, score, extras..., seconds, note."""
        if self.path is None or not self.finished:
            raise StoreError(f"{self.detector} on {self.dataset} has no finished scores", where=self.path)
        return read_parquet(self.path / "scores.parquet", remedy=f"delete the folder {self.path} and run again")

    def embeddings(self) -> pd.DataFrame | None:
        """Of a sample of trials, see `bench.embeddings.read`; None where there are none."""
        return embeddings.read(self.path) if self.path is not None and self.finished else None


def band_cell(members: Mapping[int, Cell]) -> Cell:
    """The cell that stands for those of several seeds: the first one, or where that is blocked one that is not."""
    cells = list(members.values())
    return replace(next((cell for cell in cells if cell.status != "blocked"), cells[0]), band=members)


class Store:
    """The results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tuning_file = root / "tuning.json"

    def check_writable(self) -> None:
        """Raises StoreError now rather than after hours of scoring."""
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".{uuid.uuid4().hex}.part"
            probe.write_bytes(b"")
            probe.unlink()

    def pair_folder(self, dataset: str, detector: str) -> Path:
        return self.root / folder_name(dataset) / folder_name(detector)

    def cell_folder(self, dataset: str, detector: str, key: str) -> Path:
        return self.pair_folder(dataset, detector) / key[:KEY_CHARACTERS]

    def weights_folder(self, detector: str, key: str) -> Path:
        return self.root / "weights" / folder_name(detector) / key[:KEY_CHARACTERS]

    def cell(self, dataset: str, detector: str, key: str) -> Cell | None:
        """The stored cell of this key, finished or not."""
        return read_cell(self.cell_folder(dataset, detector, key))

    def cells(self) -> list[Cell]:
        """Every cell of every pair, by dataset, detector and key."""
        return self._found("*/*/*/cell.json")

    def pair(self, dataset: str, detector: str) -> list[Cell]:
        """Every cell of one pair, by key."""
        return self._found(f"{folder_name(dataset)}/{folder_name(detector)}/*/cell.json")

    def _found(self, pattern: str) -> list[Cell]:
        # Names are percent-encoded, so a folder name holds no glob symbol.
        found = (self._told(manifest.parent) for manifest in sorted(self.root.glob(pattern)))
        return [cell for cell in found if cell is not None]

    def _told(self, folder: Path) -> Cell | None:
        """A cell, or that it is damaged: one of a thousand must not hide the others."""
        try:
            return read_cell(folder)
        except StoreError as error:
            dataset, detector = unquote(folder.parts[-3]), unquote(folder.parts[-2])
            return Cell(dataset, detector, "", "failed", folder, error.reason(), error.remedy or "")

    def current(self) -> list[Cell]:
        """The cell of every pair that counts now: what the last run resolved it to, else the newest finished one.

        A blocked pair is there only while nothing of it is finished.
        """
        pairs: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells():
            pairs.setdefault((cell.dataset, cell.detector), []).append(cell)
        for latest in self.root.glob("*/*/latest.json"):
            pairs.setdefault((unquote(latest.parts[-3]), unquote(latest.parts[-2])), [])
        chosen = (self._choose(dataset, detector, cells) for (dataset, detector), cells in sorted(pairs.items()))
        return [cell for cell in chosen if cell is not None]

    def current_of(self, dataset: str, detector: str) -> Cell | None:
        """The cell of one pair that counts now, as in `current`."""
        return self._choose(dataset, detector, self.pair(dataset, detector))

    def _choose(self, dataset: str, detector: str, cells: Sequence[Cell]) -> Cell | None:
        try:
            latest = self._latest(dataset, detector)
        except StoreError as error:
            return Cell(dataset, detector, "", "failed", None, error.reason(), error.remedy or "")
        members = {entry["seed"]: _member(dataset, detector, entry, cells) for entry in latest.get("band", ())}
        if any(cell.status != "blocked" for cell in members.values()):
            return band_cell(members)
        for cell in cells:
            if cell.key == latest.get("key"):
                return cell
        ranked = sorted(cells, key=lambda cell: (cell.finished, str(cell.manifest.get("finished", "")), cell.key))
        if ranked and ranked[-1].finished:
            return ranked[-1]
        if damaged := [cell for cell in ranked if not cell.key]:
            return damaged[0]
        if "reason" in latest:
            return Cell(dataset, detector, "", "blocked", None, latest["reason"], latest.get("remedy", ""))
        return ranked[-1] if ranked else None

    def newer(self, cell: Cell) -> Cell | None:
        """What the last run left of the pair of a current cell, where it is not that cell: blocked, unfinished or lost.

        `current` passes over it for what was finished before: good to show, too old to decide by.
        """
        latest, cells = self._latest(cell.dataset, cell.detector), self.pair(cell.dataset, cell.detector)
        own = {cell.key, *(member.key for member in cell.band.values())}
        if latest and not cell.band and latest.get("key") not in own:
            return _member(cell.dataset, cell.detector, latest, cells)
        # A run that is killed resolves nothing, but leaves what it began.
        since = max(latest.get("written", ""), str(cell.manifest.get("finished", "")))
        begun = (one for one in cells if one.key not in own and str(one.manifest.get("started", "")) > since)
        return next(begun, None)

    def _latest(self, dataset: str, detector: str) -> Mapping[str, Any]:
        """latest.json of a pair, {} where there is none. Raises StoreError: it is not as it is written below."""
        place = self.pair_folder(dataset, detector) / "latest.json"
        latest = read_json(place) or {}
        band = latest.get("band", [])
        told = isinstance(band, list) and all(isinstance(one, dict) and type(one.get("seed")) is int for one in band)
        if not told or any(not isinstance(one.get(name, ""), str) for one in (latest, *band) for name in LATEST):
            raise StoreError("not what a run resolves a pair to", where=place, remedy="delete it and run again")
        return latest

    def _remember(self, dataset: str, detector: str, told: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.pair_folder(dataset, detector) / "latest.json", {**told, "written": now})

    def resolve(self, dataset: str, detector: str, key: str) -> None:
        """Remember that this pair is now the cell of this key."""
        self._remember(dataset, detector, {"key": key})

    def resolve_band(self, members: Mapping[int, Cell]) -> None:
        """Remember that a pair is now the cells of these seeds, the one of the card's own seed first."""
        first = next(iter(members.values()))
        told = [{"seed": seed, **_resolved(cell)} for seed, cell in members.items()]
        self._remember(first.dataset, first.detector, {**_resolved(first), "band": told})

    def refresh(self, cell: Cell, texts: Mapping[str, Any]) -> Cell:
        """Bring what a finished cell says of its card and corpus up to date; its scores stay as they are."""
        assert cell.path is not None
        if any(cell.manifest.get(name) != value for name, value in texts.items()):
            write_json(cell.path / "cell.json", {**cell.manifest, **texts})
        return read_cell(cell.path) or cell

    def block(self, dataset: str, detector: str, reason: str, remedy: str) -> None:
        """Remember why this pair could not run."""
        self._remember(dataset, detector, {"reason": reason, "remedy": remedy})

    def write_trials(self, dataset: str, digest: str, trials: pd.DataFrame) -> None:
        """Keep a trial list. Its attributes are no part of the digest: the newest ones stay."""
        write_parquet(self.trials_file(dataset, digest), trials.drop(columns="path"))

    def trials(self, dataset: str, digest: str) -> pd.DataFrame:
        """The trial list of this digest, columns of `bench.trials` without `path`.

        Raises:
            StoreError: it is not there, damaged, or no table of texts.
        """
        place = self.trials_file(dataset, digest)
        found = read_parquet(place)
        texts = all(found[name].dtype == "str" and not found[name].hasnans for name in found)
        if not texts or not {*COLUMNS} - {"path"} <= set(found):
            remedy = "delete it and run again with the corpus at hand"
            raise StoreError("it holds no trial list", where=place, remedy=remedy)
        return found

    def audit_file(self, dataset: str, digest: str) -> Path:
        """Where the audit of the audio of a trial list is kept."""
        return self.root / folder_name(dataset) / f"audit-{digest[:KEY_CHARACTERS]}.json"

    def audit(self, dataset: str, digest: str) -> audits.Kept | None:
        """What `bench doctor` found in it; None where it was not examined."""
        return audits.read(self.audit_file(dataset, digest), digest)

    def trials_file(self, dataset: str, digest: str) -> Path:
        """Where the trial list of this digest is kept."""
        return self.root / folder_name(dataset) / f"trials-{digest[:KEY_CHARACTERS]}.parquet"


def _resolved(cell: Cell) -> dict[str, str]:
    """What latest.json says of a cell: its key, or why there is none."""
    return {"key": cell.key} if cell.key else {"reason": cell.reason, "remedy": cell.remedy}


def _member(dataset: str, detector: str, entry: Mapping[str, str], cells: Sequence[Cell]) -> Cell:
    """The cell that latest.json names for a seed, a damaged one by its folder; else a blocked one."""
    folder = entry.get("key", "")[:KEY_CHARACTERS]
    reason, remedy = entry.get("reason", "its cell is not here any more"), entry.get("remedy", "run again")
    lost = Cell(dataset, detector, "", "blocked", None, reason, remedy)
    return next((cell for cell in cells if cell.path is not None and cell.path.name == folder), lost)


def read_cell(folder: Path) -> Cell | None:
    """The cell in a folder, None where there is none. Raises StoreError: a cell.json that is not one."""
    manifest = read_json(folder / "cell.json")
    if manifest is None:
        return None
    try:
        if fault := manifests.fault(manifest):
            raise ValueError(fault)
        dataset, status = manifest["dataset"], manifest["status"]
        reason, remedy = str(manifest.get("reason", "")), str(manifest.get("remedy", ""))
        if status == "running":
            stored = len(set().union(*(part["trial"] for part in read_parts(folder))))
            reason = f"interrupted or still running: {stored:,} of {dataset['trials']:,} trials are stored"
            remedy = "run the same command again: it goes on from there"
        elif status == "incomplete":
            missing = f"{manifest['failed']:,} of {dataset['trials']:,} files"
            reason = f"{missing} could not be scored; {manifest['first_failure']}"
            remedy = "mend the files and run again, or accept what is there with --allow-missing"
        detector, key = manifest["detector"]["name"], manifest["key"]
        return Cell(dataset["name"], detector, key, status, folder, reason, remedy, manifest)
    except (KeyError, ValueError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(
            f"not a cell of this version: {told}", where=folder / "cell.json", remedy="move this folder away"
        ) from None


def read_parts(folder: Path) -> list[pd.DataFrame]:
    """What is stored of a cell that is not finished."""
    parts = []
    try:
        places = sorted(place for place in (folder / "parts").iterdir() if place.suffix == ".parquet")
    except FileNotFoundError:
        return []
    for place in places:
        try:
            parts.append(read_parquet(place))
        except StoreError:
            if place.exists():  # if not, another run has just finished the cell
                raise
    return parts


def folder_name(name: str) -> str:
    """A name as one path component on any file system and in a URL."""
    encoded = quote(name, safe="")
    if encoded.startswith(".") or name in ("weights", "features"):
        encoded = f"%{ord(name[0]):02X}{encoded[1:]}"
    if not 0 < len(encoded) <= 200:
        raise UsageError(
            f"the name {name[:40]!r}… is too long for a folder" if name else "a name cannot be empty",
            remedy="use 1 to 200 ASCII letters; a letter of another script counts as 6 or more",
        )
    return encoded
