"""Which corpus a trial list is of: told by what a cell's manifest says of its dataset, else by the cards.

A corpus is a dataset with its siblings: phases, splits and releases, each a trial list of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from bench import registry
from bench.cards import DatasetCard


def whole(name: str) -> str:
    """The dataset that a sample (`itw:200`) or a perturbed one (`itw+mp3@64k`) was made of; any other is its own."""
    return re.sub(r":\d+$", "", name.partition("+")[0])


def corpus_of(facts: Mapping[str, Any]) -> str:
    """The dataset that a list, or what it was made of, is a sibling of; itself where it is none's.

    Args:
        facts: those of `bench.corpora.Dataset.facts`. Manifests of samples and those written before there was
            `sibling_of` do not tell; then the card does, where the harness has one of that name.
    """
    card = shipped_card(facts["name"])
    told: str | None = facts.get("sibling_of") or (card.sibling_of if card else None)
    return told or whole(facts["name"])


def shipped_card(name: str) -> DatasetCard | None:
    """The card that comes with the harness for a dataset, whole or not. Cards of the user's own are not looked at:
    numbers are read where only the store is."""
    return _shipped().get(whole(name))


def siblings(card: DatasetCard) -> list[DatasetCard]:
    """The cards that come with the harness for all lists of a corpus, `card` among them."""
    corpus = card.sibling_of or card.name
    return [one for one in _shipped().values() if corpus in (one.name, one.sibling_of)]


@cache
def _shipped() -> dict[str, DatasetCard]:
    return registry.datasets().cards
