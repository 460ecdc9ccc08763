"""Work that is done by several processes, or by this one where others would start too late."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from signal import SIGINT, signal
from threading import Event
from typing import TypeVar

from threadpoolctl import threadpool_limits

from bench.errors import StoreError

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """So many processes; pool: None is this one alone."""

    count: int
    pool: ProcessPoolExecutor | None = None

    def done(self, calls: Sequence[Callable[[], T]]) -> Iterator[tuple[int, T]]:
        """The number of a call and what it gave, as they end. The calls must be picklable.

        Raises:
            StoreError: a process was ended from outside. Whatever a call raises.
        """
        if self.pool is None:
            yield from ((number, call()) for number, call in enumerate(calls))
            return
        try:
            futures = {self.pool.submit(call): number for number, call in enumerate(calls)}
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BrokenProcessPool:
            raise StoreError(
                "a process that makes pages was ended from outside",
                remedy="look whether the memory is full, and run the same command again",
            ) from None


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """Processes with one thread each, as threads of several would wait for each other.

    An interruption from the keyboard lets each of them end the page it is at: no file is left half written.
    """
    if count == 1:
        with threadpool_limits(1):
            yield Workers(1)
        return
    with contextlib.ExitStack() as stack:
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_start)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield Workers(count, pool)


def between() -> None:
    """Called between two pages: the place where another process than the first one may be interrupted.

    Raises:
        KeyboardInterrupt: it was.
    """
    if _interrupted.is_set():
        raise KeyboardInterrupt


_interrupted = Event()


def _start() -> None:
    signal(SIGINT, lambda *_: _interrupted.set())
    threadpool_limits(1)
