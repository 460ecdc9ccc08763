"""Badges: what licences, weights and leakage are told beside a name, and links that a card may become."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report import badges
from bench.report.pages import _environment
from bench.results import Result
from bench.store import Cell

RANDOM = {"trained": True, "verified": True, "start": {"backbone": "random"}}
WARNED = {"trained": True, "verified": True, "lists": [{"warnings": ["2,580 trials, not 25,380"]}, {}]}


def result(detector: dict[str, Any], measured: bool = True, **manifest: Any) -> Result:
    told = {"leakage": "held-out", "detector": {"licence": "MIT", **detector}, **manifest}
    return Result(Cell("set", "det", "0" * 64, "complete", manifest=told), {"eer": 0.1} if measured else None)


@pytest.mark.parametrize(
    ("detector", "manifest", "expected"),
    [
        ({}, {}, ["held-out"]),
        ({}, {"leakage": "seen"}, ["seen"]),
        ({}, {"leakage": "unknown"}, ["leakage unknown"]),
        ({}, {"leakage": "a word of another version"}, ["leakage unknown"]),
        ({"weights": {"licence": "CC-BY-NC-SA-4.0", "verified": True}}, {}, ["held-out", "non-commercial"]),
        ({"licence": "other, non-commercial"}, {}, ["held-out", "non-commercial"]),
        ({"licence": "no licence file"}, {}, ["held-out", "no clear licence"]),
        ({"notices": ["A patent is pending.", "Whole files only."]}, {}, ["held-out", "patent", "notice"]),
        ({"weights": {"file": "w.pth", "verified": False}}, {}, ["held-out", "unverified weights"]),
        ({"weights": RANDOM}, {}, ["held-out", "trained here", "random backbone"]),
        ({"weights": WARNED}, {}, ["held-out", "trained here", "trained on another list"]),
        ({"weights": None}, {"imported": True}, ["held-out", "imported"]),
    ],
)
def test_badges_qualify_a_row(detector: dict[str, Any], manifest: dict[str, Any], expected: list[str]) -> None:
    """Licence limits, weights without a hash or trained here, random parts and imports are marked."""
    assert [badge.text for badge in badges.of_cell(result(detector, **manifest))] == expected


def test_a_cell_without_numbers_has_no_leakage() -> None:
    """What the weights have seen qualifies numbers; a blocked cell has no manifest at all."""
    assert badges.of_cell(result({}, measured=False)) == []
    assert badges.of_cell(Result(Cell("set", "det", "", "blocked"))) == []


@pytest.mark.parametrize(
    ("code", "weights", "use"),
    [
        ("MIT", None, "commercial"),
        ("MIT (our code)", "Apache-2.0", "commercial"),
        ("MIT", "CC BY-NC-SA 4.0", "clear"),
        ("CC BY-SA 4.0", None, "commercial"),
        ("ours alone", None, "clear"),
        ("MIT", "not stated; the code is MIT", "unclear"),
        ("no licence (the repository has no licence file)", None, "unclear"),
        (None, None, "unclear"),
    ],
)
def test_commercial_use_needs_licences_that_are_known_to_allow_it(
    code: str | None, weights: str | None, use: str
) -> None:
    """All of code and weights: one that forbids it, is unclear, or is not known is enough against it."""
    assert badges.use(result({"licence": code, "weights": {"licence": weights}})) == use


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("https://example.org/a?b=1", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.org", False),
        ("see https://example.org", False),
        ("https://example.org see", False),
    ],
)
def test_only_web_addresses_become_links(text: str, linked: bool) -> None:
    """A card's text is a link only when it is an http(s) address and nothing else."""
    link: Any = getattr(_environment().get_template("parts.html").module, "link")  # noqa: B009 (jinja types no macro)
    assert (f'href="{text}"' in str(link(text))) is linked
