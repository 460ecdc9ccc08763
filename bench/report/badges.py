"""Words that qualify a row: what the weights have seen, what licences forbid, where the weights and the scores are
from. (The SVG badge of a detector for its own README is `bench.report.shields`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.results import Result

# How licences that forbid commercial use are spelt: CC-BY-NC-4.0, "non-commercial", "research only".
NON_COMMERCIAL = re.compile(r"\bnc\b|non-?\s?commercial|research[- ]only", re.IGNORECASE)
# Licences known to allow commercial use. What is neither here nor above is clear, and says nothing of it.
OPEN = re.compile(r"\b(mit|apache|bsd|isc|cc0|cc[- ]by|odc-by|odbl|gpl|lgpl|mpl|public domain)\b", re.IGNORECASE)
NO_LICENCE = re.compile(r"\b(no licen[cs]e|none|unclear|unknown|not stated|see the model card)\b", re.IGNORECASE)
PLUMBING = "its numbers show that the harness works, and nothing of the published detector"
LEAKAGE = {
    "held-out": ("held-out", "nothing of this corpus was trained on, and nothing was selected on it"),
    "in-domain": ("in-domain", "other trials of this corpus were trained or selected on: no new conditions"),
    "seen": ("seen", "these very trials, or some of them, were trained or selected on: no test at all"),
    "unknown": ("leakage unknown", "nobody says what the weights have seen"),
}


Use: TypeAlias = Literal["commercial", "clear", "unclear"]


@dataclass(frozen=True)
class Badge:
    """A word that qualifies a row, and the sentence behind it."""

    text: str
    meaning: str

    @property
    def quiet(self) -> bool:
        """Nothing to beware of."""
        return self.text == "held-out"


def of_cell(result: Result) -> list[Badge]:
    """What qualifies the numbers of one cell: its leakage, where it has numbers, and all of `of_detector`."""
    told = [of_leakage(result)] if result.metrics is not None else []
    return [*told, *of_detector(result)]


def of_leakage(result: Result) -> Badge:
    """What the weights may have seen of the dataset; an unknown word counts as nobody's saying."""
    return Badge(*LEAKAGE.get(result.leakage, LEAKAGE["unknown"]))


def use(result: Result) -> Use:
    """What the licences of code and weights allow: `commercial` use, all of them; `clear`: they are told, and clear;
    `unclear` where none is told or one is not clear.
    """
    licences = _licences(result)
    if not licences or any(NO_LICENCE.search(text) for text in licences):
        return "unclear"
    allowed = all(OPEN.search(text) and not NON_COMMERCIAL.search(text) for text in licences)
    return "commercial" if allowed else "clear"


def of_detector(result: Result) -> list[Badge]:
    """What qualifies a detector, as the manifest of one of its cells tells it."""
    return list(_of_detector(result))


def _of_detector(result: Result) -> Iterable[Badge]:
    manifest = result.cell.manifest
    detector = manifest.get("detector", {})
    weights = detector.get("weights") or {}
    licences = _licences(result)
    if any(NON_COMMERCIAL.search(text) for text in licences):
        yield Badge("non-commercial", "the licence of the code or the weights forbids commercial use")
    if any(NO_LICENCE.search(text) for text in licences):
        yield Badge("no clear licence", "code or weights were published without a clear licence")
    for notice in detector.get("notices") or ():
        yield Badge("patent" if "patent" in notice.casefold() else "notice", notice)
    if weights.get("trained"):
        yield Badge("trained here", "the weights were made by this harness from the recipe of the card")
        for warning in (warning for facts in weights.get("lists", ()) for warning in facts.get("warnings", ())):
            yield Badge("trained on another list", warning)
    elif weights and not weights.get("verified"):
        yield Badge("unverified weights", "no published hash to compare the checkpoint with")
    if parts := " and ".join(result.random_parts):
        yield Badge(f"random {parts}", f"the training of {parts} began with random weights: {PLUMBING}")
    if manifest.get("imported"):
        yield Badge("imported", "the scores were made elsewhere; this harness did not run the detector")


def _licences(result: Result) -> list[str]:
    """Of the code and of the weights, as the manifest tells them."""
    detector = result.cell.manifest.get("detector", {})
    return [text for text in (detector.get("licence"), (detector.get("weights") or {}).get("licence")) if text]
