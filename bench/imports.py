"""Score files made elsewhere -> cells of the store.

Formats met in the field, plain or gzip: `trial score`; `trial attack key score` (an official ASVspoof baseline); a
table with a header (`filename<TAB>cm-score`, `trial,score`). A trial is the same with or without an audio suffix or
folders before it. Scores are taken as they are: higher = more bona fide.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import pandas as pd

from bench import environment, metrics
from bench.cards import check_name
from bench.cellwriter import CellWriter
from bench.corpora import Dataset
from bench.errors import DataError, UsageError
from bench.leakage import Leakage, leakage
from bench.store import Cell
from bench.trials import LABELS, is_bonafide, trial_id
from bench.weights import sha256_of
from bench.workspace import Workspace

TRIAL_COLUMNS = ("trial", "filename", "file", "file_name", "utterance", "utt", "utt_id", "id", "path")
SCORE_COLUMNS = ("score", "cm-score", "cm_score", "scores")
LABEL_COLUMNS = ("label", "key", "cm-label", "cm_label")
REMEDY = "a line is `trial score`, or give columns a header line: trial,score"


class Row(NamedTuple):
    """A line: its number, its score, and what it may be about, best first: trial -> the label it then gives, or ''."""

    line: int
    score: str
    trials: Mapping[str, str]


def import_scores(workspace: Workspace, file: Path, detector: str, dataset_name: str) -> tuple[Cell, list[str]]:
    """Store the scores of a file as a cell; also notes for the user.

    Raises:
        DataError: a line that cannot be read, a duplicate trial, a score that is no finite number, a label that is not
            the dataset's, trials without a score (unless `allow_missing`).
        Blocked, UsageError: no such dataset, or its trial list is not here.
    """
    check_name(detector)
    dataset = workspace.dataset(dataset_name)
    scores, notes = read_scores(file, dataset)
    missing = int(np.isnan(scores).sum())
    if missing and not workspace.options.allow_missing:
        first = dataset.trials["trial"][np.isnan(scores)].iloc[0]
        raise DataError(
            f"{missing:,} of {len(scores):,} trials of {dataset.name} have no score, the first is {first!r}",
            where=file,
            remedy="score all of them, or accept a partial result with --allow-missing",
        )
    labels = is_bonafide(dataset.trials)
    scored = ~np.isnan(scores)
    if 0 < labels[scored].sum() < scored.sum() and metrics.evaluate(scores[scored], labels[scored])["auc"] < 0.5:
        notes.append("AUC is below 0.5: if higher means more spoof in this file, negate the scores and import again")
    if detector in workspace.detectors:
        form = workspace.detectors[detector].scores
        told = f", each score is a {form}" if form else ""
        notes.append(f"taken as scores of the {detector} of that card: its training data and published numbers{told}")
    return _store(workspace, file, detector, dataset, scores), notes


def read_scores(file: Path, dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    """Scores float64 in the order of the dataset's trials, NaN where the file has none; and notes for the user."""
    rows = {trial: row for row, trial in enumerate(dataset.trials["trial"])}
    labels = dataset.trials["label"].tolist()
    scores, lines = np.full(len(rows), np.nan), np.zeros(len(rows), dtype=np.int64)
    strangers = 0
    for item in rows_of(file):
        if isinstance(item, DataError):
            raise item
        line, text, named = item
        score = number(text, file, line)
        name = next((name for name in named if name in rows), None)
        if name is None:
            strangers += 1
            continue
        row, label = rows[name], named[name]
        if lines[row]:
            raise DataError(
                f"trial {name!r} has two scores, the first in line {lines[row]}",
                where=file,
                line=line,
                remedy="remove one; scorers that open their file in append mode write it twice",
            )
        if label and LABELS.get(label.lower(), labels[row]) != labels[row]:
            raise DataError(
                f"the file calls trial {name!r} {label}, {dataset.name} calls it {labels[row]}",
                where=file,
                line=line,
                remedy="check that the file belongs to this dataset and phase",
            )
        scores[row], lines[row] = score, line
    if not lines.any():
        raise DataError(
            f"none of its {strangers:,} lines is of a trial of {dataset.name}", where=file, remedy="check the --dataset"
        )
    count = "1 line is" if strangers == 1 else f"{strangers:,} lines are"
    note = f"{count} of no trial of {dataset.name} and left out"
    return scores, [note] if strangers else []


def number(text: str, file: Path, line: int) -> float:
    """The score of a line. Raises DataError: no number, or one that is not finite."""
    try:
        score = float(text if "_" not in text else "")  # Python would read 1_2 as 12
    except ValueError:
        raise DataError(f"{text!r} is not a number", where=file, line=line, remedy=REMEDY) from None
    if not math.isfinite(score):
        raise DataError(f"the score {text} is not finite", where=file, line=line, remedy="score this trial again")
    return score


def rows_of(file: Path) -> Iterator[Row | DataError]:
    """The lines of a score file in order; one that cannot be read is yielded as its error.

    Raises:
        DataError: an empty file, or from where on it is neither text nor gzip. UsageError: no such file.
    """
    lines = _lines(file)
    first_number, first = next(lines, (0, ""))
    if not first:
        raise DataError("the score file is empty", where=file, remedy=REMEDY)
    delimiter = next((symbol for symbol in "\t,;|" if symbol in first), None)
    header = [name.strip().lower() for name in _fields(first, delimiter, file, first_number)]
    trial, score, label = (_column(header, names) for names in (TRIAL_COLUMNS, SCORE_COLUMNS, LABEL_COLUMNS))
    if trial is not None and score is not None:
        for at, line in lines:
            try:
                fields = _fields(line, delimiter, file, at)
            except DataError as error:
                yield error
                continue
            if len(fields) != len(header):
                what = f"{len(fields)} columns where the header has {len(header)}"
                yield DataError(what, where=file, line=at, remedy=REMEDY)
                continue
            said = fields[label].strip() if label is not None else ""
            yield Row(at, fields[score].strip(), dict.fromkeys(_names(fields[trial]), said))
        return
    yield _plain(first_number, first, delimiter, file)
    for at, line in lines:
        yield _plain(at, line, delimiter, file)


def _plain(at: int, line: str, delimiter: str | None, file: Path) -> Row | DataError:
    """A line without a header: everything before the score is the id, which may hold spaces, or the first field is."""
    fields = [field.strip() for field in line.split(delimiter)]
    if len(fields) < 2:
        return DataError("a line needs a trial and a score", where=file, line=at, remedy=REMEDY)
    label = next((field for field in fields[1:-1] if field.lower() in LABELS), "")
    whole = _names(line.rsplit(delimiter, 1)[0])
    return Row(at, fields[-1], dict.fromkeys(whole, "") | dict.fromkeys(_names(fields[0]), label))


def _names(name: str) -> list[str]:
    """The trials that a name may stand for: it, and what is left of it without its first folders."""
    trial = trial_id(name.strip())
    parts = trial.replace("\\", "/").split("/")
    return [trial, *("/".join(parts[start:]) for start in range(len(parts)))]


def _fields(line: str, delimiter: str | None, file: Path, number: int) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter)) if delimiter else line.split()
    except csv.Error as error:
        raise DataError(f"not readable as a table: {error}", where=file, line=number, remedy=REMEDY) from None


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their 1-based numbers; gzip by content, BOM and CRLF taken off."""
    try:
        with file.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file, "rb") if zipped else file.open("rb") as binary:
            text = io.TextIOWrapper(cast(IO[bytes], binary), encoding="utf-8-sig")
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError:
        raise UsageError("no such score file", where=file) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"not readable: {error}", where=file, remedy="check the download; text or gzip is read"
        ) from None


def _store(workspace: Workspace, file: Path, detector: str, dataset: Dataset, scores: np.ndarray) -> Cell:
    card: dict[str, Any] = {"name": detector, "title": detector, "family": "imported", "licence": "", "published": []}
    seen: Leakage = "unknown"
    if detector in workspace.detectors:
        known = workspace.detectors[detector]
        card, seen = known.model_dump(mode="json"), leakage(known, dataset.name, workspace.datasets)
    lines = (f"{trial}\t{score!r}\n" for trial, score in zip(dataset.trials["trial"], scores.tolist(), strict=True))
    manifest = {
        "format": 1,
        "key": hashlib.sha256("".join([dataset.digest, "\n", *lines]).encode()).hexdigest(),
        "scorer": None,
        "dataset": dataset.facts(),
        "detector": {**card, "weights": None},
        "leakage": seen,
        "allow_missing": workspace.options.allow_missing,
        "imported": True,
        "file": {"name": file.name, "sha256": sha256_of(file)},
        "versions": environment.versions(),
    }
    trials, store = dataset.trials, workspace.store
    store.check_writable()
    store.write_trials(dataset.name, dataset.digest, trials)
    notes = np.where(np.isnan(scores), "not in the score file", "")
    block = pd.DataFrame({"trial": trials["trial"], "score": scores, "seconds": np.nan, "note": notes})
    writer = CellWriter(store, manifest, trials)
    writer.add(block)
    first = "the score file lacks them" if np.isnan(scores).any() else ""
    cell = writer.finish({"first_failure": first, "finished": datetime.now(UTC).isoformat(timespec="seconds")})
    store.resolve(dataset.name, detector, cell.key)
    return cell
