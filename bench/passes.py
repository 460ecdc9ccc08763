"""One decoding pass over a dataset for detectors of equal audio recipe: from scores known to cells finished.

What is known is not computed again: parts of a killed run, and trials that a sibling list shares. Two seeds of one
detector are two detectors here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import embeddings, environment, perturbations, precision, probe, tuning
from bench.batches import Portions, durations, plan_batches
from bench.cards import AudioRecipe, DetectorCard
from bench.cellwriter import CellWriter
from bench.cores import detector_threads
from bench.corpora import Dataset
from bench.errors import StoreError
from bench.executors import Executor, Job
from bench.leakage import leakage
from bench.precision import Precision
from bench.probe import Probe
from bench.progress import Display
from bench.scorer import Scorer, model_version, resolve_model
from bench.scoring import Done, Failed
from bench.store import Cell
from bench.tuning import Tuning
from bench.weights import Checkpoint
from bench.workspace import TrainedWeights, Workspace, start_weights

if TYPE_CHECKING:
    from bench.matrix import Planned

FLUSH_SECONDS = 5.0  # of scoring that a kill can cost
BATCH_SIZES = {"cpu": 8, "cuda": 64}
COMPILE_TRIALS = 10_000  # below, compiling a detector takes longer than it saves


def scorer_key(card: DetectorCard, checkpoint: Checkpoint | None, computed_in: Precision = "fp32") -> str:
    """Sha256 (hex) of everything but the dataset that determines a score."""
    return _sha256(
        {
            "model": card.model,
            "arguments": card.arguments,
            "version": model_version(card.model, card.name),
            "audio": card.audio.model_dump(),
            "weights": checkpoint.sha256 if checkpoint else None,
            "precision": computed_in,
        }
    )


def cell_key(
    card: DetectorCard, dataset: Dataset, checkpoint: Checkpoint | None, computed_in: Precision = "fp32"
) -> str:
    """The content key of a cell (64 hex); files of the user's own may change under their names and count too."""
    scorer = scorer_key(card, checkpoint, computed_in)
    facts: dict[str, Any] = {"scorer": scorer, "digest": dataset.digest, "files": dataset.files}
    if dataset.perturbation is not None:
        facts["perturbation"] = [dataset.perturbation.spec, perturbations.VERSION]
    return _sha256(facts)


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def faster(card: DetectorCard, asked: str) -> tuple[Precision, ...]:
    """What a detector may compute in where a run asks for `fp32`, one that is faster, or `auto`; fastest first."""
    return precision.candidates(resolve_model(card.model, card.name), asked) if card.audio.decodes else ()


def grouped(pairs: Sequence[Planned], memory_bytes: int) -> list[list[Planned]]:
    """Pairs of equal audio recipe together, as far as their weights take half of a device's memory at most."""
    room = memory_bytes // 2
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


def texts(ws: Workspace, pair: Planned) -> dict[str, Any]:
    """What a manifest says of dataset and detector: their cards as they are now, its weights and what those saw."""
    assert pair.dataset is not None
    detector = pair.card.model_dump(mode="json")
    if pair.checkpoint is not None:
        found = {"file": pair.checkpoint.path.name, "sha256": pair.checkpoint.sha256}
        detector["weights"] = {**(detector["weights"] or {}), **found, "verified": pair.checkpoint.verified}
        detector["weights"]["trained"] = pair.card.recipe is not None
    if pair.card.recipe is not None:
        detector["weights"] |= _origin(ws.trained(pair.card, pair.seed))
    seen = leakage(pair.card, pair.dataset.name, ws.datasets)
    return {"dataset": pair.dataset.facts(), "detector": detector, "leakage": seen}


def _origin(place: TrainedWeights) -> dict[str, Any]:
    """What weights were made of here."""
    lists = [dataset.facts() for dataset in place.materials.lists.values()]
    wanted = start_weights(place.recipe)
    return {
        "recipe_key": place.folder.name,
        "seed": place.recipe.seed,
        "start": {
            part: {"file": wanted[part].file, "sha256": found.sha256, "verified": found.verified} if found else "random"
            for part, found in place.materials.start.items()
        },
        "lists": [{name: told[name] for name in ("name", "digest", "trials", "warnings")} for told in lists],
    }


class Pass:
    """One decoding pass over one dataset for detectors of equal audio recipe, from scores known to cells finished."""

    def __init__(self, ws: Workspace, pairs: Sequence[Planned], executor: Executor, display: Display) -> None:
        assert pairs[0].dataset is not None
        self._ws = ws
        self._dataset: Dataset = pairs[0].dataset
        self._recipe: AudioRecipe = pairs[0].card.audio
        self._executor = executor
        self._display = display
        trials = self._dataset.trials
        self._durations = durations(trials) if self._recipe.window == "whole" else None
        self._needed: int | None = None
        pairs = [self._settled(pair) for pair in pairs]
        self._tunings = {pair.label: self._tuned(pair) for pair in pairs}
        self._batch_sizes = {pair.label: self._batch_size(pair) for pair in pairs}
        self._batches = self._planned(max(self._batch_sizes.values()))
        self._scorers = [self._limited(pair) for pair in pairs]
        self._needed = self._needed_workers()
        self._writers = {pair.label: CellWriter(ws.store, self._manifest(pair), trials) for pair in pairs}
        self._forward = dict.fromkeys(self._writers, 0.0)
        self._seconds: dict[str, list[np.ndarray]] = {name: [] for name in self._writers}
        self._waited, self._peak = 0.0, 0
        for pair in pairs:
            self._reuse(pair)

    def _scorer(self, pair: Planned, computed_in: Precision) -> Scorer:
        found = scorer(pair.card, pair.checkpoint, pair.label)
        fixed = self._recipe.window in ("tile", "pad") and len(self._dataset.trials) >= COMPILE_TRIALS
        # The reference is what the authors' code does, operation by operation.
        allowed = os.environ.get("TORCHDYNAMO_DISABLE", "0") == "0"  # torch's own switch
        compiled = computed_in != "fp32" and self._executor.kind == "cuda" and fixed and allowed
        return replace(found, precision=computed_in, compiled=compiled)

    def _job(self, scorers: Sequence[Scorer]) -> Job:
        return Job(scorers, self._dataset.perturbation, self._ws.options.workers, self._needed)

    def _planned(self, batch_size: int) -> list[np.ndarray]:
        return plan_batches(self._dataset.trials, self._recipe, batch_size, self._durations)

    def _tuned(self, pair: Planned) -> Tuning | None:
        """What was measured for a detector, where it is to say how large batches are."""
        measured = self._executor.kind == "cuda" and self._recipe.decodes and self._ws.options.batch_size is None
        scorer = self._scorer(pair, pair.precision)
        return tuning.tuned(self._ws.store, self._executor, scorer) if measured else None

    def _batch_size(self, pair: Planned) -> int:
        """As asked for; as a run of this cell began with on such a device, so that it goes on with the same batches;
        as measured; or a fixed one."""
        if (asked := self._ws.options.batch_size) is not None:
            return asked
        cell = self._ws.store.cell(self._dataset.name, pair.card.name, pair.key)
        manifest = cell.manifest if cell else {}
        begun, hardware = manifest.get("batch_size"), manifest.get("hardware") or {}
        if begun and hardware.get("device") == self._executor.hardware()["device"]:
            return int(begun)
        found = self._tunings[pair.label]
        return found.batch_size if found else BATCH_SIZES[self._executor.kind]

    def _limited(self, pair: Planned) -> Scorer:
        """The detector in a plan whose batches may be larger than its own."""
        size, found = self._batch_sizes[pair.label], self._scorer(pair, pair.precision)
        return replace(found, batch_size=size) if found.compiled or size < max(self._batch_sizes.values()) else found

    def _needed_workers(self) -> int | None:
        """Decode processes that keep a device fed, where that can be told from what was measured."""
        tunings = [one for one in self._tunings.values() if one is not None]
        if self._ws.options.workers is not None or len(tunings) < len(self._tunings):
            return None
        trials = self._dataset.trials
        rows = np.unique(np.linspace(0, len(trials) - 1, tuning.FILES).astype(int))
        files = Portions(trials, list(rows[:, None]), list(self._tunings))[:]
        seconds = self._executor.call(tuning.decode_seconds, files, self._recipe, self._dataset.perturbation)
        return tuning.workers(seconds, tunings) if seconds else None

    def _settled(self, pair: Planned) -> Planned:
        """The pair with the fastest arithmetic that a probe of the dataset's own trials allows, of those asked for."""
        # In batches of a fixed size: what they could be is not known before what the detector computes in.
        size = self._ws.options.batch_size or BATCH_SIZES[self._executor.kind]
        batches = self._planned(size) if pair.faster else []
        probes: dict[str, Any] = {}
        for one in pair.faster:
            if not precision.worthwhile(one, self._executor, self._ws.options.precision):
                found = Probe(0, 1.0, None, f"this device has no instructions for {one}")
            else:
                tried: tuple[Precision, ...] = ("fp32", one)
                scorers = {each: replace(self._scorer(pair, each), batch_size=size) for each in tried}
                told = probe.run(self._executor, self._job, scorers, self._dataset.trials, batches)
                if one not in told:
                    break  # float32 itself fails, which the pass will tell
                found = told[one]
            probes[one] = found.facts()
            if found.passed:
                key = cell_key(pair.card, self._dataset, pair.checkpoint, one)
                return replace(pair, precision=one, key=key, probes=probes)
            if self._ws.options.precision != "auto" or found.trials:
                self._display.note(f"{pair.label} on {self._dataset.name}: in fp32, not in {one}, {found.told}")
        if not pair.faster and (asked := self._ws.options.precision) not in ("fp32", "auto"):
            self._display.note(f"{pair.label} on {self._dataset.name}: in fp32, no part of it computes in {asked}")
        return replace(pair, probes=probes)

    def run(self) -> dict[str, Cell]:
        """Score, store and finish; the cells by the labels of the pairs, failed ones included."""
        known = {name: writer.known for name, writer in self._writers.items()}
        todo = sum(int((~rows).sum()) for rows in known.values())
        failed: dict[str, Cell] = {}
        self._started = flushed = time.perf_counter()
        if todo:
            self._display.begin(f"{self._dataset.name}: {', '.join(self._writers)}", todo)
            sampled = embeddings.sample(self._dataset.trials)
            portions = Portions(self._dataset.trials, self._batches, list(known), known, sampled)
            try:
                for done in self._executor.score(self._job(self._scorers), portions):
                    failed |= self._take(done)
                    if time.perf_counter() - flushed > FLUSH_SECONDS:
                        self._flush()
                        flushed = time.perf_counter()
                self._flush()
            except StoreError:
                raise
            except BaseException:  # Ctrl-C, lost workers, a device that fails: what is scored is kept
                self._flush()
                raise
            self._display.end()
        return failed | {name: self._finish(name) for name in self._writers if name not in failed}

    def _take(self, done: Done) -> dict[str, Cell]:
        """Keep the scores of a portion; the cells of detectors that failed at it."""
        self._waited += done.waited_seconds
        self._peak = max(self._peak, done.peak_memory_bytes)
        failed = {}
        for item in done.results:
            if isinstance(item, Failed):
                failed[item.detector] = self._fail(item)
                continue
            self._display.advance(self._writers[item.detector].add(item.block, item.embedded))
            self._forward[item.detector] += item.forward_seconds
            self._seconds[item.detector].append(item.block["seconds"].to_numpy())
        return failed

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
            "waited_seconds": round(self._waited, 3),
            "peak_memory_bytes": self._peak,
        }
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        writer = self._writers[name]
        if writer.before is not None and not len(seconds):  # nothing was left to do: its facts are those of that run
            probes = {**(writer.before.manifest.get("probes") or {}), **writer.manifest["probes"]}
            return self._ws.store.refresh(writer.before, {"probes": probes})
        return writer.finish({"timings": timings, "finished": finished})

    def _reuse(self, pair: Planned) -> None:
        """Take over the scores of trials that a sibling list, another phase of the corpus, shares with this one."""
        card, cards = self._dataset.card, self._ws.datasets.cards.values()
        family = card.sibling_of or card.name
        # Among files of the user's own the same trial may be another recording by now. A perturbed dataset has no
        # siblings: its name is on no card.
        siblings = [] if self._dataset.own_files else [c.name for c in cards if family in (c.name, c.sibling_of)]
        writer = self._writers[pair.label]
        for sibling in siblings if card.name in siblings else []:
            for cell in self._ws.store.pair(sibling, pair.card.name) if sibling != card.name else []:
                if cell.finished and cell.manifest.get("scorer") == writer.manifest["scorer"]:
                    writer.reuse(cell.scores())

    def _manifest(self, pair: Planned) -> dict[str, Any]:
        return {
            "format": 1,
            "key": pair.key,
            "scorer": scorer_key(pair.card, pair.checkpoint, pair.precision),
            **texts(self._ws, pair),
            "precision": pair.precision,
            "probes": pair.probes,
            "compiled": self._scorer(pair, pair.precision).compiled,
            "executor": self._executor.name,
            "batch_size": self._batch_sizes[pair.label],
            "workers": self._ws.options.workers,
            **self._processes(),
            "allow_missing": self._ws.options.allow_missing,
            "imported": False,
            "versions": environment.versions(),
            "hardware": dict(self._executor.hardware()),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _processes(self) -> dict[str, int]:
        """What a worker computes with beside its device."""
        kind, cores = self._executor.kind, self._executor.cores
        decoding = self._job(self._scorers).decode_workers(kind, cores)
        threads = {"threads": detector_threads(cores, decoding)} if kind == "cpu" else {}
        return {"decode_workers": decoding, **threads}


def scorer(card: DetectorCard, checkpoint: Checkpoint | None, label: str = "") -> Scorer:
    """What the scoring pass needs to build a detector, which it calls by its label, or its name."""
    path = checkpoint.path if checkpoint else None
    return Scorer(label or card.name, card.model, card.arguments, card.audio, path)
