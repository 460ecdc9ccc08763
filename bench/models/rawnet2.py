"""RawNet2, the waveform baseline of ASVspoof 2021: Tak et al., "End-to-end anti-spoofing with RawNet2", ICASSP 2021,
arXiv 2011.01108.

Fixed sinc filters and six residual blocks turn 4 s of raw waveform into 29 frames; behind each block a gate of the
channels' own means scales them. Three GRU layers read the frames, and two linear layers what they end on.

Names of tensors are those of the organisers' pre_trained_LA_RawNet2.pth and pre_trained_DF_RawNet2.pth
(github.com/asvspoof-challenge/2021, LA/Baseline-RawNet2, MIT, 119 tensors each), which load strictly. The network of
this name in the AASIST repository is another one. Oddities of the authors' code, which their weights expect, are kept:

- a block computes bn1 and an activation, then applies conv1 to its untouched input;
- no activation stands between the two last linear layers.

Shapes: B batch, C channels, N samples, T time steps. For 64,600 samples T = 29 behind the last block.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models import Output
from bench.models.aasist import sinc_bank
from bench.models.objective import TwoLogits

SLOPE = 0.3  # of the leaky rectifiers
POOL = 3


class ResidualBlock(nn.Module):
    """Two convolutions of three steps beside a shortcut, then maxima of three steps: (B, C in, T) -> (B, C, T // 3).

    Args:
        channels: in, out.
        first: the first block, which has no `bn1`.
    """

    def __init__(self, channels: Sequence[int], *, first: bool = False) -> None:
        super().__init__()
        inputs, outputs = channels
        if not first:
            self.bn1 = nn.BatchNorm1d(inputs)
        self.conv1 = nn.Conv1d(inputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_downsample = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and hasattr(self, "bn1"):
            self.bn1(x)  # oddity: only its running statistics, which are in the checkpoint, notice that it exists
        hidden = functional.leaky_relu(self.bn2(self.conv1(x)), SLOPE)
        shortcut = self.conv_downsample(x) if hasattr(self, "conv_downsample") else x
        out: Tensor = self.conv2(hidden)
        return functional.max_pool1d(out + shortcut, POOL)


class RawNet2(TwoLogits):
    """Raw waveform to the log-probability of bona fide.

    Args:
        first_conv: taps of the sinc filters; an even number means one more, so that they are symmetric.
        filts: number of sinc filters, then (in, out) channels of the residual blocks 0 and 1, of block 2, of 3 to 5.
        gru_node, nb_gru_layer: width and number of the GRU layers.
        nb_fc_node: width between the two linear layers.
    """

    version = 1
    BLOCK = 8192  # samples a Fourier transform of the sinc filters takes at once
    sinc: Tensor

    def __init__(
        self,
        first_conv: int,
        filts: tuple[int, Sequence[int], Sequence[int], Sequence[int]],
        gru_node: int,
        nb_gru_layer: int,
        nb_fc_node: int,
    ) -> None:
        super().__init__()
        filters, early, middle, late = filts
        self.first_bn = nn.BatchNorm1d(filters)
        for index, channels in enumerate((early, early, middle, late, late, late)):
            # Each is wrapped once, for the names of the tensors.
            self.add_module(f"block{index}", nn.Sequential(ResidualBlock(channels, first=index == 0)))
            self.add_module(f"fc_attention{index}", nn.Sequential(nn.Linear(channels[1], channels[1])))
        self.bn_before_gru = nn.BatchNorm1d(late[1])
        self.gru = nn.GRU(late[1], gru_node, nb_gru_layer, batch_first=True)
        self.fc1_gru = nn.Linear(gru_node, nb_fc_node)
        self.fc2_gru = nn.Linear(nb_fc_node, 2)
        self.taps = first_conv + 1 - first_conv % 2
        bank = sinc_bank(filters, self.taps)[:, 0]
        self.register_buffer("sinc", torch.fft.rfft(bank, self.BLOCK).conj().resolve_conj(), persistent=False)

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """Scores of the first 64,600 samples at 16 kHz, a shorter file tiled, no normalisation.

        Args:
            wave: (B, N) float32 in [-1, 1].
            lengths: (B,), not needed: every sample of a tiled window is real.

        Returns:
            Natural-log probability of bona fide (B,), at most 0, and as `margin` the logit of bona fide minus that of
            spoof, which does not crowd at 0 (positive = bona fide is the authors' own decision).
        """
        return self.output(wave, lengths)

    def scored(self, logits: Tensor) -> Output:
        """Logits (B, 2) -> scores (B,) and `margin`."""
        margin = logits[:, 1] - logits[:, 0]
        return Output(functional.log_softmax(logits, dim=1)[:, 1], {"margin": margin})

    def embedded(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) -> (B, nb_fc_node), and the logits (B, 2): spoof, bona fide."""
        # One clip at a time on a CPU, whose cache then holds its maps.
        clips = len(wave) if self.training or torch.is_grad_enabled() or wave.is_cuda else 1
        maps = torch.cat([self._encode(part) for part in torch.split(wave, clips)])
        _, last = self.gru(functional.selu(self.bn_before_gru(maps)).mT)
        embedding = self.fc1_gru(last[-1])
        return embedding, self.fc2_gru(embedding)

    def _encode(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, C, T)."""
        bands = functional.max_pool1d(self._filter(wave).abs_(), POOL)
        x = functional.selu(self.first_bn(bands))
        for index in range(6):
            x = self.get_submodule(f"block{index}")(x)
            gate = torch.sigmoid(self.get_submodule(f"fc_attention{index}")(x.mean(2)))[..., None]
            x = x * gate + gate
        return x

    def _filter(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, filters, N - taps + 1): correlation with the sinc filters, by overlapping Fourier transforms.

        A tenth of the time of a direct convolution, which would take half of that of the network, and nearer to exact.
        """
        kept, step = wave.shape[1] - self.taps + 1, self.BLOCK - self.taps + 1
        blocks = -(-kept // step)
        padded = functional.pad(wave, (0, blocks * step - kept))
        spectra = torch.fft.rfft(padded.unfold(1, self.BLOCK, step))  # (B, blocks, bins)
        bands: Tensor = torch.fft.irfft(spectra[:, None] * self.sinc[:, None], self.BLOCK)[..., :step]
        return bands.flatten(2)[..., :kept]
