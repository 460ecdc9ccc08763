"""What a long run shows: lines that can be read in a log, a bar that does not flood a terminal."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.console import Console

from bench.progress import Live, Plain, Silent


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bench.progress.time.monotonic", clock)
    return clock


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=100, legacy_windows=False, color_system=None), text


def visible(text: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())


def test_silence_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """For the Python interface."""
    display = Silent()
    display.note("a")
    display.begin("b", 2)
    display.begin_bytes("c", None)
    display.advance(2)
    display.end()
    assert capfd.readouterr() == ("", "")


def test_plain_lines_come_at_the_beginning_each_quarter_of_a_minute_and_at_the_end(clock: Clock) -> None:
    """With trials done and to do, trials a second and seconds left, however often it is told of progress."""
    out, text = console()
    display = Plain(out)
    display.begin("itw: aasist", 31_779)
    for _ in range(40):
        clock.now += 1.0
        display.advance(500)
    display.end()
    assert text.getvalue().splitlines() == [
        "itw: aasist: 31,779 to go",
        "itw: aasist: 7,500 of 31,779, 500.0/s, 49 s left",
        "itw: aasist: 15,000 of 31,779, 500.0/s, 34 s left",
        "itw: aasist: 20,000 in 40.0 s, 500.0/s",
    ]


def test_the_next_pass_counts_from_zero(clock: Clock) -> None:
    """Rate and count are those of the pass; a pass that takes no time has no division by zero."""
    out, text = console()
    display = Plain(out)
    display.begin("first", 10)
    clock.now += 10
    display.advance(10)
    display.end()
    display.begin("second", 1_000)
    display.end()
    display.begin("third", 100)
    clock.now += 20
    display.advance(50)
    assert text.getvalue().splitlines() == [
        "first: 10 to go",
        "first: 10 in 10.0 s, 1.0/s",
        "second: 1,000 to go",
        "second: 0 in 0.0 s, 0.0/s",
        "third: 100 to go",
        "third: 50 of 100, 2.5/s, 20 s left",
    ]


def test_a_transfer_is_told_in_bytes(clock: Clock) -> None:
    """With units, and without a share or a time left where the size is unknown."""
    out, text = console()
    display = Plain(out)
    for total in (3_000_000_000, None):
        display.begin_bytes("LA.zip", total)
        clock.now += 20
        display.advance(1_000_000_000)
        clock.now += 5
        display.advance(1)
        display.end()
    display.begin("itw: random", 5)
    assert text.getvalue().splitlines() == [
        "LA.zip: 3.0 GB to go",
        "LA.zip: 1.0 GB of 3.0 GB, 50.0 MB/s, 40 s left",
        "LA.zip: 1.0 GB in 25.0 s, 40.0 MB/s",
        "LA.zip: unknown size",
        "LA.zip: 1.0 GB, 50.0 MB/s",
        "LA.zip: 1.0 GB in 25.0 s, 40.0 MB/s",
        "itw: random: 5 to go",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_names_are_printed_and_not_obeyed(terminal: bool) -> None:
    """Square brackets are markup in rich; a long line is not broken in a log."""
    out, text = console(terminal)
    what = f"[red]{'x' * 40}[/red]: [/]"
    if terminal:
        with Live(out) as display:
            display.note(f"warning: {what}")
            display.begin(what, 2)
            display.end()
        assert visible(text).count(what) >= 1
    else:
        Plain(out).note(what * 4)
        assert text.getvalue() == f"{what * 4}\n"
    assert what in visible(text)


def test_a_bar_shows_trials_rate_and_what_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes go above it; a second pass is a second bar; it ends with what was done."""
    out, text = console(terminal=True)
    with Live(out) as display:
        display.begin("itw: aasist", 8)
        display.advance(4)
        display.note("warning: the list is not the published one")
        display.advance(4)
        display.end()
        display.begin("demo: random", 5)
        display.advance(2)
        display.end()
    shown = visible(text)
    assert "warning: the list is not the published one" in shown
    last = shown.rstrip().splitlines()[-2:]
    assert last[0].startswith("itw: aasist")
    assert "8/8" in last[0]
    assert last[1].startswith("demo: random")
    assert "2/5" in last[1]


def test_a_bar_shows_bytes_of_a_transfer() -> None:
    """With units; a question mark stands for an unknown size."""
    out, text = console(terminal=True)
    with Live(out) as display:
        display.begin_bytes("LA.zip", 3_000_000)
        display.advance(1_500_000)
        display.end()
        display.begin_bytes("keys.tar.gz", None)
        display.advance(2_000)
        display.end()
        display.begin("itw: random", 5)
        display.end()
    last = visible(text).rstrip().splitlines()[-3:]
    for line, shown in zip(last, ["1.5 MB/3.0 MB", "2.0 kB/?", "0/5"], strict=True):
        assert shown in line


def test_a_bar_is_drawn_ten_times_a_second_at_most(clock: Clock) -> None:
    """A thousand steps within a second do not cost a thousand screens, and no thread runs beside the workers' forks."""
    out, text = console(terminal=True)
    threads = threading.active_count()
    with Live(out) as display:
        display.begin("itw: aasist", 1_000)
        before = len(text.getvalue())
        clock.now += 1
        display.advance(1)
        screen = len(text.getvalue()) - before
        assert screen > 0
        for _ in range(999):
            clock.now += 0.001
            display.advance(1)
        assert len(text.getvalue()) - before <= 12 * screen
        assert threading.active_count() == threads
