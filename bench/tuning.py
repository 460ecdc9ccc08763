"""What keeps a GPU busy, measured: the batch size of a detector, and decode processes beside it.

    results/tuning.json    batch sizes that were found, each by a hash of all that it depends on

Batches grow until that brings nothing any more; the smallest of the sizes that are about as fast is the best one: it
leaves memory to others and keeps fewer files waiting. On a CPU nothing is measured: there a size costs minutes to try
and hardly matters, so a run takes a fixed one.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench import environment
from bench.batches import CLIP_SAMPLES, Portion
from bench.cards import AudioRecipe
from bench.cores import torch_threads
from bench.decoding import read
from bench.errors import StoreError
from bench.executors.job import Executor
from bench.files import read_json, write_json
from bench.perturbations import Perturbation
from bench.precision import arithmetic
from bench.runner import out_of_memory
from bench.scorer import Scorer, model_version
from bench.store import Store
from bench.weights import Checkpoint

SIZES = (8, 16, 32, 64, 128, 256, 512)
GROWTH = 1.03  # in clips a second: less is as fast
ROOM = 0.8  # share of the memory that a size may take: batches vary, and detectors share a device
FORWARDS = 3  # that are timed, of each size
FILES = 16  # that are decoded to see how long one takes


class Tuning(BaseModel):
    """What was found for a detector on a device.

    batch_size: in the unit of `bench.batches`. clips_per_second: of the forward pass at it, 4 s clips where files are
    taken whole. peak_memory_bytes: that this took, weights included.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    batch_size: int = Field(ge=1, le=SIZES[-1])
    clips_per_second: float = Field(gt=0)
    peak_memory_bytes: int = Field(ge=0)


def tuned(store: Store, executor: Executor, scorer: Scorer) -> Tuning | None:
    """As `found`, measured where the executor computes, unless the results folder has it already.

    A damaged record, and one of another version, is as none. Raises StoreError: it cannot be written.
    """
    facts = _facts(executor, scorer)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    try:
        kept = read_json(store.tuning_file) or {}
    except StoreError:
        kept = {}
    try:
        return Tuning.model_validate(kept.get(key))
    except ValidationError:
        new = executor.call(found, scorer)
    if new is not None:
        write_json(store.tuning_file, {**_sound(kept), key: {**facts, **new.model_dump()}})
    return new


def _sound(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The records that can be read, and written again."""
    sound = {}
    for key, record in kept.items():
        with suppress(ValueError):  # of pydantic, of JSON without a finite number, of text without an encoding
            Tuning.model_validate(record)
            json.dumps({key: record}, allow_nan=False).encode()
            key.encode()
            sound[key] = record
    return sound


def _facts(executor: Executor, scorer: Scorer) -> Mapping[str, Any]:
    """What a batch size depends on."""
    return {
        "device": executor.hardware()["device"],
        "memory_bytes": executor.memory_bytes(),
        "model": scorer.model,
        "version": model_version(scorer.model, scorer.name),
        "arguments": dict(scorer.arguments),
        "weights_bytes": Checkpoint(scorer.weights, verified=False).bytes if scorer.weights else 0,
        "audio": scorer.recipe.model_dump(),
        "precision": scorer.precision,
        "torch": str(torch.__version__),
    }


def found(scorer: Scorer, device: str, clock: Callable[[], float] = time.perf_counter) -> Tuning | None:
    """The smallest batch size whose clips a second are within 3 % of the best, by forward passes on noise.

    Sizes double until that brings less than 3 %, or memory runs out. A detector that will be compiled is measured as it
    is: compiling every size would take longer than it could save.

    Args:
        scorer: of a recipe that reads samples. clock: seconds.

    Returns:
        None where the smallest size does not fit, or the detector cannot be built or fails: the pass will tell why.
    """
    target = torch.device(device)
    gc.collect()  # of compiled detectors, see `bench.scoring`
    try:
        return _found(replace(scorer, compiled=False), target, clock)
    except Exception:  # a defect of the detector ends its cell, see `bench.scoring`
        return None
    finally:
        if target.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(target)  # which the pass tells in its manifest


def _found(scorer: Scorer, device: torch.device, clock: Callable[[], float]) -> Tuning | None:
    model = scorer.build(device)
    tried: list[Tuning] = []
    for size in SIZES:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        wave = _noise(size, scorer.recipe)
        try:
            seconds = _seconds(model, wave.to(device), scorer, clock)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            break
        peak = environment.peak_memory_bytes(str(device))
        if peak + wave.nbytes > ROOM * environment.memory_bytes(str(device)):  # the next batch is being uploaded
            break
        tried.append(Tuning(batch_size=size, clips_per_second=size / seconds, peak_memory_bytes=peak))
        if len(tried) > 1 and tried[-1].clips_per_second < GROWTH * tried[-2].clips_per_second:
            break
    best = max((one.clips_per_second for one in tried), default=0.0)
    return next((one for one in tried if GROWTH * one.clips_per_second >= best), None)


def _noise(size: int, recipe: AudioRecipe) -> torch.Tensor:
    """Windows of a recipe, or clips of about 4 s: float32 (size, T)."""
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(size, recipe.samples or CLIP_SAMPLES, generator=generator)


@torch.inference_mode()
def _seconds(model: torch.nn.Module, wave: torch.Tensor, scorer: Scorer, clock: Callable[[], float]) -> float:
    """Of a forward pass, the fastest of some; the one before them finds its kernels and its memory."""
    lengths = torch.full((len(wave),), wave.shape[1])
    times = []
    with arithmetic(scorer.precision):
        for _ in range(1 + FORWARDS):
            begun = clock()
            model(wave, lengths)
            if wave.is_cuda:
                torch.cuda.synchronize(wave.device)
            times.append(clock() - begun)
    return min(times[1:])


def decode_seconds(
    portions: Sequence[Portion], recipe: AudioRecipe, perturbation: Perturbation | None, device: str
) -> float:
    """How long one core decodes for a clip, the median of some files: as much audio as counts as one in `Tuning`.

    Args:
        portions: of one file each. device: what it is for, so that an `Executor` can be asked; nothing happens there.

    Returns:
        Seconds; 0 where no file can be read.
    """
    times = []
    with torch_threads(1):  # as decode processes have
        for portion in portions:
            begun = time.perf_counter()
            batch = read(portion, recipe, perturbation)
            elapsed = time.perf_counter() - begun
            if batch.wave is not None and batch.readable.all():
                clips = batch.wave.shape[1] / CLIP_SAMPLES if recipe.window == "whole" else 1.0
                times.append(elapsed / clips)
    return statistics.median(times) if times else 0.0


def workers(seconds: float, tunings: Iterable[Tuning]) -> int:
    """Decode processes that keep a device fed on which these detectors share a pass, and one more: files vary.

    Args:
        seconds: that one of them takes for a clip.
    """
    device_seconds = sum(1 / one.clips_per_second for one in tunings)
    return math.ceil(seconds / device_seconds) + 1
