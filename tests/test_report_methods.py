"""The page of methods: anchors that other pages lead to, and what this store was made with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import registry
from bench.report import methods, places
from bench.report.measured import Measured
from bench.report.site import Site
from bench.results import collect
from bench.store import Store
from tests.stores import gaussian, put_classes

ANCHORS = re.compile(r'\bid="([^"]+)"')


def pages(store: Store) -> dict[str, bytes]:
    found = [Measured(result, None) for result in collect(store, breakdowns=False)]
    return methods.build(found, Site())


def test_every_anchor_that_a_template_leads_to_is_there(tmp_path: Path) -> None:
    """Links into this page are good, and no anchor is given twice."""
    text = pages(Store(tmp_path))[places.METHODS].decode()
    anchors = ANCHORS.findall(text)
    assert len(anchors) == len(set(anchors))
    templates = (registry.shipped("reports") / "templates").glob("*.html")
    wanted = {name for file in templates for name in re.findall(r"METHODS\) }}#([\w-]+)", file.read_text())}
    named = {"eer", "interval", "rank", "f1", "leakage", "published", "audio", "digest", "slices", "averages"}
    assert wanted | named <= set(anchors)
    assert set(re.findall(r'href="#([\w-]+)"', text)) - {"main"} <= set(anchors)


def test_lists_and_origins_are_those_of_the_store(tmp_path: Path) -> None:
    """A row a trial list, with digest, counts and what is drawn; a row a way that cells were made."""
    store = Store(tmp_path)
    for seed, (detector, dataset) in enumerate([("a", "x"), ("b", "x"), ("a", "y")]):
        versions = {"bench": "1.0", "torch": "<2>"} if detector == "a" else {}
        put_classes(store, detector, dataset, *gaussian(seed), versions=versions, precision="fp32")
    store.block("c", "x", "no weights", "get them")
    files = pages(store)
    lists, origins = (json.loads(files[f"{name}.json"])["rows"] for name in ("trial-lists", "versions"))
    digest = collect(store, ["x"], ["a"])[0].digest
    assert lists[0] == {
        "dataset": "x",
        "digest": digest,
        "trials": 200,
        "bonafide": 60,
        "spoof": 140,
        "cells": 2,
        "unit": "single trials",
    }
    assert [row["dataset"] for row in lists] == ["x", "y"]
    assert origins == [
        {"cells": 2, "precision": "fp32", "hardware": "not told", "versions": "bench 1.0 · torch <2>"},
        {"cells": 1, "precision": "fp32", "hardware": "not told", "versions": "not told"},
    ]
    text = files[places.METHODS].decode()
    assert digest in text and "torch &lt;2&gt;" in text and "torch <2>" not in text
    assert files == pages(store)


@pytest.mark.parametrize("told", ["No cell has numbers yet.", "No cell is finished yet."])
def test_an_empty_store_has_the_definitions_alone(tmp_path: Path, told: str) -> None:
    """The page is there before the first number."""
    assert told in pages(Store(tmp_path))[places.METHODS].decode()
