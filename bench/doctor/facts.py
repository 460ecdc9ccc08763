"""What is measured of one recording: a pure function of its samples, kept in a fixed number of bytes.

Silence is what `bench.models.probes.SilenceProbe` calls silence, at the file's own rate: the mean is taken off, and
10 ms frames whose mean power is at most -40 dB of the loudest one are silent.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import AudioError
from bench.models.probes import SilenceProbe

FRAMES_A_SECOND = 100
FULL_SCALE = 32767 / 32768  # the highest 16-bit sample; a clipped one cannot be told from one that is just so loud,
RUN = 3  # but so many in a row hardly happen by chance
SILENT = 1e-7  # -70 dBFS: no frame of a file that was recorded with a microphone and a voice stays below
FLOOR = 1e-12  # -120 dBFS, below the step of 16 bits; digital zeros would be minus infinity
BLOCK = 1 << 13  # frames a step: what is computed in float64 must not be many times an hour of audio


class Status(IntEnum):
    """What became of a recording. All but OK are errors."""

    OK = 0
    MISSING = 1
    EMPTY = 2
    NO_SAMPLES = 3
    TRUNCATED = 4
    NOT_FINITE = 5
    OUTSIDE = 6
    UNDECODABLE = 7


# What `bench.audio` says of a file -> what it is a case of; anything else is undecodable.
_SAID = {
    "the file is missing": Status.MISSING,
    "the file is empty (0 bytes)": Status.EMPTY,
    "holds no samples": Status.NO_SAMPLES,
    "truncated: ": Status.TRUNCATED,
    "is NaN or infinite": Status.NOT_FINITE,
    "the piece ": Status.OUTSIDE,
}

# All that is kept of a recording, 42 bytes.
FACTS = np.dtype(
    [
        ("status", "u1"),
        ("pyav", "?"),  # only the second decoder reads it
        ("channels", "u2"),
        ("rate", "u4"),  # Hz
        ("seconds", "f4"),
        ("leading", "f4"),  # s of silence
        ("trailing", "f4"),
        ("loudness", "f4"),  # dBFS
        ("clipped", "f4"),  # share of samples at full scale
        ("runs", "?"),  # whether RUN or more of them lie side by side
        ("silent", "?"),
        ("offset", "f4"),  # mean of the samples, full scale = 1
        ("digest", "u8"),
    ]
)


class Sound(NamedTuple):
    """Facts of the samples alone, see `FACTS`."""

    seconds: float
    leading: float
    trailing: float
    loudness: float
    clipped: float
    runs: bool
    silent: bool
    offset: float
    digest: int


def measure(wave: NDArray[np.float32], rate: int) -> Sound:
    """Facts of the samples float32 (T,), T >= 1, finite, at `rate` Hz.

    leading, trailing: seconds before the first and behind the last frame that is not silent.
    loudness: mean power of the frames that are not silent, in dB of a full-scale square wave; -120 at the lowest.
    silent: no frame is above -70 dBFS; then all of it is leading, and trailing, silence.
    digest: 64 bits of a hash of samples and rate; equal recordings have equal ones in any container, under any tags.
        Among 600,000 recordings two different ones are equal with a probability of 1e-8.
    """
    offset = float(wave.mean(dtype=np.float64))
    power, sizes = _frames(wave, offset, max(1, rate // FRAMES_A_SECOND))
    loudest = float(power.max())
    sounding = power > SilenceProbe.THRESHOLD * loudest
    silent = loudest <= SILENT
    leading = trailing = len(wave)
    loudness = loudest
    if not silent:
        first, last = int(sounding.argmax()), len(sounding) - 1 - int(sounding[::-1].argmax())
        leading, trailing = int(sizes[:first].sum()), int(sizes[last + 1 :].sum())
        loudness = float(np.average(power[sounding], weights=sizes[sounding]))
    full = (wave >= FULL_SCALE) | (wave <= -FULL_SCALE)
    runs = bool(len(full) >= RUN and (full[2:] & full[1:-1] & full[:-2]).any())
    samples = np.ascontiguousarray(wave, dtype="<f4")
    hashed = hashlib.blake2b(samples.data, digest_size=8, salt=rate.to_bytes(4, "little"))
    return Sound(
        len(wave) / rate,
        leading / rate,
        trailing / rate,
        10 * float(np.log10(max(loudness, FLOOR))),
        float(full.mean()),
        runs,
        silent,
        offset,
        int.from_bytes(hashed.digest(), "little"),
    )


def status_of(error: AudioError) -> Status:
    """Which kind of fault an error of `bench.audio` tells of."""
    return next((status for said, status in _SAID.items() if said in error.what), Status.UNDECODABLE)


def _frames(wave: NDArray[np.float32], offset: float, frame: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean power of the samples without the offset, and the number of samples, of each frame; the last may be short."""
    count = -(-len(wave) // frame)
    sizes = np.full(count, frame)
    sizes[-1] = len(wave) - (count - 1) * frame
    power = np.empty(count)
    for first in range(0, count, BLOCK):
        block = wave[first * frame : (first + BLOCK) * frame].astype(np.float64) - offset
        starts = np.arange(0, len(block), frame)
        power[first : first + BLOCK] = np.add.reduceat(block * block, starts)
    return power / sizes, sizes
