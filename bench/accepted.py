"""leaderboard.yml: boards, the tolerance, and the accepted results that `bench check` compares the store with.

    tolerance: 0.05            # percentage points of EER
    boards:
      main: {detectors: [all], datasets: [all]}
    accepted:
      - detector: aasist
        dataset: itw
        digest: <64 hex>       # of the trial list
        key: <64 hex>          # what made the scores; of several seeds that of the first
        eer: 7.8357            # percent; of several seeds the mean
        tolerance: 0.1         # optional, of this cell

It is written by hand and by `bench check --accept`, which changes scalars where they stand and appends entries: every
other character stays as it is. The accepted scores lie beside it:

    reports/accepted/<dataset>/<detector>.parquet

Scores alone, in ascending order of trial id: the digest of the trial list, in the file's metadata, says whose they are.
Both are read as files of strangers: in a pull request they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import Field, ValidationError, field_validator

from bench import yamlfile
from bench.cards import NAME
from bench.det import Floats
from bench.errors import CardError, StoreError, UsageError, unknown
from bench.fields import Fields
from bench.files import atomically
from bench.registry import card_error
from bench.store import folder_name

SHA256 = "^[0-9a-f]{64}$"
EER_DECIMALS = 4  # of a percentage in the file
ALONE = "score"  # the column of a detector without seeds
WRITTEN = ("detector", "dataset", "digest", "key", "eer")
CHANGED = WRITTEN[2:]
NEW_FILE = """\
# What `bench check` compares results with; `bench check --accept` writes it. EER in percent.
tolerance: 0.05 # percentage points of EER
accepted:
"""
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
MOST_SEEDS = 64  # of a detector: a file of strangers must not fill the memory

Pattern = Annotated[str, Field(pattern=r"^[^\s,]+$")]
Pair = tuple[str, str]  # dataset, detector


class Accepted(Fields):
    """One accepted result. eer: percent. tolerance: percentage points, None = that of the file."""

    detector: str = Field(pattern=NAME)
    dataset: str = Field(pattern=NAME)
    digest: str = Field(pattern=SHA256)
    key: str = Field(pattern=SHA256)
    eer: float = Field(ge=0, le=100, strict=True)
    tolerance: float | None = Field(default=None, ge=0, strict=True)

    @property
    def pair(self) -> Pair:
        return self.dataset, self.detector


class Board(Fields):
    """Names, globs or `all`, as for `bench run`."""

    detectors: tuple[Pattern, ...] = Field(min_length=1)
    datasets: tuple[Pattern, ...] = Field(min_length=1)


class Leaderboard(Fields):
    """What a leaderboard.yml says."""

    tolerance: float = Field(default=0.05, ge=0, strict=True)
    boards: dict[str, Board] = Field(default_factory=dict)
    accepted: tuple[Accepted, ...] = ()

    @field_validator("accepted", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return () if value is None else value  # `accepted:` with nothing below it

    def board(self, name: str) -> Board:
        """Raises UsageError: there is none of this name, with the nearest ones."""
        if name not in self.boards:
            raise unknown("board", name, self.boards)
        return self.boards[name]


@dataclass(frozen=True, eq=False)
class AcceptedScores:
    """The scores that were accepted for one cell.

    factors: `factors` of the trial list. columns: float64 (N,), finite, in ascending order of trial id; by seed, or one
    `ALONE`. made_by: what made them, as far as a manifest tells, for the reader.
    """

    digest: str
    factors: str
    columns: Mapping[str, Floats]
    made_by: Mapping[str, Any] = field(default_factory=dict)


def read(file: Path) -> Leaderboard:
    """What a leaderboard.yml says.

    Raises:
        UsageError: there is none. CardError: it is not valid, with its line.
    """
    if not file.exists():
        raise UsageError(
            "there are no accepted results here",
            where=file,
            remedy="write the file with `bench check --accept`, or name one with --leaderboard",
        )
    raw = yamlfile.load(file)
    try:
        board = Leaderboard.model_validate(raw)
    except ValidationError as error:
        raise card_error(error, file, raw, Leaderboard) from None
    seen: set[Pair] = set()
    for number, entry in enumerate(board.accepted):
        if entry.pair in seen:
            what, line = f"{entry.detector} on {entry.dataset} is accepted twice", ("accepted", number, "detector")
            raise CardError(what, where=file, line=yamlfile.line_of(file, line), remedy="remove one of the two entries")
        seen.add(entry.pair)
    return board


def write(file: Path, results: Iterable[Accepted]) -> None:
    """Put results into a leaderboard.yml, made where there is none: see `rewritten`.

    Raises:
        CardError: the file is not valid, or written in a way that this cannot continue; it stays as it is.
        StoreError: it cannot be written.
    """
    place = file.resolve()  # a link stays one
    try:
        text = place.read_bytes().decode() if place.exists() else NEW_FILE
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"cannot be read: {error}", where=file) from None
    old = read(file) if place.exists() else Leaderboard()
    wanted = {entry.pair: entry for entry in old.accepted}
    for one in results:
        known = wanted.get(one.pair)
        wanted[one.pair] = one.model_copy(update={"tolerance": known.tolerance if known else None})
    content = rewritten(text, old, list(wanted.values()))

    def save(part: Path) -> None:
        part.write_bytes(content.encode())
        with suppress(CardError):
            if read(part).accepted == tuple(wanted.values()):
                return
        remedy = "write `accepted` as a list of entries with one field a line, as in the README"
        raise CardError("`accepted` is written in a way that cannot be continued here", where=file, remedy=remedy)

    _saved(place, save)


def scores_file(file: Path, dataset: str, detector: str) -> Path:
    """Where the accepted scores of a cell lie, for the leaderboard.yml `file`."""
    return file.resolve().parent / "reports" / "accepted" / folder_name(dataset) / f"{folder_name(detector)}.parquet"


def factors(trials: pd.DataFrame) -> str:
    """Sha256 (hex) over the lines `trial<TAB>speaker<TAB>attack<LF>` of a list in ascending order of trial.

    The draws of an interval follow from them, and the digest knows nothing of them.
    """
    named = trials.reindex(columns=["trial", "speaker", "attack"], fill_value="").astype("str")
    lines = named["trial"] + "\t" + named["speaker"] + "\t" + named["attack"] + "\n"
    return hashlib.sha256("".join(lines.tolist()).encode()).hexdigest()


def write_scores(place: Path, scores: AcceptedScores) -> None:
    """Deterministic: the same scores give the same bytes with the same pyarrow. float32 where that is exact."""
    made_by = json.dumps(scores.made_by, sort_keys=True)
    sha256 = _sha256(scores.factors, scores.columns)
    told = {"digest": scores.digest, "factors": scores.factors, "sha256": sha256, "made_by": made_by}
    table = pa.table({name: _compact(values) for name, values in scores.columns.items()}, metadata=told)

    def save(part: Path) -> None:
        pq.write_table(
            table,
            part,
            compression="zstd",
            use_dictionary=False,  # hardly a score comes twice
            use_byte_stream_split=True,
            write_statistics=False,
        )

    _saved(place, save)


def read_scores(place: Path, digest: str, trials: int) -> AcceptedScores | None:
    """The accepted scores of a cell, None where none are kept.

    Args:
        digest, trials: of the trial list that they must be of.

    Raises:
        StoreError: not readable, of another trial list, of another length, not finite.
    """
    try:
        with place.open("rb") as file:
            parquet = pq.ParquetFile(file)
            told, schema = parquet.schema_arrow.metadata or {}, parquet.schema_arrow
            if told.get(b"digest") != digest.encode():
                raise _damaged("they are of another trial list than the entry", place)
            if parquet.metadata.num_rows != trials:
                rows = parquet.metadata.num_rows
                raise _damaged(f"{rows:,} scores for {trials:,} trials", place)
            floats = all(kind in (pa.float32(), pa.float64()) for kind in schema.types)
            distinct = len(set(schema.names)) == len(schema.names)
            if not 0 < len(schema.names) <= MOST_SEEDS or not floats or not distinct:
                raise _damaged("not one column of numbers a seed", place)
            table, made_by = parquet.read(), json.loads(told.get(b"made_by", b"{}"))
            with np.errstate(invalid="ignore"):  # a NaN is told below
                columns = {name: table[name].to_numpy().astype(np.float64) for name in schema.names}
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise _damaged(f"not readable: {error}", place) from None
    factors = told.get(b"factors", b"").decode(errors="replace")
    if told.get(b"sha256") != _sha256(factors, columns).encode():
        raise _damaged("not the scores that were written", place)
    broken = sum(int((~np.isfinite(values)).sum()) for values in columns.values())
    if broken:
        raise _damaged(f"{broken:,} scores are not finite", place)
    return AcceptedScores(digest, factors, columns, made_by if isinstance(made_by, dict) else {})


def trials_of(place: Path) -> int | None:
    """How many trials accepted scores are of, None where that cannot be told."""
    try:
        return int(pq.read_metadata(place).num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return None


def _damaged(what: str, place: Path) -> StoreError:
    return StoreError(
        f"the accepted scores cannot be used: {what}",
        where=place,
        remedy="get the file back from version control, or accept the cell again with --accept",
    )


def _sha256(factors: str, columns: Mapping[str, Floats]) -> str:
    """Of what is compared: a changed bit of a file, wherever it lies, must not become another score."""
    hashed = hashlib.sha256(f"{factors}\n".encode())
    for name, values in columns.items():
        hashed.update(f"{name}\n".encode() + values.tobytes())
    return hashed.hexdigest()


def _compact(values: Floats) -> Any:
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    return pa.array(short if np.array_equal(short.astype(np.float64), values) else values)


def _saved(place: Path, save: Callable[[Path], None]) -> None:
    try:
        atomically(place, save)
    except StoreError as error:
        raise StoreError(error.what, where=place, remedy="make the folder writable, or name another file") from None


def rewritten(text: str, old: Leaderboard, accepted: Sequence[Accepted]) -> str:
    """The text of a leaderboard.yml with other accepted results, all else as it is: comments, order, quotes, spacing.

    Digest, key and EER that differ are replaced where they stand; entries that `old` lacks are appended, indented like
    the last one.

    Args:
        old: what the text says. accepted: those of `old` in their order, with other values, and new ones behind them.
    """
    known = len(old.accepted)
    entries = _found(yamlfile.compose(text), "accepted")
    edits = []
    for number, (before, now) in enumerate(zip(old.accepted, accepted[:known], strict=True)):
        for name in CHANGED:
            if getattr(before, name) != getattr(now, name):
                node = _found(entries.value[number], name)
                edits.append((node.start_mark.index, _end(text, node), _value(now, name, node.style)))
    for start, stop, value in sorted(edits, reverse=True):
        text = text[:start] + value + text[stop:]
    return _appended(text, accepted[known:]) if accepted[known:] else text


def _appended(text: str, new: Sequence[Accepted]) -> str:
    root: Any = yamlfile.compose(text)
    entries = _found(root, "accepted")
    if entries is None:
        return _below(text, _end(text, root), root.start_mark.column, new, heading=True)
    start, stop = entries.start_mark.index, _end(text, entries)
    flow = ", ".join(_in_flow(one) for one in new)
    if isinstance(entries, yaml.SequenceNode) and entries.value:
        last = entries.value[-1]
        behind = _end(text, last)
        if entries.flow_style:
            return f"{text[:behind]}, {flow}{text[behind:]}"
        return _listed(text, behind, entries.start_mark.column, last.start_mark.column, last.flow_style, new)
    if root.flow_style or LINE_BREAK.search(text, start, stop):
        inside = start + 1 if isinstance(entries, yaml.SequenceNode) else None
        return f"{text[:inside]}{flow}{text[inside:]}" if inside else f"{text[:start]} [{flow}]{text[stop:]}"
    # `accepted:`, `accepted: []  # none yet`: the list begins in the next line.
    key = next(key for key, value in root.value if value is entries)
    rest = text[stop:]
    kept = text[:start] if rest.lstrip(" \t").startswith("#") else text[:start].rstrip(" ")
    return _below(kept + rest, len(kept), key.start_mark.column, new, heading=False)


def _below(text: str, behind: int, column: int, new: Sequence[Accepted], *, heading: bool) -> str:
    """`accepted` begun below the line of `behind`, its name in `column`."""
    if heading:
        at = _line_end(text, behind)
        name = f"{_newline(text)}{' ' * column}accepted:"
        text, behind = text[:at] + name + text[at:], at + len(name)
    return _listed(text, behind, column + 2, column + 4, False, new)


def _listed(text: str, behind: int, dash: int, column: int, flow: bool, new: Sequence[Accepted]) -> str:
    """Entries below the line of `behind`, their dashes and fields in these columns."""
    newline, at = _newline(text), _line_end(text, behind)
    first, others = f"{newline}{' ' * dash}-{' ' * (column - dash - 1)}", newline + " " * column
    blocks = (_in_flow(one) if flow else others.join(f"{name}: {_value(one, name)}" for name in WRITTEN) for one in new)
    return text[:at] + "".join(first + block for block in blocks) + text[at:]


def _in_flow(one: Accepted) -> str:
    return f"{{{', '.join(f'{name}: {_value(one, name)}' for name in WRITTEN)}}}"


def _value(one: Accepted, name: str, style: str | None = None) -> str:
    """A field as YAML, in the quotes of `style` where it has some."""
    value = getattr(one, name)
    if isinstance(value, float):
        return repr(value)
    if name in ("digest", "key") and style in ("'", '"'):
        return f"{style}{value}{style}"
    return _scalar(value)


def _scalar(value: str) -> str:
    """A string as YAML, wherever it stands; quoted where it would be read as something else."""
    for quotes in (None, '"'):
        listed = yaml.safe_dump(
            [value], default_flow_style=True, default_style=quotes, allow_unicode=True, width=10_000
        ).strip()
        node: Any = yamlfile.compose(listed)
        if node.value[0].tag == "tag:yaml.org,2002:str":
            break
    return listed[1:-1]


def _found(node: Any, name: str) -> Any:
    """The value of a field of a mapping, None where it has none."""
    return next((value for key, value in node.value if key.value == name), None)


def _end(text: str, node: Any) -> int:
    """Where a node ends as it is written: PyYAML's mark of a block lies behind the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    start, stop = int(node.start_mark.index), int(node.end_mark.index)
    return start + len(text[start:stop].rstrip())


def _line_end(text: str, at: int) -> int:
    found = LINE_BREAK.search(text, at)
    return found.start() if found else len(text)


def _newline(text: str) -> str:
    found = LINE_BREAK.search(text)
    return found[0] if found else "\n"
