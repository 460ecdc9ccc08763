"""AASIST and AASIST-L: Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention
Networks", ICASSP 2022, arXiv 2110.01200.

A fixed sinc filter bank and six residual blocks turn 4 s of raw waveform into a map of channels over frequency and
time. Its maxima over time and over frequency are the nodes of two graphs; attention within and between them, and a
learned "master" node that listens to both, end in two logits.

Names of tensors are those of the released AASIST.pth and AASIST-L.pth (github.com/clovaai/aasist, MIT, 229 tensors
each), which load strictly. The released weights were trained with a few oddities of the authors' code; each is kept and
marked "oddity" here. The frequency masking of the authors' training is not part of this module.

Without autograd the encoder works on folded weights, clip by clip and tile by tile, so that its maps stay in the cache
of a CPU; with autograd it is the plain network. Both give the same logits within 1e-5.

Shapes: B batch, C channels, F frequency bins, T time steps, N graph nodes. For 64,600 samples F = 23 and T = 29.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models import Output
from bench.models.objective import TwoLogits

RATE = 16_000
_SELU_SCALE = 1.0507009873554805
_SELU_FLOOR = 1.7580993408473766  # scale times alpha: selu(-inf) is minus this


def selu(x: Tensor) -> Tensor:
    """SELU of any shape, equal to torch's within 3e-7 for values about one.

    Torch's CPU kernel is not vectorised and would take half the time of the whole network, hence the sum of the two
    branches; a GPU and autograd are better off with the one fused kernel.
    """
    if x.is_cuda or torch.is_grad_enabled():
        return functional.selu(x)
    negative = x.clamp(max=0).exp_()
    return x.clamp(min=0).mul_(_SELU_SCALE).add_(negative, alpha=_SELU_FLOOR).sub_(_SELU_FLOOR)


def sinc_bank(filters: int, taps: int) -> Tensor:
    """Band-pass filters (filters, 1, taps), float32, edges equally spaced in mel from 0 to 8000 Hz, Hamming window.

    mel = 2595 log10(1 + f / 700). Each filter is the difference of two ideal low-passes: 2 f/R sinc(2 f t / R).
    """
    top = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, 1, filters + 1, dtype=torch.float64) * top / 2595) - 1)
    time = torch.arange(taps, dtype=torch.float32) - (taps - 1) / 2
    cutoff = 2 * edges[:, None]
    # The authors take the sinc of float32 values. The network amplifies the difference to float64 to 2e-5 of a logit.
    low_pass = cutoff / RATE * torch.sinc(cutoff.float() * time / RATE)
    window = torch.hamming_window(taps, periodic=False, dtype=torch.float64).float()
    return (window * (low_pass[1:] - low_pass[:-1]).float())[:, None]


class ResidualBlock(nn.Module):
    """Two 2x3 convolutions beside a shortcut, then max-pooling over `pool` time steps.

    Args:
        channels: in, out.
        first: the encoder's first block, which has no `bn1`.
        pool: time steps a maximum is taken over; 1 = none (SSL + AASIST).
    """

    TILE = 3 * 512  # time steps at once on a CPU: the 32-channel maps of a tile stay in the cache
    HALO = 2  # two convolutions of three steps see two steps to either side

    def __init__(self, channels: Sequence[int], *, first: bool = False, pool: int = 3) -> None:
        super().__init__()
        inputs, outputs = channels
        if not first:
            self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (2, 3), padding=(0, 1))
        if inputs != outputs:
            self.conv_downsample = nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1))
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(B, C in, F, T) -> (B, C out, F, T // pool)."""
        if self.training and hasattr(self, "bn1"):
            # Oddity: the authors compute bn1 and SELU, then apply conv1 to the untouched input. Only the running
            # statistics of bn1, which are in the checkpoint, notice that it exists.
            self.bn1(x)
        if self.training or torch.is_grad_enabled():
            return self._pooled(self._residual(x, selu(self.bn2(self.conv1(x)))))
        # conv1 and bn2 are one affine map in evaluation: one pass over memory less.
        weight, bias = self._folded()
        steps = x.shape[-1] // self.pool * self.pool
        tile = steps if x.is_cuda else self.TILE
        tiles = []
        for start in range(0, steps, tile):
            stop = min(start + tile, steps)
            left, right = max(start - self.HALO, 0), stop + self.HALO
            piece = x[..., left:right].contiguous(memory_format=torch.channels_last)
            hidden = selu(functional.conv2d(piece, weight, bias, padding=(1, 1)))
            out = self._residual(piece, hidden)
            tiles.append(self._pooled(out[..., start - left : stop - left]))
        return torch.cat(tiles, dim=-1)

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of conv1 with bn2 behind it. Torch's own function makes parameters, and so breaks a graph."""
        bn, conv = self.bn2, self.conv1
        assert conv.bias is not None
        spread = (bn.get_buffer("running_var") + bn.eps).rsqrt()
        weight = conv.weight * (bn.weight * spread).reshape(-1, 1, 1, 1)
        return weight, (conv.bias - bn.get_buffer("running_mean")) * spread * bn.weight + bn.bias

    def _residual(self, x: Tensor, hidden: Tensor) -> Tensor:
        shortcut: Tensor = self.conv_downsample(x) if hasattr(self, "conv_downsample") else x
        out: Tensor = self.conv2(hidden)
        return out.add_(shortcut)

    def _pooled(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, (1, self.pool)) if self.pool > 1 else x


def encoder(filts: Sequence[Sequence[int]], *, pool: int = 3) -> nn.Sequential:
    """Six residual blocks; the last pair of channels is used three times. Each is wrapped once, for the key names."""
    pairs = [*filts, filts[-1], filts[-1]]
    blocks = [ResidualBlock(pair, first=index == 0, pool=pool) for index, pair in enumerate(pairs)]
    return nn.Sequential(*(nn.Sequential(block) for block in blocks))


def _pairwise(x: Tensor) -> Tensor:
    """Products of all pairs of nodes, (B, N, C) -> (B, N, N, C)."""
    return x[:, :, None] * x[:, None]


def _vector(size: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(size, 1)))


class GraphAttention(nn.Module):
    """Attention among the nodes of one graph, (B, N, C in) -> (B, N, C out)."""

    def __init__(self, inputs: int, outputs: int, temperature: float) -> None:
        super().__init__()
        self.att_proj = nn.Linear(inputs, outputs)
        self.att_weight = _vector(outputs)
        self.proj_with_att = nn.Linear(inputs, outputs)
        self.proj_without_att = nn.Linear(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)
        self.input_drop = nn.Dropout(0.2)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_drop(x)
        logits = (torch.tanh(self.att_proj(_pairwise(x))) @ self.att_weight)[..., 0]
        attention = torch.softmax(logits / self.temperature, dim=-1)
        x = self.proj_with_att(attention @ x) + self.proj_without_att(x)
        return selu(self.bn(x.flatten(0, 1)).view_as(x))


class HeterogeneousAttention(nn.Module):
    """Attention among the nodes of two graphs together, with one weight vector for each kind of pair, and a master node
    that attends to all of them and to which nobody attends."""

    def __init__(self, inputs: int, outputs: int, temperature: float) -> None:
        super().__init__()
        self.proj_type1 = nn.Linear(inputs, inputs)
        self.proj_type2 = nn.Linear(inputs, inputs)
        self.att_proj = nn.Linear(inputs, outputs)
        self.att_projM = nn.Linear(inputs, outputs)
        self.att_weight11 = _vector(outputs)
        self.att_weight22 = _vector(outputs)
        self.att_weight12 = _vector(outputs)
        self.att_weightM = _vector(outputs)
        self.proj_with_att = nn.Linear(inputs, outputs)
        self.proj_without_att = nn.Linear(inputs, outputs)
        self.proj_with_attM = nn.Linear(inputs, outputs)
        self.proj_without_attM = nn.Linear(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)
        self.input_drop = nn.Dropout(0.2)
        self.temperature = temperature

    def forward(self, first: Tensor, second: Tensor, master: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes (B, N1, C in), (B, N2, C in), master (B or 1, 1, C in) -> the same with C out, master (B, 1, C out)."""
        sizes = [first.shape[1], second.shape[1]]
        x = self.input_drop(torch.cat([self.proj_type1(first), self.proj_type2(second)], dim=1))

        heard = torch.tanh(self.att_projM(x * master)) @ self.att_weightM  # (B, N, 1)
        heard = torch.softmax(heard / self.temperature, dim=1).transpose(1, 2)
        master = self.proj_with_attM(heard @ x) + self.proj_without_attM(master)

        attention = torch.softmax(self._logits(x, sizes[0]) / self.temperature, dim=-1)
        x = self.proj_with_att(attention @ x) + self.proj_without_att(x)
        first, second = torch.split(selu(self.bn(x.flatten(0, 1)).view_as(x)), sizes, dim=1)
        return first, second, master

    def _logits(self, x: Tensor, boundary: int) -> Tensor:
        """(B, N, C in) -> (B, N, N); nodes before `boundary` are of the first kind."""
        vectors = torch.cat([self.att_weight11, self.att_weight12, self.att_weight22], dim=1)
        logits = torch.tanh(self.att_proj(_pairwise(x))) @ vectors  # (B, N, N, kind of pair)
        kind = (torch.arange(x.shape[1], device=x.device) >= boundary).long()
        chosen = (kind[:, None] + kind)[None, ..., None].expand(len(x), -1, -1, -1)
        return logits.gather(-1, chosen)[..., 0]


class GraphPool(nn.Module):
    """The best-scored share of the nodes, best first, each multiplied by its score.

    (B, N, C) -> (B, max(floor(N ratio), 1), C).
    """

    def __init__(self, ratio: float, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 1)
        self.drop = nn.Dropout(0.3)
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.sigmoid(self.proj(self.drop(x)))  # (B, N, 1)
        kept = scores.topk(max(int(x.shape[1] * self.ratio), 1), dim=1).indices
        return torch.take_along_dim(x * scores, kept, dim=1)


class GraphHead(nn.Module):
    """The part behind the encoder that AASIST and SSL + AASIST share: node features of both graphs to two logits.

    Args:
        channels: C of the encoder.
        bins: F of the encoder, the number of spectral nodes.
        gat_dims: width of the first graph layers and of the heterogeneous ones.
        pool_ratios: share of nodes kept: spectral, temporal, both in the two branches, and (oddity) one nobody reads.
        temperatures: of the spectral, temporal and heterogeneous attention, and (oddity) one nobody reads.
    """

    def __init__(
        self,
        channels: int,
        bins: int,
        gat_dims: Sequence[int],
        pool_ratios: Sequence[float],
        temperatures: Sequence[float],
    ) -> None:
        super().__init__()
        inner, outer = gat_dims
        spectral_ratio, temporal_ratio, branch_ratio, _ = pool_ratios
        spectral_temperature, temporal_temperature, temperature, _ = temperatures
        self.pos_S = nn.Parameter(torch.randn(1, bins, channels))
        self.master1 = nn.Parameter(torch.randn(1, 1, inner))
        self.master2 = nn.Parameter(torch.randn(1, 1, inner))
        self.GAT_layer_S = GraphAttention(channels, inner, spectral_temperature)
        self.GAT_layer_T = GraphAttention(channels, inner, temporal_temperature)
        self.HtrgGAT_layer_ST11 = HeterogeneousAttention(inner, outer, temperature)
        self.HtrgGAT_layer_ST12 = HeterogeneousAttention(outer, outer, temperature)
        self.HtrgGAT_layer_ST21 = HeterogeneousAttention(inner, outer, temperature)
        self.HtrgGAT_layer_ST22 = HeterogeneousAttention(outer, outer, temperature)
        self.pool_S = GraphPool(spectral_ratio, inner)
        self.pool_T = GraphPool(temporal_ratio, inner)
        self.pool_hS1 = GraphPool(branch_ratio, outer)
        self.pool_hT1 = GraphPool(branch_ratio, outer)
        self.pool_hS2 = GraphPool(branch_ratio, outer)
        self.pool_hT2 = GraphPool(branch_ratio, outer)
        self.drop_way = nn.Dropout(0.2)
        self.drop = nn.Dropout(0.5)
        self.out_layer = nn.Linear(5 * outer, 2)

    def classify(self, spectral: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        """Spectral nodes (B, F, C) and temporal nodes (B, T, C) -> what the graphs come to (B, 5 outer), and the logits
        (B, 2): spoof, bona fide.
        """
        spectral = self.pool_S(self.GAT_layer_S(spectral + self.pos_S))
        temporal = self.pool_T(self.GAT_layer_T(temporal))

        # Oddity: the authors expand the master nodes to the batch, then pass the unexpanded parameters; the same sums.
        branches = (
            (self.HtrgGAT_layer_ST11, self.HtrgGAT_layer_ST12, self.pool_hT1, self.pool_hS1, self.master1),
            (self.HtrgGAT_layer_ST21, self.HtrgGAT_layer_ST22, self.pool_hT2, self.pool_hS2, self.master2),
        )
        ends = []
        for enter, refine, pool_temporal, pool_spectral, master in branches:
            nodes_t, nodes_s, listener = enter(temporal, spectral, master)
            start = (pool_temporal(nodes_t), pool_spectral(nodes_s), listener)
            ends.append([self.drop_way(old + new) for old, new in zip(start, refine(*start), strict=True)])
        temporal, spectral, both = (torch.maximum(one, two) for one, two in zip(*ends, strict=True))

        parts = [temporal.abs().amax(1), temporal.mean(1), spectral.abs().amax(1), spectral.mean(1), both[:, 0]]
        summary = torch.cat(parts, dim=1)
        return summary, self.out_layer(self.drop(summary))


class AASIST(TwoLogits, GraphHead):
    """Raw waveform to the raw logit of bona fide. Values of the arguments for both sizes are in detectors/aasist*.yaml.

    Args:
        first_conv: taps of the sinc filters; an even number means one more, so that they are symmetric.
        filts: number of sinc filters, then (in, out) channels of the residual blocks 1, 2, 3 and 4 to 6.
        gat_dims, pool_ratios, temperatures: see `GraphHead`.
    """

    version = 1
    sinc: Tensor

    def __init__(
        self,
        first_conv: int,
        filts: tuple[int, Sequence[int], Sequence[int], Sequence[int], Sequence[int]],
        gat_dims: Sequence[int],
        pool_ratios: Sequence[float],
        temperatures: Sequence[float],
    ) -> None:
        filters, *channels = filts
        bins = filters // 3
        super().__init__(channels[-1][-1], bins, gat_dims, pool_ratios, temperatures)
        self.first_bn = nn.BatchNorm2d(1)
        self.encoder = encoder(channels)
        # The maxima over three neighbours leave out what does not fill a triple: the 70th filter is never heard.
        bank = sinc_bank(filters, first_conv + 1 - first_conv % 2)[: 3 * bins]
        self.register_buffer("sinc", bank, persistent=False)

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """Scores of the first 64,600 samples at 16 kHz, a shorter file tiled, no normalisation.

        Args:
            wave: (B, samples) float32 in [-1, 1].
            lengths: (B,), not needed: every sample of a tiled window is real.

        Returns:
            Logit of bona fide (B,), and as `margin` the logit of bona fide minus that of spoof (positive = bona fide is
            the authors' own decision).
        """
        return self.output(wave, lengths)

    def embedded(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, samples) -> as `classify`."""
        # One clip at a time on a CPU: more would only wait for memory.
        clips = len(wave) if self.training or torch.is_grad_enabled() or wave.is_cuda else 1
        maps = torch.cat([self._encode(part) for part in torch.split(wave, clips)])
        return self.classify(maps.amax(3).mT, maps.amax(2).mT)

    def scored(self, logits: Tensor) -> Output:
        """Logits (B, 2) -> scores (B,) and `margin`."""
        spoof, bonafide = logits.unbind(1)
        return Output(bonafide, {"margin": bonafide - spoof})

    def _encode(self, wave: Tensor) -> Tensor:
        """(B, samples) -> magnitudes (B, C, F, T)."""
        filtered = functional.conv1d(wave[:, None], self.sinc).abs_()
        bands = filtered.view(len(wave), -1, 3, filtered.shape[-1]).amax(2)
        bands = functional.max_pool1d(bands, 3)[:, None]  # (B, 1, F, T)
        encoded: Tensor = self.encoder(selu(self.first_bn(bands)))
        return encoded.abs()
