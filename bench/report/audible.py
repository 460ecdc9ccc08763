"""The audio of single trials, as the detectors heard it: where its file lies, a copy to play, and pictures.

A copy is made only where the dataset's card says that its licence allows it (`redistributable`). Of a user's own list
or folder, which has no card, nothing is heard or drawn: from a spectrogram speech can be made again.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import soundfile

from bench import corpora, registry
from bench.cards import DatasetCard
from bench.corpora import Dataset
from bench.errors import Blocked
from bench.families import whole
from bench.shards import member
from bench.shards.reading import content as member_content
from bench.trials import digest as trial_digest
from bench.trials import first_trials, span

if TYPE_CHECKING:
    from bench.perturbations import Perturbation

SECONDS = 60  # of a longer trial only the first are heard and drawn
COPIED_BYTES = 4_000_000  # a file up to this size is copied as it is
FASTEST = 48_000  # Hz: what is coded anew has no higher rate

# How the files begin that every browser plays -> their suffix. What is in a WAV is looked at more closely.
PLAYED = (
    (re.compile(rb"RIFF....WAVE", re.DOTALL), ".wav"),
    (re.compile(rb"fLaC"), ".flac"),
    (re.compile(rb"OggS"), ".ogg"),
    (re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), ".mp3"),
    (re.compile(rb"....ftypM4A ", re.DOTALL), ".m4a"),
)
PLAYED_WAV = ("PCM_U8", "PCM_16", "PCM_24", "FLOAT")


@dataclass(frozen=True)
class Clip:
    """A trial to hear and to see.

    audio: as a browser plays it, None where it must not be copied. suffix: of its file, with a dot.
    seconds: how much is heard and drawn. notes: how that differs from the file, in words.
    waveform, spectrogram: as in `bench.report.pictures`.
    """

    audio: bytes | None
    suffix: str
    seconds: float
    notes: tuple[str, ...]
    waveform: str
    spectrogram: bytes

    @property
    def file(self) -> str:
        """A name for the copy that tells nothing but its content; '' without one."""
        return "" if self.audio is None else content_name(self.audio, self.suffix)


def content_name(content: bytes, suffix: str) -> str:
    """A file name that follows from the content alone."""
    return f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"


@dataclass(frozen=True)
class Recordings:
    """Where datasets lie, as the options of a command tell (`bench.workspace.Options`). Picklable."""

    data_root: Path = Path("data")
    data: Mapping[str, Path | str] = field(default_factory=dict)
    cards: Path | None = None

    def corpus(self, dataset: str, digest: str) -> Corpus:
        """The files of a trial list. The whole list is read; that of the last name is kept.

        Args:
            dataset: its name; of a sample (`itw:200`) or a perturbed dataset, too. digest: of the cell.

        Raises:
            Blocked: no card of this name, no corpus here, or another list than that of the cell.
            UsageError, DataError, CardError: as `bench.corpora.load` and `bench.perturbations.split`.
        """
        clean = whole(dataset)
        table = _dataset(self.data_root, tuple(sorted(self.data.items())), self.cards, clean)
        trials, limit = table.trials, re.search(r":(\d+)$", dataset)
        if limit:
            trials = first_trials(trials, int(limit[1]))
        found = trial_digest(trials) if limit else table.digest
        if found != digest:
            what = f"the {clean} here has another trial list (digest {found[:12]}) than these scores ({digest[:12]})"
            raise Blocked(what, remedy="run the cell again, or make the report where its corpus is")
        name = dataset[: limit.start()] if limit else dataset
        return Corpus(table.card, trials, corpora.root_of(table.card, self.data_root, self.data), name)


@lru_cache(maxsize=1)
def _dataset(data_root: Path, data: tuple[tuple[str, Path | str], ...], cards: Path | None, name: str) -> Dataset:
    known = registry.datasets(cards)
    if name not in known:
        what = f"{name} has no card, so nothing says that its audio may be published"
        raise Blocked(what, remedy="write a card that says `redistributable: true`, and give it with --cards")
    return corpora.find(known[name], data_root, dict(data))


@dataclass(frozen=True, eq=False)
class Corpus:
    """The files of a trial list that is here.

    root: the folder that paths are told from. name: of the dataset, with its perturbation.
    """

    card: DatasetCard
    trials: pd.DataFrame
    root: Path
    name: str

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {trial: row for row, trial in enumerate(self.trials["trial"])}

    @cached_property
    def _perturbation(self) -> Perturbation | None:
        from bench import perturbations  # imports torch, which a page without sound does without

        return perturbations.split(self.name)[1]

    def place(self, trial: str) -> str:
        """The file of a trial below `root`, its bare name where it lies elsewhere, '' where no file is known.

        Of one in a pack its shard and name.
        """
        told = self._told(trial)["path"]
        if not told:
            return ""
        if (packed := member(told)) is not None:
            return packed.told
        for path, root in ((Path(told), self.root), (Path(told).resolve(), self.root.resolve())):
            if path.is_relative_to(root) and ".." not in path.parts:
                return path.relative_to(root).as_posix()
        return Path(told).name

    def clip(self, trial: str) -> Clip:
        """A trial of the list as a detector was given it, before any window of its own.

        Raises:
            AudioError: as `bench.audio.prepare`.
        """
        from bench import audio
        from bench.report import pictures

        told = self._told(trial)
        piece = span(told.get("start", ""), told.get("stop", ""))
        wave, rate = audio.decode(told["path"], piece)
        notes = []
        if piece is not None:
            notes.append(f"cut out of its file from {piece.start:g} s on")
        if self._perturbation is not None:
            wave = self._perturbation(wave, rate, trial)
            notes.append(self._perturbation.words)
        plain = not notes and len(wave) <= SECONDS * rate
        if len(wave) > SECONDS * rate:
            notes.append(f"the first {SECONDS} of {len(wave) / rate:,.1f} s")
            wave = wave[: SECONDS * rate]
        copy, suffix = None, ""
        if self.card.redistributable:
            copy, suffix = (_copied(told["path"]) if plain else None) or (_coded(wave, rate), ".flac")
        pictured = pictures.waveform(wave), pictures.spectrogram(wave, rate)
        return Clip(copy, suffix, len(wave) / rate, tuple(notes), *pictured)

    def _told(self, trial: str) -> Mapping[str, str]:
        return {str(name): str(value) for name, value in self.trials.iloc[self._rows[trial]].items()}


def _copied(path: str) -> tuple[bytes, str] | None:
    """The bytes of a file that browsers play, and the suffix for them; None for any other."""
    packed = member(path)
    if (Path(path).stat().st_size if packed is None else packed.size) > COPIED_BYTES:
        return None
    content = Path(path).read_bytes() if packed is None else member_content(path, packed)
    suffix = next((suffix for pattern, suffix in PLAYED if pattern.match(content)), "")
    return (content, suffix) if suffix and (suffix != ".wav" or _plain_wav(content)) else None


def _plain_wav(content: bytes) -> bool:
    try:
        plain: bool = soundfile.info(io.BytesIO(content)).subtype in PLAYED_WAV
        return plain
    except soundfile.SoundFileError:  # another decoder could read it
        return False


def _coded(wave: np.ndarray, rate: int) -> bytes:
    """Wave float32 (T,) as FLAC of 16 bits; one that would clip is made quieter."""
    from bench import audio

    heard = min(rate, FASTEST)
    samples = audio.resample(wave, rate, heard)
    out = io.BytesIO()
    soundfile.write(out, samples / max(1.0, float(np.abs(samples).max())), heard, format="FLAC", subtype="PCM_16")
    return out.getvalue()
