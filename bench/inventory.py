"""What exists, what is ready here, what is missing and how to get it: the rows of `bench list`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from bench.cards import DatasetCard, DetectorCard
from bench.errors import BenchError, Blocked, UsageError
from bench.workspace import Workspace


class Entry(NamedTuple):
    """One card and its state on this machine. `ready` means a run needs nothing more from the user."""

    name: str
    title: str
    licence: str
    ready: bool
    state: str
    reason: str = ""
    remedy: str = ""


def list_cards(workspace: Workspace, kind: Literal["detectors", "datasets"]) -> list[Entry]:
    """Every card of a kind, by name."""
    if kind == "detectors":
        return [_detector(workspace, card) for _, card in sorted(workspace.detectors.cards.items())]
    return [_dataset(workspace, card) for _, card in sorted(workspace.datasets.cards.items())]


def _detector(workspace: Workspace, card: DetectorCard) -> Entry:
    try:
        checkpoint = workspace.checkpoint(card)
    except UsageError:
        raise
    except BenchError as error:
        if card.recipe is not None and _made_when_needed(workspace.dataset_card(card.recipe.train), error):
            return Entry(card.name, card.title, card.licence, True, f"trains first, on {card.recipe.train}")
        return _blocked(card, error)
    if checkpoint is None:
        state = "ready, needs no weights" if card.recipe is None else f"trains first, on {card.recipe.train}"
    elif card.recipe is not None:
        state = "ready, trained here"
    else:
        state = "ready" if checkpoint.verified else "ready, weights unverified"
    return Entry(card.name, card.title, card.licence, True, state)


def _dataset(workspace: Workspace, card: DatasetCard) -> Entry:
    try:
        count = len(workspace.dataset(card.name).trials)
        missing = len(workspace.missing_audio(card.name))
    except UsageError:
        raise
    except BenchError as error:
        if _made_when_needed(card, error):
            return Entry(card.name, card.title, card.licence, True, "made by the first run that needs it")
        return _blocked(card, error)
    if not missing:
        return Entry(card.name, card.title, card.licence, True, f"ready, {count:,} trials")
    what = "no audio" if missing == count else f"{missing:,} of {count:,} audio files missing"
    return Entry(card.name, card.title, card.licence, False, what, f"the list is here, {what}", card.obtain)


def _made_when_needed(card: DatasetCard, error: BenchError) -> bool:
    """Whether what is missing is a corpus that the harness makes itself."""
    return card.made_by is not None and isinstance(error, Blocked)


def _blocked(card: DetectorCard | DatasetCard, error: BenchError) -> Entry:
    reason = error.reason(searched=False)
    state = "missing" if isinstance(error, Blocked) else "damaged"
    return Entry(card.name, card.title, card.licence, False, state, reason, error.remedy or "")
