"""The error browser: the trials that a detector is most wrong about, to read, to hear and to see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.errors import BenchError
from bench.report.audible import Clip, Corpus, Recordings, content_name
from bench.report.facts import public
from bench.report.tables import Files, Table
from bench.report.worst import Mistake, Worst, worst
from bench.scored import Scored

Kind = Literal["false accept", "false reject"]
FOLDER = "audio"  # beside the page


@dataclass(frozen=True)
class Shown:
    """A mistake on the page.

    place: its file, below the root of the corpora; '' where the corpus is not here.
    clip: None where there is nothing to hear or see; trouble: why, where it is for this trial alone.
    """

    mistake: Mistake
    place: str
    clip: Clip | None = None
    trouble: str = ""

    @property
    def audio(self) -> str:
        """The link to its copy, '' without one."""
        return f"{FOLDER}/{self.clip.file}" if self.clip and self.clip.file else ""

    @property
    def spectrogram(self) -> str:
        """The link to its picture, '' without one."""
        return f"{FOLDER}/{content_name(self.clip.spectrogram, '.png')}" if self.clip else ""


@dataclass(frozen=True)
class Errors:
    """threshold: of the score. silent: why nothing can be heard, in a sentence; '' where there is audio."""

    threshold: float
    worst: Worst
    false_accepts: tuple[Shown, ...]
    false_rejects: tuple[Shown, ...]
    silent: str
    corpus: Corpus | None

    def files(self) -> Files:
        """Audio and pictures, by their links."""
        found = Files()
        for shown in (*self.false_accepts, *self.false_rejects):
            if shown.clip is not None:
                found[shown.spectrogram] = shown.clip.spectrogram
                if shown.clip.audio is not None:
                    found[shown.audio] = shown.clip.audio
        return found

    @cached_property
    def table(self) -> Table:
        attributes = dict.fromkeys(
            name for shown in (*self.false_accepts, *self.false_rejects) for name in shown.mistake.attributes
        )
        columns = {
            "kind": "false accept: a spoofed trial taken for bona fide; false reject: the other way round",
            "trial": "id",
            "score": "higher = more bona fide",
            "distance": "of the score to the threshold",
            "seconds": "of audio",
            "path": "of its file below the data root",
            **{f"trial_{name}": f"{name} of the trial" for name in attributes},
        }
        kinds: tuple[tuple[Kind, tuple[Shown, ...]], ...] = (
            ("false accept", self.false_accepts),
            ("false reject", self.false_rejects),
        )
        rows = [
            {
                "kind": kind,
                "trial": shown.mistake.trial,
                "score": shown.mistake.score,
                "distance": shown.mistake.distance,
                "seconds": shown.mistake.seconds,
                "path": shown.place,
                **{f"trial_{name}": shown.mistake.attributes.get(name, "") for name in attributes},
            }
            for kind, members in kinds
            for shown in members
        ]
        return Table("errors", columns, rows)


def browse(trials: Scored, threshold: float, recordings: Recordings | None) -> Errors:
    """The worst mistakes at a threshold, with audio where it is here and may be copied.

    Args:
        recordings: where the corpora lie; None shows and copies no audio.
    """
    found = worst(trials, threshold)
    corpus, silent = None, "This report was made without audio."
    if recordings is not None:
        try:
            corpus = recordings.corpus(trials.cell.dataset, trials.cell.manifest["dataset"]["digest"])
            silent = "" if corpus.card.redistributable else _forbidden(corpus)
        except BenchError as error:
            silent = f"No audio: {public(error.what)}."
    accepts, rejects = (
        tuple(_shown(mistake, corpus) for mistake in kind) for kind in (found.false_accepts, found.false_rejects)
    )
    return Errors(threshold, found, accepts, rejects, silent, corpus)


def _forbidden(corpus: Corpus) -> str:
    return (
        f"No audio: nothing says that the licence of {corpus.card.title} ({corpus.card.licence}) allows copies on a "
        "public page. The file of each trial is named instead."
    )


def _shown(mistake: Mistake, corpus: Corpus | None) -> Shown:
    if corpus is None:
        return Shown(mistake, "")
    place = corpus.place(mistake.trial)
    try:
        return Shown(mistake, place, corpus.clip(mistake.trial))
    except BenchError as error:
        return Shown(mistake, place, trouble=f"cannot be played: {public(error.what)}")
    except Exception as error:  # a decoder's own defect costs its file, not the page
        return Shown(mistake, place, trouble=f"cannot be played: {type(error).__name__}")
