"""A whole site: what holds for every page, whatever the names on it."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from bench.report import places
from tests.hostile import NAMES
from tests.pages import Page

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


@pytest.fixture(params=["demo", "hostile"])
def site(request: pytest.FixtureRequest) -> Path:
    """The site of the demo, with audio, and that of hostile names."""
    if request.param == "hostile":
        folder: Path = request.getfixturevalue("hostile_site")
        return folder
    run: tuple[Path, subprocess.CompletedProcess[str]] = request.getfixturevalue("demo_run")
    return run[0] / "site"


def test_every_page_is_whole_still_and_well_linked(site: Path) -> None:
    """Tags balance, ids are unique, every local link finds its file and its place there; no inline code or style, a
    policy that forbids both, and nothing that is loaded comes from another address."""
    pages = {path: Page(path.read_bytes()) for path in sorted(site.rglob("*.html"))}
    assert len(pages) > 10
    ids = {path: page.values("id") for path, page in pages.items()}
    for path, page in pages.items():
        assert len(set(ids[path])) == len(ids[path]), path
        for link in [*page.values("href"), *page.values("src")]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = path.parent / unquote(parts.path) if parts.path else path
            assert target.is_file(), (path, link)
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in ids[target.resolve()], (path, link)
        assert page.values("content").count(POLICY) == 1, path
        for tag, attributes in page.elements:
            assert "style" not in attributes and not any(name.startswith("on") for name in attributes), (path, tag)
            assert tag not in ("style", "iframe", "object", "embed", "base"), path
            if tag == "script":
                assert "src" in attributes or attributes.get("type") == "application/json", path
            assert tag == "a" or not urlsplit(attributes.get("src") or "").scheme, (path, tag)


def test_no_place_of_the_machine_is_on_a_page(site: Path) -> None:
    """Neither the folder of the site, nor that of the results, nor of the corpora: a site may be published."""
    place = re.compile(rb"/(tmp|home|root|Users|var)/")
    told = [
        path
        for path in site.rglob("*")
        if path.suffix in (".html", ".json", ".csv") and place.search(path.read_bytes())
    ]
    assert told == []


def test_every_table_is_there_as_csv_and_json(site: Path) -> None:
    """Beside each CSV lies a JSON with as many rows, the flat table of all cells apart, which is leaderboard.json."""
    tables = [path for path in sorted(site.rglob("*.csv")) if path != site / "data/leaderboard.csv"]
    assert len(tables) > 10
    for table in tables:
        told = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
        with table.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == list(told["columns"]), table
        assert len(rows) == len(told["rows"]), table
    assert len(json.loads((site / "data/leaderboard.json").read_text())["cells"]) > 5


def test_hostile_names_are_told_as_they_are(hostile_site: Path) -> None:
    """Each of them stands as text on the front page or on that of a cell, unshortened."""
    seen = set()
    for path in hostile_site.rglob("*.html"):
        text = Page(path.read_bytes()).text
        seen |= {name for name in NAMES if name in text}
    assert seen == set(NAMES)
    assert "onerror" in Page((hostile_site / places.FRONT).read_bytes()).text
