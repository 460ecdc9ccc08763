"""A trial's samples as pictures: the waveform as an SVG path, the mel spectrogram as a PNG."""

from __future__ import annotations

import struct
import zlib
from functools import cache

import numpy as np
import torchaudio

from bench import audio

COLUMNS = 240  # of a waveform, at most
HEIGHT = 24  # of a waveform: -1 and 1 are so many units below and above its middle

RATE = 16_000  # Hz: a spectrogram shows 0 to 8 kHz
MELS = 80
FRAMES = 320  # columns of a spectrogram, at most
WINDOW, STEP, POINTS = 400, 160, 1024  # samples: 25 ms each 10 ms, in a transform that parts 80 mels
RANGE = 80.0  # dB below the loudest square; what is fainter is black
SHADES = 64

# From silence to the loudest, at equal steps: lightness rises all the way, so that it reads in grey, too.
_RAMP = ((8, 8, 20), (48, 18, 86), (120, 30, 109), (190, 55, 84), (238, 105, 37), (251, 180, 60), (252, 253, 200))


def waveform(wave: np.ndarray) -> str:
    """The path of lowest and highest sample in each of at most `COLUMNS` columns of equal length.

    In a box as wide as the columns and `2 * HEIGHT` high, to be stroked with a width of 1. Samples beyond -1 and 1 are
    at the border.

    Args:
        wave: float32 (T,), T >= 1.
    """
    starts = _starts(len(wave), COLUMNS)
    bounds = (np.clip(fold.reduceat(wave, starts), -1, 1) for fold in (np.maximum, np.minimum))
    tops, bottoms = (np.rint(HEIGHT * (1 - bound)).astype(int) for bound in bounds)
    bottoms = np.maximum(bottoms, tops + 1)
    rises = np.diff(tops, prepend=0) - np.append(0, (bottoms - tops)[:-1])  # from the end of the last stroke
    strokes = [f"m1 {rise}v{length}" for rise, length in zip(rises.tolist(), (bottoms - tops).tolist(), strict=True)]
    return f"M-.5 0{''.join(strokes)}".replace(" -", "-")


def spectrogram(wave: np.ndarray, rate: int) -> bytes:
    """The mel spectrogram as a PNG of `MELS` rows, the lowest band at the bottom, and at most `FRAMES` columns.

    Power of Hann windows of 25 ms each 10 ms, summed in triangles that are equally wide in mels, 2595 log10(1 + f / 700
    Hz) (O'Shaughnessy 1987), mean over the frames of a column, in dB below the loudest square.

    Args:
        wave: float32 (T,), T >= 1, at `rate` Hz.

    Raises:
        AudioError: a rate that cannot be resampled.
    """
    samples = audio.resample(wave, rate, RATE)
    padded = np.pad(samples, (0, max(WINDOW - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    starts = _starts(len(frames), FRAMES)
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), POINTS)))
    mels = np.add.reduceat(power @ _bands(), starts) / np.diff(starts, append=len(frames))[:, None]
    decibels = 10 * np.log10(np.maximum(mels / (mels.max() or 1.0), 10 ** (-RANGE / 10)))
    shades = np.rint((1 + decibels / RANGE) * (SHADES - 1)).astype(np.uint8)
    return _png(np.ascontiguousarray(shades.T[::-1]), _palette())


def _starts(length: int, most: int) -> np.ndarray:
    """Where at most `most` columns begin that share `length` things evenly."""
    columns = min(length, most)
    starts: np.ndarray = np.arange(columns) * length // columns
    return starts


@cache
def _bands() -> np.ndarray:
    """(POINTS // 2 + 1, MELS)"""
    bands: np.ndarray = torchaudio.functional.melscale_fbanks(POINTS // 2 + 1, 0.0, RATE / 2, MELS, RATE).numpy()
    return bands


@cache
def _palette() -> bytes:
    anchors = np.linspace(0, SHADES - 1, len(_RAMP))
    channels = [np.interp(np.arange(SHADES), anchors, values) for values in np.array(_RAMP, dtype=float).T]
    colours: bytes = np.rint(np.stack(channels, axis=1)).astype(np.uint8).tobytes()
    return colours


def _png(pixels: np.ndarray, palette: bytes) -> bytes:
    """Pixels uint8 (height, width), each the number of a colour. Source: PNG (third edition), indexed."""
    height, width = pixels.shape
    rows = np.pad(pixels, ((0, 0), (1, 0)))  # a filter byte before each row: 0, none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    told = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(told)
