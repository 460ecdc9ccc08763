"""The store -> one static HTML page. No script, no clock, no network: the same store gives the same bytes.

Numbers are compared inside one trial list only: a dataset whose cells have several digests gets a leaderboard for each.
The look is in `reports/`; this module decides what is said, the templates where.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from bench import comparison, results
from bench.errors import StoreError
from bench.files import atomically
from bench.published import Verdict, verdicts
from bench.registry import shipped
from bench.results import Result
from bench.store import Store

PAGE = "index.html"
STYLE = "style.css"

# How licences that forbid commercial use are spelt: CC-BY-NC-4.0, "non-commercial", "research only".
NON_COMMERCIAL = re.compile(r"\bnc\b|non-?\s?commercial|research[- ]only", re.IGNORECASE)
PLUMBING = "its numbers show that the harness works, and nothing of the published detector"
LEAKAGE = {
    "held-out": ("held-out", "nothing of this corpus was trained on, and nothing was selected on it"),
    "in-domain": ("in-domain", "other trials of this corpus were trained or selected on: no new conditions"),
    "seen": ("seen", "these very trials, or some of them, were trained or selected on: no test at all"),
    "unknown": ("leakage unknown", "nobody says what the weights have seen"),
}
NO_LICENCE = re.compile(r"\b(no licen[cs]e|none|unclear|unknown|not stated|see the model card)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Badge:
    """A word that qualifies a row, and the sentence behind it."""

    text: str
    meaning: str


@dataclass(frozen=True)
class Row:
    """One cell as the page shows it. `rank` is None for a cell that is not measured over the whole trial list.

    published: what others printed, with what our number says of it.
    """

    rank: int | None
    result: Result
    anchor: str
    badges: tuple[Badge, ...]
    published: tuple[Verdict, ...]
    facts: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The detector's title; its name where no manifest tells one (blocked)."""
        return str(self.result.cell.manifest.get("detector", {}).get("title") or self.result.cell.detector)

    @property
    def subtitle(self) -> str:
        """Name (where the title is another) and family of the detector."""
        name = self.result.cell.detector
        family = self.result.cell.manifest.get("detector", {}).get("family")
        return " · ".join(part for part in (name if name != self.title else "", family) if part)

    @property
    def remarks(self) -> list[str]:
        """What stands below the status: all but the mean over several seeds, which has its place beside the EER."""
        band = self.result.band
        return [remark for remark in self.result.remarks if band is None or not band.eer or remark != band.told]

    @property
    def alone(self) -> str:
        """`seed 42`, where the row shows a mean and other numbers are of that seed alone."""
        band = self.result.band
        return f"seed {self.result.seed}" if band is not None and band.eer is not None else ""

    @property
    def speed(self) -> float | None:
        """Seconds of audio in a second of forward time; None where nothing was measured, as for an import."""
        value = self.result.cell.manifest.get("timings", {}).get("audio_seconds_per_second")
        return None if value is None else float(value)


@dataclass(frozen=True)
class Board:
    """The measured cells of one trial list, best first."""

    digest: str
    rows: tuple[Row, ...]

    @property
    def dataset(self) -> Mapping[str, Any]:
        """The trial list's name, counts and warnings, as the manifests tell them."""
        facts: Mapping[str, Any] = self.rows[0].result.cell.manifest["dataset"]
        return facts


@dataclass(frozen=True)
class Section:
    """One dataset name: a board for each digest, and the cells without numbers."""

    dataset: str
    anchor: str
    boards: tuple[Board, ...]
    unmeasured: tuple[Row, ...]


def write(store: Store, out: Path) -> Path:
    """Write the page of all current cells into the folder `out` and return the path of its `index.html`.

    A reader never sees half a page: each file is written beside its place and renamed, the page last.

    Raises:
        StoreError, DataError: as `bench.results.collect`; StoreError also where `out` cannot be written.
    """
    page = _render(sections(results.collect(store))).encode()
    style = (shipped("reports") / "static" / STYLE).read_bytes()
    try:
        atomically(out / STYLE, lambda part: part.write_bytes(style))
        atomically(out / PAGE, lambda part: part.write_bytes(page))
    except StoreError as error:
        raise StoreError(
            f"the report: {error.what}", where=error.where, remedy="choose a folder you may write to with --out"
        ) from error
    return out / PAGE


def sections(found: Iterable[Result]) -> list[Section]:
    """The order of the page, from that of `bench.results.collect`: in a dataset, the board with most rows first."""
    by_dataset = itertools.groupby(found, key=lambda result: result.cell.dataset)
    return [_section(dataset, list(group)) for dataset, group in by_dataset]


def _section(dataset: str, found: Sequence[Result]) -> Section:
    places = comparison.ranks(found)
    digests: dict[str, list[Result]] = {}
    for result in found:
        if result.metrics is not None:
            digests.setdefault(result.digest, []).append(result)
    boards = [
        Board(digest, tuple(_row(places.get((dataset, one.cell.detector)), one) for one in members))
        for digest, members in digests.items()
    ]
    boards.sort(key=lambda board: (-len(board.rows), board.digest))
    unmeasured = tuple(_row(None, result) for result in found if result.metrics is None)
    return Section(dataset, quote(dataset, safe=""), tuple(boards), unmeasured)


def _row(rank: int | None, result: Result) -> Row:
    cell = result.cell
    interval = None if result.uncertainty is None else result.uncertainty.interval("eer")
    return Row(
        rank=rank,
        result=result,
        anchor="/".join(("cell", *(quote(part, safe="") for part in (cell.dataset, cell.detector, cell.key[:12])))),
        badges=tuple(_badges(result)),
        published=tuple(verdicts(result, interval)) if result.metrics else (),
        facts=tuple(_facts(cell.manifest)),
    )


def _badges(result: Result) -> Iterable[Badge]:
    manifest = result.cell.manifest
    detector = manifest.get("detector", {})
    weights = detector.get("weights") or {}
    notices = detector.get("notices") or ()
    if result.metrics is not None:
        yield Badge(*LEAKAGE[result.leakage])
    licences = [text for text in (detector.get("licence"), weights.get("licence")) if text]
    if any(NON_COMMERCIAL.search(text) for text in licences):
        yield Badge("non-commercial", "the licence of the code or the weights forbids commercial use")
    if any(NO_LICENCE.search(text) for text in licences):
        yield Badge("no clear licence", "code or weights were published without a clear licence")
    for notice in notices:
        yield Badge("patent" if "patent" in notice.casefold() else "notice", notice)
    if weights.get("trained"):
        yield Badge("trained here", "the weights were made by this harness from the recipe of the card")
        for warning in (warning for facts in weights.get("lists", ()) for warning in facts["warnings"]):
            yield Badge("trained on another list", warning)
    elif weights and not weights.get("verified"):
        yield Badge("unverified weights", "no published hash to compare the checkpoint with")
    if parts := " and ".join(result.random_parts):
        yield Badge(f"random {parts}", f"the training of {parts} began with random weights: {PLUMBING}")
    if manifest.get("imported"):
        yield Badge("imported", "the scores were made elsewhere; this harness did not run the detector")


def _list(facts: Mapping[str, Any]) -> str:
    return f"{facts['name']} ({facts['trials']:,} trials, digest {facts['digest'][:12]})"


def _start(found: Mapping[str, Any] | str) -> str:
    """Weights that a part started from, in words."""
    if isinstance(found, str):
        return found
    return f"{found['file']}, sha256 {found['sha256']}{'' if found['verified'] else ', unverified'}"


def _facts(manifest: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What determined the scores, as label and text; what the manifest does not tell is left out."""
    detector = manifest.get("detector", {})
    weights = detector.get("weights") or {}
    told = {
        "Summary": detector.get("summary"),
        "Paper": detector.get("paper"),
        "Code": detector.get("code"),
        "Licence": detector.get("licence"),
        "Notices": detector.get("notices"),
        "Weights file": weights.get("file"),
        "Weights source": weights.get("source"),
        "Weights licence": weights.get("licence"),
        "Weights sha256": weights.get("sha256"),
        "Weights verified": weights.get("verified"),
        "Recipe key": weights.get("recipe_key"),
        "Training seed": weights.get("seed"),
        "Training started from": {part: _start(found) for part, found in (weights.get("start") or {}).items()},
        "Lists of the training": [_list(facts) for facts in weights.get("lists", ())],
        "Score file": manifest.get("file"),
        "Trained on": detector.get("trained_on"),
        "Selected on": detector.get("selected_on"),
        "Audio": detector.get("audio"),
        "Trials scored": manifest.get("scored"),
        "Trials that cannot be decoded": manifest.get("failed"),
        "Precision": manifest.get("precision"),
        "Batch size": manifest.get("batch_size"),
        "Timings": manifest.get("timings"),
        "Versions": manifest.get("versions"),
        "Hardware": manifest.get("hardware"),
        "Finished": manifest.get("finished"),
        "Notes": detector.get("notes"),
    }
    return ((label, _text(value)) for label, value in told.items() if value not in (None, "", [], (), {}))


def _text(value: Any) -> str:
    """A value of a manifest for reading: nested mappings as `key value`, lists with commas."""
    if isinstance(value, Mapping):
        pairs = ((str(key).replace("_", " "), value[key]) for key in sorted(value) if value[key] is not None)
        return " · ".join(f"{key} {_text(inner)}" for key, inner in pairs)
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _render(found: Sequence[Section]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped("reports") / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = lambda value, digits=2: f"{100 * value:.{digits}f}"
    environment.filters["fixed"] = lambda value, digits=4: f"{value:.{digits}f}"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["speed"] = lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
    return environment.get_template(PAGE).render(sections=found, style=STYLE, f1_headline=results.F1_HEADLINE)
