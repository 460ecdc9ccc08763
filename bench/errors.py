"""The exceptions of the harness. A user sees one of these without a traceback: what is wrong, where, what to do.

BenchError                exit 1
├── UsageError            exit 2: a name, an option or a configuration that cannot be meant
│   └── CardError         a YAML card (or leaderboard.yml) that does not hold what a card may hold
├── DataError             a corpus, a protocol or a score file that contradicts itself or the dataset
│   └── AudioError        one audio file that cannot be turned into samples
├── DownloadError         what a server does not give, or gives otherwise than was published
├── WeightsError          a checkpoint that is wrong: hash, keys, shapes, executable content
├── ScoringError          a detector that produced what cannot be a score
├── StoreError            the results folder cannot be read or written
└── Blocked               something needed is not here: the cell cannot run yet, the remedy says what to get
    └── MissingWeights    a released checkpoint is not here
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class BenchError(Exception):
    """An error a user can act on.

    Args:
        what: what is wrong, one sentence without a final full stop.
        where: file, or file and line (1-based), that it is about.
        line: 1-based line number in `where`.
        remedy: what to do about it, one sentence.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        line: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else (f"{where}, line {line}" if line else str(where))
        self.remedy = remedy
        super().__init__(what, self.where, remedy)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.remedy:
            parts.append(f"  remedy: {self.remedy}")
        return "\n".join(parts)

    def reason(self, *, searched: bool = True) -> str:
        """What and where in one sentence; without `searched`, a list of places (several lines) is left out."""
        told = self.where and (searched or "\n" not in self.where)
        return f"{self.what} ({self.where})" if told else self.what

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (decode workers); the default would call __init__ with the wrong arguments.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(cls: type[BenchError], what: str, where: str | None, remedy: str | None) -> BenchError:
    return cls(what, where=where, remedy=remedy)


class UsageError(BenchError):
    exit_code = 2


class CardError(UsageError):
    pass


class DataError(BenchError):
    pass


class AudioError(DataError):
    pass


class DownloadError(BenchError):
    """What cannot be downloaded. `status` and `code` are the server's words: http, and the hub's `X-Error-Code`."""

    def __init__(self, what: str, *, status: int | None = None, code: str = "", **about: Any) -> None:
        super().__init__(what, **about)
        self.status, self.code = status, code


class WeightsError(BenchError):
    pass


class ScoringError(BenchError):
    pass


class StoreError(BenchError):
    pass


class Blocked(BenchError):
    pass


class MissingWeights(Blocked):
    pass


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """A `UsageError` for a name nobody knows, with the nearest known names and the whole list (first 20)."""
    names = sorted(known)
    folded = {known_name.casefold(): known_name for known_name in names}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"did you mean {', '.join(near)}? " if near else ""
    more = f", … ({len(names)} in all)" if len(names) > 20 else ""
    return UsageError(f"no {kind} is called {name!r}", remedy=f"{hint}known: {', '.join(names[:20])}{more}")
