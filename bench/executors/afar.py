"""A training on another machine: its files come back piece by piece, so the driver can go on from them at any time.

The folder that `bench.training` writes lies on the node's own disk. What comes back are snapshots: hard links that are
taken at once, the state before the weights that it counts on, and written here in the opposite order. So what lies in
the weights folder of the driver is always something that a killed training could have left there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench import training
from bench.cards import DetectorCard
from bench.errors import BenchError, Blocked
from bench.executors.shipping import CHUNK_BYTES, scratch
from bench.files import atomically
from bench.locks import claim
from bench.progress import Display
from bench.training import RECORD_FILE, WEIGHTS_FILE, Materials
from bench.training.engine import BEST_FILE, LAST_FILE, STATE_FILE
from bench.training.staged import LOG_FILE

# In the order in which they are written here. Those of a running training; then those that only an ended one has.
RUNNING = (LOG_FILE, BEST_FILE, LAST_FILE, STATE_FILE)
ENDED = (LOG_FILE, LAST_FILE, RECORD_FILE, WEIGHTS_FILE)
NEWS_SECONDS = 1.0  # between two looks at a training
PREFIX = "training-"  # of the folders of trainings on a node

Event = tuple[str, tuple[Any, ...]]  # a method of Display, and what it is given


class Ended(NamedTuple):
    """How a training ended: `error` is None for a good end; `details` is the traceback of a detector's own defect."""

    error: BenchError | None = None
    details: str = ""


class News(NamedTuple):
    """What has happened since the last news.

    files: bytes of the files that have changed, by name, in the order in which they are to be written. gone: files that
    a training which has ended well does not have any more.
    """

    events: list[Event]
    files: dict[str, int]
    gone: list[str]
    ended: Ended | None


class Afar:
    """A training on this node, in a thread of its own.

    Args:
        state: the files that it goes on from, in chunks, by name. threads: of torch.
    """

    def __init__(
        self,
        card: DetectorCard,
        materials: Materials,
        state: Mapping[str, Iterable[bytes]],
        *,
        device: str,
        threads: int,
        workers: int,
        feature_limit: int,
    ) -> None:
        _sweep()
        self._home = Path(tempfile.mkdtemp(dir=scratch(), prefix=PREFIX))
        self._lock = (self._home / ".lock").open("wb")
        claim(self._lock, self._home, Blocked, "another worker has this folder")
        self._folder, self._snapshot = self._home / "weights" / card.name / "key", self._home / "snapshot"
        self._folder.mkdir(parents=True)
        self._snapshot.mkdir()
        for name, chunks in state.items():
            with (self._folder / name).open("wb") as file:
                file.writelines(chunks)
        self._sent = {name: _version(self._folder / name) for name in state}
        self._display = Relay()
        self._ended: Ended | None = None

        def run() -> None:
            torch.set_num_threads(threads)  # of this thread
            self._ended = _train(
                card,
                materials,
                self._folder,
                device=device,
                workers=workers,
                display=self._display,
                features=scratch() / "features",
                feature_limit=feature_limit,
            )

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def news(self) -> News:
        """Waits a moment, then tells; the files stay as they are until the next call."""
        self._thread.join(NEWS_SECONDS)
        ended = self._ended
        if ended is None or ended.error is not None:
            return News(self._display.drain(), self._changed(RUNNING), [], ended)
        gone = [name for name in RUNNING if not (self._folder / name).exists()]
        return News(self._display.drain(), self._changed(ENDED), gone, ended)

    def clear(self) -> None:
        """Remove the files, at the end: all of them have arrived."""
        self._thread.join()
        shutil.rmtree(self._home, ignore_errors=True)
        self._lock.close()

    def _changed(self, names: Iterable[str]) -> dict[str, int]:
        """Keep the present files, the last to be written first."""
        found = {}
        for name in reversed(list(names)):
            kept = self._snapshot / name
            kept.unlink(missing_ok=True)
            try:
                version = _version(self._folder / name)
                if version == self._sent.get(name):
                    continue
                if name == LOG_FILE:  # the one that is not replaced but added to
                    shutil.copyfile(self._folder / name, kept)
                else:
                    os.link(self._folder / name, kept)
            except FileNotFoundError:
                continue
            self._sent[name] = version
            found[name] = kept.stat().st_size
        return dict(reversed(found.items()))

    def piece(self, name: str, offset: int) -> bytes:
        """A chunk of a file of the last news."""
        with (self._snapshot / name).open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)


def _sweep() -> None:
    """Remove what killed workers have left on this node."""
    for home in scratch().glob(f"{PREFIX}*"):
        with suppress(OSError, Blocked), (home / ".lock").open("wb") as lock:
            claim(lock, home, Blocked, "its worker lives")
            shutil.rmtree(home, ignore_errors=True)


def _train(card: DetectorCard, materials: Materials, folder: Path, **options: Any) -> Ended:
    try:
        training.train(card, materials, folder, **options)
    except BenchError as error:
        cause = error.__cause__
        return Ended(error, "".join(traceback.format_exception(cause)) if cause is not None else "")
    except BaseException as error:  # a thread's own would be lost
        return Ended(BenchError(f"{type(error).__name__}: {error}"), traceback.format_exc())
    return Ended()


def _version(file: Path) -> tuple[int, int, int]:
    about = file.stat()
    return about.st_ino, about.st_mtime_ns, about.st_size


class Relay:
    """A display on a node: keeps what it is told until somebody asks."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def drain(self) -> list[Event]:
        with self._lock:
            events, self._events = self._events, []
        return events

    def _add(self, method: str, *arguments: Any) -> None:
        with self._lock:
            if method == "advance" and self._events and self._events[-1][0] == method:
                arguments = (self._events.pop()[1][0] + arguments[0],)
            self._events.append((method, arguments))

    def note(self, text: str) -> None:
        self._add("note", text)

    def begin(self, what: str, total: int) -> None:
        self._add("begin", what, total)

    def begin_bytes(self, what: str, total: int | None) -> None:
        self._add("begin_bytes", what, total)

    def advance(self, count: int) -> None:
        self._add("advance", count)

    def end(self) -> None:
        self._add("end")


class Shared:
    """One display for several trainings: all notes, and the bar of one of them at a time."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._bar: str | None = None  # whose it is

    def show(self, training: str, events: Iterable[Event]) -> None:
        for method, arguments in events:
            if self._bar is None and method.startswith("begin"):
                self._bar = training
            if method == "note" or self._bar == training:
                getattr(self._display, method)(*arguments)
            if method == "end":
                self.release(training)

    def release(self, training: str) -> None:
        """The training shows no bar any more."""
        if self._bar == training:
            self._bar = None


def bring_home(folder: Path, news: News, piece: Callable[[str, int], bytes]) -> None:
    """Write the changed files of a training, then remove those that are gone.

    Raises:
        StoreError: the folder cannot be written.
    """
    for name, size in news.files.items():
        atomically(folder / name, partial(_fetch, size, partial(piece, name)))
    for name in news.gone:
        (folder / name).unlink(missing_ok=True)


def _fetch(size: int, piece: Callable[[int], bytes], part: Path) -> None:
    with part.open("wb") as file:
        while file.tell() < size:
            file.write(piece(file.tell()))


def state_files(folder: Path) -> Iterator[Path]:
    """What a training goes on from, of the files that are here."""
    return (folder / name for name in RUNNING if (folder / name).is_file())
