"""Arithmetic that the augmentations share: float64, NumPy alone.

torchaudio's `fftconvolve` and torch's sums give other last bits on other numbers of threads, and a worker has one
thread where the main process has many: a clip must not depend on who made it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rms(wave: np.ndarray) -> float:
    """Root of the mean square of all samples."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def levelled(wave: np.ndarray, level: float) -> np.ndarray:
    """The wave (T,) scaled to this RMS, float64; silence has no level and stays silence."""
    own = rms(wave)
    scaled: np.ndarray = np.multiply(wave, level / own if own else 0, dtype=np.float64)
    return scaled


def at_snr(wave: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Wave plus noise, both (T,), at 20 log10(||wave|| / ||noise||) = `snr_db`; the level of the wave is kept."""
    noisy: np.ndarray = wave + levelled(noise, rms(wave) / 10 ** (snr_db / 20))
    return noisy


def convolved(waves: Sequence[np.ndarray], filters: np.ndarray, lead: int) -> np.ndarray:
    """K waves (T,) through a filter each, of (K, taps), summed: float64 (T,).

    y[n] = sum over k and m of filters[k, m] waves[k][n + lead - m], the waves being zero outside; 0 <= lead < taps.

    Overlap-save: frames that stay in the processor's cache, and one inverse transform for all K.
    """
    samples, taps = len(waves[0]), filters.shape[1]
    size = 1 << (min(max(4096, 4 * taps), samples + taps - 1) - 1).bit_length()
    hop = size - taps + 1  # the first taps - 1 samples of a frame are wrapped around
    frames = -(-samples // hop)
    padded = np.zeros((frames - 1) * hop + size)
    framed = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    spectrum = np.zeros((frames, size // 2 + 1), dtype=np.complex128)
    # In float32, NumPy's transform would be of float32 precision.
    for wave, taps_of_it in zip(waves, filters.astype(np.float64), strict=True):
        padded[taps - 1 - lead :][:samples] = wave
        spectrum += np.fft.rfft(framed) * np.fft.rfft(taps_of_it, size)
    return np.fft.irfft(spectrum, size)[:, taps - 1 :].reshape(-1)[:samples]
