"""Robustness: the trials of a dataset, changed on the fly. `itw+mp3@64k` and `itw+reverb+noise@15db` are datasets.

What stands behind a `+` is carried out from left to right on the mono samples of a trial at its file's own rate: behind
the cut of a piece, before the detector's resampling, as if the file lay on disk like that.

    mp3@64k       coded at so many kbit/s and decoded, see `bench.augmentation.codec`; `aac@32k` and `opus@16k` too. The
                  nearest bit rate that the format has at the file's sample rate; clipped to [-1, 1], as in a file
    mulaw         the same at 64 kbit/s: telephones of 8 kHz, `alaw` too, or 16 kHz, `g722`
    noise@15db    white Gaussian noise up to half of the file's sample rate, 15 dB below the RMS of the whole trial,
                  pauses included; silence stays silence
    reverb@0.6s   a synthetic room, another one for each trial: the direct sound, and from the next sample on Gaussian
                  noise that decays by 60 dB in that time (RT60; `reverb` alone is 0.5 s), both of equal energy. What
                  rings on behind the last sample is cut off. The model is Polack's (La transmission de l'énergie
                  sonore dans les salles, thesis, Le Mans 1988), without a gap before the first reflection
    resample@8k   down to that rate and back by the resampler of `bench.audio`: bandwidth lost, here with a slope from 3
                  to 5 kHz; a file that has no higher rate is left as it is
    trim          silence before and behind the voice taken off, see `_trimmed`

Noise is added to speech of unchanged level and a room keeps the RMS, so samples may exceed 1, as in a file of floats:
clipping would be another perturbation, and a stronger one for loud files.

What is random follows from perturbation and trial id alone, so a trial has the same noise under every detector, in
every batch, order and process. Codecs are those of PyAV's FFmpeg: another build may give other samples.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from bench import audio
from bench.augmentation import codec
from bench.augmentation.signals import at_snr, convolved, levelled, rms
from bench.errors import UsageError, unknown

VERSION = 1  # raise it whenever a sample changes: old and new scores never share a cell
LEAST_KBPS = 6  # Opus has no lower; MP3 and AAC take the lowest they have
SILENT = 1e-4  # of the power of the loudest frame, -40 dB: the rule of bench.models.probes.SilenceProbe
FRAMES_A_SECOND = 100  # as there

# Wave float32 (T,), rate in Hz, amount and generator -> wave; T is kept by all but `trim`.
Change = Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]


class Kind(NamedTuple):
    """What a perturbation may be.

    words: for the reader, with the amount in braces. unit: behind the amount, '' where the kind takes none.
    lowest, highest, decimals: of the amount. example: an amount; with `bare` the one that the name alone stands for.
    """

    change: Change
    words: str
    unit: str = ""
    lowest: float = 0
    highest: float = 0
    decimals: int = 0
    example: float = 0
    bare: bool = False


@dataclass(frozen=True)
class Step:
    """One perturbation of a name: `Step("noise", 15.0)` is `noise@15db`. amount: 0 where the kind takes none."""

    kind: str
    amount: float = 0.0

    @property
    def spec(self) -> str:
        """Its one spelling."""
        kind = KINDS[self.kind]
        told = kind.unit and not (kind.bare and self.amount == kind.example)
        return f"{self.kind}@{self.amount:g}{kind.unit}" if told else self.kind


@dataclass(frozen=True)
class Perturbation:
    """What is behind the first `+` of a dataset's name; picklable, and equal to another of the same spelling."""

    steps: tuple[Step, ...]

    @property
    def spec(self) -> str:
        """Its one spelling, without the leading `+`."""
        return "+".join(step.spec for step in self.steps)

    @property
    def words(self) -> str:
        """For the reader: `white noise at an SNR of 15 dB, then mp3 at 64 kbit/s`."""
        return ", then ".join(KINDS[step.kind].words.format(f"{step.amount:g}") for step in self.steps)

    def check(self) -> None:
        """Raises Blocked where PyAV was built without a codec that this needs."""
        for step in self.steps:
            if step.kind in codec.FORMATS:
                codec.check(step.kind)

    def __call__(self, wave: np.ndarray, rate: int, trial: str) -> np.ndarray:
        """Samples float32 (T,), T >= 1, at `rate` Hz, of the trial with this id, to float32; T is kept but for `trim`.

        Raises:
            AudioError: a rate that cannot be resampled.
        """
        for number, step in enumerate(self.steps, start=1):
            # Seeded by all steps so far: the same noise twice would only be louder noise.
            so_far = Perturbation(self.steps[:number]).spec
            seed = hashlib.sha256(f"{so_far}\t{trial}".encode()).digest()
            generator = np.random.default_rng(int.from_bytes(seed, "big"))
            wave = KINDS[step.kind].change(wave, rate, step.amount, generator).astype(np.float32, copy=False)
        return wave


def split(name: str) -> tuple[str, Perturbation | None]:
    """The dataset that a name is about, and what is done to it: `itw+mp3@64k` is `itw` and `mp3@64k`.

    Raises:
        UsageError: what is behind a `+` is no perturbation, or not in its one spelling.
    """
    clean, *specs = name.split("+")
    return clean, Perturbation(tuple(_step(spec) for spec in specs)) if specs else None


def joined(clean: str, perturbation: Perturbation | None) -> str:
    """The name that `split` takes apart."""
    return clean if perturbation is None else f"{clean}+{perturbation.spec}"


def _step(text: str) -> Step:
    name, _, amount = text.partition("@")
    if name not in KINDS:
        raise unknown("perturbation", text, (Step(known, kind.example).spec for known, kind in KINDS.items()))
    step = _nearest(name, amount)
    if step is not None and step.spec == text:
        return step
    hint = "" if step is None else f"did you mean {step.spec}? "
    raise UsageError(f"{text!r} is not how a perturbation is written", remedy=f"{hint}allowed: {_allowed(name)}")


def _nearest(name: str, amount: str) -> Step | None:
    """What an amount means, whatever its unit and its zeros; None where it means nothing that the kind takes."""
    kind = KINDS[name]
    if not kind.unit:
        return Step(name)
    if not amount:
        return Step(name, kind.example)
    number = re.fullmatch(r"(-?\d*\.?\d+) *[A-Za-z]*", amount)
    if number is None:
        return None
    rounded = round(float(number[1]), kind.decimals) + 0.0  # no -0
    return Step(name, rounded) if kind.lowest <= rounded <= kind.highest else None


def _allowed(name: str) -> str:
    kind = KINDS[name]
    if not kind.unit:
        return name
    places = {0: "whole numbers", 1: "at most one decimal"}.get(kind.decimals, f"at most {kind.decimals} decimals")
    span = f"{name}@{kind.lowest:g}{kind.unit} to {name}@{kind.highest:g}{kind.unit} ({places})"
    return f"{name} or {span}" if kind.bare else span


# --- the changes ------------------------------------------------------------------------------------------------------


def _coded(wave: np.ndarray, rate: int, kbps: float, _: np.random.Generator, *, format: str) -> np.ndarray:
    return codec.round_trip(wave, rate, format, int(kbps))


def _noisy(wave: np.ndarray, _: int, snr_db: float, generator: np.random.Generator) -> np.ndarray:
    return at_snr(wave, generator.standard_normal(len(wave)), snr_db)


def _reverberant(wave: np.ndarray, rate: int, rt60: float, generator: np.random.Generator) -> np.ndarray:
    samples = np.arange(1, max(round(rt60 * rate), 2))  # behind -60 dB nothing is left
    tail = 10 ** (-3 * samples / (rt60 * rate)) * generator.standard_normal(len(samples))
    response = np.concatenate([[1.0], levelled(tail, 1 / math.sqrt(len(tail)))])
    heard = response[None, : len(wave)]  # the rest meets no sample
    return levelled(convolved([wave], heard, lead=0), rms(wave))


def _narrowed(wave: np.ndarray, rate: int, kilohertz: float, _: np.random.Generator) -> np.ndarray:
    target = round(1000 * kilohertz)
    if target >= rate:
        return wave
    return audio.resample(audio.resample(wave, rate, target), target, rate)[: len(wave)]


def _trimmed(wave: np.ndarray, rate: int, _: float, __: np.random.Generator) -> np.ndarray:
    """Without what `SilenceProbe` calls silence, in frames of 10 ms at the file's own rate: what lies before the first
    and behind the last frame within 40 dB of the loudest one, the mean of the trial taken off.

    Again until nothing is left to take, because the mean is another one then. A trial without any sound is left as it
    is.
    """
    frame = max(rate // FRAMES_A_SECOND, 1)
    while True:
        starts = np.arange(0, len(wave), frame)
        squares = np.square(wave - np.mean(wave, dtype=np.float64))
        power = np.add.reduceat(squares, starts) / np.diff(starts, append=len(wave))
        loud = np.flatnonzero(power > SILENT * power.max())
        if not len(loud) or (loud[0] == 0 and loud[-1] == len(power) - 1):
            return wave
        wave = wave[loud[0] * frame : (loud[-1] + 1) * frame]


def _codec(name: str) -> Kind:
    change, most = partial(_coded, format=name), codec.FORMATS[name].most_kbps
    if not most:
        return Kind(change, f"{name} at 64 kbit/s")
    return Kind(change, f"{name} at {{}} kbit/s", "k", LEAST_KBPS, most, example=32)


KINDS = {
    **{name: _codec(name) for name in codec.FORMATS},
    "noise": Kind(_noisy, "white noise at an SNR of {} dB", "db", -50, 100, decimals=1, example=15),
    "reverb": Kind(_reverberant, "a synthetic room of RT60 {} s", "s", 0.05, 5, decimals=2, example=0.5, bare=True),
    "resample": Kind(_narrowed, "resampled to {} kHz and back", "k", 1, 192, decimals=3, example=8),
    "trim": Kind(_trimmed, "leading and trailing silence taken off"),
}
