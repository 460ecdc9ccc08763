"""Which detectors and datasets a board of leaderboard.yml means to `bench check`, of those accepted and stored.

`all` and globs mean what they mean to `bench run`, and names on no card, those of imports. What is accepted is meant by
every glob that fits it, or its regression would pass unseen: an accepted sample or perturbed dataset by `all`, too. One
that nobody accepted is meant only by a pattern with a `+` or a `:` of its own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.accepted import Board, Pair
from bench.errors import UsageError
from bench.families import whole


def pairs_of(
    board: Board, accepted: Collection[Pair], stored: Collection[Pair], *, cards: Path | None, where: Path
) -> tuple[set[Pair], set[Pair]]:
    """The pairs that a board means, and those of them that it names without globs, here or not.

    Args:
        cards: the user's own. where: the file of the board, for errors.

    Raises:
        UsageError: a glob that fits no card and nothing that is accepted or stored. CardError: a card is not valid.
    """
    known = {*accepted, *stored}
    names = {dataset for dataset, _ in known}
    derived = {name for name in names if whole(name) != name}
    datasets = _Patterns(registry.datasets(cards), board.datasets, names, derived, where)
    detectors = _Patterns(registry.detectors(cards), board.detectors, {name for _, name in known}, (), where)
    named = {(dataset, detector) for dataset in datasets.named for detector in detectors.named}
    meant = {
        pair
        for pair in known
        if datasets.means(pair[0], pair in accepted) and detectors.means(pair[1], pair in accepted)
    }
    return meant | named, named


class _Patterns:
    """The detectors, or the datasets, of a board.

    named: those without globs. derived: which of the known names are those of samples and perturbed datasets.
    """

    def __init__(
        self,
        cards: registry.Registry[Any],
        patterns: Sequence[str],
        known: Iterable[str],
        derived: Collection[str],
        where: Path,
    ) -> None:
        self._cards, self._derived = set(cards.names), derived
        self.named = {name for name in patterns if name != "all" and not any(symbol in name for symbol in "*?[")}
        self._globs = set(patterns) - self.named
        self._run = set(self.named)
        for pattern in self._globs:
            if pattern == "all" or fnmatch.filter(self._cards, pattern):
                self._run |= cards.select([pattern]).keys()
            elif not fnmatch.filter(known, pattern):
                what = f"no {cards.kind.removesuffix('s')} fits {pattern!r} of the board: no card, nothing here"
                raise UsageError(what, where=where, remedy=f"mend it in the file; see `bench list {cards.kind}`")

    def means(self, name: str, accepted: bool) -> bool:
        """Whether a name of an accepted pair, or of one that is only stored, is meant."""
        return name in self._run or any(self._fits(pattern, name, accepted) for pattern in self._globs)

    def _fits(self, pattern: str, name: str, accepted: bool) -> bool:
        if pattern == "all":
            return name not in self._cards and (accepted or name not in self._derived)
        if not fnmatch.fnmatch(name, pattern):
            return False
        told = name not in self._derived or any(symbol in pattern for symbol in "+:")
        return accepted or (told and name not in self._cards)
