"""One process at a time at a file: a download, an unpacked archive, the weights of a recipe, kept features."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from bench.errors import BenchError


def claim(file: IO[bytes], place: Path, error: type[BenchError], taken: str) -> None:
    """Lock an open file for this process until it is closed. Raises `error`, with `taken`, where another one has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise error(taken, where=place, remedy="wait for it, or end it") from None
    except OSError:
        pass  # a file system without locks: two processes at once do the same work twice there
