"""Detectors x datasets -> a plan of cells, and carrying it out.

A cell is named by its content: `key` = sha256 of architecture, arguments, audio recipe, weights, adapter version,
precision and dataset digest. A finished cell is never scored again; anything that would change a score makes another
key. What a pair needs and is not here blocks that pair alone: the others run, and the reason and remedy are kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from bench import corpora, environment, training
from bench.cards import AudioRecipe, DetectorCard
from bench.corpora import Dataset
from bench.errors import BenchError, Blocked, CardError, MissingWeights, ScoringError, StoreError, UsageError
from bench.progress import Display
from bench.scoring import Failed, Scored, Scorer, model_version, plan_batches, score_trials
from bench.store import Cell, CellWriter
from bench.weights import Checkpoint
from bench.workspace import Workspace

PRECISION = "fp32"
FLUSH_SECONDS = 5.0  # of scoring that a kill can cost
BATCH_SIZES = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True)
class Planned:
    """One pair of the plan.

    state: `score` it, `train` its detector first, `done` before, or `blocked` for `reason`; in a dry run also `make`: a
            corpus that the harness makes itself comes first, more cannot be told before.
    dataset: what it is scored on, None where its list is not here. key: '' unless the state is `score` or `done`.
    fetchable: what blocks are weights that `bench fetch` can get.
    named: what blocks, the detector or the dataset, was asked for by name. searched: where, for what was not found.
    missing: audio files that are not here.
    """

    card: DetectorCard
    name: str
    state: Literal["score", "train", "make", "done", "blocked"]
    dataset: Dataset | None = None
    checkpoint: Checkpoint | None = None
    key: str = ""
    reason: str = ""
    remedy: str = ""
    searched: str = ""
    named: bool = False
    fetchable: bool = False
    missing: int = 0

    @property
    def dataset_name(self) -> str:
        """The name of the cell's dataset: that of a sample where `limit` made one."""
        return self.dataset.name if self.dataset else self.name


@dataclass(frozen=True)
class Outcome:
    """What became of a planned pair; `cell` is None for a blocked one."""

    planned: Planned
    cell: Cell | None = None

    @property
    def ok(self) -> bool:
        """Whether the pair has a number, or is blocked by something nobody asked for by name."""
        return not self.planned.named if self.cell is None else self.cell.has_number

    @property
    def as_cell(self) -> Cell:
        """The cell, or for a blocked pair one that says why."""
        pair = self.planned
        return self.cell or Cell(pair.dataset_name, pair.card.name, "", "blocked", None, pair.reason, pair.remedy)


def plan(workspace: Workspace, detectors: Iterable[str], datasets: Iterable[str]) -> list[Planned]:
    """What a run of these would do, dataset by dataset. Writes nothing.

    Raises:
        UsageError: names nobody knows, a card that is not valid.
    """
    sets = workspace.select_datasets(datasets)
    chosen = workspace.detectors.select(detectors)
    return [
        _plan_pair(workspace, workspace.detectors[detector], name, detector_named, dataset_named)
        for name, dataset_named in sets.items()
        for detector, detector_named in chosen.items()
    ]


def _plan_pair(ws: Workspace, card: DetectorCard, name: str, detector_named: bool, dataset_named: bool) -> Planned:
    pair = Planned(card, name, "blocked", named=dataset_named)
    try:
        pair = replace(pair, dataset=ws.evaluated(name))
        if card.audio.window != "none":
            pair = replace(pair, missing=_missing_audio(ws, name))
        pair = replace(pair, named=detector_named)
        checkpoint = ws.checkpoint(card)
        model_version(card.model, card.name)
        if card.recipe is not None and checkpoint is None:
            return replace(pair, state="train")
        return _with_checkpoint(ws, pair, checkpoint)
    except BenchError as error:
        if isinstance(error, UsageError) and not isinstance(error, CardError):
            raise
        if isinstance(error, Blocked) and ws.would_make(name, card):
            return replace(pair, state="make")
        fetchable = isinstance(error, MissingWeights) and card.weights is not None and card.weights.fetchable
        reason, where = error.reason(searched=False), error.where or ""
        pair = replace(pair, searched=where if where not in reason else "", fetchable=fetchable)
        return replace(pair, reason=reason, remedy=error.remedy or "")


def _with_checkpoint(ws: Workspace, pair: Planned, checkpoint: Checkpoint | None) -> Planned:
    """A pair whose weights are here (or that has none): its key, and whether that cell is finished."""
    assert pair.dataset is not None
    key = cell_key(pair.card, pair.dataset, checkpoint)
    cell = ws.store.cell(pair.dataset.name, pair.card.name, key)
    # Without --allow-missing the files of an incomplete cell are tried again.
    done = cell is not None and cell.has_number and (cell.status == "complete" or ws.options.allow_missing)
    return replace(pair, state="done" if done else "score", checkpoint=checkpoint, key=key)


def _missing_audio(ws: Workspace, name: str) -> int:
    """How many files of the dataset, or of its sample, are missing; all of them block it."""
    dataset = ws.evaluated(name)
    missing = ws.missing_audio(name) if dataset is ws.dataset(name) else corpora.missing_audio(dataset.trials)
    if len(missing) == len(dataset.trials):
        first = dataset.trials["path"].iloc[0]
        raise Blocked(
            f"none of the {len(missing):,} audio files of {name} is here"
            + (f", the first is {first}" if first else ""),
            remedy=dataset.card.obtain,
        )
    return len(missing)


def scorer_key(card: DetectorCard, checkpoint: Checkpoint | None) -> str:
    """Sha256 (hex) of everything but the dataset that determines a score."""
    return _sha256(
        {
            "model": card.model,
            "arguments": card.arguments,
            "version": model_version(card.model, card.name),
            "audio": card.audio.model_dump(),
            "weights": checkpoint.sha256 if checkpoint else None,
            "precision": PRECISION,
        }
    )


def cell_key(card: DetectorCard, dataset: Dataset, checkpoint: Checkpoint | None) -> str:
    """The content key of a cell (64 hex); files of the user's own may change under their names and count too."""
    return _sha256({"scorer": scorer_key(card, checkpoint), "digest": dataset.digest, "files": dataset.files})


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def run(workspace: Workspace, pairs: Sequence[Planned], display: Display) -> list[Outcome]:
    """Carry out a plan: train what must be trained, score what is not scored, keep why the rest is blocked.

    Raises:
        UsageError: a device that is not there.
        StoreError: the results folder cannot be written; what was stored before stays valid.
        ScoringError: a decode process died; everything scored so far has been stored.
        KeyboardInterrupt: everything scored so far has been stored.
    """
    environment.pick_device(workspace.options.device)  # before hours of training
    workspace.store.check_writable()
    outcomes: list[Outcome] = []
    for name in dict.fromkeys(pair.name for pair in pairs):
        dataset = next((pair.dataset for pair in pairs if pair.name == name and pair.state != "blocked"), None)
        if dataset is not None:
            for warning in dataset.warnings:
                display.note(f"warning: {warning}")
            if missing := max(pair.missing for pair in pairs if pair.name == name):
                display.note(f"warning: {missing:,} audio files of {dataset.name} are missing")
            workspace.store.write_trials(dataset.name, dataset.digest, dataset.trials)
        current = [_trained(workspace, pair, display) for pair in pairs if pair.name == name]
        scored: dict[str, Cell] = {}
        for group in passes([pair for pair in current if pair.state == "score"], workspace.options.device):
            scored |= _Pass(workspace, group, group[0].card.audio, display).run()
        outcomes += [_outcome(workspace, pair, scored.get(pair.card.name)) for pair in current]
    return outcomes


def passes(pairs: Sequence[Planned], device: str) -> list[list[Planned]]:
    """Pairs of equal audio recipe together, as far as their weights take half of the memory at most."""
    room = environment.memory_bytes(environment.pick_device(device)) // 2
    found: list[list[Planned]] = []
    for recipe in dict.fromkeys(pair.card.audio for pair in pairs):
        used: float = math.inf
        for pair in (pair for pair in pairs if pair.card.audio == recipe):
            size = pair.checkpoint.bytes if pair.checkpoint else 0
            if used + size > room:
                found.append([])
                used = 0
            found[-1].append(pair)
            used += size
    return found


def _trained(ws: Workspace, pair: Planned, display: Display) -> Planned:
    """The pair with its weights trained, where that is what it waits for."""
    if pair.state != "train":
        return pair
    try:
        checkpoint = ws.once(("trained", pair.card.name), lambda: _train(ws, pair.card, display))
        return _with_checkpoint(ws, pair, checkpoint)
    except StoreError:
        raise
    except BenchError as error:
        return replace(
            pair, state="blocked", reason=f"training failed: {error.reason()}", remedy=error.remedy or "", named=True
        )


def _train(ws: Workspace, card: DetectorCard, display: Display) -> Checkpoint | None:
    place = ws.trained(card)
    for warning in place.dataset.warnings:
        display.note(f"warning: {card.name} is trained on this list: {warning}")
    if place.checkpoint is None:
        display.begin(f"training {card.name} on {place.dataset.name}", len(place.dataset.trials))
        try:
            training.train(card, place.dataset, place.folder, display.advance)
        except BenchError as error:
            if error.__cause__ is not None:  # a defect of the detector's own code
                display.note("".join(traceback.format_exception(error.__cause__)))
            raise
        finally:
            display.end()
    return place.checkpoint


def _outcome(ws: Workspace, pair: Planned, cell: Cell | None) -> Outcome:
    if pair.state == "blocked":
        ws.store.block(pair.dataset_name, pair.card.name, pair.reason, pair.remedy)
        return Outcome(pair)
    ws.store.resolve(pair.dataset_name, pair.card.name, pair.key)
    done = ws.store.cell(pair.dataset_name, pair.card.name, pair.key) if cell is None else None
    return Outcome(pair, ws.store.refresh(done, _texts(ws, pair)) if done else cell)


def _texts(ws: Workspace, pair: Planned) -> dict[str, Any]:
    """What a manifest says of the dataset and of the detector: their cards as they are now."""
    assert pair.dataset is not None
    detector = pair.card.model_dump(mode="json")
    if pair.checkpoint is not None:
        found = {"file": pair.checkpoint.path.name, "sha256": pair.checkpoint.sha256}
        detector["weights"] = {**(detector["weights"] or {}), **found, "verified": pair.checkpoint.verified}
        detector["weights"]["trained"] = pair.card.recipe is not None
    if pair.card.recipe is not None:
        place = ws.trained(pair.card)
        told = place.dataset.facts()
        detector["weights"]["recipe_key"] = place.folder.name
        detector["weights"]["train_list"] = {name: told[name] for name in ("name", "digest", "trials", "warnings")}
    return {"dataset": pair.dataset.facts(), "detector": detector}


class _Pass:
    """One decoding pass over one dataset for detectors of equal audio recipe, from scores known to cells finished."""

    def __init__(self, ws: Workspace, pairs: Sequence[Planned], recipe: AudioRecipe, display: Display) -> None:
        assert pairs[0].dataset is not None
        self._ws = ws
        self._dataset: Dataset = pairs[0].dataset
        self._recipe = recipe
        self._display = display
        self._device = environment.pick_device(ws.options.device)
        self._workers = default_workers(self._device) if ws.options.workers is None else ws.options.workers
        self._batch_size = ws.options.batch_size or BATCH_SIZES[self._device.partition(":")[0]]
        self._scorers = [scorer(pair.card, pair.checkpoint) for pair in pairs]
        trials = self._dataset.trials
        self._writers = {pair.card.name: CellWriter(ws.store, self._manifest(pair), trials) for pair in pairs}
        self._forward = dict.fromkeys(self._writers, 0.0)
        self._seconds: dict[str, list[np.ndarray]] = {name: [] for name in self._writers}
        for pair in pairs:
            self._reuse(pair)

    def run(self) -> dict[str, Cell]:
        """Score, store and finish; the cells by detector, failed ones included."""
        known = {name: writer.known for name, writer in self._writers.items()}
        todo = sum(int((~rows).sum()) for rows in known.values())
        failed: dict[str, Cell] = {}
        self._started = flushed = time.perf_counter()
        if todo:
            self._display.begin(f"{self._dataset.name}: {', '.join(self._writers)}", todo)
            batches = plan_batches(self._dataset.trials, self._recipe, self._batch_size)
            try:
                for item in score_trials(
                    self._scorers,
                    self._dataset.trials,
                    batches,
                    known=known,
                    device=self._device,
                    workers=self._workers,
                ):
                    if isinstance(item, Failed):
                        failed[item.detector] = self._fail(item)
                        continue
                    self._take(item)
                    if time.perf_counter() - flushed > FLUSH_SECONDS:
                        self._flush()
                        flushed = time.perf_counter()
                self._flush()
            except (KeyboardInterrupt, ScoringError):
                self._flush()
                raise
            self._display.end()
        return failed | {name: self._finish(name) for name in self._writers if name not in failed}

    def _take(self, item: Scored) -> None:
        self._display.advance(self._writers[item.detector].add(item.block))
        self._forward[item.detector] += item.forward_seconds
        self._seconds[item.detector].append(item.block["seconds"].to_numpy())

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _fail(self, item: Failed) -> Cell:
        writer = self._writers[item.detector]
        facts = {"reason": item.error.reason(), "remedy": item.error.remedy or "", "details": item.details}
        return writer.close("failed", facts)

    def _finish(self, name: str) -> Cell:
        seconds = np.concatenate(self._seconds[name]) if self._seconds[name] else np.zeros(0)
        audio_seconds = float(np.nansum(seconds))
        measured = audio_seconds > 0 and self._forward[name] > 0
        timings = {
            "trials": len(seconds),
            "pass_seconds": round(time.perf_counter() - self._started, 3),
            "forward_seconds": round(self._forward[name], 3),
            "audio_seconds": round(audio_seconds, 3),
            "audio_seconds_per_second": round(audio_seconds / self._forward[name], 2) if measured else None,
            "real_time_factor": round(self._forward[name] / audio_seconds, 6) if measured else None,
            "peak_memory_bytes": environment.peak_memory_bytes(self._device),
        }
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        return self._writers[name].finish({"timings": timings, "finished": finished})

    def _reuse(self, pair: Planned) -> None:
        """Take over the scores of trials that a sibling list, another phase of the corpus, shares with this one."""
        card, cards = self._dataset.card, self._ws.datasets.cards.values()
        family = card.sibling_of or card.name
        # Among files of the user's own the same trial may be another recording by now.
        siblings = [] if self._dataset.own_files else [c.name for c in cards if family in (c.name, c.sibling_of)]
        writer = self._writers[pair.card.name]
        for sibling in siblings if card.name in siblings else []:
            for cell in self._ws.store.pair(sibling, pair.card.name) if sibling != card.name else []:
                if cell.finished and cell.manifest.get("scorer") == writer.manifest["scorer"]:
                    writer.reuse(cell.scores())

    def _manifest(self, pair: Planned) -> dict[str, Any]:
        return {
            "format": 1,
            "key": pair.key,
            "scorer": scorer_key(pair.card, pair.checkpoint),
            **_texts(self._ws, pair),
            "precision": PRECISION,
            "batch_size": self._batch_size,
            "workers": self._workers,
            "allow_missing": self._ws.options.allow_missing,
            "imported": False,
            "versions": environment.versions(),
            "hardware": environment.hardware(self._device),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def scorer(card: DetectorCard, checkpoint: Checkpoint | None) -> Scorer:
    """What the scoring pass needs to build a detector."""
    return Scorer(card.name, card.model, card.arguments, card.audio, checkpoint.path if checkpoint else None)


def default_workers(device: str) -> int:
    """Decode processes: as many as keep a GPU fed; on a CPU one for four cores, which the detectors need themselves.

    With two cores, a worker beside two threads of the detector made the pass slower (benchmarks/scoring.py).
    """
    cores = int(environment.hardware("cpu")["cores"])
    return cores // 4 if device == "cpu" else min(8, max(1, cores - 1))
