"""Cards -> what is missing here -> getting it: checkpoints, of detectors and for their training to start from; corpora.

What is here is found as a run finds it, and left alone. What has an address is downloaded and verified; what has none
is explained, with the place where it belongs. One failure stops nothing else. How one thing is got: `acquire`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from rich.filesize import decimal

from bench import corpora, perturbations
from bench.cards import Archive, DatasetCard, DetectorCard, Weights
from bench.errors import BenchError, Blocked, UsageError, WeightsError
from bench.fetch import acquire, hub
from bench.progress import Display
from bench.workspace import Workspace, weights_of


@dataclass(frozen=True)
class Item:
    """One file, folder or corpus that the chosen cards need.

    name: of the file; of the card where there is no file to download.
    told: where it is, where it comes from, or why it is missing. remedy: what the user can do about it.
    place: where it goes, with `source`, where it is downloaded.
    """

    name: str
    needed_by: tuple[str, ...]
    state: Literal["here", "download", "by hand", "wrong"]
    told: str
    remedy: str = ""
    place: Path | None = None
    source: Weights | Archive | None = None


class Outcome(NamedTuple):
    """What became of an item. `told` is where it is now, or why it is not."""

    item: Item
    ok: bool
    told: str
    remedy: str = ""


class Plan(NamedTuple):
    """The chosen cards and what they need; `datasets` are those that have to be readable at the end."""

    cards: Sequence[DetectorCard | DatasetCard]
    items: Sequence[Item]
    datasets: Sequence[str] = ()


def plan(workspace: Workspace, kind: Literal["detectors", "datasets"], patterns: Iterable[str]) -> Plan:
    """What a fetch of these names (globs, `all`) would do. Asks no server.

    Raises:
        UsageError: a name nobody knows.
    """
    if kind == "detectors":
        cards = [workspace.detectors[name] for name in workspace.detectors.select(patterns)]
        return Plan(cards, _distinct(item for card in cards for item in _of_detector(workspace, card)))
    # A perturbed dataset has the files of the clean one.
    names = list(dict.fromkeys(perturbations.split(name)[0] for name in workspace.select_datasets(patterns)))
    items = {name: _of_dataset(workspace, name) for name in names}
    loaded = [name for name in names if any(item.state == "download" for item in items[name])]
    return Plan(
        [workspace.dataset_card(name) for name in names],
        _distinct(item for name in names for item in items[name]),
        loaded,
    )


def carry_out(workspace: Workspace, planned: Plan, display: Display) -> list[Outcome]:
    """Download what a plan says. A failure is an outcome; the rest goes on. Corpora that came are read at the end."""
    outcomes = [_outcome(workspace, item, display) for item in planned.items]
    shelved = {_shelved(workspace, item): False for item in planned.items}
    shelved |= {_shelved(workspace, outcome.item): True for outcome in outcomes if not outcome.ok}
    for archive, needed_again in shelved.items():
        if archive is not None and not needed_again:
            archive.unlink(missing_ok=True)
    failed = {name for outcome in outcomes if not outcome.ok for name in outcome.item.needed_by}
    now = Workspace(workspace.options)  # the other one remembers as absent what has come
    return [*outcomes, *(_read_at_last(now, name) for name in planned.datasets if name not in failed)]


def without_downloads(planned: Plan) -> list[Outcome]:
    """What is already known to be missing at the end: what no download brings."""
    return [_settled(item) for item in planned.items if item.state != "download"]


def _settled(item: Item) -> Outcome:
    return Outcome(item, item.state == "here", item.told, item.remedy)


def _read_at_last(workspace: Workspace, name: str) -> Outcome:
    item = Item(name, (name,), "here", "")
    if lacks := _lacks(workspace, name):
        return Outcome(item, False, f"everything was downloaded, and {lacks[0]}", lacks[1])
    return Outcome(item, True, f"ready, {len(workspace.dataset(name).trials):,} trials")


def terms(planned: Plan) -> dict[tuple[str, ...], list[str]]:
    """What a user agrees to by getting what is missing (licences, notices, gated access) -> the names of the cards."""
    found: dict[tuple[str, ...], list[str]] = {}
    missing = {name for item in planned.items if item.state != "here" for name in item.needed_by}
    for card in planned.cards:
        if card.name in missing:
            found.setdefault(_terms_of(card), []).append(card.name)
    return found


def _terms_of(card: DetectorCard | DatasetCard) -> tuple[str, ...]:
    sources: list[Weights | Archive] = [*(weights_of(card) if isinstance(card, DetectorCard) else card.archives)]
    lines = [f"licence: {card.licence}"]
    for source in sources:
        if isinstance(source, Weights) and source.licence != card.licence:
            lines.append(f"weights: {source.licence}")
        if source.hub and source.hub.gated:
            lines.append(f"gated: accept the terms at {hub.page(source.hub)} first")
    return tuple(dict.fromkeys([*lines, *card.notices]))


# --- what is missing --------------------------------------------------------------------------------------------------


def _of_detector(workspace: Workspace, card: DetectorCard) -> list[Item]:
    wanted = weights_of(card)
    if not wanted:
        told = "needs no weights" if card.recipe is None else f"trained here, on {card.recipe.train}"
        return [Item(card.name, (card.name,), "here", told)]
    return [_of_weights(workspace, one, card.name) for one in wanted]


def _of_weights(workspace: Workspace, wanted: Weights, name: str) -> Item:
    place = workspace.options.weights[0] / wanted.file
    try:
        found = workspace.released(wanted, name)
        told = f"{found.path}{'' if found.verified else ' (unverified)'}"
        return Item(wanted.file, (name,), "here", told, place=found.path)
    except WeightsError as error:  # another file of this name, which stays; ours may still go beside it
        if os.path.lexists(place) or not wanted.fetchable:
            return Item(wanted.file, (name,), "wrong", error.reason(), error.remedy or "", place)
    except Blocked:
        if not wanted.fetchable:
            check = f"; 3. `sha256sum` of it must print {wanted.sha256}" if wanted.sha256 else ""
            steps = f"1. download {wanted.file} from {wanted.source}; 2. put it at {place.absolute()}{check}"
            return Item(wanted.file, (name,), "by hand", "it has to be downloaded by hand", steps, place)
    return Item(wanted.file, (name,), "download", _from(wanted), place=place, source=wanted)


def _of_dataset(workspace: Workspace, name: str) -> list[Item]:
    card, options = workspace.dataset_card(name), workspace.options
    if card.made_by:
        return [Item(name, (name,), "here", "made by the first run that needs it")]
    lacks = _lacks(workspace, name)
    if lacks is None:
        return [Item(name, (name,), "here", f"ready, {len(workspace.dataset(name).trials):,} trials")]
    if not card.archives:
        return [Item(name, (name,), "by hand", *lacks)]
    root = corpora.root_of(card, options.data_root, options.data)
    items = [_of_archive(archive, root, name) for archive in card.archives]
    if all(item.state == "here" for item in items):
        records = ", ".join(str(acquire.record_of(item.place)) for item in items if item.place)
        remedy = f"{lacks[1]}; to download everything again, delete {records}"
        items.append(Item(name, (name,), "wrong", f"everything was downloaded, and {lacks[0]}", remedy))
    return items


def _of_archive(archive: Archive, root: Path, name: str) -> Item:
    place = root / archive.folder / archive.file
    if archive.unpack:
        done = acquire.read_record(place).get("unpacked")
        if done:
            return Item(archive.file, (name,), "here", f"unpacked in {place.parent}", place=place)
    elif place.is_file():
        return Item(archive.file, (name,), "here", str(place), place=place)
    return Item(archive.file, (name,), "download", _from(archive), place=place, source=archive)


def _lacks(workspace: Workspace, name: str) -> tuple[str, str] | None:
    """Why a dataset cannot be scored here, and what to do about it; None where it can."""
    try:
        trials = workspace.dataset(name).trials
    except UsageError:
        raise
    except BenchError as error:
        return error.reason(searched=False), error.remedy or ""
    lost = workspace.missing_audio(name)
    if not lost:
        return None
    what = f"{len(lost):,} of {len(trials):,} audio files are missing, first {trials['path'].iloc[lost[0]]}"
    return what, workspace.dataset_card(name).obtain


def _from(source: Weights | Archive) -> str:
    """Where a file comes from, in words."""
    size = f" ({decimal(source.bytes)})" if isinstance(source, Archive) and source.bytes else ""
    if source.hub is None:
        return f"{source.url}{size}"
    what = source.hub.path or "configuration and weights"
    return f"{what}{size} of {hub.page(source.hub)} at {source.hub.revision}"


def _distinct(items: Iterable[Item]) -> list[Item]:
    """Items that several cards share, once; two different files for one place are a mistake of the cards."""
    found: dict[object, Item] = {}
    for item in items:
        key = item.place or item.name
        other = found.get(key)
        if other is None:
            found[key] = item
        elif _address(other.source) != _address(item.source):
            told = f"{item.needed_by[0]} wants another file at {item.place} than {other.needed_by[0]}"
            remedy = "give `file` on one of the cards a folder (`folder/name`)"
            found[key, item.needed_by] = replace(item, state="wrong", told=told, remedy=remedy)
        else:
            found[key] = replace(other, needed_by=tuple(dict.fromkeys((*other.needed_by, *item.needed_by))))
    return list(found.values())


def _address(source: Weights | Archive | None) -> object:
    if source is None:
        return None
    return source.url, source.hub, source.sha256, source.member if isinstance(source, Weights) else None


# --- getting it -------------------------------------------------------------------------------------------------------


def _outcome(workspace: Workspace, item: Item, display: Display) -> Outcome:
    if item.state != "download":
        return _settled(item)
    try:
        return Outcome(item, True, _get(workspace, item, display))
    except BenchError as error:
        return Outcome(item, False, error.reason(), error.remedy or "")
    except OSError as error:
        told = f"cannot be written: {error.strerror} ({error.filename or item.place})"
        return Outcome(item, False, told, "name a folder you may write to with --data-root or --weights")


def _get(workspace: Workspace, item: Item, display: Display) -> str:
    assert item.source is not None and item.place is not None, item
    if isinstance(item.source, Weights):
        return acquire.weights_file(item.source, item.place, workspace.options.weights[0], display)
    licence = workspace.dataset_card(item.needed_by[0]).licence
    return acquire.corpus_archive(item.source, item.place, licence, display)


def _shelved(workspace: Workspace, item: Item) -> Path | None:
    """The archive that an item is a member of."""
    source = item.source
    if isinstance(source, Weights) and source.member and source.url:
        return acquire.on_shelf(source.url, workspace.options.weights[0])
    return None
