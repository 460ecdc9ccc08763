"""The sounds of the corpus `demo`: a source-filter voice, attacks on it, and the recording of both.

The voice: glottal pulses with jitter and shimmer on a speech-like f0 contour, aspiration, formants that move through
vowels, fricatives, stops, nasals and pauses, a room and a microphone. The attacks are the classical ways to rebuild a
waveform from less than the waveform. Signals are float64 arrays (samples,) at 16 kHz, levels arbitrary up to `record`.

Numpy alone, no torch: these arrays are small, and torch's threads waiting for one another take ten times as long as the
work itself on a machine that has something else to do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import RandomState
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

RATE = 16_000  # Hz
HOP = 128  # samples between two frames of the voice: 8 ms
TAIL = 8  # a filtered frame rings for TAIL hops

# F1 to F3 of ten American vowels spoken by men, Hz, after Peterson and Barney (1952).
VOWELS = np.array(
    [
        [270, 2290, 3010],
        [390, 1990, 2550],
        [530, 1840, 2480],
        [660, 1720, 2410],
        [730, 1090, 2440],
        [570, 840, 2410],
        [440, 1020, 2240],
        [300, 870, 2240],
        [640, 1190, 2390],
        [490, 1350, 1690],
    ],
    dtype=np.float64,
)
NASAL = np.array([250, 1200, 2200], dtype=np.float64)
UPPER = np.array([3400, 4500, 5600, 6900], dtype=np.float64)  # Hz: F4 and above, the same in all sounds
BANDWIDTHS = np.array([70, 90, 140, 220, 300, 400, 600], dtype=np.float64)  # Hz, F1 and above
FRICTION = np.array([[4600, 6600], [2500, 5200], [1800, 6900], [3600, 5000]], dtype=np.float64)  # Hz, fricatives
FRICTION_BANDWIDTHS = np.array([700, 1200], dtype=np.float64)


class Speaker(NamedTuple):
    f0: float  # Hz
    tract: float  # factor on all formants, 1 = adult male
    open_quotient: float  # share of a cycle in which the glottis is open
    breath: float  # aspiration relative to the pulses
    jitter: float  # relative standard deviation of the length of a cycle
    pace: float  # factor on the length of sounds


class Tracks(NamedTuple):
    """The movements of one utterance, one row a frame of HOP samples."""

    formants: Array  # (frames, 3) Hz
    friction: Array  # (frames, 2) Hz
    voicing: Array  # (frames,) amplitudes, 0 to about 1
    noise: Array
    breath: Array


def draw_speaker(low: bool, random: RandomState) -> Speaker:
    """A voice, low (f0 95 to 140 Hz, long vocal tract) or high (165 to 235 Hz, shorter by 10 to 20 %)."""
    return Speaker(
        f0=random.uniform(95, 140) if low else random.uniform(165, 235),
        tract=random.uniform(0.94, 1.06) if low else random.uniform(1.1, 1.22),
        open_quotient=random.uniform(0.5, 0.75),
        breath=random.uniform(0.02, 0.1),
        jitter=random.uniform(0.004, 0.015),
        pace=random.uniform(0.85, 1.15),
    )


def utterance(voice: Speaker, random: RandomState) -> Array:
    """One bona fide utterance of 1.5 to 3 s with 0.1 to 0.3 s of silence at both ends, not yet recorded."""
    frames = int(random.uniform(1.5, 3.0) * RATE / HOP)
    tracks = _articulate(voice, frames, random)
    samples = frames * HOP
    phase = _phase(voice, frames, random)
    shimmer = 1 + 0.05 * random.standard_normal(int(phase[-1]) + 2)
    opening = phase % 1 / voice.open_quotient
    is_open = opening < 1
    # Derivative of the flow of Klatt and Klatt (1990): a parabola, cut off where the glottis closes.
    pulses = np.where(is_open, 2 * opening - 3 * opening**2, 0) * shimmer[phase.astype(int)]
    breath = random.standard_normal(samples) * (0.3 + np.where(is_open, opening, 0))
    source = pulses * _to_samples(tracks.voicing) + voice.breath * breath * _to_samples(tracks.breath)
    noise = random.standard_normal(samples) * _to_samples(tracks.noise)

    upper = np.broadcast_to(UPPER, (frames, len(UPPER)))
    tract = _resonances(np.hstack([tracks.formants, upper]) * voice.tract, BANDWIDTHS)
    hiss = _resonances(tracks.friction * voice.tract, FRICTION_BANDWIDTHS) * _slope(TAIL * HOP, 1500)
    return _room(_filter(source, tract, HOP) + 0.12 * _filter(noise, hiss, HOP), random)


def record(x: Array, random: RandomState) -> NDArray[np.int16]:
    """What bona fide and spoof go through alike, drawn for each: band limits, level, noise floor, 16 bit.

    From 70 Hz (one-sided pulses have an offset) up to 6.8 to 7.6 kHz, -27 ± 3 dBFS, white noise 42 to 48 dB below.
    """
    high_cut = 1 + (_frequencies(len(x)) / random.uniform(6800, 7600)) ** 40
    x = np.fft.irfft(np.fft.rfft(x) * _slope(len(x), 70) / high_cut, len(x))
    level = 10 ** ((-27 + 1.5 * np.clip(random.standard_normal(), -2, 2)) / 20)
    floor = level * 10 ** (-random.uniform(42, 48) / 20)
    x = x * (level / np.sqrt(np.mean(x**2))) + floor * random.standard_normal(len(x))
    return np.round(np.clip(x, -1, 1) * 32767).astype(np.int16)


def _articulate(voice: Speaker, frames: int, random: RandomState) -> Tracks:
    """A chain of syllables between two silences: an onset (none, fricative, stop, nasal), a vowel, at times a pause."""
    formants = np.tile(VOWELS[8], (frames, 1))
    friction = np.tile(FRICTION[0], (frames, 1))
    voicing, noise, breath = np.zeros((3, frames))
    at, silence = (int(random.uniform(0.1, 0.3) * RATE / HOP) for _ in range(2))
    end = frames - silence

    def sound(low: float, high: float) -> slice:
        """The frames of the next sound, `low` to `high` seconds long."""
        nonlocal at
        start = at
        at = min(end, start + max(1, int(random.uniform(low, high) * voice.pace * RATE / HOP)))
        return slice(start, at)

    while at < end:
        onset = random.choice(["none", "fricative", "stop", "nasal"], p=[0.2, 0.35, 0.25, 0.2])
        if onset == "fricative":
            here = sound(0.06, 0.14)
            noise[here] = random.uniform(0.4, 1)
            friction[here] = FRICTION[random.randint(len(FRICTION))]
        elif onset == "stop":
            sound(0.03, 0.07)
            here = sound(0.01, 0.03)
            noise[here], breath[here] = random.uniform(0.5, 1), 2
            friction[here] = FRICTION[random.randint(len(FRICTION))] * 0.7
        elif onset == "nasal":
            here = sound(0.05, 0.09)
            voicing[here], formants[here] = 0.4, NASAL
        here = sound(0.08, 0.22)
        voicing[here] = breath[here] = random.uniform(0.6, 1)
        formants[here] = VOWELS[random.randint(len(VOWELS))] * random.uniform(0.94, 1.06, 3)
        if random.uniform() < 0.12:
            sound(0.08, 0.2)
    widths = (9, 3, 5, 3, 5)
    return Tracks(*map(_smooth, (formants, friction, voicing, noise, breath), widths))


def _phase(voice: Speaker, frames: int, random: RandomState) -> Array:
    """Glottal cycles since the beginning, one value a sample: declination, accents, slow drift, jitter a cycle."""
    time = np.linspace(0, 1, frames)
    contour = 0.1 - 0.22 * time + 0.12 * _smooth(random.standard_normal(frames), 15)
    for centre in random.uniform(0, 1, 3):
        contour += random.uniform(0.05, 0.2) * np.exp(-(((time - centre) / 0.07) ** 2))
    f0 = voice.f0 * np.exp(_to_samples(contour))
    steady = np.cumsum(f0 / RATE)
    jitter = 1 + voice.jitter * random.standard_normal(int(steady[-1]) + 2)
    return np.cumsum(f0 * jitter[steady.astype(int)] / RATE)


def _room(x: Array, random: RandomState) -> Array:
    """A short reverberation and the colour of a microphone."""
    decay = np.exp(-np.arange(RATE // 5) / (RATE * random.uniform(0.015, 0.04)))
    reply = random.standard_normal(len(decay)) * decay * random.uniform(0.005, 0.03)
    reply[0] = 1
    size = len(x) + len(reply)
    waves = np.cos(2 * np.pi * np.outer(np.arange(1, 5), _frequencies(size) / RATE))
    colour = 10 ** (random.uniform(-1.5, 1.5, 4) @ waves / 20)
    return np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(reply, size) * colour, size)[: len(x)]


# --- attacks


def _griffin_lim(x: Array, random: RandomState, *, mels: int, n_fft: int = 1024, iterations: int = 8) -> Array:
    """Mel bands and back, phases after Griffin and Lim (1984): speech synthesis without a vocoder."""
    hop = n_fft // 4
    window = _hann(n_fft)

    def analyse(wave: Array) -> Complex:
        return np.fft.rfft(_frames(wave, n_fft, hop) * window)

    def synthesise(spectrum: Complex) -> Array:
        return _overlap_add(np.fft.irfft(spectrum) * window / 1.5, hop)[n_fft // 2 :][: len(x)]

    bands, back = _mel_bank(mels, n_fft)
    magnitude = np.maximum(np.abs(analyse(x)) @ bands @ back, 0)
    wave = synthesise(magnitude * np.exp(2j * np.pi * random.uniform(size=magnitude.shape)))
    for _ in range(iterations):
        spectrum = analyse(wave)
        wave = synthesise(magnitude * spectrum / np.maximum(np.abs(spectrum), 1e-12))
    return wave


@cache
def _mel_bank(mels: int, n_fft: int) -> tuple[Array, Array]:
    """The matrices from magnitude spectra to mel bands (bins, mels) and, as well as can be, back (mels, bins)."""
    # A bank that ended at the Nyquist frequency would give nothing there: a gap that only these spoofs would have.
    edges = 700 * np.expm1(np.linspace(0, np.log1p(0.55 * RATE / 700), mels + 2))
    bank = np.stack([np.interp(_frequencies(n_fft), edges[k : k + 3], [0, 1, 0]) for k in range(mels)], axis=1)
    return bank, np.asarray(np.linalg.pinv(bank), dtype=np.float64)


def _lpc_vocoder(x: Array, random: RandomState, *, order: int, hop: int, buzz: float) -> Array:
    """Linear prediction, excited by noise and, with a share of `buzz` of the power where it is voiced, by pulses."""
    window = np.hamming(3 * hop)
    r = _autocorrelation(_frames(x, 3 * hop, hop) * window)[:, : order + 1]
    r[:, 0] = r[:, 0] * (1 + 1e-6) + 1e-12
    lags = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
    a = np.linalg.solve(r[:, lags], r[:, 1:, None])[..., 0]
    gain = np.sqrt(np.maximum(r[:, 0] - np.sum(a * r[:, 1:], axis=1), 1e-12) / np.sum(window**2))
    inverse = np.fft.rfft(np.hstack([np.ones((len(a), 1)), -a]), TAIL * hop)

    f0, voiced = (_to_samples(track, hop)[: len(x)] for track in _pitch(x, hop))
    pulses = -np.diff(np.floor(np.cumsum(f0 / RATE)), prepend=0.0) * np.sqrt(RATE / f0)
    mix = buzz * voiced
    excitation = np.sqrt(mix) * pulses + np.sqrt(1 - mix) * random.standard_normal(len(x))
    return _filter(excitation, gain[:, None] / inverse, hop)


def _pitch(x: Array, hop: int) -> tuple[Array, Array]:
    """f0 in Hz (frames,), held through what is unvoiced, and voicing 0 or 1 (frames,), from the autocorrelation."""
    length = 640
    correlation = _autocorrelation(_frames(x, length, hop)) / (1 - np.arange(length) / (1.1 * length))
    lags = np.arange(RATE // 350, RATE // 75)
    best = lags[np.argmax(correlation[:, lags], axis=1)]
    power = correlation[:, 0]
    peak = correlation[np.arange(len(best)), best]
    voiced = (peak > 0.5 * power) & (power > 1e-4 * power.max())
    known = np.flatnonzero(voiced)
    f0 = np.interp(np.arange(len(best)), known, RATE / best[known]) if len(known) else np.full(len(best), 120.0)
    return f0, voiced.astype(np.float64)


def _codec(x: Array, random: RandomState) -> Array:
    """A transform codec at a low rate: of each MDCT band the strongest lines in 3 dB steps, noise for the rest."""
    size, band, kept = 256, 16, 4
    n = np.arange(2 * size)
    window = np.sin(np.pi * (n + 0.5) / (2 * size))
    basis = np.cos(np.pi / size * np.outer(n + 0.5 + size / 2, np.arange(size) + 0.5)) * np.sqrt(2 / size)
    lines = (_frames(np.pad(x, (0, size)), 2 * size, size) * window) @ basis
    bands = lines.reshape(len(lines), -1, band)
    weak = np.abs(bands) < np.sort(np.abs(bands), axis=2)[..., -kept, None]
    steps = np.sign(bands) * 2 ** (np.round(2 * np.log2(np.abs(bands) + 1e-12)) / 2)
    rest = np.sqrt(np.sum(np.where(weak, bands, 0) ** 2, axis=2, keepdims=True) / (band - kept))
    coded = np.where(weak, rest * random.standard_normal(bands.shape), steps).reshape(lines.shape)
    return _overlap_add(coded @ basis.T * window, size)[size:][: len(x)]


# Each takes an utterance (samples,) and gives as many samples back.
ATTACKS: dict[str, Callable[[Array, RandomState], Array]] = {
    "A01": lambda x, random: _griffin_lim(x, random, mels=64),
    "A02": lambda x, random: _lpc_vocoder(x, random, order=16, hop=128, buzz=0.85),
    "A03": _codec,
    "A04": lambda x, random: _griffin_lim(x, random, mels=48),
    "A05": lambda x, random: _lpc_vocoder(x, random, order=10, hop=256, buzz=0.85),
}


# --- signal tools


def _hann(length: int) -> Array:
    """Periodic, so that windows half overlapping sum to 1."""
    return np.hanning(length + 1)[:-1]


def _frames(x: Array, length: int, hop: int) -> Array:
    """Windows of `length` samples centred on every `hop`-th sample, shape (frames, length)."""
    return np.asarray(sliding_window_view(np.pad(x, (length // 2, length)), length)[: len(x) : hop])


def _overlap_add(frames: Array, hop: int) -> Array:
    """The sum of frames (frames, length) that begin `hop` samples apart; `length` is a multiple of `hop`."""
    parts = frames.reshape(len(frames), -1, hop)
    total = np.zeros((len(frames) + parts.shape[1] - 1, hop))
    for k in range(parts.shape[1]):
        total[k : k + len(frames)] += parts[:, k]
    return total.ravel()


def _filter(x: Array, responses: Complex, hop: int) -> Array:
    """`x` through a filter that changes every `hop` samples; `responses` has shape (frames, TAIL * hop / 2 + 1).

    The last `hop` samples fade out, behind the centre of the last frame.
    """
    spectrum = np.fft.rfft(_frames(x, 2 * hop, hop) * _hann(2 * hop), TAIL * hop)
    return _overlap_add(np.fft.irfft(spectrum * responses), hop)[hop:][: len(x)]


def _resonances(centres: Array, bandwidths: Array) -> Complex:
    """Responses (frames, bins) of resonators in cascade, 0 dB at 0 Hz; `centres` (frames, resonators) in Hz."""
    delay = np.exp(-2j * np.pi * _frequencies(TAIL * HOP) / RATE)
    product = np.ones((len(centres), len(delay)), dtype=np.complex128)
    for centre, radius in zip(np.minimum(centres, 0.47 * RATE).T, np.exp(-np.pi * bandwidths / RATE), strict=True):
        turn = 2 * radius * np.cos(2 * np.pi * centre / RATE)[:, None]
        product *= (1 - turn + radius**2) / (1 - turn * delay + radius**2 * delay**2)
    return product


def _frequencies(size: int) -> Array:
    """Hz of the bins of a real FFT."""
    return np.arange(size // 2 + 1, dtype=np.float64) * (RATE / size)


def _slope(size: int, cut: float) -> Array:
    """Gains (bins,) of a slope of 12 dB an octave below `cut` Hz."""
    return np.minimum(_frequencies(size) / cut, 1) ** 2


def _autocorrelation(frames: Array) -> Array:
    """Autocorrelation (frames, length) at lags 0, 1, ..."""
    length = frames.shape[1]
    return np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * length)) ** 2)[:, :length]


def _to_samples(track: Array, hop: int = HOP) -> Array:
    """A track (frames,) drawn out to (frames * hop,) samples."""
    return np.interp(np.arange(len(track) * hop) / hop, np.arange(len(track)), track)


def _smooth(track: Array, width: int) -> Array:
    """A track (frames,) or (frames, values) under a Hann window of `width` frames (odd), ends held."""
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(track, [(width // 2, width // 2)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    return np.asarray(sliding_window_view(padded, width, axis=0) @ (kernel / kernel.sum()))
