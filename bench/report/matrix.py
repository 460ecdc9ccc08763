"""The matrix of the front page: detectors x trial lists, and the averages over them.

Ranks are those of a trial list, or of a group of equal datasets: nothing is ranked over different trials.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.averages import Averages, Group, Scope
from bench.families import corpus_of, whole
from bench.report import badges, data, measured, places
from bench.report.badges import Badge, Use
from bench.report.measured import Line
from bench.results import Result
from bench.uncertainty import Interval


@dataclass(frozen=True)
class Column:
    """One trial list. ident: in the address of the page. part: its digest, where several lists have the name."""

    dataset: str
    digest: str
    ident: str
    part: str
    trials: int | None
    page: str


@dataclass(frozen=True)
class Mean:
    """A column of averages: over all datasets that most detectors share, or over the held-out ones of these."""

    ident: str
    title: str
    datasets: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A word beside a number, and the sentence behind it.

    told: read out before the word. kind: classes of the style sheet.
    """

    text: str
    meaning: str
    told: str = ""
    kind: str = "badge"


@dataclass(frozen=True)
class Note:
    """What a number is of, in a few words, and in full."""

    text: str
    meaning: str


@dataclass(frozen=True)
class Number:
    """An error rate with its interval.

    rank, shared: None without a rank; whether others have it too. leads: the best of its column, by rank, and not
    because it has seen the trials. note: what it is of, where that is not plain.
    """

    value: float
    interval: Interval
    rank: int | None
    shared: bool = False
    leads: bool = False
    note: Note | None = None


@dataclass(frozen=True)
class Square:
    """A cell in the matrix. number: None for the status of the cell and its reason."""

    result: Result
    page: str
    number: Number | None
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Row:
    """One detector. means: one for each of `Mean`, squares: one for each column; None where there is none."""

    name: str
    title: str
    page: str
    family: str
    badges: tuple[Badge, ...]
    use: Use
    means: tuple[Number | None, ...]
    squares: tuple[Square | None, ...]
    speed: float | None
    parameters: int | None
    finished: str


# --- columns ----------------------------------------------------------------------------------------------------------


def columns_of(found: Sequence[Result]) -> tuple[Column, ...]:
    """Every trial list: whole corpora first, then other lists of a corpus, then samples and perturbed ones."""
    facts = {(result.cell.dataset, result.digest): result.cell.manifest.get("dataset", {}) for result in found}
    counts = Counter((result.cell.dataset, result.digest) for result in found)
    named = {name for name, digest in facts if digest}
    lists = [(name, digest) for name, digest in facts if digest or name not in named]
    several = {name for name, count in Counter(name for name, _ in lists).items() if count > 1}

    def order(place: tuple[str, str]) -> tuple[bool, bool, str, int, str]:
        name, digest = place
        sibling = corpus_of({"name": name, **facts[place]}) != whole(name)
        return name != whole(name), sibling, name, -counts[place], digest

    return tuple(
        Column(
            dataset=name,
            digest=digest,
            ident=f"dataset.{name}" + (f".{digest[:12]}" if name in several else ""),
            part=digest[:12] if name in several else "",
            trials=facts[name, digest].get("trials"),
            page=places.dataset(name),
        )
        for name, digest in sorted(lists, key=order)
    )


MEANS = {"held-out": ("held-out", "Held-out average"), "all": ("overall", "Overall average")}


def means_of(found: Sequence[Result], averages: Averages) -> tuple[Mean, ...]:
    """The held-out average before that over all datasets, where there are any."""
    return tuple(Mean(*MEANS[scope.cells], tuple(_ranked(scope, found).datasets)) for scope in _scopes(averages))


def _scopes(averages: Averages) -> list[Scope]:
    """In the order of `MEANS`, those in which anything is averaged."""
    scopes = {scope.cells: scope for scope in averages.scopes if scope.groups}
    return [scopes[cells] for cells in MEANS if cells in scopes]


def _ranked(scope: Scope, found: Sequence[Result]) -> Group:
    """The group whose averages are ranked: that of most detectors, of several that with most datasets.

    Probes and chance do not count where there are others: nothing was trained, so every dataset is held out for them.
    """
    deaf = {result.cell.detector for result in found if measured.family(result) in measured.NOT_LISTENING}

    def members(group: Group) -> tuple[int, int]:
        detectors = [one.detector for one in group.averages]
        return sum(name not in deaf for name in detectors), len(detectors)

    return max(scope.groups, key=members)  # of equals the first, and those with most datasets come first


# --- rows -------------------------------------------------------------------------------------------------------------


def rows_of(found: Sequence[Result], columns: Sequence[Column], averages: Averages, lines: Sequence[Line]) -> list[Row]:
    """In the order of the first average; behind them who is not ranked in it, by the first trial list."""
    ranks = {(line.dataset, line.detector): line.rank for line in lines}
    held = Counter((result.cell.dataset, result.digest, ranks[_pair(result)]) for result in found)
    cells: dict[str, dict[Column, Square]] = {}
    for result in found:
        rank = ranks[_pair(result)]
        shared = held[result.cell.dataset, result.digest, rank] > 1
        column = _column_of(result, columns)
        cells.setdefault(result.cell.detector, {})[column] = _square(result, rank, shared)
    means = _averaged(found, averages)
    rows = [
        _row(data.newest(found, name), [own.get(column) for column in columns], means.get(name, ()))
        for name, own in cells.items()
    ]
    return sorted(rows, key=_order)


def _pair(result: Result) -> tuple[str, str]:
    return result.cell.dataset, result.cell.detector


def _column_of(result: Result, columns: Sequence[Column]) -> Column:
    """A cell without a digest, blocked or damaged, stands in the first column of its dataset."""
    own = [column for column in columns if column.dataset == result.cell.dataset]
    return next((column for column in own if column.digest == result.digest), own[0])


def _averaged(found: Sequence[Result], averages: Averages) -> Mapping[str, tuple[Number | None, ...]]:
    """Detector -> its numbers in the columns of `means_of`."""
    shown = _scopes(averages)
    numbers: dict[str, list[Number | None]] = {}
    for place, scope in enumerate(shown):
        ranked = _ranked(scope, found)
        for group in scope.groups:
            held = Counter(one.rank for one in group.averages)
            for one in group.averages:
                number = (
                    Number(one.macro, one.interval, one.rank, held[one.rank] > 1, one.rank == 1)
                    if group is ranked
                    else Number(one.macro, one.interval, None, note=_over(group.datasets))
                )
                numbers.setdefault(one.detector, [None] * len(shown))[place] = number
    return {name: tuple(own) for name, own in numbers.items()}


def _order(row: Row) -> tuple[bool, float, bool, float, str]:
    def key(number: Number | None, ranked: bool) -> tuple[bool, float]:
        known = number is not None and (number.rank is not None or not ranked)
        return not known, number.value if number is not None and known else 0.0

    first = next((square.number if square else None for square in row.squares), None)
    return *key(row.means[0] if row.means else None, True), *key(first, False), row.name


def _row(newest: Result, squares: Sequence[Square | None], means: Sequence[Number | None]) -> Row:
    detector = newest.cell.manifest.get("detector", {})
    results = [square.result for square in squares if square]
    speeds = [speed for speed in map(measured.speed, results) if speed is not None]
    return Row(
        name=newest.cell.detector,
        title=measured.title(newest),
        page=places.detector(newest.cell.detector),
        family=measured.family(newest),
        badges=tuple(badges.of_detector(newest)),
        use=badges.use(newest),
        means=tuple(means),
        squares=tuple(squares),
        speed=statistics.median(speeds) if speeds else None,
        parameters=detector.get("parameters"),
        finished=max((told[:10] for told in map(data.finished, results) if told), default=""),
    )


def _square(result: Result, rank: int | None, shared: bool) -> Square:
    number = None
    if result.eer is not None and result.uncertainty is not None:
        leads = rank == 1 and result.leakage != "seen"
        number = Number(result.eer, result.uncertainty.interval("eer"), rank, shared, leads, _seeds(result))
    page = places.cell(result.cell.dataset, result.cell.detector)
    return Square(result, page, number, tuple(_marks(result)) if number else ())


def _over(datasets: Collection[str]) -> Note:
    return Note(f"over {len(datasets)} datasets", ", ".join(datasets))


def _seeds(result: Result) -> Note | None:
    if result.band is None or result.band.eer is None:
        return None
    return Note(f"mean of {len(result.band.results)} seeds", result.band.told)


def _marks(result: Result) -> Iterator[Mark]:
    """What a reader must know of a number at a glance; all else is on the page of the cell."""
    leakage = badges.of_leakage(result)
    if leakage.text != "held-out":
        yield Mark(leakage.text, leakage.meaning)
    if result.caveat:
        yield Mark("part of the trials", result.caveat)
    if result.band is not None and result.band.eer is None:
        yield Mark(f"seed {result.seed} alone", result.band.told)
    kinds = {"reproduced": ("\u2713", "mark good"), "off": ("\u2260", "mark bad"), "not comparable": ("", "mark")}
    told = data.verdicts(result)
    for one in sorted(told, key=lambda one: list(kinds).index(one.kind))[:1]:
        sign, kind = kinds[one.kind]
        text = f"{sign} {one.entry.eer:g}" if sign else f"({one.entry.eer:g})"
        meaning = " | ".join(f"published {each.entry.eer:g} %: {each.text}; {each.entry.source}" for each in told)
        yield Mark(text, meaning, f"published, {one.kind}: ", kind)
