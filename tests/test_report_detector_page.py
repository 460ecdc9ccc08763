"""The page of a detector: its card, its numbers against those that others printed, its cost, and hostile names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.report import detector_page, places
from bench.report.detector_page import audio_told
from bench.report.measured import Measured, lines
from bench.report.site import Site
from bench.results import collect
from bench.store import Store
from bench.uncertainty import interval
from tests.stores import gaussian, put_classes

NAME = "<script>alert(1)</script>/..\\\"'é" + "x" * 80
PUBLISHED = {"dataset": "set", "eer": 50.0, "f1": None, "source": "a <paper>", "note": "", "comparable": True}
CARD: dict[str, Any] = {
    "title": "A detector",
    "summary": "It detects.",
    "family": "family",
    "model": "bench.models.x:X",
    "arguments": {"width": 32},
    "audio": {"rate": 16_000, "window": "tile", "samples": 64_600, "epsilon": None},
    "parameters": 12_345,
    "paper": "Somebody, 2020",
    "code": "https://example.org/code",
    "scores": "log-odds",
    "trained_on": ["set", "elsewhere"],
    "notices": ["patented"],
    "notes": ["first note", "second note"],
    "weights": {"file": "w.pth", "sha256": "ab" * 32, "verified": True, "source": "there", "licence": "MIT"},
    "published": [PUBLISHED],
}
TIMINGS = {"audio_seconds_per_second": 120.5, "real_time_factor": 0.0083, "peak_memory_bytes": 3 << 30}
MADE: dict[str, Any] = {"timings": TIMINGS, "hardware": {"device": "cpu"}, "finished": "2027-01-02T00:00:00+00:00"}
POINT = {"stage": "head", "epoch": 1, "step": 4, "training_loss": 0.7, "validation_loss": None, "validation_eer": 0.25}
RECORD = {
    "stages": [
        {"curve": [{**POINT, "best": True, "seconds": 1.0}, {**POINT, "epoch": 2, "best": False, "seconds": 2}]}
    ],
    "seconds": 90.0,
    "peak_memory_bytes": 1 << 30,
    "hardware": {"cpu": "one"},
    "lists": {"train": {"digest": "cd" * 32, "trials": 120}},
    "recipe": {"seed": 1234},
}


class Text(HTMLParser):
    """What a page says and leads to, and its tags."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.said: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page.decode())
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def build(
    store: Store, name: str, record: Mapping[str, Any] | None = None, site: Site | None = None
) -> dict[str, bytes]:
    every = [Measured(result, None) for result in collect(store, breakdowns=False)]
    own = [one for one in every if one.detector == name]
    return detector_page.build(name, own, lines(every), record, site or Site())


def rows(files: Mapping[str, bytes], page: str, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(files[places.beside(page, f"{table}.json")])["rows"]
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One detector held out on `set`, seen on `other`, blocked on `third`; a worse one beside it on `set`."""
    store = Store(tmp_path)
    put_classes(store, "det", "set", *gaussian(0), card=CARD, leakage="held-out", **MADE)
    put_classes(store, "det", "other", *gaussian(1, 4.0), card=CARD, leakage="seen", **MADE)
    put_classes(store, "worse", "set", *gaussian(2, 0.1), card={"title": "Worse"}, **MADE)
    store.block("third", "det", "no audio in /home/me/data/third", "get it")
    return store


def test_the_card_and_every_cell_are_on_the_page(store: Store) -> None:
    """Texts of the card, each cell with rank and status, and a blocked one with its reason and no folder of ours."""
    page = places.detector("det")
    files = build(store, "det")
    shown = Text(files[page])
    for text in ("A detector", "It detects.", "12,345", "ab" * 32, "the published one", "first note", "patented"):
        assert text in shown.text
    assert "the first 64,600 samples (4.04 s), a shorter file repeated from its beginning, at 16,000 Hz" in shown.text
    assert "no audio in …/third" in shown.text and "/home/me" not in files[page].decode()
    found = {row["dataset"]: row for row in rows(files, page, "cells")}
    result = collect(store, ["set"], ["det"])[0]
    assert result.uncertainty is not None
    ends = interval(result.uncertainty.replicates["eer"])
    assert (found["set"]["eer"], found["set"]["eer_low"], found["set"]["eer_high"]) == (result.eer, ends.low, ends.high)
    assert (found["set"]["rank"], found["set"]["ranked"]) == (1, 2)
    assert (found["other"]["rank"], found["other"]["ranked"], found["other"]["leakage"]) == (1, 1, "seen")
    assert (found["third"]["eer"], found["third"]["status"]) == (None, "blocked")
    assert "1 of 2" in shown.text


def test_links_lead_to_pages_of_the_site(store: Store) -> None:
    """To each cell, to a training corpus that has a page, and to no page of one that has none."""
    links = Text(build(store, "det")[places.detector("det")]).links
    assert "../../cells/set/det/index.html" in links
    assert "../../datasets/set/index.html" in links
    assert not any("elsewhere" in link for link in links)
    assert "https://example.org/code" in links


def test_published_numbers_stand_against_ours(store: Store) -> None:
    """In the table as fractions, with the verdict of `bench.published` and its source as text."""
    page = places.detector("det")
    files = build(store, "det")
    (row,) = rows(files, page, "published")
    assert (row["published"], row["source"], row["verdict"]) == (0.5, "a <paper>", "off")
    assert row["eer"] == collect(store, ["set"], ["det"])[0].eer
    assert "off by" in Text(files[page]).text and "a <paper>" in Text(files[page]).text


def test_cost_and_training_are_told(store: Store) -> None:
    """Speed, memory and hardware of each cell, and the curve, cost and lists of a training."""
    page = places.detector("det")
    files = build(store, "det", RECORD)
    shown = Text(files[page]).text
    for text in ("120", "0.0083", "3.00", "device cpu", "1.5 minutes", "1.00 GiB", "cpu one", "120 trials", "1234"):
        assert text in shown
    assert [row["epoch"] for row in rows(files, page, "training")] == [1, 2]
    assert 'id="training"' in files[page].decode() and 'id="speed"' in files[page].decode()


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"stages": None},
        {"stages": [None, {"curve": "no"}]},
        {"stages": [{"curve": [{**POINT, "best": 1}]}]},
        {"stages": [{"curve": [{**POINT, "best": True, "seconds": 1, "training_loss": float("inf")}]}]},
    ],
)
def test_a_record_of_another_version_has_no_curve(store: Store, record: dict[str, Any]) -> None:
    """What cannot be read is not drawn, and the page is made."""
    files = build(store, "det", {"seconds": 3, **record})
    assert "There is no curve" in files[places.detector("det")].decode()
    assert places.beside(places.detector("det"), "training.csv") not in files


def test_a_perturbation_costs_what_the_paired_difference_says(tmp_path: Path) -> None:
    """Each perturbed dataset with its difference to the clean cell, or why there is none."""
    store = Store(tmp_path)
    clean, noisy = gaussian(0, 2.5), gaussian(0, 0.5)
    put_classes(store, "det", "set", *clean, prefix="t", card=CARD)
    put_classes(store, "det", "set+noise", *noisy, prefix="t", card=CARD)
    put_classes(store, "det", "set+mp3", *noisy, prefix="t", card=CARD, scorer="another")
    for folder in (tmp_path / "set%2Bnoise", tmp_path / "set%2Bmp3"):
        (place,) = folder.glob("*/*/cell.json")
        told = json.loads(place.read_text())
        told["dataset"]["clean"] = "set"
        place.write_text(json.dumps(told))
    page = places.detector("det")
    files = build(store, "det")
    found = {row["dataset"]: row for row in rows(files, page, "robustness")}
    eers = {result.cell.dataset: result.eer for result in collect(store, breakdowns=False)}
    assert eers["set"] is not None and eers["set+noise"] is not None
    assert found["set+noise"]["difference"] == pytest.approx(eers["set+noise"] - eers["set"])
    assert found["set+noise"]["difference_low"] > 0
    assert found["set+mp3"]["difference"] is None
    assert "no difference: the cell on set is of other weights" in Text(files[page]).text
    assert 'id="robustness"' in files[page].decode()


def test_calibration_says_what_is_missing(tmp_path: Path) -> None:
    """Cllr and actDCF only where the card says what scores are; otherwise that it does not."""
    store = Store(tmp_path)
    put_classes(store, "det", "set", *gaussian(0), card=CARD)
    put_classes(store, "silent", "set", *gaussian(1))
    page = places.detector("silent")
    (row,) = rows(build(store, "silent"), page, "calibration")
    assert (row["cllr"], row["act_dcf"]) == (None, None) and row["min_dcf"] > 0
    assert "does not say what its scores are" in build(store, "silent")[page].decode()
    (row,) = rows(build(store, "det"), places.detector("det"), "calibration")
    assert row["cllr"] > 0
    assert "natural log-odds of bona fide" in Text(build(store, "det")[places.detector("det")]).text


def test_badges_are_of_held_out_cells_first(store: Store) -> None:
    """One SVG a cell, `badge.svg` the first of them, Markdown where the address is known, and a citation."""
    page = places.detector("det")
    files = build(store, "det", site=Site("https://x.org/b/"))
    badge = {name: files[places.beside(page, f"badge{name}.svg")] for name in ("", "-set", "-other")}
    assert badge[""] == badge["-set"] != badge["-other"]
    assert places.beside(page, "badge-third.svg") not in files
    shown = Text(files[page]).text
    assert "[![bench](https://x.org/b/detectors/det/badge-set.svg)](https://x.org/b/detectors/det/)" in shown
    assert "@misc{bench-det," in shown and "year = {2027}" in shown and "Somebody, 2020" in shown
    assert "needs the address of the site" in Text(build(store, "det")[page]).text


def test_a_detector_that_is_only_blocked_has_a_page(tmp_path: Path) -> None:
    """Nothing is known of it but the reason; no table of numbers, badge or figure is made."""
    store = Store(tmp_path)
    store.block("set", NAME, "no weights: <b>", "put them <i>there")
    page = places.detector(NAME)
    files = build(store, NAME)
    assert set(files) == {page, *(places.beside(page, f"cells.{suffix}") for suffix in ("csv", "json"))}
    shown = Text(files[page])
    assert "no weights: <b> What helps: put them <i>there" in shown.text
    assert not shown.tags & {"svg", "img", "b", "i"}


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Markup in names and texts of a card is shown, in no path, and never becomes a tag."""
    store = Store(tmp_path)
    card = {**CARD, "title": NAME, "summary": NAME, "trained_on": [NAME], "code": "javascript:alert(1)"}
    put_classes(store, NAME, NAME[:60], *gaussian(0), card=card, **MADE)
    files = build(store, NAME)
    shown = Text(files[places.detector(NAME)])
    assert shown.text.count(NAME) >= 3
    assert "<script>alert" not in files[places.detector(NAME)].decode()
    assert not any(link.startswith("javascript:") for link in shown.links)
    assert all(path.isascii() and ".." not in path and "<" not in path for path in files)


def test_other_weights_than_those_of_the_card_are_told(store: Store) -> None:
    """Cells that were scored with another checkpoint do not pass for those of the newest one."""
    assert "Not all cells below" not in build(store, "det")[places.detector("det")].decode()
    weights = {**CARD["weights"], "sha256": "cd" * 32}
    put_classes(store, "det", "fourth", *gaussian(3), card={**CARD, "weights": weights})
    assert "Not all cells below" in build(store, "det")[places.detector("det")].decode()


def test_the_same_store_gives_the_same_bytes(store: Store) -> None:
    """No clock, no order of a set."""
    assert build(store, "det", RECORD) == build(store, "det", RECORD)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({}, ""),
        ({"window": "odd"}, ""),
        ({"window": "none", "rate": 16_000}, "nothing: the file is not opened"),
        ({"window": "facts", "rate": 16_000}, "only what the header of the file says"),
        (
            {"window": "whole", "rate": 16_000, "epsilon": 1e-5},
            "the whole file, at 16,000 Hz; zero mean and unit variance (epsilon 1e-05)",
        ),
        (
            {"window": "pad", "rate": 8_000, "samples": 4_000},
            "the first 4,000 samples (0.50 s), a shorter file filled up with zeros, at 8,000 Hz; the waveform as it is",
        ),
    ],
)
def test_audio_recipes_in_words(recipe: dict[str, Any], told: str) -> None:
    """What each window takes, and the normalisation."""
    assert audio_told(recipe) == told
