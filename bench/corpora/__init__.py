"""Readers, one a corpus family: files on disk -> trial table.

A reader is `read(root, **arguments) -> DataFrame`; a card names it (`reader: bench.corpora.asvspoof2019:read`) and
gives its arguments. `root` is the data root, or the folder given for one dataset with `--data NAME=DIR`: a reader looks
at a short list of places below it and raises `Blocked` with all of them where it finds nothing.

A dataset may also be a pack (`bench.shards`): its trials come from there, and no reader is asked.

A list is read whether its audio is there or not. `path` is the file where it is; where it is not, the place where it is
expected. `missing_audio` tells which.

Protocols are not trusted: no name in one leads outside its corpus.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

from bench import shards
from bench import trials as trial_table
from bench.cards import DatasetCard
from bench.corpora.asv import Verification, verification
from bench.corpora.files import READERS, missing
from bench.errors import Blocked, CardError, DataError, UsageError
from bench.registry import resolve
from bench.shards.pack import MANIFEST, Pack, is_pack, open_pack, stamps
from bench.store import folder_name

if TYPE_CHECKING:
    from bench.perturbations import Perturbation

LISTS = (".csv", ".tsv", ".txt")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named, fixed trial list.

    trials: the table of `bench.trials`.
    digest: its identity, sha256 in hex.
    warnings: sentences on what a user should know before trusting it: how it differs from the counts of its card.
    about: sentences on what the list holds, where its reader tells any; a sample tells what it is from.
    own_files: the user's own list or folder, whose files may change under their names.
    perturbation: of the samples of every trial when it is scored; None for a clean dataset. The files are the same.
    verify: reads how the organisers' speaker verification does on it, see `asv`.
    pack: where the pack is that it is read from, None where its files are loose.
    """

    card: DatasetCard
    trials: pd.DataFrame
    digest: str
    warnings: tuple[str, ...]
    about: tuple[str, ...] = ()
    own_files: bool = False
    perturbation: Perturbation | None = None
    verify: Callable[[], Verification | None] = lambda: None
    pack: str | None = None

    @cached_property
    def asv(self) -> Verification | None:
        """How the organisers' speaker verification does on it, where its corpus tells; no part of digest or key.

        Raises:
            DataError: its score files do not hold what they should.
        """
        return self.verify()

    @cached_property
    def files(self) -> str | None:
        """What else identifies it where the files are the user's own: `fingerprint`, taken once."""
        return fingerprint(self.trials) if self.own_files else None

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def clean(self) -> str:
        """The name of the dataset that has the same trials and no perturbation; of a sample, a sample's."""
        return self.name.replace(f"+{self.perturbation.spec}", "", 1) if self.perturbation else self.name

    def facts(self) -> dict[str, Any]:
        """What a cell's manifest says of the dataset it was scored on; `perturbation` and `clean` where it has one.

        Damaged ASV scores, which nothing but the t-DCF needs, are a warning.
        """
        labels = trial_table.is_bonafide(self.trials)
        facts = {
            "name": self.name,
            "title": self.card.title,
            "summary": self.card.summary,
            "notes": list(self.card.notes),
            "licence": self.card.licence,
            "digest": self.digest,
            "trials": len(labels),
            "bonafide": int(labels.sum()),
            "spoof": int(len(labels) - labels.sum()),
            "counts": self.card.counts and self.card.counts.model_dump(exclude_none=True),
            "sibling_of": self.card.sibling_of,
            "about": list(self.about),
            "warnings": list(self.warnings),
        }
        if self.perturbation is not None:
            facts |= {"perturbation": self.perturbation.spec, "clean": self.clean}
            return facts
        try:  # it was run on clean audio
            return facts | ({"asv": self.asv.facts()} if self.asv else {})
        except DataError as error:
            return facts | {"warnings": [*self.warnings, f"no t-DCF: {error.reason()}"]}


def root_of(card: DatasetCard, data_root: Path, places: Mapping[str, Path | str]) -> Path:
    """The folder below which the loose files of a card's corpus are searched.

    Args:
        places: of single datasets and of their siblings, as `--data` names them; packs are passed over. The card of a
            user's own list or folder (`own_card`) names its place itself, so that any root does.
    """
    named = (places.get(card.name), places.get(card.sibling_of or ""))
    return next((Path(place) for place in named if place and not is_pack(place)), data_root)


def pack_folder(data_root: Path, name: str) -> Path:
    """Where the pack of a dataset is made, and looked for where no other place is named."""
    return data_root / "packs" / folder_name(name)


def find(card: DatasetCard, data_root: Path, places: Mapping[str, Path | str], *, make: bool = False) -> Dataset:
    """The dataset that a card describes, from loose files or from a pack.

    A pack that `places` names is taken. The one at `pack_folder` is where there are no loose files, which may be newer:
    where the corpus, or all of its audio, is not here.

    Args:
        places: as for `root_of`. make: as for `load`.

    Raises:
        Blocked, DataError, CardError: as `load`.
    """
    root, named = root_of(card, data_root, places), places.get(card.name)
    if named and is_pack(named):
        return load(card, root, pack=named)
    kept = pack_folder(data_root, card.name)
    if not is_pack(kept):
        return load(card, root, make=make)
    try:
        loose = load(card, root, make=make)
    except Blocked:
        return load(card, root, pack=kept)
    here = len(missing_audio(loose.trials)) < len(loose.trials)
    return loose if here else load(card, root, pack=kept)


def load(card: DatasetCard, root: Path, *, make: bool = False, pack: Path | str | None = None) -> Dataset:
    """The dataset that a card describes, read from the files below `root`, or its trials from a pack.

    With `make`, a corpus that the harness makes itself (`made_by` of the card) is made there first, where it is absent.

    Raises:
        Blocked: the corpus is not at any of the places searched; the remedy says where to get it.
        DataError: its files contradict themselves, with file and line; a pack of another dataset.
        CardError: the card's reader does not exist or does not take the card's arguments.
    """
    if make and card.made_by:
        resolve(card.made_by, where=card.name)(root)
    reader = _reader(card)
    mark, verify = READERS[reader], partial(verification, card.reader, root, card.arguments)
    opened = None if pack is None else _opened(pack, card.name)
    if opened is None:
        table = _read(reader, card, root)
        digest = trial_table.digest(table)
    else:
        table, digest = opened.trials, opened.manifest.digest
        obtain = f"copy the pack at {opened.place} again, or make it again with `bench pack {card.name}`"
        card = card.model_copy(update={"obtain": obtain})
    about = tuple(mark.about(table, card.arguments)) if mark.about else ()
    place, warnings = None if opened is None else opened.place, _differences(card, table)
    dataset = Dataset(card, table, digest, warnings, about, mark.own_files, verify=verify, pack=place)
    if opened is not None and dataset.files != opened.manifest.files:
        what = "the fingerprint of the user's own files is not that of the trials"
        raise DataError(what, where=f"{opened.place}/{MANIFEST}", remedy=card.obtain)
    return dataset


def _opened(pack: Path | str, name: str) -> Pack:
    opened = open_pack(pack)
    if opened.manifest.dataset != name:
        what = f"this is a pack of {opened.manifest.dataset!r}, not of {name!r}"
        remedy = f"give it with --data {opened.manifest.dataset}=..., or name the pack of {name}"
        raise DataError(what, where=f"{opened.place}/{MANIFEST}", remedy=remedy)
    return opened


def _reader(card: DatasetCard) -> Callable[..., pd.DataFrame]:
    """The function that a card names."""
    reader: Callable[..., pd.DataFrame]
    reader = resolve(card.reader, where=card.name)
    if not inspect.isfunction(reader) or reader not in READERS:
        raise CardError(
            f"{card.reader} is not marked as a corpus reader",
            where=card.name,
            remedy="put `@reader()` of bench.corpora.files on the function; nothing else is called",
        )
    return reader


def _read(reader: Callable[..., pd.DataFrame], card: DatasetCard, root: Path) -> pd.DataFrame:
    try:
        inspect.signature(reader).bind(root, **card.arguments)
    except TypeError as error:
        raise CardError(
            f"{card.reader} does not take these `arguments`: {error}", where=card.name, remedy="correct the card"
        ) from None
    try:
        return trial_table.validate(reader(root, **card.arguments), card.name)
    except Blocked as error:
        raise Blocked(
            error.what, where=error.where, remedy="; ".join(filter(None, (card.obtain, error.remedy)))
        ) from None


def own_card(name: str, place: Path | str) -> DatasetCard:
    """The card of a user's own data, `--data NAME=PLACE`: a list (.csv, .tsv, .txt), a folder with `real` and `fake`,
    or a pack of one of them.

    Raises:
        UsageError: none of these.
        CardError: a name that cannot be a dataset's.
    """
    kind = "pack"
    if not shards.is_address(place):
        place = Path(place).absolute()
        kind = "pack" if is_pack(place) else "folder" if place.is_dir() else "list"
    if kind != "list":  # of a pack no reader is asked: this one says that the files are the user's own
        reader, arguments = "bench.corpora.audio_folder:read", {"folder": str(place)}
    elif Path(place).is_file() and Path(place).suffix.lower() in LISTS:
        reader, arguments = "bench.corpora.protocol_csv:read", {"file": str(place)}
    else:
        raise UsageError(
            f"{name} can be read from no such place" if not Path(place).exists() else f"{name} is no list of trials",
            where=place,
            remedy=f"give a list ({', '.join(LISTS)}), a folder with `real` and `fake`, or a pack of one of them",
        )
    try:
        return DatasetCard(
            name=name,
            title=name,
            summary=f"the user's own {kind} {place}",
            licence="the user's own",
            reader=reader,
            arguments=arguments,
            obtain=f"the user's own files at {place}",
        )
    except ValidationError:  # the name: everything else is written here
        raise CardError(
            f"{name!r} cannot be the name of a dataset", remedy="leave out spaces, commas, `+`, `*`, `?` and brackets"
        ) from None


def missing_audio(trials: pd.DataFrame) -> list[int]:
    """Positions of the rows whose audio file, or whose shard, is absent; 600,000 rows take about a second."""
    return missing(trials["path"].tolist())


def fingerprint(trials: pd.DataFrame) -> str:
    """Sha256 (hex) over path, size and modification time of every file: a user's own may change under their names.

    Where trials are pieces of files, over these, too: nothing else tells which piece an id stands for. Of files in a
    pack it is that of the moment when they were packed.
    """
    packed = stamps(trials["path"])
    hashed = hashlib.sha256()
    if pieces := [column for column in trial_table.PIECE if column in trials]:
        hashed.update(trials[pieces].fillna("").to_csv(index=False).encode())
    for path in trials["path"]:
        hashed.update(f"{packed.get(path) or stamp(path)}\n".encode())
    return hashed.hexdigest()


def stamp(path: str) -> str:
    """What identifies a user's own file: path, size and modification time."""
    try:
        stat = os.stat(path)  # noqa: PTH116  (a Path for each of 600,000 takes longer than to ask)
        return f"{path}\t{stat.st_size}\t{stat.st_mtime_ns}"
    except OSError:
        return f"{path}\tmissing"


def _differences(card: DatasetCard, table: pd.DataFrame) -> tuple[str, ...]:
    if card.counts is None:
        return ()
    labels = table["label"].value_counts()
    found = {
        "trials": len(table),
        "bonafide": int(labels.get(trial_table.BONAFIDE, 0)),
        "spoof": int(labels.get(trial_table.SPOOF, 0)),
        "speakers": table.loc[table["speaker"] != "", "speaker"].nunique(),
        "attacks": table.loc[table["attack"] != "", "attack"].nunique(),
    }
    published = card.counts.model_dump(exclude_none=True)
    differences = [
        f"{noun} {found[noun]:,} (published {count:,})" for noun, count in published.items() if found[noun] != count
    ]
    return (f"{card.name} is not the published list: {', '.join(differences)}",) if differences else ()
