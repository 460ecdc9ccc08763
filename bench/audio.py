"""Audio files to the samples a detector is given: the only place that touches samples on disk.

Decoding is soundfile (libsndfile) with PyAV (FFmpeg) behind it: libsndfile 1.2.2 refuses about 40 % of the FLAC files
of ASVspoof 2021 that other decoders read bit-identically. Integer samples become float32 by division by 2^(bits - 1),
channels are averaged, other rates go through torchaudio's Hann-windowed sinc (width 6, rolloff 0.99), the resampler of
the reference scores. Nothing is trimmed, levelled or dithered.

A path is that of a file, or of a member of a shard (`bench.shards`), whose bytes are decoded in memory.

A trial that is a piece of a file is cut out at the file's own rate, before anything else is done: its samples are those
of a file of its own. So are those of a perturbed trial (`bench.perturbations`), which comes next. The last file that
was cut stays decoded, so that consecutive pieces cost one decoding.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import av
import numpy as np
import soundfile
import torch
import torchaudio

from bench.cards import AudioRecipe
from bench.errors import AudioError
from bench.shards import member
from bench.shards.reading import content, fetch
from bench.trials import Span

MAX_SAMPLES = 1 << 28  # of a channel mean: 4.6 hours at 16 kHz; a small file may promise, and decode to, far more
BLOCK = 1 << 20  # samples a read; headers are not trusted with the size of a buffer
MAX_KERNEL = 50_000_000  # taps of a resampling kernel; a hostile rate would ask for terabytes
MIN_RATE = 1_000  # Hz; from a rate of 1 Hz a small file would become terabytes too
OPEN_END = 1 << 62  # what libsndfile says of a FLAC whose header leaves the number of samples open, and more
SLACK = 0.1  # s by which headers of lossy files, and lists, may be wrong about where a file ends
HEADER_THREADS = 8  # the wait for a header is for the disk, not for a core
HEADERS_AHEAD = 512  # a future a file at once would take a gigabyte for 600,000; members of shards are read together

# Containers FFmpeg may open, and only from the local disk: a playlist named .wav must not make it fetch other files.
FFMPEG = {
    "protocol_whitelist": "file",
    "format_whitelist": "aac,ac3,aiff,amr,asf,au,avi,caf,flac,flv,matroska,webm,mov,mp4,mp3,mpegts,ogg,w64,wav",
}
# soundfile takes the suffix .raw for samples without a header and then wants more arguments: TypeError.
SOUNDFILE_REFUSALS = (soundfile.SoundFileError, AudioError, TypeError)
# PyAV: no audio stream is an IndexError, a stream of a codec it does not know an AttributeError.
PYAV_REFUSALS = (av.FFmpegError, AudioError, IndexError, AttributeError)

# Magic number -> byte order, and the chunk that holds the samples.
CHUNKED: dict[bytes, tuple[Literal["little", "big"], bytes]] = {
    b"RIFF": ("little", b"data"),
    b"RIFX": ("big", b"data"),
    b"FORM": ("big", b"SSND"),
}


class TooLong(AudioError):
    """More samples than one file may have: no other decoder would make it shorter."""


class Header(NamedTuple):
    """What a file says of itself: duration in seconds, samples a second, channels."""

    seconds: float
    rate: int
    channels: int

    def piece(self, span: Span | None, path: str | Path) -> Header:
        """What a file of its own would say of a piece of this one.

        Raises:
            AudioError: the file ends before the piece does.
        """
        if span is None:
            return self
        first, last = _bounds(round(self.seconds * self.rate), self.rate, span, path)
        return self._replace(seconds=(last - first) / self.rate)


class Utterance(NamedTuple):
    """Samples as a detector takes them, float32 (T,), how many are real, and the duration of the file or piece."""

    wave: np.ndarray
    length: int
    seconds: float


class _Source(NamedTuple):
    """Where samples come from. path: for errors. held: the bytes of a member of a shard, None for a file."""

    path: str | Path
    held: _Bytes | None

    @property
    def for_soundfile(self) -> bytes | _Bytes:
        return os.fsencode(self.path) if self.held is None else self.held.rewound()

    @property
    def for_pyav(self) -> str | _Bytes:
        return str(self.path) if self.held is None else self.held.rewound()

    def open(self) -> BinaryIO:
        return Path(self.path).open("rb") if self.held is None else self.held.rewound()


class _Bytes(io.BytesIO):
    """A file in memory. It has its name: what decoders make of a suffix, they make of that of a packed file, too."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name

    def rewound(self) -> _Bytes:
        self.seek(0)
        return self

    def close(self) -> None:
        """Nothing: the next decoder reads it again."""


class Decoded(NamedTuple):
    """A whole file: samples float32 (T,), T >= 1, mono; its sample rate in Hz; the decoder that read it."""

    wave: np.ndarray
    rate: int
    decoder: Literal["soundfile", "PyAV"]


def prepare(
    path: str | Path,
    recipe: AudioRecipe,
    span: Span | None = None,
    perturb: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> Utterance:
    """Read a file, or a piece of one, and bring it into the shape of an audio recipe.

    Args:
        perturb: samples float32 (T,) at the file's rate in Hz -> those to go on with, as if the file held them.

    Raises:
        AudioError: missing, empty or undecodable file, fewer samples than the header promises, NaN or infinite samples,
            a piece that is not in the file.
    """
    raw, rate = decode(path, span)
    if perturb is not None:
        try:
            raw = perturb(raw, rate)
        except AudioError as error:  # which does not know the file
            raise AudioError(error.what, where=path, remedy=error.remedy) from None
    wave = resample(raw, rate, recipe.rate, path)
    window = fit_window(wave, recipe)
    length = min(len(wave), len(window)) if recipe.window == "pad" else len(window)
    return Utterance(window, length, len(raw) / rate)


def fit_window(wave: np.ndarray, recipe: AudioRecipe) -> np.ndarray:
    """The window of a recipe: wave float32 (T,), T >= 1, to (samples,), or (T,) for the whole file.

    In the order of the authors' loaders: cut to the first `samples`, normalise what is there, then fill up; so padding
    zeros stay zero. A tiled file is floor(samples / T) + 1 copies, cut: what np.resize makes.
    """
    wave = wave[: recipe.samples]
    if recipe.epsilon is not None:
        wave = (wave - wave.mean()) / np.sqrt(wave.var() + np.float32(recipe.epsilon))
    if recipe.samples is not None and len(wave) < recipe.samples:
        if recipe.window == "tile":
            return np.resize(wave, recipe.samples)
        return np.pad(wave, (0, recipe.samples - len(wave)))
    return wave


def resample(wave: np.ndarray, rate: int, target: int, path: str | Path = "") -> np.ndarray:
    """Wave float32 (T,) at `rate` to ceil(T * target / rate) samples at `target`; unchanged where they are equal."""
    if rate == target:
        return wave
    try:
        kernel = _resampler(rate, target)
    except ValueError as error:
        raise AudioError(str(error), where=path, remedy=f"convert the file to {target} Hz first") from None
    resampled: np.ndarray = kernel(torch.from_numpy(wave)).numpy()
    return resampled


@lru_cache(maxsize=32)
def _resampler(rate: int, target: int) -> torchaudio.transforms.Resample:
    ratio = math.gcd(rate, target)
    old, new = rate // ratio, target // ratio
    if rate < MIN_RATE or new * (old + 2 * math.ceil(6 * old / (0.99 * min(old, new)))) > MAX_KERNEL:
        raise ValueError(f"a sample rate of {rate} Hz cannot be resampled to {target} Hz")
    # float32 makes the kernel that torchaudio.functional.resample makes for a float32 waveform, bit for bit.
    return torchaudio.transforms.Resample(rate, target, dtype=torch.float32)


def decode(path: str | Path, span: Span | None = None) -> tuple[np.ndarray, int]:
    """The samples of a file, or of a piece of it: float32 (T,), T >= 1, mono (mean of the channels), and its own sample
    rate in Hz. Raises as `prepare`."""
    if span is None:
        whole = _decode(_present(path))
        return whole.wave, whole.rate
    whole = _last_decoded(str(path), *_version(path))
    return cut(whole, span, path).copy(), whole.rate  # a view would keep all of the file


def decode_whole(path: str | Path) -> Decoded:
    """As `decode` of a whole file, and which decoder read it. Raises as `prepare`."""
    return _decode(_present(path))


def cut(whole: Decoded, span: Span | None, path: str | Path) -> np.ndarray:
    """The samples of a piece, a view of those of its file. Raises AudioError: the file ends before the piece does."""
    if span is None:
        return whole.wave
    first, last = _bounds(len(whole.wave), whole.rate, span, path)
    return whole.wave[first:last]


@lru_cache(maxsize=1)
def _last_decoded(path: str, size: int, changed: int) -> Decoded:
    return _decode(_present(path))


def _version(path: str | Path) -> tuple[int, int]:
    """Size and time of a file that may change under its name; nothing of a member, whose path has its checksum."""
    if member(path) is not None:
        return 0, 0
    try:
        now = Path(path).stat()
    except OSError:  # told by whoever opens it
        return 0, 0
    return now.st_size, now.st_mtime_ns


def _bounds(samples: int, rate: int, span: Span, path: str | Path) -> tuple[int, int]:
    """The first sample of a piece, and the one behind its last, at the file's own rate.

    Both ends are rounded alike, so that pieces that touch in a list have every sample once.
    """
    start, stop = span
    if stop is not None and stop > samples / rate + SLACK:
        raise _outside(f"stops at {stop:g} s", samples / rate, path)
    first = round(min(start * rate, samples))
    last = samples if stop is None else round(min(stop * rate, samples))
    if first >= last:
        raise _outside(f"begins at {start:g} s", samples / rate, path)
    return first, last


def _outside(what: str, end: float, path: str | Path) -> AudioError:
    remedy = "correct `start` and `stop` in the list, or fetch the file again: it may be cut short"
    return AudioError(f"the piece {what}, the file ends at {end:.3f} s", where=path, remedy=remedy)


def _decode(source: _Source) -> Decoded:
    path = source.path
    decoder: Literal["soundfile", "PyAV"] = "soundfile"
    try:
        wave, rate = _decode_soundfile(source)
    except TooLong:
        raise
    except SOUNDFILE_REFUSALS as first:
        try:
            wave, rate = _decode_pyav(source)
            decoder = "PyAV"
        except PYAV_REFUSALS as second:
            raise _undecodable(path, first, second) from None
    if not len(wave):
        raise AudioError("the file holds no samples", where=path, remedy="fetch or convert it again")
    if not np.isfinite(wave).all():
        at = int(np.flatnonzero(~np.isfinite(wave))[0])
        raise AudioError(
            f"sample {at} is NaN or infinite", where=path, remedy="convert the file again, to 16-bit integers"
        )
    return Decoded(wave, rate, decoder)


def header(path: str | Path) -> Header:
    """What a file says of itself; only one that leaves its duration open (a stream that was recorded) is decoded.

    Raises:
        AudioError: missing or empty file, or a header that neither decoder understands.
    """
    source = _present(path)
    try:
        info = soundfile.info(source.for_soundfile)
        samples, rate, channels = info.frames, info.samplerate, info.channels
    except SOUNDFILE_REFUSALS as first:
        try:
            with _open(source) as container:
                stream = container.streams.audio[0]
                samples, rate, channels = _promised(stream) or 0, stream.rate, stream.channels
        except PYAV_REFUSALS as second:
            raise _undecodable(path, first, second) from None
    if not 0 < samples < OPEN_END:
        wave, rate = decode(path)
        samples = len(wave)
    return Header(samples / rate, rate, channels)


def headers(paths: Sequence[str]) -> Iterator[Header | AudioError]:
    """`header` of each file in order, or why there is none, read by several threads."""

    def read(path: str) -> Header | AudioError:
        try:
            return header(path)
        except AudioError as error:
            return error

    with ThreadPoolExecutor(HEADER_THREADS) as pool:
        for first in range(0, len(paths), HEADERS_AHEAD):
            portion = paths[first : first + HEADERS_AHEAD]
            with fetch(portion):
                yield from pool.map(read, portion)


def _present(path: str | Path) -> _Source:
    """A file or member that is there, is not empty and is not cut short as far as that can be seen before decoding."""
    packed = member(path)
    if packed is not None:
        source = _Source(path, _Bytes(content(str(path), packed), packed.name))
        _check_content(source, packed.size)
        return source
    file = Path(path)
    try:
        if not file.is_file():
            raise AudioError("the file is missing", where=path, remedy="check that the download is complete")
        source = _Source(path, None)
        _check_content(source, file.stat().st_size)
    except OSError as error:
        what = f"the file cannot be opened: {error.strerror}"
        raise AudioError(what, where=path, remedy="check its name and permissions") from None
    return source


def _undecodable(path: str | Path, first: Exception, second: Exception) -> AudioError:
    """One error of what both decoders said; the one that knows about missing samples comes first."""

    def said(error: Exception) -> str:
        if isinstance(error, AudioError):
            return error.what
        if isinstance(error, av.FFmpegError):
            return error.strerror or "refused"
        return "no audio stream" if isinstance(error, IndexError) else str(error).split(": ")[-1].rstrip(".")

    reasons = [f"soundfile: {said(first)}", f"PyAV: {said(second)}"]
    if isinstance(second, AudioError):
        reasons.reverse()
    return AudioError(
        f"no decoder reads this file ({'; '.join(reasons)})",
        where=path,
        remedy="it is damaged, cut short or no audio: fetch it again",
    )


def _decode_soundfile(source: _Source) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(source.for_soundfile) as file:
        wave = _joined(source.path, _blocks(file))
        if file.format != "MPEG":  # whose header only estimates
            _check_complete(len(wave), file.frames)
        return wave, file.samplerate


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """The mean of the channels, block by block."""
    while len(block := file.read(BLOCK // file.channels, dtype="float32", always_2d=True)):
        yield block.mean(axis=1) if file.channels > 1 else block[:, 0]


def _joined(path: str | Path, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """All blocks as one; a file that would not end is refused before it fills the memory."""
    kept: list[np.ndarray] = []
    samples = 0
    for block in blocks:
        samples += len(block)
        if samples > MAX_SAMPLES:
            raise TooLong(f"longer than {MAX_SAMPLES:,} samples", where=path, remedy="cut it into pieces")
        kept.append(block)
    return np.concatenate(kept) if kept else np.zeros(0, np.float32)


def _open(source: _Source) -> av.container.InputContainer:
    return av.open(source.for_pyav, "r", options=FFMPEG, metadata_errors="ignore")  # titles and artists in any encoding


def _decode_pyav(source: _Source) -> tuple[np.ndarray, int]:
    with _open(source) as container:
        stream = container.streams.audio[0]
        wave = _joined(source.path, map(_mono, container.decode(stream)))
        if not len(wave):
            raise AudioError("no samples")
        if container.format.name == "flac" and (promised := _promised(stream)) is not None:
            _check_complete(len(wave), promised)
        return wave, stream.rate


def _check_content(source: _Source, bytes_there: int) -> None:
    """Both decoders read a WAV or AIFF that is cut short as if its header had promised no more."""
    if not bytes_there:
        raise AudioError("the file is empty (0 bytes)", where=source.path, remedy="fetch it again")
    with source.open() as file:
        if (layout := CHUNKED.get(file.read(4))) is None:
            return
        order, samples = layout
        file.seek(12)
        for _ in range(100):
            name, size = file.read(4), int.from_bytes(file.read(4), order)
            if name == samples:
                there = bytes_there - file.tell()
                # Writers to a pipe leave the size at 2^31 or 2^32, give or take the header.
                if there < size < 0x7FFFF000:
                    what = f"truncated: {there:,} of {size:,} bytes of samples"
                    raise AudioError(what, where=source.path, remedy="fetch it again")
                return
            file.seek(size + size % 2, os.SEEK_CUR)


def _check_complete(samples: int, promised: int) -> None:
    if samples < promised:
        raise AudioError(f"truncated: {samples:,} of {promised:,} samples")


def _promised(stream: av.AudioStream) -> int | None:
    """Samples a stream's header promises, where it does."""
    if not stream.duration or stream.time_base is None:
        return None
    return round(stream.duration * stream.time_base * stream.rate)


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """A decoded frame as float32 (T,): scaled to [-1, 1) as libsndfile does, mean of the channels."""
    block = frame.to_ndarray()
    if not frame.format.is_planar:
        block = block.reshape(-1, len(frame.layout.channels)).T
    if block.dtype.kind == "u":
        block = (block.astype(np.float32) - 128) / np.float32(128)
    elif block.dtype.kind == "i":
        block = (block / float(1 << (8 * block.itemsize - 1))).astype(np.float32)
    mono: np.ndarray = block.astype(np.float32).mean(axis=0) if len(block) > 1 else block[0].astype(np.float32)
    return mono
