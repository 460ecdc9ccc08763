"""The leaderboard as data: `data/leaderboard.json`, records with a published schema, and the same as flat tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from bench import averages as averaging
from bench import published, results
from bench.averages import Averages
from bench.cellmetrics import METRICS
from bench.errors import StoreError
from bench.replicates import MEASURES
from bench.report import measured, places
from bench.report.measured import Line, Measured
from bench.report.records import AveragesRecord, CellRecord, DatasetRecord, DetectorRecord, Leaderboard, VerdictRecord
from bench.report.site import Site
from bench.report.tables import Files, Table
from bench.results import Result

RECORDS = f"{places.DATA}/leaderboard.json"
SCHEMA = f"{places.DATA}/leaderboard.schema.json"


def files(found: Sequence[Measured], averages: Averages, lines: Sequence[Line], site: Site) -> Files:
    """The records, their schema, and the flat tables."""
    records = leaderboard(found, averages, lines, site)
    return {
        RECORDS: _text(records.model_dump(mode="json", by_alias=True)),
        SCHEMA: _text(schema()),
        f"{places.DATA}/{CELLS}.csv": cells_table(records).csv().encode(),
        **averages_table(records).files(places.DATA),
    }


def leaderboard(found: Sequence[Measured], averages: Averages, lines: Sequence[Line], site: Site) -> Leaderboard:
    """All records, cells in the order of `lines`."""
    by_pair = {(one.dataset, one.detector): one.result for one in found}
    ordered = [by_pair[line.dataset, line.detector] for line in lines]
    told = results.as_json(ordered)["cells"]
    return Leaderboard(
        schema_file=places.relative(SCHEMA, RECORDS),
        url=site.base_url or None,
        detectors=[_detector(name, newest(ordered, name)) for name in sorted({line.detector for line in lines})],
        datasets=list(_datasets(ordered)),
        cells=[
            CellRecord.model_validate({**cell, **_added(result, line)})
            for cell, result, line in zip(told, ordered, lines, strict=True)
        ],
        averages=AveragesRecord.model_validate(averaging.as_json(averages)),
    )


@cache
def schema() -> dict[str, Any]:
    """JSON Schema of `data/leaderboard.json`."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | Leaderboard.model_json_schema(by_alias=True, mode="serialization")


def newest(found: Sequence[Result], detector: str) -> Result:
    """The cell that tells what a detector is: the one finished last, of those with a manifest where there is any."""
    own = (result for result in found if result.cell.detector == detector)
    return max(own, key=lambda result: (bool(result.cell.manifest), finished(result) or "", result.cell.dataset))


def finished(result: Result) -> str | None:
    """When the scores were complete, ISO 8601; None where no manifest tells."""
    told = result.cell.manifest.get("finished")
    return None if told is None else str(told)


def verdicts(result: Result) -> list[published.Verdict]:
    """What the numbers of a cell say of published ones; none without numbers.

    None either of a manifest of another version: the pages of its cell and its dataset say so.
    """
    if result.metrics is None:
        return []
    try:
        return published.verdicts(result, result.uncertainty.interval("eer") if result.uncertainty else None)
    except StoreError:
        return []


def _detector(name: str, result: Result) -> DetectorRecord:
    told = result.cell.manifest.get("detector", {})
    weights = told.get("weights") or {}
    return DetectorRecord(
        name=name,
        title=measured.title(result),
        family=str(told.get("family") or ""),
        licence=told.get("licence"),
        weights_licence=weights.get("licence"),
        weights_sha256=weights.get("sha256"),
        parameters=told.get("parameters"),
        page=places.detector(name),
    )


def _datasets(found: Sequence[Result]) -> Iterator[DatasetRecord]:
    """Every trial list once; a name without any list once, too."""
    lists = {(result.cell.dataset, result.digest): result.cell.manifest.get("dataset", {}) for result in found}
    known = {name for name, digest in lists if digest}
    for (name, digest), facts in sorted(lists.items()):
        if digest or name not in known:
            counts = {noun: facts.get(noun) for noun in ("licence", "trials", "bonafide", "spoof")}
            title = str(facts.get("title") or name)
            yield DatasetRecord(name=name, digest=digest or None, title=title, **counts, page=places.dataset(name))


def _added(result: Result, line: Line) -> dict[str, Any]:
    """What the site tells of a cell beside `bench show --json`."""
    told = [
        VerdictRecord(
            dataset=one.entry.dataset,
            eer=float(Decimal(str(one.entry.eer)) / 100),
            kind=one.kind,
            text=one.text,
            source=one.entry.source,
            note=one.entry.note,
        )
        for one in verdicts(result)
    ]
    return {
        "rank": line.rank,
        "published": told,
        "audio_seconds_per_second": line.speed,
        "finished": finished(result),
        "page": places.cell(line.dataset, line.detector),
    }


# --- flat tables ------------------------------------------------------------------------------------------------------

CELLS = "leaderboard"
PLAIN = ("detector", "dataset", "digest", "key", "status", "reason", "caveat", "imported", "weights", "leakage",
         "trials", "rank")  # fmt: skip
LAST = ("audio_seconds_per_second", "finished", "page")


def cells_table(records: Leaderboard) -> Table:
    """One row a cell: `PLAIN`, all metrics, the ends of their intervals, means over seeds, published verdicts."""
    fields = CellRecord.model_fields
    meaning = {name: fields[name].description or name for name in (*PLAIN, *METRICS, *LAST)}
    ends = {
        f"{name}_{end}": f"{end} end of the 95 % interval of {name}" for name in MEASURES for end in ("low", "high")
    }
    columns = {
        **{name: meaning[name] for name in (*PLAIN, *METRICS)},
        **ends,
        "seeds": "trainings of the detector, where there are several",
        "eer_mean": "mean of the EER over the seeds; ranks and intervals are of it",
        "f1_bonafide_mean": "mean of f1_bonafide over the seeds",
        "published": "published numbers in percent, each with what ours says of it",
        **{name: meaning[name] for name in LAST},
    }
    return Table(CELLS, columns, [_row(cell) for cell in records.cells])


def _row(cell: CellRecord) -> Mapping[str, Any]:
    ends: dict[str, float | None] = dict.fromkeys(f"{name}_{end}" for name in MEASURES for end in ("low", "high"))
    if cell.intervals is not None:
        for name in MEASURES:
            ends[f"{name}_low"], ends[f"{name}_high"] = getattr(cell.intervals, name)
    band = cell.band
    return {
        **{name: getattr(cell, name) for name in (*PLAIN, *METRICS, *LAST)},
        **ends,
        "seeds": band and len(band.seeds),
        "eer_mean": band and band.eer and band.eer.mean,
        "f1_bonafide_mean": band and band.f1_bonafide and band.f1_bonafide.mean,
        "published": "; ".join(f"{100 * one.eer:.4g}: {one.text} ({one.source})" for one in cell.published),
    }


def averages_table(records: Leaderboard) -> Table:
    """One row a detector and scope."""
    columns = {
        "cells": "all, or the held-out ones alone",
        "datasets": "whose EERs are averaged; rows of other datasets do not compare",
        "detector": "name",
        "rank": "among the rows of these datasets",
        "macro_eer": records.averages.formulas["macro_eer"],
        "macro_eer_low": "low end of its 95 % interval",
        "macro_eer_high": "high end of its 95 % interval",
        "pooled_eer": records.averages.formulas["pooled_eer"],
    }
    rows = [
        {
            "cells": scope.cells,
            "datasets": ", ".join(group.datasets),
            "macro_eer_low": one.macro_eer_interval.low,
            "macro_eer_high": one.macro_eer_interval.high,
            **one.model_dump(exclude={"macro_eer_interval"}),
        }
        for scope in records.averages.scopes
        for group in scope.groups
        for one in group.averages
    ]
    return Table("averages", columns, rows)


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()
