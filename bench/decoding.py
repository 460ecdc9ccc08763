"""Decoding ahead of the device: portions of the trial list -> batches of samples, read by other processes.

A source of portions may give None: there is nothing just now, ask again. So it never keeps decoded batches waiting for
work that comes from elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.multiprocessing  # tensors of other processes arrive in shared memory, not through a pipe

from bench import audio
from bench.batches import Portion
from bench.cards import AudioRecipe
from bench.errors import AudioError, ScoringError
from bench.models import Facts
from bench.perturbations import Perturbation
from bench.shards.reading import fetch

AHEAD = 2  # batches a process that are decoded or being decoded, beside the one it is at


class Batch(NamedTuple):
    """A decoded portion (b rows). Only readable files are in `wave` (n, T) or `facts`, in the order of the rows.

    readable: bool (b,). seconds: of each file or piece (b,), NaN where that is not known. notes: why a file is not
    readable (b,), '' for the others. lengths: int64 (n,) on the CPU, wherever `wave` goes.
    """

    readable: np.ndarray
    seconds: np.ndarray
    notes: list[str]
    wave: torch.Tensor | None
    lengths: torch.Tensor | None
    facts: list[Facts] | None


def decoded(
    portions: Iterable[Portion | None], recipe: AudioRecipe, perturbation: Perturbation | None, workers: int
) -> Iterator[tuple[Portion, Batch]]:
    """Each portion with its batch, in their order.

    Args:
        perturbation: of the samples of each trial; recipes that read none are never given it.
        workers: processes that decode ahead; 0 decodes here.

    Raises:
        ScoringError: a decode process died.
    """
    decode = partial(read, recipe=recipe, perturbation=perturbation)
    if not workers:
        yield from ((portion, decode(portion)) for portion in portions if portion is not None)
        return
    # Forked, so that each does not import torch again; it must not touch a GPU. One thread each.
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),))
    try:
        yield from _ahead(portions, lambda portion: pool.submit(decode, portion), workers * (1 + AHEAD))
    except BrokenProcessPool as error:
        raise ScoringError(
            "decoding ended: a decode process died",
            where="decode processes",
            remedy="memory or shared memory (/dev/shm) may have run out: run again with --workers 0",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(parent: int) -> None:
    """In a decode process: one thread, and no longer there than the process that it decodes for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that it decodes for
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)  # killed: nobody would tell a process that waits for work

    threading.Thread(target=watch, daemon=True).start()


def _ahead(
    portions: Iterable[Portion | None], submit: Callable[[Portion], Future[Batch]], most: int
) -> Iterator[tuple[Portion, Batch]]:
    source = iter(portions)
    waiting: deque[tuple[Portion, Future[Batch]]] = deque()
    ended = False
    while True:
        while not ended and len(waiting) < most:
            try:
                portion = next(source)
            except StopIteration:
                ended = True
                break
            if portion is not None:
                waiting.append((portion, submit(portion)))
            elif waiting:
                break
        if not waiting:
            return
        portion, future = waiting.popleft()
        yield portion, future.result()


def read(portion: Portion, recipe: AudioRecipe, perturbation: Perturbation | None = None) -> Batch:
    """Decode a portion here. A file that cannot be decoded costs itself alone: it has a note."""
    count = len(portion.trials)
    seconds, notes = np.full(count, np.nan), [""] * count
    readable = np.ones(count, dtype=bool)
    if recipe.window == "none":
        facts = [Facts(trial, None, None, None) for trial in portion.trials]
        return Batch(readable, seconds, notes, None, None, facts)
    utterances, facts = [], []
    with fetch(portion.paths):
        for row, (trial, path, span) in enumerate(zip(portion.trials, portion.paths, portion.spans, strict=True)):
            try:
                if recipe.decodes:
                    perturb = None if perturbation is None else partial(perturbation, trial=trial)
                    utterances.append(audio.prepare(path, recipe, span, perturb))
                    seconds[row] = utterances[-1].seconds
                else:
                    header = audio.header(path).piece(span, path)
                    facts.append(Facts(trial, *header))
                    seconds[row] = header.seconds
            except AudioError as error:
                readable[row], notes[row] = False, f"{error.what}: {error.where}"
            except Exception as error:  # a decoder's own defect costs its file, not the run
                readable[row], notes[row] = False, f"{type(error).__name__}: {error}: {path}"
    wave, lengths = _stack(utterances) if recipe.decodes else (None, None)
    return Batch(readable, seconds, notes, wave, lengths, facts)


def _stack(utterances: Sequence[audio.Utterance]) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves as one float32 (n, T), zero behind each one's end, and the lengths int64 (n,)."""
    stacked = np.zeros((len(utterances), max((len(u.wave) for u in utterances), default=0)), dtype=np.float32)
    for row, utterance in zip(stacked, utterances, strict=True):
        row[: len(utterance.wave)] = utterance.wave
    return torch.from_numpy(stacked), torch.tensor([u.length for u in utterances], dtype=torch.int64)
