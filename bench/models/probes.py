"""Detectors that do not listen to speech: chance, and shortcut probes.

A shortcut probe scores one plain property of the file: how long it is, how much silence surrounds the voice, how far
its spectrum reaches. Its EER shows what a corpus gives away without any listening. About 50 % is what one hopes for; an
EER far below *or far above* 50 % means that the property alone tells the classes apart (above: with the opposite sign),
so a detector may have learnt it instead of the traces of synthesis. The direction is fixed, more = more bona fide,
because a direction chosen on the test set would hide exactly the corpora that disagree.

The example that made the case: Müller, Dieckmann, Czempin, Canals, Böttinger, Williams, "Speech is Silver, Silence is
Golden: What do ASVspoof-trained Models Really Learn?", ASVspoof 2021 workshop, arXiv 2106.12914. The length of the
leading and trailing silence of ASVspoof data separates bona fide from spoof, and detectors trained on them rely on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import ScoringError
from bench.models import Facts

RATE = 16_000


class Random(nn.Module):
    """Chance: a uniform number in [0, 1) that depends on the seed and the trial id alone.

    The first 53 bits of sha256("seed:trial"), so that the batch, the order and the machine do not matter.
    """

    version = 1

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, facts: Sequence[Facts]) -> Tensor:
        """Scores (B,) float64 in [0, 1)."""
        digests = [hashlib.sha256(f"{self.seed}:{fact.trial}".encode()).digest() for fact in facts]
        return torch.tensor([(int.from_bytes(d[:8], "big") >> 11) / 2**53 for d in digests], dtype=torch.float64)


class DurationProbe(nn.Module):
    """Seconds of audio that the header of the file states, longer = more bona fide."""

    version = 1

    def forward(self, facts: Sequence[Facts]) -> Tensor:
        """Scores (B,) float64 in seconds.

        Raises:
            ScoringError: a file whose duration is not known.
        """
        seconds = []
        for fact in facts:
            if fact.seconds is None:
                raise ScoringError(
                    f"the duration of trial {fact.trial!r} is not known",
                    remedy="the duration probe needs the audio recipe `window: facts`",
                )
            seconds.append(fact.seconds)
        return torch.tensor(seconds, dtype=torch.float64)


class WaveProbe(nn.Module):
    """A property of the samples of one file. Files are measured one by one: no score can depend on its batch."""

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B,) of whole files at 16 kHz; row b of `wave` (B, T) holds `lengths[b]` real samples."""
        rows = zip(wave, lengths.tolist(), strict=True)
        return torch.stack([self.measure(row[:length]) for row, length in rows])

    def measure(self, samples: Tensor) -> Tensor:
        """The property (scalar) of one file, samples (T,) at 16 kHz."""
        raise NotImplementedError("a probe returns its property as a scalar tensor")


class SilenceProbe(WaveProbe):
    """Seconds of silence before and after the voice, more = more bona fide.

    The mean of the file is taken off (a constant offset is not sound), then the mean power of consecutive 10 ms frames
    is compared with that of the loudest one. Silence is what lies before the first and behind the last frame that is
    above -40 dB of it; a file without any sound is silence altogether.
    """

    version = 1
    FRAME = 160
    THRESHOLD = 1e-4  # -40 dB in power

    def measure(self, samples: Tensor) -> Tensor:
        samples = samples.double()
        samples = samples - samples.mean()
        frames = functional.pad(samples.square(), (0, -len(samples) % self.FRAME)).view(-1, self.FRAME)
        sizes = torch.full((len(frames),), self.FRAME, device=samples.device)
        sizes[-1] = len(samples) - (len(frames) - 1) * self.FRAME
        power = frames.sum(1) / sizes
        loud = (power > self.THRESHOLD * power.max()).nonzero()[:, 0]
        if not len(loud):
            return sizes.sum() / RATE
        return (sizes[: loud[0]].sum() + sizes[loud[-1] + 1 :].sum()) / RATE


class BandwidthProbe(WaveProbe):
    """The highest frequency in Hz that carries energy, higher = more bona fide.

    The highest of the bins 31.25 Hz apart in which the long-term average spectrum (Welch: 32 ms Hann frames, half
    overlapped) is within 60 dB of its maximum. Speech itself falls by some 50 dB up to 8 kHz, a low-pass of a codec, of
    a vocoder or of a resampler falls deeper, and the noise of 16-bit samples lies below. Side lobes of the window add
    up to 160 Hz behind a sharp edge. The maximum is looked for from 62.5 Hz, where a constant offset no longer reaches.
    0 for digital silence.
    """

    version = 1
    FRAME = 512
    THRESHOLD = 1e-6  # -60 dB in power
    LOWEST = 2

    def measure(self, samples: Tensor) -> Tensor:
        samples = functional.pad(samples, (0, max(self.FRAME - len(samples), 0)))
        window = torch.hann_window(self.FRAME, device=samples.device)
        spectra = torch.fft.rfft(samples.unfold(0, self.FRAME, self.FRAME // 2) * window)
        power = spectra.abs().square().mean(0)
        power[: self.LOWEST] = 0
        carrying = (power > self.THRESHOLD * power.max()).nonzero()
        highest: Tensor = carrying.amax() if len(carrying) else carrying.new_zeros(())
        return highest * (RATE / self.FRAME)
