"""Audits of corpora: is the list the published one, is every file there and sound, and what gives the classes away."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.corpora import Dataset
from bench.doctor.duplicates import Listed, duplicates
from bench.doctor.facts import RUN, Status
from bench.doctor.findings import Audit, Finding, counted
from bench.doctor.packs import examine_pack
from bench.doctor.recordings import Recordings
from bench.doctor.shortcuts import Shortcut, shortcuts
from bench.progress import Display
from bench.shards import member, shard_of
from bench.trials import AUDIO_SUFFIXES, BONAFIDE, SPOOF, is_bonafide

CLIPPED = 0.005  # share of samples at full scale; vocoders that overshoot here and there stay below 0.2 %
OFFSET = 0.01  # of full scale, -40 dBFS: as loud as what counts as silence
FEW_TRIALS = 10  # of an attack, below which its own EER moves by more than 5 points with a single trial

FAILURES: tuple[tuple[Status, str, str, str], ...] = (
    (Status.MISSING, "missing", "missing", ""),
    (Status.EMPTY, "empty", "empty (0 bytes)", "fetch them again"),
    (Status.NO_SAMPLES, "no samples", "without a single sample", "fetch or convert them again"),
    (Status.TRUNCATED, "truncated", "truncated", "fetch them again: the download was cut short"),
    (Status.NOT_FINITE, "not finite", "with NaN or infinite samples", "convert them again, to 16-bit integers"),
    (Status.OUTSIDE, "outside", "shorter than the pieces that the list cuts", "correct `start` and `stop`"),
    (Status.UNDECODABLE, "undecodable", "undecodable", "they are damaged, cut short or no audio: fetch them again"),
)


class Member(NamedTuple):
    """A dataset to examine; `whole` is False for a sample of it."""

    dataset: Dataset
    whole: bool


@dataclass(frozen=True)
class _Trials:
    """The trials of one dataset and the recordings that they are, int32 (trials,)."""

    dataset: Dataset
    recordings: Recordings
    rows: NDArray[np.int32]

    @cached_property
    def facts(self) -> NDArray[np.void]:
        """`FACTS` (trials,)."""
        return self.recordings.facts[self.rows]

    @cached_property
    def sound(self) -> NDArray[np.bool_]:
        """Whether each trial decodes, (trials,)."""
        sound: NDArray[np.bool_] = self.facts["status"] == Status.OK
        return sound

    @cached_property
    def first(self) -> NDArray[np.bool_]:
        """Whether a trial is the first one of its file, (trials,): a file counts once, however many pieces it has."""
        first = np.zeros(len(self.rows), dtype=bool)
        first[np.unique(self.recordings.files[self.rows], return_index=True)[1]] = True
        return first


def examine_family(members: Sequence[Member], display: Display) -> list[Audit]:
    """Audits of a dataset and its siblings, whose recordings are decoded once and compared with each other."""
    recordings = Recordings([member.dataset.trials for member in members])
    recordings.decode(f"{', '.join(member.dataset.name for member in members)}: decoding", display)
    strays = _strays(recordings.table["path"]) if all(member.whole for member in members) else []
    listed = [
        Listed(member.dataset.name, member.dataset.trials, rows)
        for member, rows in zip(members, recordings.rows, strict=True)
    ]
    decoded = (recordings.facts["status"] == Status.OK) & ~recordings.facts["silent"]
    twice = duplicates(listed, recordings.facts["digest"], decoded)
    packs = [examine_pack(member.dataset, display) for member in members]
    return [
        _audit(_Trials(member.dataset, recordings, rows), (*shards, *found), strays)
        for member, rows, shards, found in zip(members, recordings.rows, packs, twice, strict=True)
    ]


def _audit(trials: _Trials, compared: Sequence[Finding], strays: Sequence[str]) -> Audit:
    """compared: findings of its shards and of recordings that are there twice. strays: files that no list names."""
    dataset, sound = trials.dataset, trials.sound
    found = shortcuts(trials.facts[sound], is_bonafide(dataset.trials).astype(bool)[sound])
    findings = [
        *(Finding("not the published list", "note", warning) for warning in dataset.warnings),
        *_failures(trials),
        *compared,
        *_of_samples(trials),
        *filter(None, (one.finding for one in found)),
        *_clusters(dataset.trials),
        *_unlisted(strays),
    ]
    counts = _counts(trials)
    whole = ("every file is there and decodes",) if sound.all() else ()
    return Audit(
        "dataset",
        dataset.name,
        tuple(findings),
        (*_lines(dataset, counts), *whole, *_table(found)),
        {**counts, "shortcuts": [{**asdict(one), "severity": one.severity} for one in found]},
        files=counts["files"],
    )


def _counts(trials: _Trials) -> dict[str, Any]:
    """The facts of a dataset for programs."""
    facts, sound, first = trials.facts, trials.sound, trials.first
    labels = trials.dataset.trials["label"].to_numpy()
    heard = {label: sound & (labels == label) for label in (BONAFIDE, SPOOF)}
    heard = {label: rows for label, rows in heard.items() if rows.any()}

    def by_class(field: str) -> dict[str, dict[int, int]]:
        return {
            label: dict(sorted(Counter(facts[field][rows & first].tolist()).items())) for label, rows in heard.items()
        }

    alone = int((facts["pyav"] & sound & first).sum())
    return {
        "digest": trials.dataset.digest,
        "trials": len(labels),
        "files": int(first.sum()),
        "labels": {label: int((labels == label).sum()) for label in (BONAFIDE, SPOOF)},
        "decoders": {"soundfile": int((sound & first).sum()) - alone, "PyAV alone": alone},
        "rates": by_class("rate"),
        "channels": by_class("channels"),
        "seconds": {label: _spread(facts["seconds"][rows]) for label, rows in heard.items()},
    }


def _lines(dataset: Dataset, counts: dict[str, Any]) -> Iterator[str]:
    labels, decoders = counts["labels"], counts["decoders"]
    total = f"{counts['trials']:,} trials: {labels[BONAFIDE]:,} bona fide, {labels[SPOOF]:,} spoof"
    yield f"{total}; digest {dataset.digest[:12]}"
    for label, rates in counts["rates"].items():
        low, middle, high = counts["seconds"][label]
        told = ", ".join(f"{count:,} files at {rate:,} Hz" for rate, count in rates.items())
        channels = counts["channels"][label]
        many = "" if set(channels) == {1} else f" ({', '.join(f'{n:,} of {c} channels' for c, n in channels.items())})"
        yield f"{label}: {told}{many}; {low:.2f} to {high:.2f} s, median {middle:.2f} s"
    yield f"decoders: soundfile {decoders['soundfile']:,} files, PyAV alone {decoders['PyAV alone']:,}"


def _table(found: Sequence[Shortcut]) -> Iterator[str]:
    if found:
        yield "what one property alone achieves, more = more bona fide:"
        yield f"  {'property':<17} {'EER':>8}  {'AUC':<5}  medians, bona fide | spoof"
    for one in found:
        yield f"  {one.line}"


def _spread(seconds: NDArray[Any]) -> tuple[float, float, float]:
    """Shortest, median and longest."""
    low, middle, high = np.quantile(seconds.astype(np.float64), [0, 0.5, 1])
    return float(low), float(middle), float(high)


def _failures(trials: _Trials) -> Iterator[Finding]:
    """Files that no detector can be given."""
    facts, ids = trials.facts, trials.dataset.trials["trial"]
    paths = trials.dataset.trials["path"]
    for status, kind, what, remedy in FAILURES:
        files: dict[str, str] = {}
        for row in np.flatnonzero(facts["status"] == status).tolist():
            path = _told(paths.iloc[row]) or f"{ids.iloc[row]} (no audio folder)"
            files.setdefault(path, trials.recordings.reasons.get(int(trials.rows[row]), ""))
        if files:
            examples = tuple(f"{path}: {why}" if why else path for path, why in files.items())
            sentence = f"{len(files):,} of {trials.first.sum():,} audio files {what}"
            yield Finding(kind, "error", sentence, len(files), examples, remedy or trials.dataset.card.obtain)


def _told(path: str) -> str:
    """A file by its path; one in a pack by shard and name, as the findings go onto pages."""
    packed = member(path)
    return path if packed is None else packed.told


def _of_samples(trials: _Trials) -> Iterator[Finding]:
    """Recordings that decode and are yet no good."""
    facts, sound = trials.facts, trials.sound

    def finding(
        kind: str, rows: NDArray[Any], what: str, value: Callable[[np.void], str], remedy: str
    ) -> Iterator[Finding]:
        at = np.flatnonzero(sound & rows)
        if len(at):
            ids = trials.dataset.trials["trial"].iloc[at].tolist()
            examples = tuple(f"{trial}: {value(facts[row])}" for trial, row in zip(ids, at.tolist(), strict=True))
            yield Finding(
                kind, "warning", f"{len(at):,} of {sound.sum():,} recordings {what}", len(at), examples, remedy
            )

    yield from finding(
        "silent",
        facts["silent"],
        "silent throughout (never above -70 dBFS)",
        lambda one: f"{one['seconds']:.2f} s",
        "a score of silence says nothing: fetch them again, or leave them out in a list of a new name",
    )
    yield from finding(
        "clipped",
        facts["runs"] & (facts["clipped"] >= CLIPPED),
        f"clipped: {100 * CLIPPED:g} % of the samples or more at full scale, {RUN} or more in a row",
        lambda one: f"{100 * one['clipped']:.1f} % of the samples",
        "convert them again at a lower level",
    )
    yield from finding(
        "constant offset",
        np.abs(facts["offset"]) >= OFFSET,
        f"with a constant offset of {100 * OFFSET:g} % of full scale or more",
        lambda one: f"{100 * one['offset']:+.1f} %",
        "take the mean off, of both classes alike",
    )


def _clusters(table: pd.DataFrame) -> Iterator[Finding]:
    """Speakers who tell the class, and attacks with too few trials to speak of."""
    speakers = table.loc[table["speaker"] != "", ["speaker", "label"]].drop_duplicates()
    if speakers["label"].nunique() > 1:
        counts = speakers["speaker"].value_counts()
        one_sided = tuple(sorted(counts.index[counts == 1]))
        if one_sided:
            what = f"{len(one_sided):,} of {len(counts):,} speakers have trials of one class only"
            yield Finding("one-sided speakers", "note", what, len(one_sided), one_sided)
    attacks = table.loc[table["attack"] != "", "attack"].value_counts()
    rare = attacks[attacks < FEW_TRIALS].sort_index()
    if len(rare):
        what = f"{len(rare):,} of {len(attacks):,} attacks have fewer than {FEW_TRIALS} trials"
        yield Finding("rare attacks", "note", what, len(rare), tuple(f"{name}: {n}" for name, n in rare.items()))


def _unlisted(strays: Sequence[str]) -> Iterator[Finding]:
    if strays:
        what = f"{counted(len(strays), 'audio file')} beside those of the list and in no list that was examined"
        yield Finding("not listed", "note", what, len(strays), tuple(strays))


def _strays(paths: pd.Series) -> list[str]:
    """Audio files in the folders of the listed ones that are not listed themselves."""
    # Eight bytes a name: a set of 600,000 strings would be larger than everything else that is kept.
    known = np.fromiter(map(hash, paths), dtype=np.int64, count=len(paths))
    known.sort()
    found: list[str] = []
    for folder in sorted({path.rpartition("/")[0] for path in paths if path and shard_of(path) is None}):
        try:
            with os.scandir(folder) as entries:
                names = (entry.name for entry in entries if entry.name.lower().endswith(AUDIO_SUFFIXES))
                found += [path for name in names if not _holds(known, hash(path := f"{folder}/{name}"))]
        except OSError:
            continue  # its files are told as missing
    return sorted(found)


def _holds(ordered: NDArray[np.int64], value: int) -> bool:
    at = int(np.searchsorted(ordered, value))
    return at < len(ordered) and int(ordered[at]) == value
