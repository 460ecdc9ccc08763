"""What exists, what is ready here, what is missing and how to get it: the rows of `bench list`."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.cards import DatasetCard, DetectorCard
from bench.errors import BenchError, Blocked, CardError, MissingWeights, UsageError, WeightsError
from bench.leakage import Leakage, leakage
from bench.workspace import Workspace, weights_of

NO_WEIGHTS = "the weights are not here"
WIDE = 120  # columns of a terminal that has room for licences
STYLES = {"ready": "green", "trainable": "green", "fetchable": "yellow", "blocked": "red"}


@dataclass(frozen=True)
class Entry:
    """One card and its state on this machine. `ready` means a run needs nothing more from the user."""

    name: str
    title: str
    licence: str
    ready: bool
    state: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class DetectorEntry(Entry):
    """A detector's card; `licence` is that of the code.

    state: `ready` to run, `trainable` by a run that needs it, `fetchable` with `bench fetch` (what its training starts
            from, too), or `blocked`.
    detail: a word more on it. parameters: None where the card does not tell.
    leakage: of the listed datasets, the ones of `all`.
    """

    detail: str
    family: str
    parameters: int | None
    weights_licence: str
    leakage: dict[str, Leakage]
    notices: tuple[str, ...]

    @property
    def state_text(self) -> str:
        """State and detail: `ready, weights unverified`, `trainable on demo-train`."""
        joint = " " if self.state == "trainable" else ", "
        return joint.join(filter(None, (self.state, self.detail)))

    @property
    def held_out_text(self) -> str:
        """The listed datasets that a score tells something new of, in the fewest words."""
        held_out = [name for name, verdict in self.leakage.items() if verdict == "held-out"]
        others = [name for name in self.leakage if name not in held_out]
        if not others:
            return f"all {len(held_out)}"
        if not held_out:
            return "unknown" if "unknown" in self.leakage.values() else "none"
        return ", ".join(held_out) if len(held_out) <= len(others) else f"all but {', '.join(others)}"

    @property
    def licence_text(self) -> str:
        """Of the code and of the weights, once where they are the same; without what the cards say beyond the name."""
        short = (re.split(r"[,;(]", text)[0].strip() for text in (self.licence, self.weights_licence))
        return " / ".join(dict.fromkeys(filter(None, short)))


class Remark(NamedTuple):
    """What is said below the table of several entries at once: a reason with its remedy, or a notice."""

    names: str
    told: str
    remedy: str = ""


def list_detectors(workspace: Workspace) -> list[DetectorEntry]:
    """Every detector card, by name."""
    listed = [name for name, card in sorted(workspace.datasets.cards.items()) if card.listed]
    return [_detector(workspace, card, listed) for _, card in sorted(workspace.detectors.cards.items())]


def list_datasets(workspace: Workspace) -> list[Entry]:
    """Every dataset card, by name."""
    return [_dataset(workspace, card) for _, card in sorted(workspace.datasets.cards.items())]


class _State(NamedTuple):
    word: Literal["ready", "trainable", "fetchable", "blocked"]
    detail: str = ""
    reason: str = ""
    remedy: str = ""


def _detector(workspace: Workspace, card: DetectorCard, listed: Iterable[str]) -> DetectorEntry:
    state = _state(workspace, card)
    return DetectorEntry(
        name=card.name,
        title=card.title,
        licence=card.licence,
        ready=state.word in ("ready", "trainable"),
        state=state.word,
        reason=state.reason,
        remedy=state.remedy,
        detail=state.detail,
        family=card.family,
        parameters=card.parameters,
        weights_licence=card.weights.licence if card.weights else "",
        leakage={name: leakage(card, name, workspace.datasets) for name in listed},
        notices=card.notices,
    )


def _state(workspace: Workspace, card: DetectorCard) -> _State:
    try:
        checkpoint = workspace.checkpoint(card)
    except CardError as error:
        return _State("blocked", "", error.reason(), error.remedy or "")
    except Blocked as error:
        if workspace.would_make(card):
            return _trainable(card)
        missing = error.reason(searched=False), error.remedy or ""
        fetchable = isinstance(error, MissingWeights) and all(wanted.fetchable for wanted in weights_of(card))
        return _State("fetchable", "", *missing) if fetchable else _State("blocked", "", *missing)
    except UsageError:
        raise
    except BenchError as error:
        what = "weights damaged" if isinstance(error, WeightsError) else "corpus damaged"
        return _State("blocked", what, error.reason(searched=False), error.remedy or "")
    if card.recipe is not None:
        return _trainable(card) if checkpoint is None else _State("ready", "trained here")
    return _State("ready", "" if checkpoint is None or checkpoint.verified else "weights unverified")


def _trainable(card: DetectorCard) -> _State:
    """Told with the lists that are trained on, in the order of the stages; those that are watched are left out."""
    assert card.recipe is not None, card.name
    stages = [stage.train for stage in card.recipe.stages.values()] or [()]
    names = [name for sources in stages for name in [s.dataset for s in sources] or [card.recipe.train]]
    return _State("trainable", f"on {', '.join(dict.fromkeys(names))}")


def _dataset(workspace: Workspace, card: DatasetCard) -> Entry:
    def entry(ready: bool, state: str, reason: str = "", remedy: str = "") -> Entry:
        return Entry(card.name, card.title, card.licence, ready, state, reason, remedy)

    try:
        dataset = workspace.dataset(card.name)
        count = len(dataset.trials)
        missing = len(workspace.missing_audio(card.name))
    except UsageError:
        raise
    except BenchError as error:
        if card.made_by is not None and isinstance(error, Blocked):
            return entry(True, "made by the first run that needs it")
        state = "missing" if isinstance(error, Blocked) else "damaged"
        return entry(False, state, error.reason(searched=False), error.remedy or "")
    if not missing:
        return entry(True, f"ready, {count:,} trials{'' if dataset.pack is None else ', packed'}")
    what = "no audio" if missing == count else f"{missing:,} of {count:,} audio files missing"
    return entry(False, what, f"the list is here, {what}", dataset.card.obtain)


def detector_table(entries: Sequence[DetectorEntry], width: int) -> Table:
    """The detectors for a terminal of so many columns, a block of rows a family.

    Where there is no room for licences and lists to train on, they stand below. Names are plain text: `[red]` is not
    obeyed.
    """
    wide = width >= WIDE
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("name", overflow="fold")
    table.add_column("state", overflow="fold", width=None if wide else len("ready, weights"))
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("held out", overflow="fold")
    if wide:
        table.add_column("licence / of weights", overflow="fold")
    families = itertools.groupby(sorted(entries, key=lambda entry: entry.family), key=lambda entry: entry.family)
    for number, (family, members) in enumerate(families):
        if number:
            table.add_row()
        table.add_row(Text(family, style="bold"))
        for entry in members:
            # The names of lists are longer than the column of a narrow terminal.
            told = entry.state_text if wide or entry.state != "trainable" else entry.state
            state = Text(told, style=STYLES[entry.state])
            cells = (Text(entry.name), state, Text(magnitude(entry.parameters)), Text(entry.held_out_text))
            table.add_row(*cells, *((Text(entry.licence_text),) if wide else ()))
    if not wide:
        trainable = [entry for entry in entries if entry.state == "trainable"]
        lists = ["", "trainable", *_by(trainable, lambda entry: entry.detail)] if trainable else []
        licences = ["", "licences, of code / of weights", *_by(entries, lambda entry: entry.licence_text)]
        table.caption = Text("\n".join([*lists, *licences]))
        table.caption_justify, table.caption_style = "left", ""
    return table


def _by(entries: Sequence[DetectorEntry], text: Callable[[DetectorEntry], str]) -> list[str]:
    """What is told of entries, once for all of which it is told."""
    known = [entry.name for entry in entries]
    names: dict[str, list[str]] = {}
    for entry in entries:
        names.setdefault(text(entry), []).append(entry.name)
    return [f"  {shared}: {told(members, known)}" for shared, members in sorted(names.items())]


def dataset_table(entries: Sequence[Entry]) -> Table:
    """The datasets for a terminal."""
    table = Table("name", "state", "what it is", "licence", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for entry in entries:
        state = Text(entry.state, style="green" if entry.ready else "yellow")
        table.add_row(Text(entry.name, overflow="fold"), state, Text(entry.title), Text(entry.licence))
    return table


def magnitude(count: int | None) -> str:
    """A number of parameters for reading: `340.8 M`, `85.3 k`."""
    if count is None:
        return "–"
    for unit, symbol in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.99995 * unit:
            return f"{count / unit:.1f} {symbol}"
    return str(count)


def remarks(entries: Sequence[Entry]) -> list[Remark]:
    """Why entries are not ready and what to do about it, then what to know before using one: each said once."""
    known = [entry.name for entry in entries]
    fetchable = [entry.name for entry in entries if entry.state == "fetchable"]
    grouped: dict[tuple[str, str], list[str]] = {}
    if fetchable:
        grouped[NO_WEIGHTS, fetch_all(fetchable, known)] = fetchable
    for entry in entries:
        if not entry.ready and entry.state != "fetchable":
            grouped.setdefault((entry.reason.partition("\n")[0], entry.remedy), []).append(entry.name)
    notices: dict[str, list[str]] = {}
    for entry in entries:
        for notice in entry.notices if isinstance(entry, DetectorEntry) else ():
            notices.setdefault(notice, []).append(entry.name)
    return [
        *(Remark(told(names, known), reason, remedy) for (reason, remedy), names in grouped.items()),
        *(Remark(told(names, known), f"notice: {notice}") for notice, names in notices.items()),
    ]


def fetch_all(names: Collection[str], known: Collection[str]) -> str:
    """The command that gets the weights of all these detectors, of those that are known."""
    globs = " ".join(f"'{glob}'" if "*" in glob else glob for glob, _ in _globs(names, known))
    return f"`bench fetch detectors {globs}`"


def told(names: Collection[str], known: Collection[str]) -> str:
    """Names for reading, those of one stem as a glob with their number: `antideepfake-* (14), xlsr-sls`."""
    return ", ".join(f"{glob} ({count})" if count else glob for glob, count in _globs(names, known))


def _globs(names: Collection[str], known: Collection[str]) -> list[tuple[str, str]]:
    """Names of one stem as a glob and how many it stands for; a glob that fits other names, too, if most are meant."""
    found: list[tuple[str, str]] = []
    for _, members in itertools.groupby(sorted(names), key=lambda name: name.partition("-")[0]):
        group = list(members)
        shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(group[0], group[-1], strict=False))
        glob = "".join(letter for letter, _ in shared) + "*"
        fitting = sorted(fnmatch.filter(known, glob))
        if len(group) > 1 and group == fitting:
            found.append((glob, str(len(group))))
        elif len(group) > 2 and 2 * len(group) > len(fitting) and group == [name for name in fitting if name in names]:
            found.append((glob, f"{len(group)} of {len(fitting)}"))
        else:
            found += [(name, "") for name in group]
    return found
