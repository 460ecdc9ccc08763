"""The embedded corpus `demo`: made on first use, offline, in the layout of ASVspoof 2019 LA.

Bona fide is the voice of `bench.corpora.synthesis`. Each spoof is an attack on a bona fide utterance of its split, so
that both classes share content, speakers, durations and silences; level, bandwidth, noise floor and quantisation are
drawn for both in the same way. What remains to be heard is the attack.

It shows that the harness works. It is no speech: an EER on it says nothing about a detector.

Every utterance has random numbers of its own, from `RandomState`, whose streams numpy promises never to change: its
samples depend neither on the order of making nor on threads. Another processor or FFT may round a sample differently;
trial ids and labels, hence the digest, are the same everywhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.random import RandomState
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from bench.corpora.synthesis import ATTACKS, RATE, draw_speaker, record, utterance
from bench.errors import Blocked, DataError
from bench.trials import BONAFIDE, SPOOF

# Part of every trial id: a change of what is heard must be a change of the digest, or old scores would look current.
VERSION = 1

_LIBRARIES = ThreadpoolController()

README = f"""\
Demonstration corpus of antispoof-bench, version {VERSION}

Synthetic: made by the harness itself (bench/corpora/demo.py), no human being is heard. It exists to try the harness
without a download. Results on it say nothing about detection quality on speech.

Layout and protocols are those of ASVspoof 2019 LA. Attacks, each on a bona fide utterance of the same split:
    A01 Griffin-Lim from 64 mel bands              A04 Griffin-Lim from 48 mel bands (eval only)
    A02 LPC vocoder of order 16                    A05 LPC vocoder of order 10, longer frames (eval only)
    A03 transform codec with noise substitution
Delete the folder at will: it is made again on next use.
"""


class Split(NamedTuple):
    """One of the three trial lists; `first_speaker` numbers the voices so that no two lists share one."""

    letter: str
    protocol: str
    bonafide: int
    spoof: int
    first_speaker: int
    speakers: int
    attacks: tuple[str, ...]


KNOWN = ("A01", "A02", "A03")
SPLITS = {
    "train": Split("T", "ASVspoof2019.LA.cm.train.trn.txt", 60, 60, 1, 10, KNOWN),
    "dev": Split("D", "ASVspoof2019.LA.cm.dev.trl.txt", 30, 30, 11, 5, KNOWN),
    "eval": Split("E", "ASVspoof2019.LA.cm.eval.trl.txt", 60, 120, 16, 12, (*KNOWN, "A04", "A05")),
}


class Row(NamedTuple):
    """One trial; `source` numbers the bona fide utterance that it is, or that its attack was applied to."""

    trial: str
    speaker: int
    attack: str  # '' for bona fide
    source: int


def make(root: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the corpus as `root/demo`, whole or not at all; a corpus that is already there is left alone.

    It is made in a temporary folder beside, `.demo-*`, and renamed at the end. Of two processes at work at once one
    wins and the other throws its own away. Only a process that is killed outright leaves its temporary folder behind.

    Args:
        root: the data root.
        progress: called after each file with the number of files written and the number of all files.

    Raises:
        Blocked: the place cannot be written.
        DataError: the folder exists and is not this version of the corpus.
    """
    folder = root / "demo"
    try:
        if _is_made(folder):
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            corpus = Path(scratch) / folder.name
            _write(corpus, progress)
            _publish(corpus, folder)
    except (OSError, soundfile.LibsndfileError) as error:
        raise Blocked(
            f"the demo corpus cannot be made: {error}",
            where=folder,
            remedy="give a data root you may write to, with 20 MB of space: --data-root DIR or BENCH_DATA",
        ) from error


def plan(name: str) -> list[Row]:
    """The trials of a split, bona fide first; ids are dealt at random, so that they do not tell the label.

    Sources, speakers and attacks go round with coprime periods: every source is attacked equally often, never twice in
    the same way, and every speaker by every attack.
    """
    split = SPLITS[name]
    count = split.bonafide + split.spoof
    rows = []
    for index, number in enumerate(_random("ids", name).permutation(count) + 1):
        lap, source = divmod(index, split.bonafide)
        attack = split.attacks[(source + lap) % len(split.attacks)] if lap else ""
        speaker = split.first_speaker + source % split.speakers
        rows.append(Row(f"DEMO{VERSION}_{split.letter}_{number:04d}", speaker, attack, source))
    return rows


def render(name: str, rows: list[Row]) -> Iterator[tuple[Row, NDArray[np.int16]]]:
    """The samples (16 kHz) of some trials of a split, source by source: a source is spoken once for all its trials."""
    for source in sorted({row.source for row in rows}):
        # Threads that wait for one another on such small matrices take four times as long as one that has the work.
        with _LIBRARIES.limit(limits=1, user_api="blas"):
            made = _say(name, source, [row for row in rows if row.source == source])
        yield from made


def _say(name: str, source: int, users: list[Row]) -> list[tuple[Row, NDArray[np.int16]]]:
    voice = draw_speaker(users[0].speaker % 2 == 0, _random("speaker", users[0].speaker))
    clean = utterance(voice, _random("utterance", name, source))
    made = []
    for row in users:
        random = _random("trial", row.trial)
        made.append((row, record(ATTACKS[row.attack](clean, random) if row.attack else clean, random)))
    return made


def _random(*key: str | int) -> RandomState:
    """The random numbers of one purpose, by name."""
    return RandomState(np.frombuffer("/".join(map(str, (VERSION, *key))).encode(), dtype=np.uint8).astype(np.uint32))


def _is_made(folder: Path) -> bool:
    if not folder.exists():
        return False
    readme = folder / "README.txt"
    if not readme.is_file() or readme.read_text(encoding="utf-8", errors="replace") != README:
        raise DataError(
            f"this is not version {VERSION} of the demo corpus",
            where=folder,
            remedy="move it away or delete it; the corpus is made again on next use",
        )
    return True


def _write(corpus: Path, progress: Callable[[int, int], None] | None) -> None:
    protocols = corpus / "LA" / "ASVspoof2019_LA_cm_protocols"
    protocols.mkdir(parents=True)
    total = sum(split.bonafide + split.spoof for split in SPLITS.values())
    done = 0
    for name, split in SPLITS.items():
        rows = sorted(plan(name))
        lines = [
            f"DEMO_{speaker:04d} {trial} - {attack or '-'} {SPOOF if attack else BONAFIDE}\n"
            for trial, speaker, attack, _ in rows
        ]
        (protocols / split.protocol).write_text("".join(lines), encoding="utf-8", newline="\n")
        audio = corpus / "LA" / f"ASVspoof2019_LA_{name}" / "flac"
        audio.mkdir(parents=True)
        for row, samples in render(name, rows):
            soundfile.write(audio / f"{row.trial}.flac", samples, RATE, subtype="PCM_16")
            done += 1
            if progress is not None:
                progress(done, total)
    (corpus / "README.txt").write_text(README, encoding="utf-8", newline="\n")


def _publish(corpus: Path, folder: Path) -> None:
    """Renames the finished corpus, unless another process has been faster."""
    try:
        corpus.rename(folder)
    except OSError:
        if not _is_made(folder):
            raise
