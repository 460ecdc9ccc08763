"""The page of one cell: how well one detector does on one trial list, for whom, and on which trials it is wrong."""

from __future__ import annotations

import gzip
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import slices
from bench.errors import StoreError
from bench.report import browser, facts, places
from bench.report.audible import Recordings
from bench.report.figures import Figure, curves, distributions, points
from bench.report.figures.bars import Bar, intervals
from bench.report.measured import Measured
from bench.report.neighbours import neighbours
from bench.report.pages import render
from bench.report.site import Site
from bench.report.tables import Files, Table
from bench.report.trial_list import Row
from bench.results import Result
from bench.scored import Scored
from bench.slices import Draws, MeasuredSlice
from bench.store import Cell
from bench.trials import BONAFIDE, SPOOF, SPOOF_ATTRIBUTES

DRAWN = ("attack", "speaker")  # attributes that have a figure, too
BARS = 20  # of a figure, the worst ones
OPEN_ROWS = 20  # of a table; a longer one is folded
MISMATCH = "mismatch"  # the extra of `bench.models.slim`


@dataclass(frozen=True)
class Attribute:
    """EER by one attribute of the trials, the highest first."""

    name: str
    slices: Sequence[MeasuredSlice]
    table: Table
    figure: Figure | None

    @property
    def anchor(self) -> str:
        return f"of-{places.slug(self.name)}"

    @property
    def spoof_only(self) -> bool:
        return self.name in SPOOF_ATTRIBUTES

    @property
    def folded(self) -> bool:
        return len(self.slices) > OPEN_ROWS

    @property
    def units(self) -> list[str]:
        """What was drawn for the intervals."""
        return sorted({one.unit for one in self.slices if one.unit})


def build(
    measured: Measured, trials: Scored | None, draws: Draws | None, recordings: Recordings | None, site: Site
) -> Files:
    """The page of a cell, and what lies beside it: tables, audio and pictures of the trials it is most wrong about.

    Args:
        trials: its scores, and draws: of their trial list; None where the cell has no numbers.
        recordings: where the corpora lie; None shows and copies no audio.
    """
    page = places.cell(measured.dataset, measured.detector)
    folder, files, told = posixpath.dirname(page), Files(), dict[str, Any]()
    if trials is not None and draws is not None and measured.result.metrics is not None:
        figures, trouble = list(_figures(measured, trials)), ""
        try:
            figures += filter(None, [_map(measured.result.cell, trials.trials)])
        except StoreError as error:
            trouble = f"no map of the embeddings: {error.reason()}"
        errors = browser.browse(trials, measured.result.metrics["eer_threshold"], recordings)
        attributes = [_attribute(trials, name, draws) for name in slices.attributes(trials.trials)]
        told = {
            "figures": figures,
            "trouble": trouble,
            "numbers": _numbers(measured.result),
            "attributes": attributes,
            "errors": errors,
        }
        files = {posixpath.join(folder, name): content for name, content in errors.files().items()}
        for table in (told["numbers"], errors.table, *(one.table for one in attributes)):
            files |= table.files(folder)
        if site.scores:
            files[posixpath.join(folder, "scores.csv.gz")] = gzip.compress(_scores(trials).csv().encode(), mtime=0)
    manifest = measured.result.cell.manifest
    files[page] = render(
        "cell.html",
        page,
        row=Row(measured, None),
        provenance=facts.provenance(manifest),
        public=facts.public,
        scores=site.scores,
        **told,
    )
    return files


def _figures(measured: Measured, trials: Scored) -> Iterator[Figure]:
    metrics, native = measured.result.metrics, measured.result.native
    assert metrics is not None
    if measured.drawn is not None:
        yield curves.det("det", {measured.detector: measured.drawn}, {measured.detector: metrics["eer"]}, "DET curve")
        thresholds = {"EER threshold": metrics["eer_threshold"]}
        if native is not None and native["column"] == "score":
            thresholds["own threshold"] = native["threshold"]
        yield distributions.histogram("scores", measured.drawn, thresholds, "Scores by class")
    if MISMATCH in trials.scores:
        distance = trials.scores[MISMATCH].to_numpy(dtype=float)
        by_class = {BONAFIDE: distance[trials.labels == 1], SPOOF: distance[trials.labels == 0]}
        yield distributions.violin(
            "mismatch", by_class, "Distance between style and linguistics", "cosine distance (0 to 2)"
        )


def _map(cell: Cell, trials: pd.DataFrame) -> Figure | None:
    """The stored embeddings of some of the trials; None where there are too few.

    Raises:
        StoreError: as `bench.store.Cell.embeddings`.
    """
    stored = cell.embeddings()
    if stored is None:
        return None
    found = stored.merge(trials[["trial", "label", "attack"]], on="trial")
    near = neighbours(found["embedding"].tolist())
    if near is None:
        return None
    kinds = found["attack"].where(found["attack"] != "", SPOOF).where(found["label"] == SPOOF, BONAFIDE)
    title = f"Embeddings of {len(found)} trials by t-SNE: near means alike, far says little"
    return points.scatter("map", *near, kinds.tolist(), title, "t-SNE 1", "t-SNE 2", found["trial"].tolist())


def _attribute(trials: Scored, name: str, draws: Draws) -> Attribute:
    found = sorted(slices.measured(trials, name, draws), key=_worst_first)
    told = [one for one in found if one.eer is not None]
    figure = None
    if name in DRAWN and told:
        shown = "" if len(told) <= BARS else f", the {BARS} highest of {len(told)}"
        title = f"EER by {name}, with 95 % intervals{shown}"
        figure = intervals(places.slug(f"by-{name}"), [_bar(one) for one in told[:BARS]], title, "EER (%)")
    columns = {
        "value": f"{name}; empty where the list does not tell",
        "n_bonafide": "bona fide trials",
        "n_spoof": "spoofed trials",
        "eer": "equal error rate, a fraction",
        "eer_low": "lower end of its 95 % interval",
        "eer_high": "upper end",
        "drawn": "what the bootstrap draws",
        "warnings": "what to know of the interval",
    }
    return Attribute(
        name, found, Table(f"eer-by-{places.slug(name)}", columns, [_record(one) for one in found]), figure
    )


def _worst_first(one: MeasuredSlice) -> tuple[bool, float, str]:
    return one.eer is None, -(one.eer or 0.0), one.value


def _bar(one: MeasuredSlice) -> Bar:
    assert one.eer is not None, one.value
    low, high = (one.interval.low, one.interval.high) if one.interval else (None, None)
    counts = f"{one.n_bonafide:,} bona fide, {one.n_spoof:,} spoofed"
    return Bar(one.value or "(not given)", one.eer, low, high, "; ".join([counts, *one.warnings]))


def _record(one: MeasuredSlice) -> dict[str, Any]:
    return {
        "value": one.value,
        "n_bonafide": one.n_bonafide,
        "n_spoof": one.n_spoof,
        "eer": one.eer,
        "eer_low": one.interval and one.interval.low,
        "eer_high": one.interval and one.interval.high,
        "drawn": one.unit,
        "warnings": "; ".join(one.warnings),
    }


def _numbers(result: Result) -> Table:
    """All metrics of the cell, at the EER threshold and at the detector's own."""
    told: list[tuple[str, str, Any]] = [("cell", name, value) for name, value in (result.metrics or {}).items()]
    told += [("own threshold", name, value) for name, value in (result.native or {}).items()]
    columns = {
        "of": "cell: over all scored trials, rates and F1 at the test-set EER threshold; own threshold: the detector's",
        "measure": "as in the JSON of bench show",
        "value": "a fraction, a count or a score",
    }
    return Table("numbers", columns, [dict(zip(columns, row, strict=True)) for row in told])


def _scores(trials: Scored) -> Table:
    """The score of every trial."""
    extras = [str(name) for name in trials.scores if name not in ("trial", "score", "seconds", "note")]
    columns = {"trial": "id", "label": "bonafide or spoof", "score": "higher = more bona fide"}
    columns |= dict.fromkeys(extras, "what the detector gave beside the score")
    given = {name: [None if value != value else value for value in trials.scores[name].tolist()] for name in extras}
    rows = zip(trials.trials["trial"], trials.trials["label"], trials.values.tolist(), *given.values(), strict=True)
    return Table("scores", columns, [dict(zip(columns, row, strict=True)) for row in rows])
