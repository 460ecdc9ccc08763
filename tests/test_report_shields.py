"""The SVG badge of a cell and the BibTeX of the site: numbers of the store, names that stay text, no clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.report import citation, shields
from bench.report.measured import Measured
from bench.report.site import Site
from bench.results import collect
from bench.store import Store
from tests.stores import NAN, gaussian, put_classes

NAME = "<b>\"&'é%_{}\\ " + "x" * 30
SVG = "{http://www.w3.org/2000/svg}"


def measured(tmp_path: Path, dataset: str = "set", detector: str = "det", **manifest: Any) -> Measured:
    store = Store(tmp_path)
    put_classes(store, detector, dataset, *gaussian(0), **manifest)
    (result,) = collect(store, [dataset], [detector], breakdowns=False)
    return Measured(result, None)


def texts(svg: bytes | None) -> tuple[list[str], str]:
    """Of a badge: what it shows, and its title."""
    assert svg is not None
    root = ElementTree.fromstring(svg)
    shown = [one.text or "" for one in root.iter(f"{SVG}text")]
    return shown, root.findtext(f"{SVG}title") or ""


@pytest.mark.parametrize(
    ("leakage", "told"),
    [("held-out", ""), ("in-domain", " (in-domain)"), ("seen", " (seen)"), ("\x00", " (leakage unknown)")],
)
def test_a_badge_says_eer_dataset_and_what_the_weights_have_seen(tmp_path: Path, leakage: str, told: str) -> None:
    """Nothing but held-out goes without saying; counts and digest are in its title."""
    one = measured(tmp_path, leakage=leakage)
    assert one.result.eer is not None
    shown, title = texts(shields.svg(one))
    expected = f"EER {100 * one.result.eer:.2f} % on set{told}"
    assert shown == ["bench", expected]
    assert title == f"bench: {expected} (200 trials, digest {one.result.digest[:12]})"


def test_a_hostile_name_is_text_and_shortened(tmp_path: Path) -> None:
    """Markup in a name is escaped, forty characters of it are shown, and all of it is in the title."""
    one = measured(tmp_path, dataset=NAME)
    shown, title = texts(shields.svg(one))
    assert shown[1].endswith(f"on {NAME[:39]}… (leakage unknown)")
    assert f"on {NAME} (" in title
    assert shields.svg(one) == shields.svg(one)


def test_a_wide_script_has_room(tmp_path: Path) -> None:
    """Letters that are twice as wide make the box twice as wide."""
    wide, plain = (
        ElementTree.fromstring(shields.svg(measured(tmp_path, dataset=name)) or b"") for name in ("語" * 9, "a" * 18)
    )
    assert wide.get("width") == plain.get("width")


def test_no_badge_without_an_eer_over_the_whole_list(tmp_path: Path) -> None:
    """A number over part of the trials needs words that a badge has no room for."""
    store = Store(tmp_path)
    bonafide, spoof = gaussian(0)
    put_classes(store, "det", "set", [NAN, *bonafide], spoof, allow_missing=True)
    (result,) = collect(store, breakdowns=False)
    assert result.eer is not None and result.unscored == 1
    assert shields.svg(Measured(result, None)) is None


def test_the_markdown_leads_to_the_page() -> None:
    """An image inside a link."""
    assert (
        shields.markdown("https://x.org/b.svg", "https://x.org/d/")
        == "[![bench](https://x.org/b.svg)](https://x.org/d/)"
    )


def test_bibtex_of_the_site(tmp_path: Path) -> None:
    """Year of the newest cell, address, and the digests of all trial lists."""
    old = measured(tmp_path, "b_set", finished="2024-02-03T00:00:00+00:00")
    new = measured(tmp_path, "a", finished="2027-12-31T23:59:59+00:00")
    assert citation.of_site([old, new], Site("https://x.org/bench/")) == (
        "@misc{bench-leaderboard,\n"
        "  title = {{Audio-deepfake detectors: leaderboard}},\n"
        "  howpublished = {Computed from stored scores by bench report},\n"
        "  year = {2027},\n"
        "  url = {https://x.org/bench/},\n"
        "  note = {Trial lists and the beginnings of their SHA-256 digests: "
        f"a {new.result.digest[:12]},\n          b\\_set {old.result.digest[:12]}}},\n"
        "}\n"
    )


def test_bibtex_of_a_detector_has_an_ascii_key_and_escaped_texts(tmp_path: Path) -> None:
    """What LaTeX would obey is escaped; without an address and a date there is neither."""
    told = citation.of_detector([measured(tmp_path, detector=NAME, card={"title": "A & B_{x}\\%\n#1~^$"})], Site())
    head, title = told.splitlines()[:2]
    assert head.isascii() and head.startswith("@misc{bench-b-x") and head.endswith(",")
    escaped = r"A \& B\_\{x\}\textbackslash{}\%\textbackslash{}n\#1\textasciitilde{}\textasciicircum{}\$"
    assert title == f"  title = {{{{{escaped}: measured on audio-deepfake datasets}}}},"
    assert "year" not in told and "url" not in told


def test_bibtex_of_an_empty_store() -> None:
    """A site without cells is cited without lists and year."""
    assert citation.of_site([], Site()) == (
        "@misc{bench-leaderboard,\n  title = {{Audio-deepfake detectors: leaderboard}},\n"
        "  howpublished = {Computed from stored scores by bench report},\n}\n"
    )
