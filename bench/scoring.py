"""One pass: trials -> windows -> detectors -> blocks of scores. Knows nothing of metrics or of the store.

Detectors with equal audio recipes share the pass: each file is read, decoded and windowed once, by worker processes
ahead of the device. Batches are planned from the whole trial list before anything runs, so a resumed run computes the
same batches, and a trial's score comes out of the same arithmetic, as in an undisturbed one.

`score_trials` is a plain generator of picklable arguments and results: any executor can call it on a slice of batches.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from bench import audio, registry, weights
from bench.cards import AudioRecipe
from bench.errors import AudioError, BenchError, CardError, ScoringError, WeightsError
from bench.models import Facts
from bench.perturbations import Perturbation
from bench.runner import Batch, Runner, Scored
from bench.trials import Span, spans

CLIP_SAMPLES = 64_600  # about 4 s: what one unit of batch size stands for when files are taken whole
FACT_ROWS = 4_096  # rows a batch where no samples are read


@dataclass(frozen=True)
class Scorer:
    """What it takes to build a detector anywhere: the card's model and arguments, and where its weights lie."""

    name: str
    model: str
    arguments: Mapping[str, Any]
    recipe: AudioRecipe
    weights: Path | None = None

    def build(self, device: torch.device) -> torch.nn.Module:
        """The detector in evaluation mode on a device.

        Raises:
            CardError: no such class, or arguments it does not take.
            WeightsError: weights that do not fit.
        """
        network = resolve_model(self.model, self.name)
        if self.weights is not None and (from_folder := getattr(network, "from_folder", None)) is not None:
            model = _make(from_folder, self.model, {"folder": self.weights, **self.arguments}, self.name)
        elif self.weights is not None:
            tensors = weights.read(self.weights)
            try:
                model = build_model(self.model, self.arguments, self.name, tensors)
                weights.load_into(model, tensors, self.weights)
            except WeightsError as error:  # the detector's own word, which does not know the file
                raise WeightsError(error.what, where=self.weights, remedy=weights.MISMATCH) from None
        else:
            model = build_model(self.model, self.arguments, self.name)
            if any(parameter.is_meta for parameter in model.parameters()):
                raise CardError("this detector scores with weights only", where=f"detector card {self.name}")
        return model.eval().to(device)


class Failed(NamedTuple):
    """A detector that cannot go on; what it has scored so far stays valid. `details` is the traceback of a defect."""

    detector: str
    error: BenchError
    details: str = ""


def resolve_model(target: str, card: str) -> type[torch.nn.Module]:
    """The class a detector card names.

    Raises:
        CardError: no such class, or something that is no torch.nn.Module: nothing else is called.
    """
    network = registry.resolve(target, f"detector card {card}")
    if not (isinstance(network, type) and issubclass(network, torch.nn.Module)):
        raise CardError(f"{target} is no torch.nn.Module", where=f"detector card {card}")
    return network


def build_model(
    target: str, arguments: Mapping[str, Any], card: str, tensors: Mapping[str, torch.Tensor] | None = None
) -> torch.nn.Module:
    """A detector's network as its card describes it, without weights; `tensors` tell sizes that the card leaves open.

    Raises:
        CardError: no such class, something that is no torch.nn.Module (it is not called), arguments it does not take.
    """
    network = resolve_model(target, card)
    infer = getattr(network, "infer", None)
    inferred = infer(tensors) if infer is not None and tensors is not None else {}
    return _make(network, target, inferred | dict(arguments), card)


def _make(
    make: Callable[..., torch.nn.Module], target: str, arguments: Mapping[str, Any], card: str
) -> torch.nn.Module:
    try:
        return make(**arguments)
    except TypeError as error:
        raise CardError(f"{target} does not take these arguments: {error}", where=f"detector card {card}") from None


def model_version(target: str, card: str) -> int:
    """The adapter version of a detector's class: its attribute `version`, 1 where it has none."""
    return int(getattr(registry.resolve(target, f"detector card {card}"), "version", 1))


def plan_batches(trials: pd.DataFrame, recipe: AudioRecipe, batch_size: int) -> list[np.ndarray]:
    """All rows of the trial list in batches, a function of the list, the files and the batch size alone.

    Fixed windows batch in the order of the list. Whole files are bucketed by length: batches of like durations whose
    padded size is at most `batch_size` clips of about 4 s; a longer file is a batch of its own.
    """
    rows = np.arange(len(trials))
    if not recipe.decodes:
        return np.split(rows, rows[FACT_ROWS::FACT_ROWS])
    if recipe.window != "whole":
        return np.split(rows, rows[batch_size::batch_size])
    samples = durations(trials) * recipe.rate
    budget = batch_size * CLIP_SAMPLES
    batches: list[list[int]] = []
    for row in np.lexsort((rows, samples)):
        # Sorted, so the new row is the longest and every row of the batch is padded to it.
        if batches and (len(batches[-1]) + 1) * samples[row] <= budget and len(batches[-1]) < 4 * batch_size:
            batches[-1].append(int(row))
        else:
            batches.append([int(row)])
    return [np.array(batch) for batch in batches]


def durations(trials: pd.DataFrame) -> np.ndarray:
    """Seconds of each trial (rows,) by the header of its file, 0 where that does not tell (decoding will say why)."""
    codes, paths = pd.factorize(trials["path"])  # the header of a file is read once, however many pieces it has
    found = list(audio.headers(paths.tolist()))
    return np.array([_seconds(found[code], span) for code, span in zip(codes, spans(trials), strict=True)])


def _seconds(header: audio.Header | AudioError, span: Span | None) -> float:
    try:
        return 0.0 if isinstance(header, AudioError) else header.piece(span, "").seconds
    except AudioError:
        return 0.0


def score_trials(
    scorers: Sequence[Scorer],
    trials: pd.DataFrame,
    batches: Sequence[np.ndarray],
    *,
    known: Mapping[str, np.ndarray] | None = None,
    sampled: np.ndarray | None = None,
    perturbation: Perturbation | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Iterator[Scored | Failed]:
    """Score batches of trials with detectors that share one audio recipe.

    Args:
        scorers: detectors with equal `recipe`.
        trials: the trial table (`bench.trials`) with paths.
        batches: row numbers of `trials`, from `plan_batches`.
        known: by detector name, bool (rows,): trials that need no score. A batch is left out when all of it is known.
        sampled: bool (rows,): trials to give embeddings of, where the detector makes any; None is none.
        perturbation: of the samples of each trial; detectors that read none are never given it.
        device: a torch device name.
        workers: processes that decode ahead; 0 decodes here.

    Yields:
        One `Scored` a batch and detector, in the order of the batches; one `Failed` where a detector cannot be built,
        gave a score that is not finite or raised: it is left out from there on, the others go on.

    Raises:
        ScoringError: a decode process died.
    """
    target = torch.device(device)
    # fp32 is the reference: no TF32 in convolutions or products.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    known = known or {}
    wanted = {s.name: [i for i, rows in enumerate(batches) if not _all_known(known.get(s.name), rows)] for s in scorers}
    reader = _Reader(trials, scorers[0].recipe, batches, perturbation)
    running: dict[str, Runner] = {}
    for scorer in scorers:
        try:
            running[scorer.name] = Runner(scorer.name, scorer.build(target), target, reader.ids, sampled)
        except Exception as error:  # see `_failed`: told in the cell, never lost
            yield _failed(scorer.name, error)
    needed = sorted({index for name in running for index in wanted[name]})
    todo = {name: set(wanted[name]) for name in running}
    loader = DataLoader(
        reader,
        batch_size=None,
        sampler=needed,
        collate_fn=_unchanged,
        num_workers=min(workers, len(needed)),
        prefetch_factor=4 if min(workers, len(needed)) else None,
        pin_memory=target.type == "cuda",
    )
    for index, batch in zip(needed, _decoded(loader), strict=True):
        for name in [name for name in running if index in todo[name]]:
            try:
                yield running[name].score(batch)
            except Exception as error:  # see `_failed`
                del running[name]
                yield _failed(name, error)
        if not running:
            return


def _failed(name: str, error: Exception) -> Failed:
    """A detector may be a user's own code: its defect, whatever it is, ends its cell and not the pass."""
    if isinstance(error, BenchError):
        return Failed(name, error)
    reason = ScoringError(f"{type(error).__name__}: {error}", where=f"detector {name}")
    return Failed(name, reason, "".join(traceback.format_exception(error)))


def _unchanged(batch: Any) -> Any:
    """Torch would make tensors of the arrays, and numpy takes a tensor of one truth value for an index."""
    return batch


def _decoded(loader: DataLoader[Batch]) -> Iterator[Batch]:
    try:
        yield from loader
    except RuntimeError as error:  # torch has no class of its own for a worker that died
        raise ScoringError(
            f"decoding ended: {error}",
            where="decode processes",
            remedy="memory or shared memory (/dev/shm) may have run out: run again with --workers 0",
        ) from error


def _all_known(known: np.ndarray | None, rows: np.ndarray) -> bool:
    return known is not None and bool(known[rows].all())


class _Reader(Dataset[Batch]):
    """Decodes whole batches, in whatever process it is called."""

    def __init__(
        self,
        trials: pd.DataFrame,
        recipe: AudioRecipe,
        batches: Sequence[np.ndarray],
        perturbation: Perturbation | None,
    ) -> None:
        self.ids = trials["trial"].to_numpy()
        self._paths = trials["path"].to_numpy()
        self._spans = spans(trials)
        self._recipe = recipe
        self._batches = batches
        self._perturbation = perturbation

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        rows = self._batches[index]
        seconds, notes = np.full(len(rows), np.nan), [""] * len(rows)
        readable = np.ones(len(rows), dtype=bool)
        if self._recipe.window == "none":
            facts = [Facts(trial, None, None, None) for trial in self.ids[rows]]
            return Batch(rows, readable, seconds, notes, None, None, facts)
        utterances, facts = [], []
        for position, row in enumerate(rows):
            try:
                path, span = self._paths[row], self._spans[row]
                if self._recipe.decodes:
                    utterances.append(audio.prepare(path, self._recipe, span, self._perturb(row)))
                    seconds[position] = utterances[-1].seconds
                else:
                    header = audio.header(path).piece(span, path)
                    facts.append(Facts(self.ids[row], *header))
                    seconds[position] = header.seconds
            except AudioError as error:
                readable[position], notes[position] = False, f"{error.what}: {error.where}"
            except Exception as error:  # a decoder's own defect costs its file, not the run
                readable[position] = False
                notes[position] = f"{type(error).__name__}: {error}: {path}"
        wave, lengths = _stack(utterances) if self._recipe.decodes else (None, None)
        return Batch(rows, readable, seconds, notes, wave, lengths, facts)

    def _perturb(self, row: int) -> Callable[[np.ndarray, int], np.ndarray] | None:
        return None if self._perturbation is None else partial(self._perturbation, trial=self.ids[row])


def _stack(utterances: Sequence[audio.Utterance]) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves as one float32 (B, T), zero behind each one's end, and the lengths int64 (B,)."""
    stacked = np.zeros((len(utterances), max((len(u.wave) for u in utterances), default=0)), dtype=np.float32)
    for row, utterance in zip(stacked, utterances, strict=True):
        row[: len(utterance.wave)] = utterance.wave
    return torch.from_numpy(stacked), torch.tensor([u.length for u in utterances], dtype=torch.int64)
