"""A wave encoded and decoded again, in memory, by FFmpeg's codecs (PyAV)."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.codec.codec import UnknownCodecError

from bench import audio
from bench.errors import Blocked, unknown

TAIL = 4096  # samples of silence behind a wave: they push its last samples out of any of these codecs
MUSIC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class Format(NamedTuple):
    """FFmpeg's names of an encoder and a decoder, and what they take.

    samples: FFmpeg's name of the encoder's sample format. rates: Hz, ascending.
    most_kbps: for one channel; 0 is a format with a single bit rate.
    out_of_band: the decoder needs what the encoder says beside its packets.
    """

    encoder: str
    decoder: str
    samples: str
    rates: tuple[int, ...]
    most_kbps: int = 0
    out_of_band: bool = False


FORMATS = {
    "mp3": Format("libmp3lame", "mp3float", "fltp", MUSIC_RATES, 320),
    "aac": Format("aac", "aac", "fltp", MUSIC_RATES, 320, out_of_band=True),
    "opus": Format("libopus", "opus", "flt", (8000, 12000, 16000, 24000, 48000), 256),
    "mulaw": Format("pcm_mulaw", "pcm_mulaw", "s16", (8000,)),
    "alaw": Format("pcm_alaw", "pcm_alaw", "s16", (8000,)),
    "g722": Format("g722", "g722", "s16", (16000,)),
}


def round_trip(wave: np.ndarray, rate: int, format: str, kbps: int | None = None) -> np.ndarray:
    """A wave behind a codec: float32 (T,), T >= 1, to float32 (T,), in place to a sample of the codec's rate.

    Samples beyond -1 and 1 are clipped first, as a file would have them. The codec runs at its lowest rate that is not
    below `rate`, or at its highest: 8 kHz for mulaw and alaw, 16 kHz for g722.

    Args:
        rate: Hz. format: one of `FORMATS`.
        kbps: kilobits a second, of which the nearest that the format has at this rate is taken; None is the encoder's
            own choice. mulaw and alaw have 64, g722 too, whatever is given.

    Raises:
        UsageError: no such format. Blocked: PyAV was built without its codec.
        AudioError: a rate that cannot be resampled.
    """
    check(format)
    codec = FORMATS[format]
    inside = next((known for known in codec.rates if known >= rate), codec.rates[-1])
    sent = audio.resample(np.clip(wave, -1, 1), rate, inside)
    received, outside = _through(codec, np.pad(sent, (0, TAIL)), inside, kbps)
    return audio.resample(received, outside, rate)[: len(wave)]


def check(format: str) -> None:
    """Raises the errors that `round_trip` has for a format."""
    if format not in FORMATS:
        raise unknown("audio format", format, FORMATS)
    try:
        av.Codec(FORMATS[format].encoder, "w")
        av.Codec(FORMATS[format].decoder, "r")
    except UnknownCodecError as error:
        what = f"the audio format {format} needs a codec that PyAV was built without: {error}"
        raise Blocked(what, remedy="install PyAV's own wheel: pip install --only-binary=av av") from None


def _through(codec: Format, wave: np.ndarray, rate: int, kbps: int | None) -> tuple[np.ndarray, int]:
    """What comes out behind the codec's delay, float32, and at which rate: Opus always comes out at 48 kHz."""
    encoder = _context(codec.encoder, "w", rate)
    encoder.format = codec.samples
    encoder.time_base = Fraction(1, rate)
    if codec.most_kbps and kbps is not None:
        encoder.bit_rate = 1000 * min(kbps, codec.most_kbps)
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    packets = encoder.encode(frame) + encoder.encode(None)
    decoder = _context(codec.decoder, "r", rate)
    if codec.out_of_band:
        decoder.extradata = encoder.extradata
    # Bare bytes: with what else is known of a packet, some decoders take off the delay themselves, and some do not.
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(bytes(packet)))]
    frames += decoder.decode(None)
    outside = frames[0].sample_rate
    # The delay of encoder and decoder together is how far the first packet lies before the first sample.
    delay = -(packets[0].pts or 0) * outside // rate
    return np.concatenate([_samples(frame) for frame in frames])[delay:], outside


def _context(name: str, mode: Literal["r", "w"], rate: int) -> AudioCodecContext:
    context = av.CodecContext.create(name, mode)
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = rate, "mono"
    return context


def _samples(frame: av.AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray().reshape(-1)
    return samples if samples.dtype == np.float32 else (samples / 32768).astype(np.float32)
