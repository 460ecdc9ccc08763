"""Audio files of the user's own: their scores, decisions, and where the scores lie among stored ones.

No labels, no corpus: a file goes through the same pass as a trial of a dataset, and nothing is stored. A score alone
says little, so it is set beside the stored cells of the same detector (architecture, weights, recipe and version): the
share of their bona fide and of their spoofed trials that scored lower, a tie counting half. That is no probability that
the file is genuine; `CAUTION` says so wherever scores are printed.
"""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench import environment, passes, results, trainings
from bench.batches import Portions, plan_batches
from bench.cards import AudioRecipe, Decision, DetectorCard
from bench.corpora.files import audio_files
from bench.errors import BenchError, CardError, DataError, UsageError
from bench.executors import Job
from bench.executors.local import Local
from bench.matrix import Planned
from bench.progress import Display
from bench.scales import Scale, Standing, scale
from bench.scorer import resolve_model
from bench.scoring import Failed
from bench.store import Cell, Store
from bench.text import printable
from bench.trials import AUDIO_SUFFIXES
from bench.workspace import Workspace

CAUTION = (
    "A score is evidence of how a detector reacts to a file: no proof of what the file is, and no probability. A file "
    "that is unlike the datasets compared with (codec, noise, language, newer synthesis) can score anywhere."
)
READING = (
    "Below, above: the share of the stored trials of that class that the same detector scored higher, lower; a tie "
    "counts half. EER: its error rate on that dataset; 50 % is guessing."
)
HEARD = "A detector knows no more of a file than it heard; one repeated or zero-padded is shorter than it should be."
ANY = "any dataset"
MEND = "get an intact copy of the file, or convert it to WAV"
LIST = "`bench list detectors` tells what each needs"
RENAME = "rename it, or score a copy under another name"


@dataclass(frozen=True)
class ClipScore:
    """What one detector says of one file.

    score: a raw logit, higher = more bona fide. extras: further columns of the detector.
    decision: at the threshold of the detector's card; None where that has none, or names a column that is not there.
    seconds: of the file, None where the detector does not open it. recipe: what the detector is given of a file.
    extracted: a feature extractor of its own, which may cut, is between that and the network.
    """

    file: str
    detector: str
    score: float
    extras: Mapping[str, float]
    decision: Literal["bona fide", "spoof"] | None
    seconds: float | None
    recipe: AudioRecipe
    extracted: bool
    comparisons: tuple[Standing, ...] = ()

    @property
    def heard(self) -> str:
        """The part of the file that the detector was given, in words."""
        if self.seconds is None or not self.recipe.decodes:
            return "its header" if self.recipe.window == "facts" else "none of it"
        if self.extracted:
            return "what its feature extractor takes"
        window = self.recipe.samples
        samples = math.ceil(self.seconds * self.recipe.rate - 1e-6)  # as resampled
        if window is None or samples == window:
            return "all of it"
        told = f"{window / self.recipe.rate:.2f} s"
        if samples > window:
            return f"first {told}"
        return f"repeated to {told}" if self.recipe.window == "tile" else f"zero-padded to {told}"


@dataclass(frozen=True)
class Judge:
    """What to know of a detector that gave scores.

    decision: the rule its decisions follow, None where it made none.
    weights: `trained here`, `verified` (the published hash), `unverified` (none is published), None without weights.
    missing: datasets asked for of which no cell can be compared with; (ANY,) where there is none at all.
    """

    name: str
    decision: Decision | None
    weights: str | None
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Trouble:
    """What could not be done: a `file` (folder, glob), a `detector`, or a stored `cell` to compare with.

    named: it was asked for, as opposed to one of `all`.
    """

    kind: Literal["file", "detector", "cell"]
    name: str
    reason: str
    remedy: str
    named: bool = True


@dataclass(frozen=True)
class Clips:
    """The scores, by file and then detector in the order in which they were given, and what went wrong."""

    scores: Sequence[ClipScore]
    judges: Sequence[Judge]
    troubles: Sequence[Trouble]

    @property
    def ok(self) -> bool:
        """Whether there are scores, and nothing that was asked for went wrong."""
        return bool(self.scores) and not any(trouble.named for trouble in self.troubles)

    def told(self) -> list[Trouble]:
        """The troubles for a reader: detectors that nobody asked for by name are dealt with in one."""
        told = [trouble for trouble in self.troubles if trouble.named or trouble.kind != "detector"]
        if names := [trouble.name for trouble in self.troubles if trouble not in told]:
            told.append(Trouble("detector", "not ready here", ", ".join(names), LIST, named=False))
        return told


def score(
    workspace: Workspace,
    files: Iterable[str | Path],
    detectors: Collection[str],
    datasets: Collection[str],
    display: Display,
) -> Clips:
    """Score files and compare with stored cells. Trains nothing and writes nothing.

    Args:
        files: audio files, folders (all audio below), globs. What cannot be found or decoded is told, others go on.
        detectors: names, globs, `all`; empty: what `all` has of trained detectors, so neither chance nor probes.
        datasets: names or globs of stored datasets to compare with; empty: every one.

    Raises:
        UsageError: a detector, stored dataset or device that is not there.
        ScoringError: a decode process died.
    """
    executor = Local(environment.pick_device(workspace.options.device))
    plan = _plan(workspace, detectors)
    cells = workspace.store.cells()
    wanted = results.selected("dataset", datasets or None, {cell.dataset for cell in cells})
    paths, troubles = find(files)
    troubles += [Trouble("detector", p.card.name, p.reason, p.remedy, p.named) for p in plan if p.state == "blocked"]
    ready = [pair for pair in plan if pair.state == "score"]
    scores: dict[str, list[ClipScore]] = {pair.card.name: [] for pair in ready}
    for group in passes.grouped(ready, executor.memory_bytes()) if paths else ():
        for item in _pass(workspace, group, paths, executor, display):
            if isinstance(item, Trouble):
                troubles.append(item)
            else:
                scores[item.detector].append(item)

    judges, compared = [], []
    for pair in (pair for pair in ready if scores[pair.card.name]):
        scales, damaged = _scales(workspace.store, _comparable(cells, pair, wanted))
        troubles += [replace(trouble, named=bool(datasets)) for trouble in damaged]
        missing = wanted - {known.cell.dataset for known in scales} if datasets else () if scales else (ANY,)
        judges.append(_judge(pair, scores[pair.card.name], missing))
        compared += [
            replace(one, comparisons=tuple(known.compare(one.score) for known in scales))
            for one in scores[pair.card.name]
        ]
    order = {file: number for number, file in enumerate(paths)}
    return Clips(sorted(compared, key=lambda one: order[one.file]), judges, list(dict.fromkeys(troubles)))


def find(names: Iterable[str | Path]) -> tuple[dict[str, str], list[Trouble]]:
    """Audio files that names, folders and globs stand for, each once, as given -> absolute path; and what is none."""
    found: dict[str, str] = {}  # real path -> as given
    troubles = []
    for name in map(str, names):
        try:
            for file in _files(name):
                if _utf8(file) == file:
                    found.setdefault(os.path.realpath(file), file)
                else:  # no table of scores could hold it
                    troubles.append(Trouble("file", file, "the file name is not UTF-8", RENAME))
        except DataError as error:
            troubles.append(Trouble("file", name, error.what, error.remedy or ""))
        except OSError as error:
            troubles.append(Trouble("file", name, f"cannot be read: {error.strerror}", "check name and permissions"))
    # Absolute, because decoders take `-` for standard input and `12:30.m4a` for a protocol.
    return {file: str(Path(file).absolute()) for file in found.values()}, troubles


def _files(name: str) -> list[str]:
    # A name that is there is no glob: `take [2].wav`. pathlib would refuse absolute patterns and match hidden files.
    places = [name] if name and Path(name).exists() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207
    found = []
    for place in map(Path, places):
        found += [str(place / below) for below in audio_files(place)] if place.is_dir() else [str(place)]
    if found:
        return found
    if places:
        raise DataError("no audio in this folder", remedy=f"audio files end in {', '.join(AUDIO_SUFFIXES)}")
    raise DataError("no such file or folder", remedy="check the name; quote names with spaces")


def _plan(ws: Workspace, patterns: Collection[str]) -> list[Planned]:
    chosen = ws.detectors.select(patterns or ("all",))
    cards = [(ws.detectors[name], named) for name, named in chosen.items()]
    # Chance and probes say something of a corpus, nothing of one file.
    return [_planned(ws, card, named) for card, named in cards if patterns or card.weights or card.recipe]


def _planned(ws: Workspace, card: DetectorCard, named: bool) -> Planned:
    try:
        checkpoint = ws.checkpoint(card)
        if card.recipe is not None and checkpoint is None:
            raise trainings.untrained(card)
        passes.scorer_key(card, checkpoint)
    except BenchError as error:
        if isinstance(error, UsageError) and not isinstance(error, CardError):
            raise
        return Planned(card, "", "blocked", reason=error.reason(), remedy=error.remedy or "", named=named)
    return Planned(card, "", "score", checkpoint=checkpoint, named=named)


def _pass(
    ws: Workspace, pairs: Sequence[Planned], paths: Mapping[str, str], executor: Local, display: Display
) -> Iterator[ClipScore | Trouble]:
    """One decoding pass over the files for detectors of equal audio recipe."""
    cards = {pair.card.name: pair.card for pair in pairs}
    batch_size = ws.options.batch_size or passes.BATCH_SIZES[executor.kind]
    trials = pd.DataFrame({"trial": list(paths), "path": list(paths.values())})
    scorers = [passes.scorer(pair.card, pair.checkpoint) for pair in pairs]
    batches = plan_batches(trials, scorers[0].recipe, batch_size)
    display.begin(f"your files: {', '.join(cards)}", len(trials) * len(pairs))
    job = Job(scorers, workers=ws.options.workers)
    portions = Portions(trials, batches, list(cards))
    for item in (item for done in executor.score(job, portions) for item in done.results):
        if isinstance(item, Failed):
            if item.details:
                display.note(item.details)
            yield Trouble("detector", item.detector, item.error.reason(), item.error.remedy or "")
            continue
        display.advance(len(item.block))
        for row in item.block.to_dict("records"):
            if math.isnan(row["score"]):
                yield Trouble("file", row["trial"], row["note"].removesuffix(f": {paths[row['trial']]}"), MEND)
            else:
                yield _clip_score(cards[item.detector], row)
    display.end()


def _clip_score(card: DetectorCard, row: Mapping[Any, Any]) -> ClipScore:
    values = {name: float(value) for name, value in row.items() if name not in ("trial", "seconds", "note")}
    decision: Literal["bona fide", "spoof"] | None = None
    if card.decision is not None and card.decision.column in values:
        decision = "bona fide" if values[card.decision.column] > card.decision.threshold else "spoof"
    seconds = None if math.isnan(row["seconds"]) else float(row["seconds"])
    extracted = hasattr(resolve_model(card.model, card.name), "from_folder")
    return ClipScore(row["trial"], card.name, values.pop("score"), values, decision, seconds, card.audio, extracted)


def _comparable(cells: Iterable[Cell], pair: Planned, wanted: Collection[str]) -> list[Cell]:
    """The newest cell of each dataset whose scores the detector, as it is now, would give again."""
    key = passes.scorer_key(pair.card, pair.checkpoint)
    own = (cell for cell in cells if cell.detector == pair.card.name and cell.manifest.get("scorer") == key)
    usable = [cell for cell in own if cell.has_number and cell.dataset in wanted]
    usable.sort(key=lambda cell: str(cell.manifest.get("finished", "")))
    return sorted({cell.dataset: cell for cell in usable}.values(), key=lambda cell: cell.dataset)


def _scales(store: Store, cells: Iterable[Cell]) -> tuple[list[Scale], list[Trouble]]:
    scales, troubles = [], []
    for cell in cells:
        try:
            scales.append(scale(store, cell))
        except BenchError as error:
            name = f"stored scores of {cell.detector} on {cell.dataset}"
            troubles.append(Trouble("cell", name, error.reason(), error.remedy or ""))
    return scales, troubles


def _judge(pair: Planned, scores: Iterable[ClipScore], missing: Iterable[str]) -> Judge:
    decision = pair.card.decision if any(one.decision for one in scores) else None
    weights = None
    if pair.checkpoint is not None:
        weights = "trained here" if pair.card.recipe else "verified" if pair.checkpoint.verified else "unverified"
    return Judge(pair.card.name, decision, weights, tuple(sorted(missing)))


# --- for the reader ---------------------------------------------------------------------------------------------------


def as_json(clips: Clips) -> dict[str, Any]:
    """What `bench score --json` prints: shares and EER as fractions, null where there is none."""
    scores = [asdict(one) | {"recipe": one.recipe.model_dump(), "heard": one.heard} for one in clips.scores]
    rules = [judge.decision and judge.decision.model_dump() for judge in clips.judges]
    detectors = [asdict(judge) | {"decision": rule} for judge, rule in zip(clips.judges, rules, strict=True)]
    troubles = [asdict(trouble) | {"name": _utf8(trouble.name)} for trouble in clips.troubles]
    return {"scores": scores, "detectors": detectors, "troubles": troubles, "caution": CAUTION}


def blocks(clips: Clips) -> Iterator[Text | Table]:
    """The scores for a terminal: a heading and a table a file."""
    for file, found in groupby(clips.scores, key=lambda one: one.file):
        scores = list(found)
        seconds = next((f", {one.seconds:,.2f} s" for one in scores if one.seconds is not None), "")
        parts: dict[str, list[str]] = {}
        for one in scores:
            parts.setdefault(one.heard, []).append(one.detector)
        heard = "; ".join(f"{part} by {', '.join(names)}" for part, names in parts.items())
        yield Text.assemble((printable(file), "bold"), f"{seconds}\nheard: {heard}\n")
        yield _table(scores)
        yield Text()


def _table(scores: Iterable[ClipScore]) -> Table:
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    # Numbers and decisions are never cut, however narrow the terminal.
    shown.add_column("detector", overflow="fold")
    shown.add_column("score", justify="right", no_wrap=True, min_width=7)
    shown.add_column("decision", no_wrap=True, min_width=9)
    shown.add_column("dataset", overflow="fold")
    shown.add_column("EER %", justify="right", no_wrap=True, min_width=5)
    shown.add_column("below\nbona fide", justify="right", no_wrap=True, min_width=9)
    shown.add_column("above\nspoofs", justify="right", no_wrap=True, min_width=7)
    for one in scores:
        said = [one.detector, f"{one.score:.4f}", one.decision or "–"]
        for comparison in one.comparisons or (None,):
            shown.add_row(*map(Text, [*said, *_compared(comparison)]))
            said = ["", "", ""]
    return shown


def _compared(comparison: Standing | None) -> tuple[str, str, str, str]:
    """Dataset, EER, share of the bona fide above the score, share of the spoofs below it."""
    if comparison is None:
        return "–", "–", "–", "–"
    below = None if comparison.lower_bonafide is None else 1 - comparison.lower_bonafide
    eer = "–" if comparison.eer is None else f"{100 * comparison.eer:.2f}"
    return comparison.dataset, eer, percent(below), percent(comparison.lower_spoof)


def percent(share: float | None) -> str:
    """A share for a reader, who shall not take 99.96 % for all."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    return ">99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def _utf8(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def footer(clips: Clips) -> Iterator[str]:
    """What must be said below scores, a paragraph each."""
    yield CAUTION
    if any(one.recipe.samples for one in clips.scores):
        yield HEARD
    if pairs := [(one, comparison) for one in clips.scores for comparison in one.comparisons]:
        one, comparison = pairs[0]
        dataset, _, below, above = _compared(comparison)
        what = f"{printable(one.file)} by {one.detector}"
        yield f"{what}: lower than {below} of the bona fide of {dataset}, higher than {above} of its spoofs. {READING}"
        lists = dict.fromkeys((c.dataset, c.digest, c.n_bonafide, c.n_spoof) for _, c in pairs)
        told = (f"{name} {real:,} bona fide, {fake:,} spoofs ({digest[:12]})" for name, digest, real, fake in lists)
        yield f"Compared with {'; '.join(told)}."
    yield from _about_detectors(clips.judges)


def _about_detectors(judges: Sequence[Judge]) -> Iterator[str]:
    rules = [(judge.name, judge.decision) for judge in judges]
    if decided := [f"{name} {rule.column} > {rule.threshold:g}" for name, rule in rules if rule]:
        yield f"Bona fide where {', '.join(decided)}: thresholds of the detectors, not chosen for your files."
    if none := [name for name, rule in rules if not rule]:
        yield f"No decision by {', '.join(none)}: the card has no threshold for what it gives."
    if unverified := [judge.name for judge in judges if judge.weights == "unverified"]:
        yield f"Weights unverified, no hash of them is published: {', '.join(unverified)}."
    lacking: dict[tuple[str, ...], list[str]] = {}
    for judge in judges:
        lacking.setdefault(judge.missing, []).append(judge.name)
    for missing, names in lacking.items():
        if missing:
            what = f"No complete scores of {', '.join(names)}, as it is now, are stored on {', '.join(missing)}"
            yield f"{what}: `bench run --detectors {','.join(names)} --datasets ...` makes them."
