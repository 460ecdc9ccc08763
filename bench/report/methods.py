"""The page "How these numbers were made": definitions, and what this store was made with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench import costs, replicates, slices
from bench.report import citation, places
from bench.report.facts import words
from bench.report.measured import Measured
from bench.report.pages import render
from bench.report.site import Site
from bench.report.tables import Files, Table
from bench.resampling import FEW, FEWEST
from bench.results import F1_HEADLINE

LISTS = {
    "dataset": "its name",
    "digest": "SHA-256 of the trial list, 64 hex",
    "trials": "in the list",
    "bonafide": "of these",
    "spoof": "of these",
    "cells": "current cells with numbers on it",
    "unit": "what the bootstrap draws with replacement",
}
ORIGINS = {
    "cells": "finished cells that were made so",
    "precision": "of the arithmetic",
    "hardware": "that they were scored on",
    "versions": "of the harness and of the libraries",
}


def build(found: Sequence[Measured], site: Site) -> Files:
    """The page and its tables. found: all current cells of the site."""
    lists, origins = Table("trial-lists", LISTS, _lists(found)), Table("versions", ORIGINS, _origins(found))
    text = render(
        "methods.html",
        places.METHODS,
        lists=lists,
        origins=origins,
        f1_headline=F1_HEADLINE,
        bibtex=citation.of_site(found, site),
        constants={
            "replicates": replicates.REPLICATES,
            "of_slices": slices.REPLICATES,
            "fewest": FEWEST,
            "few": FEW,
            "p_spoof": costs.P_SPOOF,
            "c_miss": costs.C_MISS,
            "c_false_alarm": costs.C_FALSE_ALARM,
            "bayes_threshold": costs.BAYES_THRESHOLD,
            "miss": costs.MISS,
            "false_alarm": costs.FALSE_ALARM,
        },
    )
    return {places.METHODS: text, **lists.files(""), **origins.files("")}


def _lists(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row a trial list that has numbers, by dataset and digest."""
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        if one.result.metrics is None:
            continue
        facts = one.result.cell.manifest["dataset"]
        unit = one.result.uncertainty.unit.text if one.result.uncertainty else ""
        row = {name: facts.get(name) for name in ("trials", "bonafide", "spoof")}
        place = (one.dataset, one.result.digest)
        known = told.setdefault(place, {"dataset": place[0], "digest": place[1], **row, "cells": 0, "unit": unit})
        known["cells"] += 1
    return [told[place] for place in sorted(told)]


def _origins(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """How the cells were made, as their manifests tell it, the most frequent first."""
    manifests = [one.result.cell.manifest for one in found if one.result.cell.finished]
    counts = Counter(
        tuple("imported" if told.get("imported") and not value else value or "not told" for value in values)
        for told in manifests
        for values in ([words(told.get(name) or "") for name in ("precision", "hardware", "versions")],)
    )
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [dict(zip(ORIGINS, (count, *values), strict=True)) for values, count in ordered]
