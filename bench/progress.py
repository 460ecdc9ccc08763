"""What a long run shows: a live bar on a terminal, plain lines elsewhere. All of it goes to standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

PLAIN_SECONDS = 15.0  # between two lines where there is no terminal


class Display(Protocol):
    """Where a command tells what it is doing. Counts are scores (trials times detectors of a pass), files, or bytes.

    `begin_bytes` is `begin` for a transfer: counts are bytes, and the total is None where the server does not say it.
    """

    def note(self, text: str) -> None: ...

    def begin(self, what: str, total: int) -> None: ...

    def begin_bytes(self, what: str, total: int | None) -> None: ...

    def advance(self, count: int) -> None: ...

    def end(self) -> None: ...


class Silent:
    """For the Python API and for tests."""

    def note(self, text: str) -> None:
        pass

    def begin(self, what: str, total: int) -> None:
        pass

    def begin_bytes(self, what: str, total: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass


class Plain:
    """Lines for a log: when a pass begins, every quarter of a minute, and when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what, self._done, self._started, self._said = "", 0, 0.0, 0.0
        self._total: int | None = None
        self._bytes = False

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, what: str, total: int) -> None:
        self._begin(what, total, in_bytes=False)

    def begin_bytes(self, what: str, total: int | None) -> None:
        self._begin(what, total, in_bytes=True)

    def _begin(self, what: str, total: int | None, *, in_bytes: bool) -> None:
        self._what, self._total, self._bytes, self._done = what, total, in_bytes, 0
        self._started = self._said = time.monotonic()
        self.note(f"{what}: {'unknown size' if total is None else _count(total, in_bytes) + ' to go'}")

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said >= PLAIN_SECONDS:
            self._said = now
            speed = self._done / max(now - self._started, 1e-9)
            done, rate = _count(self._done, self._bytes), _rate(speed, self._bytes)
            if self._total is None:
                self.note(f"{self._what}: {done}, {rate}")
            else:
                left = (self._total - self._done) / max(speed, 1e-9)
                self.note(f"{self._what}: {done} of {_count(self._total, self._bytes)}, {rate}, {left:,.0f} s left")

    def end(self) -> None:
        elapsed = time.monotonic() - self._started
        rate = _rate(self._done / max(elapsed, 1e-9), self._bytes)
        self.note(f"{self._what}: {_count(self._done, self._bytes)} in {elapsed:,.1f} s, {rate}")


def _count(count: int, in_bytes: bool) -> str:
    return decimal(count) if in_bytes else f"{count:,}"


def _rate(speed: float, in_bytes: bool) -> str:
    return f"{decimal(int(speed))}/s" if in_bytes else f"{speed:,.1f}/s"


class _Done(MofNCompleteColumn):
    """`3/8`, and of a transfer `1.2 GB/7.6 GB`."""

    def render(self, task: Task) -> Text:
        if not task.fields["in_bytes"]:
            return super().render(task)
        total = "?" if task.total is None else decimal(int(task.total))
        return Text(f"{decimal(int(task.completed))}/{total}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else _rate(speed, task.fields["in_bytes"]))


class Live:
    """A bar: what is scored, trials done and to do, trials a second, time left. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            # In a narrow terminal the names give way, never the numbers.
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=16),
            _Done(table_column=Column(min_width=9, no_wrap=True, justify="right")),
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
        self._task = self._bar.add_task(what, total=total, in_bytes=False)
        self._bar.refresh()

    def begin_bytes(self, what: str, total: int | None) -> None:
        self._task = self._bar.add_task(what, total=total, in_bytes=True)
        self._bar.refresh()

    def advance(self, count: int) -> None:
        self._bar.advance(self._task, count)
        if time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            self._bar.refresh()

    def end(self) -> None:
        self._bar.refresh()
