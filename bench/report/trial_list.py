"""What the site says of one trial list: its ranking, its figures, what probes and doctor found. One section of the page
of a dataset; results of different lists never stand together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.audits import Kept
from bench.errors import StoreError
from bench.metrics import Slice
from bench.published import Verdict, verdicts
from bench.report import badges, facts, places
from bench.report.badges import Badge
from bench.report.figures import Figure, bars, curves, distributions, points
from bench.report.figures.bars import Bar
from bench.report.measured import NOT_LISTENING, PROBE, Line, Measured, family, speed, title
from bench.report.tables import Table
from bench.results import Result
from bench.text import printable
from bench.uncertainty import Interval

DRAWN = 6  # detectors whose curves and scores are drawn: more cannot be told apart
CHANCE = 0.5


@dataclass(frozen=True)
class Row:
    """A cell with numbers. rank: None for one that is not measured over the whole list, and all seeds."""

    measured: Measured
    rank: int | None

    @property
    def result(self) -> Result:
        return self.measured.result

    @property
    def detector(self) -> str:
        return self.measured.detector

    @property
    def title(self) -> str:
        return title(self.result)

    @property
    def family(self) -> str:
        return family(self.result)

    @property
    def subtitle(self) -> str:
        """Name (where the title is another) and family of the detector."""
        return " · ".join(part for part in (self.detector if self.detector != self.title else "", self.family) if part)

    @property
    def badges(self) -> list[Badge]:
        return badges.of_cell(self.result)

    @property
    def interval(self) -> Interval | None:
        """Of the EER."""
        return None if self.result.uncertainty is None else self.result.uncertainty.interval("eer")

    @cached_property
    def _published(self) -> tuple[list[Verdict], str]:
        try:
            return verdicts(self.result, self.interval), ""
        except StoreError as error:  # the manifest of another version
            return [], error.what

    @property
    def published(self) -> list[Verdict]:
        """What others printed, with what our number says of it."""
        return self._published[0]

    @property
    def remarks(self) -> list[str]:
        """What stands below the status: all but the mean over several seeds, which has its place beside the EER."""
        band = self.result.band
        told = [remark for remark in self.result.remarks if band is None or not band.eer or remark != band.told]
        return [*told, *filter(None, self._published[1:])]

    @property
    def alone(self) -> str:
        """`seed 42`, where the row shows a mean and other numbers are of that seed alone."""
        band = self.result.band
        return f"seed {self.result.seed}" if band is not None and band.eer is not None else ""

    @property
    def speed(self) -> float | None:
        return speed(self.result)

    @property
    def eer(self) -> float:
        assert self.result.eer is not None, self.detector
        return self.result.eer


@dataclass(frozen=True)
class Reached:
    """What a shortcut probe reaches, and what that means."""

    row: Row
    meaning: str


@dataclass(frozen=True)
class HeatMap:
    """EER of each detector on each value of an attribute of the trials."""

    attribute: str
    figure: Figure
    table: Table


class TrialList:
    """The measured cells of one trial list, best first.

    Args:
        found: as `lists_of` gives them, at least one.
        lines: as `bench.report.measured.lines`, those of other lists may be among them. audit: of this list.
        first: whether it is the first one of its dataset, whose tables and figures have the plain names.
    """

    def __init__(
        self,
        found: Sequence[Measured],
        lines: Sequence[Line],
        audit: Kept | None,
        *,
        first: bool,
    ) -> None:
        self.dataset, self.digest, self.audit = found[0].dataset, found[0].result.digest, audit
        self._lines = [one for one in lines if (one.dataset, one.digest) == (self.dataset, self.digest)]
        ranks = {one.detector: one.rank for one in self._lines}
        self.rows = [Row(one, ranks.get(one.detector)) for one in found]
        self._mark = "" if first else f"-{self.digest[:12]}"
        self.anchor = f"list{self._mark}"
        self.comparison = places.comparison(self.dataset, "" if first else self.digest)
        self.comparable = sum(not row.result.lacking for row in self.rows) > 1

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifests say of the list."""
        told: Mapping[str, Any] = self.rows[0].result.cell.manifest["dataset"]
        return told

    @property
    def counts(self) -> dict[str, int]:
        """Trials of each class, and in all; those that have a score where an older manifest does not tell."""
        metrics = self.rows[0].result.metrics or {}
        bonafide, spoof = (self.facts.get(name, metrics.get(f"n_{name}", 0)) for name in ("bonafide", "spoof"))
        return {"trials": bonafide + spoof, "bonafide": bonafide, "spoof": spoof}

    @cached_property
    def listening(self) -> list[Row]:
        """Those that figures show: probes and chance, far from all others, only where there is nothing else."""
        return [row for row in self.rows if row.family not in NOT_LISTENING] or self.rows

    @property
    def figures(self) -> list[Figure]:
        """Intervals, DET curves, distributions and speed."""
        shown = [self._intervals()]
        chosen = self.listening[:DRAWN]
        labels = distinct(row.detector for row in chosen)
        drawn = {label: row.measured.drawn for label, row in zip(labels, chosen, strict=True) if row.measured.drawn}
        # A curve is of one cell: where the row is a mean over seeds, the point is that cell's.
        eers = {label: float((row.result.metrics or {})["eer"]) for label, row in zip(labels, chosen, strict=True)}
        told = self._told(len(chosen), " with the lowest EER")
        shown.append(curves.det(f"det{self._mark}", drawn, eers, f"DET curves of {told}"))
        shown.append(distributions.ridges(f"scores{self._mark}", drawn, f"Scores by class of {told}"))
        names = {row.detector for row in self.listening}
        fast = [one for one in self._lines if one.detector in names and one.speed is not None and one.eer is not None]
        if len(fast) > 1:
            shown.append(points.speed(f"speed{self._mark}", fast, "", "EER against speed"))
        return shown

    def _told(self, count: int, best: str) -> str:
        """Which detectors a figure shows."""
        left_out = ", probes and chance left out" if len(self.listening) < len(self.rows) else ""
        if count < len(self.listening):
            return f"the {count} detectors{best}{left_out}"
        return f"{'all detectors' if count > 1 else 'the detector'}{left_out}"

    def _intervals(self) -> Figure:
        rows = []
        for row, label in zip(self.listening, distinct(row.detector for row in self.listening), strict=True):
            low, high = (row.interval.low, row.interval.high) if row.interval else (None, None)
            rows.append(Bar(label, row.eer, low, high, f"rank {row.rank}" if row.rank else "no rank"))
        heading = f"EER and its 95 % interval of {self._told(len(rows), '')}"
        return bars.intervals(f"intervals{self._mark}", rows, heading, "EER (%)")

    @cached_property
    def heat_maps(self) -> list[HeatMap]:
        """One for each attribute that any cell is broken down by, the attack first."""
        names = {name for row in self.rows for name in row.result.breakdowns}
        return [self._heat_map(name) for name in sorted(names, key=lambda name: (name != "attack", name))]

    def _heat_map(self, attribute: str) -> HeatMap:
        found: dict[str, dict[str, Slice]] = {
            row.detector: {part.value: part for part in row.result.breakdowns.get(attribute, ())} for row in self.rows
        }
        values = sorted({value for parts in found.values() for value, part in parts.items() if part.eer is not None})
        rates = [[parts[value].eer if value in parts else None for value in values] for parts in found.values()]
        name = f"by-{places.slug(attribute)}{self._mark}"
        labels = distinct(value or "(not given)" for value in values)
        heading = f"EER by {attribute}, in percent"
        figure = bars.heatmap(name, distinct(found), labels, rates, heading, "detector", attribute)
        columns = {
            "detector": "its name",
            "value": f"of {attribute}",
            "n_bonafide": "bona fide trials that the EER is of",
            "n_spoof": "spoofed trials that the EER is of",
            "eer": "equal error rate, a fraction",
        }
        rows = [
            {"detector": detector, **part._asdict()} for detector, parts in found.items() for part in parts.values()
        ]
        return HeatMap(attribute, figure, Table(name, columns, rows))

    @property
    def probes(self) -> list[Reached]:
        """What plain properties of the files tell of the class, without any listening."""
        return [Reached(row, _meaning(row)) for row in self.rows if row.family == PROBE]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Doctor's, the worst first, with five examples each and no folder of any machine.

        How the list differs from the published one is told beside its counts.
        """
        found = [one for one in (self.audit.findings if self.audit else ()) if one.kind != "not the published list"]
        order = ("error", "warning", "note")
        told = [one.model_dump() | {"examples": [*map(facts.public, one.examples[:5])]} for one in found]
        return sorted(told, key=lambda one: order.index(one["severity"]))

    @cached_property
    def table(self) -> Table:
        """The ranking."""
        return Table(f"ranking{self._mark}", COLUMNS, [_ranking(row) for row in self.rows])

    @property
    def tables(self) -> list[Table]:
        return [self.table, *(one.table for one in self.heat_maps)]


COLUMNS = {
    "rank": "1 + the detectors before its tie group; empty where not all trials or seeds have a score",
    "detector": "its name",
    "title": "what its card calls it",
    "family": "what kind of detector it is",
    "eer": "equal error rate, a fraction; the mean over the seeds where there are several",
    "eer_low": "lower end of its 95 % interval",
    "eer_high": "upper end of its 95 % interval",
    "f1_bonafide": "F1, bona fide positive, at the test-set EER threshold; the mean over the seeds",
    "auc": "area under the ROC curve, of one seed",
    "accuracy": "at the detector's own threshold, of one seed",
    "leakage": "what the weights may have seen of the dataset",
    "published": "what others printed, in percent, with its verdict",
    "audio_seconds_per_second": "seconds of audio in a second of forward time",
    "status": "of the cell",
    "remarks": "what a reader must know of the numbers",
    "key": "of the cell, 64 hex",
}


def _ranking(row: Row) -> dict[str, Any]:
    result, interval = row.result, row.interval
    return {
        "rank": row.rank,
        "detector": row.detector,
        "title": row.title,
        "family": row.family,
        "eer": row.eer,
        "eer_low": None if interval is None else interval.low,
        "eer_high": None if interval is None else interval.high,
        "f1_bonafide": result.f1_bonafide,
        "auc": (result.metrics or {}).get("auc"),
        "accuracy": None if result.native is None else result.native["accuracy"],
        "leakage": result.leakage,
        "published": "; ".join(f"{one.entry.eer} ({one.entry.source}): {one.text}" for one in row.published),
        "audio_seconds_per_second": row.speed,
        "status": result.cell.status,
        "remarks": "; ".join(row.remarks),
        "key": result.cell.key,
    }


def _meaning(row: Row) -> str:
    if row.interval is None or row.interval.holds(CHANCE):
        return "no more than chance: its interval holds 50 %"
    if row.eer < CHANCE:
        return "the class leaks through this property: more of it means bona fide"
    return (
        f"the class leaks through this property, the other way round: {100 * (1 - row.eer):.2f} % with its sign turned"
    )


def distinct(names: Iterable[str]) -> list[str]:
    """Labels for a figure: names as they can be shown, with a number where two of them then look the same."""
    found: dict[str, None] = {}
    for name in map(printable, names):
        label = name
        for number in itertools.count(2):
            if label not in found:
                break
            label = f"{name} ({number})"
        found[label] = None
    return list(found)


def lists_of(found: Sequence[Measured]) -> list[list[Measured]]:
    """The cells with numbers of one dataset by trial list, the list with most of them first; in each whole trial lists
    before incomplete ones, and the lowest EER first.
    """
    by_digest: dict[str, list[Measured]] = {}
    for one in sorted(found, key=_order):
        if one.result.metrics is not None:
            by_digest.setdefault(one.result.digest, []).append(one)
    return sorted(by_digest.values(), key=lambda members: (-len(members), members[0].result.digest))


def _order(one: Measured) -> tuple[bool, float, str]:
    return bool(one.result.unscored), one.result.eer or 0.0, one.detector
