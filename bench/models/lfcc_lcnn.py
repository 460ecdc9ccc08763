"""LFCC-LCNN, the spectral network baseline of ASVspoof 2021: Wang, Yamagishi, "A Comparative Study on Recent Neural
Spoofing Countermeasures for Synthetic Speech Detection", Interspeech 2021, arXiv 2103.11326.

Linear-frequency cepstra of 0 to 4 kHz, convolutions that keep the larger half of their channels, two recurrent layers
beside a shortcut, the mean over the whole file, one logit.

Names of tensors are those of the organisers' la_trained_network.pt and df_trained_network.pt (60 tensors, the plain
state of a project-NN model, github.com/asvspoof-challenge/2021, LA/Baseline-LFCC-LCNN, BSD-3), which load strictly.
Among them are the filters, the cosine transform and four tensors of project-NN that nothing reads. Oddities of the
authors' code, which their weights expect, are kept:

- bin k of the spectrum is taken for k 4000 / 255 Hz where it is k 15.625 Hz;
- the log energy in place of the 0th coefficient is that of 0 to 4 kHz only.

In training the authors pad the files of a batch with zeros, which all layers and the mean then hear. Here each file is
trained as it is scored, without padding; the batch norms alone take their statistics over all files of the batch.

A file shorter than 2400 samples, 0.15 s, crashes the authors' code; here zeros fill it up to that.

Shapes: B batch, N samples, T = N // 160 + 1 frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import create_dct, linear_fbanks

from bench.models import Loss, Output
from bench.models.batching import by_length, each_length, in_batch_order
from bench.models.objective import binary_cross_entropy, check_stage

SPECTRUM = 1024
FRAME = 320
HOP = 160
BINS = 256  # of the 513 of the spectrum
BAND_HZ = 4_000
COEFFICIENTS = 20
EMPHASIS = 0.97
FLOOR = torch.finfo(torch.float32).eps
POOLING = 16  # frames that four halvings make one
SHORTEST = (POOLING - 1) * HOP  # samples
STAGES = ("whole",)
WIDTH = 32 * (3 * COEFFICIENTS // POOLING)  # channels times what is left of the coefficients


class LFCC(nn.Module):
    """Whole files (B, N) -> (B, T, 60): log energy and 19 cepstra, their differences, and the differences of those."""

    lfcc_fb: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Half the rate, because torchaudio spreads the bins from 0 to half of what it is given.
        filters = linear_fbanks(BINS, 0.0, float(BAND_HZ), COEFFICIENTS, 2 * BAND_HZ)
        self.register_buffer("lfcc_fb", filters)
        self.l_dct = nn.Module()
        self.l_dct.register_buffer("weight", create_dct(COEFFICIENTS, COEFFICIENTS, "ortho").T.contiguous())
        self.register_buffer("window", torch.hamming_window(FRAME), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):  # the power of a loud file is beyond half precision
            return self._cepstra(wave)

    def _cepstra(self, wave: Tensor) -> Tensor:
        wave = torch.cat([wave[:, :1], wave[:, 1:] - EMPHASIS * wave[:, :-1]], dim=1)
        spectrum = torch.stft(
            wave, SPECTRUM, HOP, FRAME, self.window, center=True, pad_mode="constant", return_complex=True
        )[:, :BINS]
        power = (spectrum.real.square() + spectrum.imag.square()).mT  # (B, T, BINS)
        cepstra = torch.log10(power @ self.lfcc_fb + FLOOR) @ self.l_dct.get_buffer("weight").T
        energy = torch.log10(power.sum(2, keepdim=True) / SPECTRUM + FLOOR)
        static = torch.cat([energy, cepstra[..., 1:]], dim=2)
        delta = _difference(static)
        return torch.cat([static, delta, _difference(delta)], dim=2)


def _difference(x: Tensor) -> Tensor:
    """x[t + 1] - x[t - 1] over the frames of (B, T, D), the first and the last repeated."""
    repeated = torch.cat([x[:, :1], x, x[:, -1:]], dim=1)
    return repeated[:, 2:] - repeated[:, :-2]


class MaxFeatureMap(nn.Module):
    """The larger of channel c and channel c + C / 2: (B, C, ...) -> (B, C / 2, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(*x.chunk(2, dim=1))


class BLSTM(nn.Module):
    """A layer that reads forwards and backwards, half of its width each: (B, T, width) -> (B, T, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.l_blstm = nn.LSTM(width, width // 2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.l_blstm(x)[0]
        return output


def _convolution(inputs: int, outputs: int, size: int) -> tuple[nn.Module, nn.Module]:
    """A convolution to twice `outputs` channels, of which the larger stay."""
    return nn.Conv2d(inputs, 2 * outputs, size, padding=size // 2), MaxFeatureMap()


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


def _normed(norm: nn.BatchNorm2d, maps: Sequence[Tensor]) -> list[Tensor]:
    """A batch norm of maps (n, C, T, F) of unequal T, with the statistics of all of them together."""
    values = torch.cat([x.transpose(0, 1).flatten(1) for x in maps], dim=1)  # (C, all values)
    parts = norm(values[None, ..., None])[0, ..., 0].split([x.numel() // len(values) for x in maps], dim=1)
    shapes = [(len(x), *x.shape[2:]) for x in maps]
    return [part.unflatten(1, shape).transpose(0, 1) for part, shape in zip(parts, shapes, strict=True)]


def convolutions() -> nn.Sequential:
    """(B, 1, T, 60) -> (B, 32, T // 16, 3). The authors number the layers, so their order gives the tensors' names."""
    return nn.Sequential(
        *_convolution(1, 32, 5),
        nn.MaxPool2d(2),
        *_convolution(32, 32, 1),
        _norm(32),
        *_convolution(32, 48, 3),
        nn.MaxPool2d(2),
        _norm(48),
        *_convolution(48, 48, 1),
        _norm(48),
        *_convolution(48, 64, 3),
        nn.MaxPool2d(2),
        *_convolution(64, 64, 1),
        _norm(64),
        *_convolution(64, 32, 3),
        _norm(32),
        *_convolution(32, 32, 1),
        _norm(32),
        *_convolution(32, 32, 3),
        nn.MaxPool2d(2),
        nn.Dropout(0.7),
    )


class LfccLcnn(nn.Module):
    """Whole file to the logit of bona fide. The lists are project-NN's, made for several front ends; there is one."""

    version = 1

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("input_mean", 0.0), ("input_std", 1.0), ("output_mean", 0.0), ("output_std", 1.0)):
            self.register_buffer(name, torch.full((1,), value))
        self.m_frontend = nn.ModuleList([LFCC()])
        self.m_transform = nn.ModuleList([convolutions()])
        self.m_before_pooling = nn.ModuleList([nn.Sequential(BLSTM(WIDTH), BLSTM(WIDTH))])
        self.m_output_act = nn.ModuleList([nn.Linear(WIDTH, 1)])

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """Logit of bona fide (B,): what the authors' sigmoid takes in training and what they rank by.

        Args:
            wave: (B, N) float32 at 16 kHz in [-1, 1], whole files, zero behind `lengths`.
            lengths: (B,) real samples a row; rows of unequal lengths run apart, for the convolutions, the recurrent
                layers and the mean would hear the padding.
        """
        wave, lengths = functional.pad(wave, (0, max(SHORTEST - wave.shape[1], 0))), lengths.clamp(min=SHORTEST)
        found = self._together(wave, lengths) if self.training else each_length(self._alone, wave, lengths)
        return Output(found[:, 0], embedding=found[:, 1:])

    def _alone(self, wave: Tensor) -> Tensor:
        """Rows of one length, (B, N) with N >= 2400 -> `_pooled`."""
        return self._pooled(self.m_transform[0](self.m_frontend[0](wave)[:, None]))

    def _together(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """As `each_length` of `_alone`, but each batch norm sees the rows of all lengths at once."""
        groups, rows = zip(*by_length(wave, lengths), strict=True)
        maps = [self.m_frontend[0](group)[:, None] for group in groups]
        layers = self.m_transform[0]
        assert isinstance(layers, nn.Sequential)
        for layer in layers:
            maps = _normed(layer, maps) if isinstance(layer, nn.BatchNorm2d) else [layer(x) for x in maps]
        return in_batch_order([self._pooled(x) for x in maps], rows)

    def _pooled(self, maps: Tensor) -> Tensor:
        """(B, 32, T // 16, 3) -> the logit, and behind it the mean that it is of, (B, 1 + WIDTH)."""
        frames = maps.transpose(1, 2).flatten(2)  # (B, T // 16, WIDTH)
        mean = (self.m_before_pooling[0](frames) + frames).mean(1)
        return torch.cat([self.m_output_act[0](mean), mean], dim=1)

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        """What a stage trains, by the group whose learning rate it takes: everything, in the one stage `whole`.

        Raises:
            UsageError: no such stage.
        """
        check_stage("LFCC-LCNN", stage, STAGES)
        return {"whole": [self]}

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor) -> Loss:
        """Binary cross-entropy of the logit.

        Args:
            inputs: wave and lengths as in `forward`. labels: (B,), 1 = bona fide, 0 = spoof.
        Raises:
            UsageError: no such stage.
        """
        check_stage("LFCC-LCNN", stage, STAGES)
        return binary_cross_entropy(self(*inputs).scores, labels)
