"""The leaderboard: the matrix of detectors and trial lists, who leads, what has no number, and all of it as data.

The page has EERs for the reader without JavaScript; the other metrics are in a block of data for leaderboard.js.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

from bench.averages import Averages
from bench.report import data, places
from bench.report.matrix import Column, Mean, Number, Row, Square, columns_of, means_of, rows_of
from bench.report.measured import NOT_LISTENING, Line, Measured
from bench.report.pages import render
from bench.report.site import Site
from bench.report.tables import Files
from bench.results import Result

BAR = 100  # units of a bar's width


@dataclass(frozen=True)
class Metric:
    """A number of a cell that a reader may choose. lowest: the lowest value is the best one."""

    name: str
    label: str
    lowest: bool = True


SHOWN = (
    Metric("eer", "EER %"),
    Metric("f1_bonafide", "F1, bona fide positive", lowest=False),
    Metric("f1_spoof", "F1, spoof positive", lowest=False),
    Metric("auc", "AUC", lowest=False),
    Metric("min_dcf", "minDCF"),
    Metric("act_dcf", "actDCF"),
    Metric("cllr", "Cllr"),
    Metric("min_tdcf_2019", "min t-DCF 2019"),
    Metric("min_tdcf_2021", "min t-DCF 2021"),
)


@dataclass(frozen=True)
class Scale:
    """Where a rate stands on a bar of `BAR` units: a square root, so that 1 and 2 % are as far apart as 23 and 28 %.

    One for the whole page. top: the rate at its end.
    """

    top: float

    def at(self, rate: float) -> str:
        return f"{BAR * math.sqrt(min(rate, self.top) / self.top):.4g}"


@dataclass(frozen=True)
class Leader:
    """Who has the lowest number of a column, and what the next one has. ties: others that share the rank."""

    title: str
    page: str
    of: str
    number: Number
    ties: int
    next: tuple[str, float] | None


@dataclass(frozen=True)
class Unmeasured:
    """Why a detector has no number on some datasets."""

    title: str
    page: str
    datasets: tuple[str, ...]
    status: str
    reason: str
    remedy: str


def build(found: Sequence[Measured], averages: Averages, lines: Sequence[Line], site: Site) -> Files:
    """The front page and all of `data/`.

    Args:
        found: every current cell, with or without numbers. lines: of the same.
    """
    results = [one.result for one in found]
    columns, means = columns_of(results), means_of(results, averages)
    rows = rows_of(results, columns, averages, lines)
    metrics = [
        one for one in SHOWN if one is SHOWN[0] or any(_value(result, one.name) is not None for result in results)
    ]
    page = render(
        "index.html",
        places.FRONT,
        columns=columns,
        means=means,
        rows=rows,
        scale=_scale(rows),
        best=_best(rows, columns),
        leader=_leader(rows, columns, means),
        unmeasured=_unmeasured(results, {row.name: row.title for row in rows}),
        families=sorted({row.family for row in rows} - {""}),
        metrics=metrics,
        known=htmlsafe_json_dumps(_known(rows, metrics), ensure_ascii=False, separators=(",", ":")),
    )
    return {places.FRONT: page, **data.files(found, averages, lines, site)}


# --- around the matrix ------------------------------------------------------------------------------------------------


def _numbers(rows: Iterable[Row]) -> Iterator[Number]:
    for row in rows:
        yield from filter(None, row.means)
        yield from (square.number for square in row.squares if square and square.number)


def _scale(rows: Sequence[Row]) -> Scale:
    ends = (max(number.value, number.interval.high) for number in _numbers(rows))
    return Scale(max(ends, default=0.0) or 1.0)


def _best(rows: Sequence[Row], columns: Sequence[Column]) -> list[float | None]:
    """The lowest EER of each column of trial lists, None where it has none."""
    numbers = ([square.number for row in rows if (square := row.squares[place])] for place in range(len(columns)))
    return [min((number.value for number in own if number), default=None) for own in numbers]


def _leader(rows: Sequence[Row], columns: Sequence[Column], means: Sequence[Mean]) -> Leader | None:
    """Of the first average; where nobody has a rank there, of the first trial list where somebody has.

    Probes and chance lead only where there is nothing else.
    """
    listening = any(row.family not in NOT_LISTENING for row in rows)

    def eligible(row: Row) -> bool:
        return not listening or row.family not in NOT_LISTENING

    if means:
        own = [(row, number) for row in rows if row.means and (number := row.means[0]) and number.rank]
        fair = [(row, number) for row, number in own if eligible(row)]
        if leader := _lowest(fair, f"{means[0].title.lower()} over {len(means[0].datasets)} datasets"):
            return _qualified(leader, [row for row, number in own if number.value < leader.number.value])
    for place, column in enumerate(columns):
        squares = [(row, square) for row in rows if (square := row.squares[place])]
        ranked = [(row, one.number, one.result.leakage) for row, one in squares if one.number and one.number.rank]
        fair = [(row, number) for row, number, leakage in ranked if leakage != "seen" and eligible(row)]
        if leader := _lowest(fair, f"EER on {column.dataset}{f' ({column.part})' if column.part else ''}"):
            return _qualified(leader, [row for row, number, _ in ranked if number.value < leader.number.value])
    return None


def _qualified(leader: Leader, lower: Sequence[Row]) -> Leader:
    """A leader whose words say who has a lower number and does not lead."""
    quiet = [row.family in NOT_LISTENING for row in lower]
    seen = "" if all(quiet) else ", of detectors that have not seen its trials"
    return replace(leader, of=f"{leader.of}{seen}{', probes and chance left out' if any(quiet) else ''}")


def _lowest(own: Sequence[tuple[Row, Number]], of: str) -> Leader | None:
    if not own:
        return None
    (row, number), *others = sorted(own, key=lambda one: one[1].value)
    ties = sum(other.rank == number.rank for _, other in others)
    following = (others[0][0].title, others[0][1].value) if others else None
    return Leader(row.title, row.page, of, number, ties, following)


def _unmeasured(found: Sequence[Result], titles: Mapping[str, str]) -> list[Unmeasured]:
    """One for each detector and reason, as most reasons hold on many datasets."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in found:
        if result.eer is None:
            cell = result.cell
            reason = cell.reason or result.caveat or "no reason is told"
            groups.setdefault((cell.detector, cell.status, reason, cell.remedy), []).append(result)
    return [
        Unmeasured(
            title=titles[detector],
            page=places.detector(detector),
            datasets=tuple(sorted(result.cell.dataset for result in results)),
            status=status,
            reason=reason,
            remedy=remedy,
        )
        for (detector, status, reason, remedy), results in sorted(groups.items())
    ]


# --- for the script ---------------------------------------------------------------------------------------------------


def _known(rows: Sequence[Row], metrics: Sequence[Metric]) -> Mapping[str, Any]:
    """What leaderboard.js sorts, filters and shows: rows and cells in the order of the page, five digits a number."""
    return {
        "metrics": [{"name": one.name, "label": one.label, "lowest": one.lowest} for one in metrics],
        "rows": [
            {
                "family": row.family,
                "use": row.use,
                "means": [number and _short(number.value) for number in row.means],
                "speed": row.speed,
                "parameters": row.parameters,
                "finished": row.finished,
                "cells": [_known_cell(square, metrics) for square in row.squares],
            }
            for row in rows
        ],
    }


def _known_cell(square: Square | None, metrics: Sequence[Metric]) -> Mapping[str, Any] | None:
    """values, ends: of the interval, for each metric; null where there is none."""
    if square is None or square.number is None:
        return None
    result = square.result
    assert result.uncertainty is not None, result.cell
    values = [_value(result, one.name) for one in metrics]
    ends = [
        result.uncertainty.interval(one.name) if one.name in result.uncertainty.replicates else None for one in metrics
    ]
    return {
        "leakage": result.leakage,
        "values": [None if value is None else _short(value) for value in values],
        "ends": [end and [_short(end.low), _short(end.high)] for end in ends],
    }


def _value(result: Result, metric: str) -> float | None:
    """A metric of a cell, the mean over the seeds where there is one for the EER: the intervals are of it."""
    members = result.band.results.values() if result.band is not None and result.band.eer is not None else [result]
    values = [(member.metrics or {}).get(metric) for member in members]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _short(value: float) -> float:
    return float(f"{value:.5g}")
