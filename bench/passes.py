"""One decoding pass over a dataset for detectors of equal audio recipe: from scores known to cells finished.

What is known is not computed again: parts of a killed run, and trials that a sibling list shares. Two seeds of one
detector are two detectors here.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import embeddings, environment, perturbations
from bench.cards import AudioRecipe, DetectorCard
from bench.cellwriter import CellWriter
from bench.corpora import Dataset
from bench.errors import ScoringError
from bench.leakage import leakage
from bench.progress import Display
from bench.runner import Scored
from bench.scoring import Failed, Scorer, model_version, plan_batches, score_trials
from bench.store import Cell
from bench.weights import Checkpoint
from bench.workspace import TrainedWeights, Workspace, start_weights

if TYPE_CHECKING:
    from bench.matrix import Planned

PRECISION = "fp32"
FLUSH_SECONDS = 5.0  # of scoring that a kill can cost
BATCH_SIZES = {"cpu": 8, "cuda": 64}


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
    facts: dict[str, Any] = {"scorer": scorer_key(card, checkpoint), "digest": dataset.digest, "files": dataset.files}
    if dataset.perturbation is not None:
        facts["perturbation"] = [dataset.perturbation.spec, perturbations.VERSION]
    return _sha256(facts)


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def grouped(pairs: Sequence[Planned], device: str) -> list[list[Planned]]:
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

    def __init__(self, ws: Workspace, pairs: Sequence[Planned], display: Display) -> None:
        assert pairs[0].dataset is not None
        self._ws = ws
        self._dataset: Dataset = pairs[0].dataset
        self._recipe: AudioRecipe = pairs[0].card.audio
        self._display = display
        self._device = environment.pick_device(ws.options.device)
        self._workers = default_workers(self._device) if ws.options.workers is None else ws.options.workers
        self._batch_size = ws.options.batch_size or BATCH_SIZES[self._device.partition(":")[0]]
        self._scorers = [scorer(pair.card, pair.checkpoint, pair.label) for pair in pairs]
        trials = self._dataset.trials
        self._writers = {pair.label: CellWriter(ws.store, self._manifest(pair), trials) for pair in pairs}
        self._forward = dict.fromkeys(self._writers, 0.0)
        self._seconds: dict[str, list[np.ndarray]] = {name: [] for name in self._writers}
        for pair in pairs:
            self._reuse(pair)

    def run(self) -> dict[str, Cell]:
        """Score, store and finish; the cells by the labels of the pairs, failed ones included."""
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
                    sampled=embeddings.sample(self._dataset.trials),
                    perturbation=self._dataset.perturbation,
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
        self._display.advance(self._writers[item.detector].add(item.block, item.embedded))
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
            "scorer": scorer_key(pair.card, pair.checkpoint),
            **texts(self._ws, pair),
            "precision": PRECISION,
            "batch_size": self._batch_size,
            "workers": self._workers,
            "allow_missing": self._ws.options.allow_missing,
            "imported": False,
            "versions": environment.versions(),
            "hardware": environment.hardware(self._device),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def scorer(card: DetectorCard, checkpoint: Checkpoint | None, label: str = "") -> Scorer:
    """What the scoring pass needs to build a detector, which it calls by its label, or its name."""
    path = checkpoint.path if checkpoint else None
    return Scorer(label or card.name, card.model, card.arguments, card.audio, path)


def default_workers(device: str) -> int:
    """Decode processes: as many as keep a GPU fed; on a CPU one for four cores, which the detectors need themselves.

    With two cores, a worker beside two threads of the detector made the pass slower (benchmarks/scoring.py).
    """
    cores = int(environment.hardware("cpu")["cores"])
    return cores // 4 if device == "cpu" else min(8, max(1, cores - 1))
