"""One pass on one device: portions of a trial list -> scores. Knows nothing of metrics or of the store.

Detectors with equal audio recipes share the pass: each file is read, decoded and windowed once, by worker processes
ahead of the device. A batch is copied to a GPU while the one before it is computed, and scores come back while the next
one is: the loop waits for nothing but decoded batches.

`score_trials` is a plain generator of picklable arguments and results: `bench.executors` call it in this process, in
one for each GPU, or on other machines.
"""

from __future__ import annotations

import gc
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from bench import environment
from bench.batches import Portion
from bench.decoding import Batch, decoded
from bench.errors import BenchError, ScoringError
from bench.perturbations import Perturbation
from bench.runner import Clock, Runner, Scored
from bench.scorer import Scorer

PENDING = 2  # batches whose scores are on their way back from a GPU


class Failed(NamedTuple):
    """A detector that cannot go on; what it has scored so far stays valid. `details` is the traceback of a defect."""

    detector: str
    error: BenchError
    details: str = ""


class Done(NamedTuple):
    """What became of a portion: of each detector that needed it, unless it had failed before.

    number: of the portion; None where detectors could not be built. waited_seconds: of the device for this portion.
    peak_memory_bytes: that the process which scored it has held so far, on the device.
    """

    number: int | None
    results: tuple[Scored | Failed, ...]
    waited_seconds: float = 0.0
    peak_memory_bytes: int = 0


def score_trials(
    scorers: Sequence[Scorer],
    portions: Iterable[Portion | None],
    *,
    perturbation: Perturbation | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Iterator[Done]:
    """Score portions of a trial list with detectors that share one audio recipe.

    Args:
        scorers: detectors with equal `recipe`.
        portions: batches of the plan, see `bench.batches`; None = none just now.
        perturbation: of the samples of each trial; detectors that read none are never given it.
        device: a torch device name.
        workers: processes that decode ahead; 0 decodes here.

    Yields:
        One `Done` a portion, in their order. It has a `Failed` where a detector gave a score that is not finite or
        raised: it is left out from there on, the others go on. Those that cannot be built come first.

    Raises:
        ScoringError: a decode process died.
    """
    target = torch.device(device)
    if target.type == "cuda":
        if target.index is not None:
            torch.cuda.set_device(target)  # streams and events are those of the current one
        torch.cuda.reset_peak_memory_stats(target)
    if any(scorer.compiled for scorer in scorers):
        torch.compiler.reset()  # torch compiles a class some times in a process, then runs it as it is
    crew = _Crew(target)
    if unbuilt := crew.build(scorers):
        yield Done(None, tuple(unbuilt))
    pending: deque[_Pending] = deque()
    for portion, batch in decoded(portions, scorers[0].recipe, perturbation, workers) if crew.running else ():
        pending.append(crew.start(portion, batch))
        if len(pending) > (PENDING if target.type == "cuda" else 0):
            yield crew.finish(pending.popleft())
        if not crew.running:
            break
    while pending:
        yield crew.finish(pending.popleft())
    if any(scorer.compiled for scorer in scorers):
        crew.running.clear()
        gc.collect()  # compiled detectors hold themselves, and with them the memory of the next pass


class _Pending(NamedTuple):
    """A portion under way: its number, what waits for each detector's scores, and the work's first and last clock."""

    number: int
    waiting: list[tuple[str, Callable[[], Scored] | Failed]]
    clocks: list[Clock]


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no type for it


class _Crew:
    """The detectors of a pass on their device."""

    def __init__(self, device: torch.device) -> None:
        self.running: dict[str, Runner] = {}
        self._device = device
        self._copies = _stream(device) if device.type == "cuda" else None
        self._last: Clock | None = None

    def build(self, scorers: Sequence[Scorer]) -> list[Failed]:
        """Build what can be built; why the others cannot."""
        failed = []
        for scorer in scorers:
            try:
                self.running[scorer.name] = Runner(scorer, self._device)
            except Exception as error:  # see `_failed`: told in the cell, never lost
                failed.append(_failed(scorer.name, error))
        return failed

    def start(self, portion: Portion, batch: Batch) -> _Pending:
        pending = _Pending(portion.number, [], [])
        try:
            wave = self._uploaded(batch.wave)
        except torch.OutOfMemoryError as error:
            failed = [(name, _failed(name, error)) for name in portion.detectors if self.running.pop(name, None)]
            return pending._replace(waiting=[*failed])
        for name in [name for name in portion.detectors if name in self.running]:
            clock = Clock(self._device)
            try:
                pending.waiting.append((name, self.running[name].start(portion, batch, wave, clock)))
            except Exception as error:  # see `_failed`
                del self.running[name]
                pending.waiting.append((name, _failed(name, error)))
            pending.clocks.append(clock)
        return pending

    def _uploaded(self, wave: torch.Tensor | None) -> torch.Tensor | None:
        """Samples on the device; to a GPU they are copied beside the work that is under way there."""
        if wave is None or self._copies is None:
            return wave
        with torch.cuda.stream(self._copies):
            there = wave.pin_memory().to(self._device, non_blocking=True)
        work = torch.cuda.current_stream(self._device)
        work.wait_stream(self._copies)
        there.record_stream(work)  # the memory is not given away before the work is done with it
        return there

    def finish(self, pending: _Pending) -> Done:
        """Wait for the scores of a portion."""
        results: list[Scored | Failed] = []
        for name, waiting in pending.waiting:
            if isinstance(waiting, Failed):
                results.append(waiting)
                continue
            try:
                results.append(waiting())
            except Exception as error:  # see `_failed`
                if name in self.running:  # else another portion tells
                    del self.running[name]
                    results.append(_failed(name, error))
        waited = 0.0
        if pending.clocks:
            waited = self._last.gap_before(pending.clocks[0]) if self._last else 0.0
            self._last = pending.clocks[-1]
        return Done(pending.number, tuple(results), waited, environment.peak_memory_bytes(str(self._device)))


def _failed(name: str, error: Exception) -> Failed:
    """A detector may be a user's own code: its defect, whatever it is, ends its cell and not the pass."""
    if isinstance(error, BenchError):
        return Failed(name, error)
    reason = ScoringError(f"{type(error).__name__}: {error}", where=f"detector {name}")
    return Failed(name, reason, "".join(traceback.format_exception(error)))
