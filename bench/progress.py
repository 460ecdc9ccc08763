"""What a long run shows: a live bar on a terminal, plain lines elsewhere. All of it goes to standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

PLAIN_SECONDS = 15.0  # between two lines where there is no terminal


class Display(Protocol):
    """Where the matrix tells what it is doing. Counts are scores: trials times detectors of a pass."""

    def note(self, text: str) -> None: ...

    def begin(self, what: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def end(self) -> None: ...


class Silent:
    """For the Python API and for tests."""

    def note(self, text: str) -> None:
        pass

    def begin(self, what: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass


class Plain:
    """Lines for a log: when a pass begins, every quarter of a minute, and when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what, self._total, self._done, self._started, self._said = "", 0, 0, 0.0, 0.0

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._started = self._said = time.monotonic()
        self.note(f"{what}: {total:,} to go")

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said >= PLAIN_SECONDS:
            self._said = now
            rate = self._done / max(now - self._started, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            self.note(f"{self._what}: {self._done:,} of {self._total:,}, {rate:,.1f}/s, {left:,.0f} s left")

    def end(self) -> None:
        elapsed = time.monotonic() - self._started
        rate = self._done / max(elapsed, 1e-9)
        self.note(f"{self._what}: {self._done:,} in {elapsed:,.1f} s, {rate:,.1f}/s")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s")


class Live:
    """A bar: what is scored, trials done and to do, trials a second, time left. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            # In a narrow terminal the names give way, never the numbers.
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(min_width=9, no_wrap=True, justify="right")),
            _Rate(table_column=Column(min_width=9, no_wrap=True, justify="right")),
            TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
            console=console,
            expand=True,
            auto_refresh=False,  # no thread: decode workers are forked from this process
        )
        self._shown = 0.0

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, what: str, total: int) -> None:
        self._task = self._bar.add_task(what, total=total)
        self._bar.refresh()

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)
        if time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            self._bar.refresh()

    def end(self) -> None:
        self._bar.refresh()
