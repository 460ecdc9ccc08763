"""RawBoost: raw data boosting and augmentation (Tak et al., ICASSP 2022, arXiv 2111.04433).

Distributions and arithmetic are those of the authors' script, with the parameters that every user of it has. Random
draws come from a generator instead of NumPy's global state, so the samples are others.

    0  none                             5  1, then 2
    1  LnL, convolutive noise           6  1, then 3
    2  ISD, impulsive noise             7  2, then 3
    3  SSI, coloured additive noise     8  1 and 2 side by side, summed; divided by the peak where above 1
    4  1, then 2, then 3
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from bench.augmentation.signals import at_snr, convolved
from bench.errors import UsageError

RATE = 16_000  # Hz; what the filters' parameters are made for

# Notch filters: BANDS band-stop filters in a row, each of a centre and a width in Hz and an odd number of taps.
BANDS = 5
CENTRE_HZ = (20.0, 8000.0)
WIDTH_HZ = (100.0, 1000.0)
TAPS = (10, 100)  # the upper bound is not reached; even numbers are made odd
MARGIN_HZ = 0.001  # at least so far from 0 Hz and from half the sample rate
REACH = (TAPS[1] - 2) // 2  # taps on either side of the middle of the longest band-stop filter
GRID = 512  # frequencies from 0 to below half the sample rate at which a filter's peak gain is read

ORDERS = 5  # LnL: powers of the wave
GAIN_DB = (0.0, 0.0)  # of the first power
BIAS_DB = (5.0, 20.0)  # below it are the others: between -5 and -20 dB
SHARE = 0.1  # ISD: at most so many of the samples
STRENGTH = 2.0  # ISD: of the change, in the sample's own size
SNR_DB = (10.0, 40.0)  # SSI

SERIES = ("", "L", "I", "S", "LIS", "LI", "LS", "IS")  # by number of the algorithm
PARALLEL = 8


def rawboost(wave: np.ndarray, algorithm: int, generator: np.random.Generator) -> np.ndarray:
    """A wave at 16 kHz, float32 (T,), T >= 1, changed by algorithm 0 to 8: float32 (T,).

    Behind algorithms 3, 4, 6 and 7 samples may exceed 1, as in the authors' script. Silence stays silence.

    Raises:
        UsageError: any other number. The authors' script takes it for 0.
    """
    if algorithm not in range(PARALLEL + 1):
        raise UsageError(f"RawBoost has no algorithm {algorithm}", remedy="choose 0 (none) to 8")
    changed = wave.astype(np.float64)
    if algorithm == PARALLEL:
        changed = _within(_lnl(changed, generator) + _isd(changed, generator))
    else:
        for name in SERIES[algorithm]:
            changed = STEPS[name](changed, generator)
    return changed.astype(np.float32)


def convolutive(wave: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Sum over i of the wave's power i + 1 through filter i, (T,) and (K, taps) to (T,); mean 0, peak at most 1.

    The filters' taps are symmetric and odd in number. The result is one sample early: the authors' script drops
    (taps + 1) / 2 samples at the beginning, where the delay of such a filter is (taps - 1) / 2.
    """
    powers = list(accumulate([wave] * len(filters), np.multiply))
    changed = convolved(powers, filters, lead=(filters.shape[1] + 1) // 2)
    return _within(changed - changed.mean())


def coloured(wave: np.ndarray, white: np.ndarray, taps: np.ndarray, snr_db: float) -> np.ndarray:
    """The wave (T,) plus white noise (T,) through a filter (taps,), at this signal-to-noise ratio of the utterance."""
    return at_snr(wave, convolved([white], taps[None], lead=(len(taps) + 1) // 2), snr_db)


def notch_filters(gains_db: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random filters with these peak gains (K,): taps (K, 491), symmetric, the shorter ones with zeros at both ends."""
    shape = (len(gains_db), BANDS)
    centre, width = generator.uniform(*CENTRE_HZ, shape), generator.uniform(*WIDTH_HZ, shape)
    taps = generator.integers(*TAPS, shape) | 1
    response = np.fft.rfft(band_stop(centre - width / 2, centre + width / 2, taps), 2 * GRID).prod(axis=1)
    gain = 10 ** (gains_db / 20) / np.abs(response[:, :GRID]).max(axis=1)
    filters: np.ndarray = np.fft.irfft(response * gain[:, None], 2 * GRID)[:, : 2 * BANDS * REACH + 1]
    return filters


def band_stop(lower: np.ndarray, upper: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Linear-phase band-stop filters by the window method: arrays of any shape S to taps (*S, 99), the same in both
    directions from the middle, zero behind their number of taps.

    Args:
        lower, upper: edges in Hz; those outside 0 to 8000 Hz are moved inside. taps: odd, 3 to 99.

    A Hamming window, and a gain of 1 at 0 Hz: what `scipy.signal.firwin` makes, for all filters at once.
    """
    nyquist = RATE / 2
    low = np.maximum(lower, MARGIN_HZ)[..., None] / nyquist
    high = np.minimum(upper, nyquist - MARGIN_HZ)[..., None] / nyquist
    position, half = np.arange(-REACH, REACH + 1), (taps[..., None] - 1) / 2
    ideal = low * np.sinc(low * position) + np.sinc(position) - high * np.sinc(high * position)
    window = np.where(np.abs(position) <= half, 0.54 + 0.46 * np.cos(np.pi * position / half), 0)
    cut = ideal * window
    at_unit_gain: np.ndarray = cut / cut.sum(axis=-1, keepdims=True)
    return at_unit_gain


def _lnl(wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Linear and non-linear convolutive noise: what amplifiers, loudspeakers and channels do to all of it."""
    first = generator.uniform(*GAIN_DB, 1)
    others = generator.uniform(GAIN_DB[1] - BIAS_DB[1], GAIN_DB[0] - BIAS_DB[0], ORDERS - 1)
    return convolutive(wave, notch_filters(np.concatenate([first, others]), generator))


def _isd(wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Impulsive, signal-dependent additive noise: clipping and quantisation at random samples."""
    count = int(len(wave) * generator.uniform(0, SHARE))
    places = generator.choice(len(wave), count, replace=False, shuffle=False)
    factors = generator.uniform(-1, 1, (2, count)).prod(axis=0)
    changed = wave.copy()
    changed[places] += STRENGTH * wave[places] * factors
    return _within(changed)


def _ssi(wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Stationary, signal-independent additive noise."""
    taps = notch_filters(np.zeros(1), generator)[0]
    return coloured(wave, generator.standard_normal(len(wave)), taps, generator.uniform(*SNR_DB))


STEPS = {"L": _lnl, "I": _isd, "S": _ssi}


def _within(wave: np.ndarray) -> np.ndarray:
    within: np.ndarray = wave / max(1.0, np.abs(wave).max())
    return within
