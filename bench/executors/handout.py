"""Slices of a plan, handed out to workers as they get free; what a lost worker had goes to another one.

A slice is a few consecutive portions: small at first, then about so much work as a worker does in `SLICE_SECONDS`, and
small again near the end, so that all workers end together. Each worker has two at hand: while it computes one, it
decodes the next. A slice that a worker was lost with is tried again by itself, on another worker where there is one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from bench.batches import Portion, Portions
from bench.errors import ScoringError
from bench.scoring import Done, Failed

SLICE_SECONDS = 5.0
AT_HAND = 2  # slices a worker
ATTEMPTS = 3  # of a slice, before the run gives it up


class Lost(NamedTuple):
    """A worker that is no more, and why.

    failed: detectors whose own defect ended it, which may be its machine's: they are tried on another worker. blamed:
    whether what it was doing may be the reason; each slice may be that so often as `ATTEMPTS` says.
    """

    worker: str
    reason: str
    failed: Sequence[Failed] = ()
    blamed: bool = True


class Finished(NamedTuple):
    """A slice that a worker has scored, by its number."""

    worker: str
    slice: int
    done: Sequence[Done]


class Crew(Protocol):
    """The workers of an executor."""

    def hire(self) -> Collection[str]:
        """The names of all workers that can take slices now; new ones may have come."""

    def send(self, worker: str, slice: int, portions: Sequence[Portion]) -> None: ...

    def wait(self) -> Iterator[Finished | Lost]:
        """What has happened since the last call; waits a moment where nothing has."""

    def first_bad(self, portions: Sequence[Portion]) -> str:
        """The first file of these that kills the process that decodes it, '' where none does."""


def hand_out(portions: Portions, crew: Crew) -> Iterator[Done]:
    """The results of all portions, each once, from whoever scored it first.

    Raises:
        ScoringError: a slice that failed on `ATTEMPTS` workers, with its first bad file, after all others are done.
    """
    return _HandOut(portions, crew).run()


class _HandOut:
    def __init__(self, portions: Portions, crew: Crew) -> None:
        self._portions = portions
        self._crew = crew
        self._next = 0  # the first portion that is in no slice yet
        self._cuts = 0
        self._slices: dict[int, range] = {}  # those that are not scored yet
        self._again: deque[int] = deque()
        self._attempts: dict[int, int] = {}
        self._tried: dict[int, set[str]] = {}  # workers that were lost with a slice
        self._defects: set[tuple[int, str]] = set()  # slices and detectors that ended a worker
        self._held: dict[str, dict[int, float]] = {}  # slices by worker, with the time of sending
        self._given_up: list[tuple[int, str]] = []
        self._seconds = 0.0  # of a portion on one worker; 0 before any is known
        self._failed: set[str] = set()
        self._hired: Collection[str] = ()

    def run(self) -> Iterator[Done]:
        while any(self._held.values()) or self._left():
            self._hired = self._crew.hire()
            for worker in self._hired:
                self._fill(worker)
            if not any(self._held.values()) and not self._left():
                break
            for event in self._crew.wait():
                yield from self._lose(event) if isinstance(event, Lost) else self._take(event)
        if self._given_up:
            raise self._error()

    def _left(self) -> bool:
        return bool(self._again) or self._next < len(self._portions)

    def _fill(self, worker: str) -> None:
        held = self._held.setdefault(worker, {})
        while len(held) < AT_HAND and (number := self._following(worker)) is not None:
            needed = [portion for portion in map(self._needed, self._slices[number]) if portion.detectors]
            if needed:
                held[number] = time.monotonic()
                self._crew.send(worker, number, needed)
            else:  # all of its detectors have failed
                del self._slices[number]

    def _following(self, worker: str) -> int | None:
        """The slice to send to a worker, if any: one that may be the end of it goes alone."""
        held = self._held[worker]
        if any(number in self._attempts for number in held):
            return None
        for number in self._again:
            others = any(other not in self._tried[number] for other in self._hired)
            alone = not held or number not in self._attempts
            if alone and not (others and worker in self._tried[number]):
                self._again.remove(number)
                return number
        return self._cut() if self._next < len(self._portions) else None

    def _needed(self, position: int) -> Portion:
        portion = self._portions[position]
        left = tuple(name for name in portion.detectors if name not in self._failed)
        return portion._replace(detectors=left)

    def _cut(self) -> int:
        left = len(self._portions) - self._next
        fair = left // (2 * AT_HAND * max(len(self._held), 1))
        timely = int(SLICE_SECONDS / self._seconds) if self._seconds else 1
        size = max(1, min(fair, timely))
        number, self._cuts = self._cuts, self._cuts + 1
        self._slices[number] = range(self._next, self._next + size)
        self._next += size
        return number

    def _take(self, event: Finished) -> Iterator[Done]:
        sent = self._held[event.worker].pop(event.slice, None)
        if sent is None:
            return
        size = len(self._slices.pop(event.slice))
        # Of the slices at hand one waits for the other.
        self._seconds = (time.monotonic() - sent) / AT_HAND / size
        for done in event.done:
            results = tuple(r for r in done.results if r.detector not in self._failed)
            self._failed |= {r.detector for r in results if isinstance(r, Failed)}
            yield done._replace(results=results)

    def _lose(self, event: Lost) -> Iterator[Done]:
        defective = {found.detector: found for found in event.failed}
        again: dict[str, Failed] = {}
        for number in self._held.pop(event.worker, {}):
            self._tried.setdefault(number, set()).add(event.worker)
            again |= {name: found for name, found in defective.items() if (number, name) in self._defects}
            self._defects |= {(number, name) for name in defective}
            if event.blamed and not event.failed:
                self._attempts[number] = self._attempts.get(number, 0) + 1
            if self._attempts.get(number, 0) < ATTEMPTS:
                self._again.append(number)
            else:
                self._given_up.append((number, event.reason))
        if new := tuple(found for name, found in again.items() if name not in self._failed):
            self._failed |= again.keys()
            yield Done(None, new)

    def _error(self) -> ScoringError:
        number, reason = min(self._given_up)
        portions = [self._portions[position] for position in self._slices[number]]
        bad = self._crew.first_bad(portions)
        positions = [position for number, _ in self._given_up for position in self._slices[number]]
        trials = sum(len(self._portions[position].trials) for position in positions)
        what = f"{trials:,} trials failed on {ATTEMPTS} workers: {reason}"
        if bad:
            what += f"; decoding the file kills the process: {bad}"
        remedy = "mend or remove the file, then run again" if bad else "run again: what is scored is kept"
        return ScoringError(what, where=bad or f"trial {portions[0].trials[0]!r} and those behind it", remedy=remedy)
