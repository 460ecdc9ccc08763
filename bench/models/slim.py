"""SLIM: Zhu et al., "SLIM: Style-Linguistics Mismatch Model for Generalized Audio Deepfake Detection", NeurIPS 2024,
arXiv 2407.18517. The authors released neither code nor weights; this is written from the text of the paper.

Two wav2vec 2.0 encoders hear the style (emotion) and the linguistics (words) of an utterance. Stage 1 learns, from real
speech alone, two compression modules whose outputs, the dependency features, agree where the speech is real. Stage 2
learns a classifier of the dependency features and of pooled encoder features.

What the text leaves open is an argument of `Slim`, or an option of its recipe, and is chosen here as follows:

- `style_layers`, `linguistics_layers`: the paper's layers count blocks from 0, not the input of block 0. The mean over
  the same layers goes into the compression and into the pooling.
- `slope`: of every LeakyReLU, 0.01.
- `attention`, `context`: attentive statistics pooling is that of ECAPA-TDNN (arXiv 2005.07143) with 128 channels, which
  also see mean and deviation of the whole utterance.
- `mlp`, `head`: one linear layer behind the pooling; one hidden layer of 256 in the classifier.
- `compared`, `standardise`: what the mismatch is the distance of; see `Slim.mismatch`.
- `cross`, `divisor`: the paper's equation (2) and its Algorithm 1 differ; see `self_contrastive`.
- an utterance has zero mean and unit variance, its first 5 s are taken, a shorter one is repeated: every feature is
  pooled over time without a mask, so zeros behind a short file would be part of the score. On the card (`audio`).
- higher = more bona fide.

Shapes: B rows, N samples, T frames, D width of the encoders (1024), F dependency features (256).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import CardError, DataError, unknown
from bench.models import Loss, Output
from bench.models.objective import binary_cross_entropy, check_stage
from bench.models.wav2vec2 import Backbone, LowerPrecision, Reading, architecture

STAGES = ("dependency", "classifier", "whole")


def _normalised(x: Tensor) -> Tensor:
    """Each column of (n, F) at zero mean and unit variance over the n: BatchNorm1d(F, affine=False) in training."""
    return functional.batch_norm(x, None, None, training=True)


def _check(kind: str, choice: str, known: Sequence[str]) -> None:
    """Raises UsageError for a choice of a card that is not known: one of two would be taken silently."""
    if choice not in known:
        raise unknown(kind, choice, known)


def _by_frame(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A normalisation of columns (n, C) over all frames of (B, T, C)."""
    return norm(x.flatten(0, 1)).view_as(x)


def self_contrastive(
    style: Tensor,
    linguistics: Tensor,
    *,
    weight: float,
    divisor: str,
    cross: str,
) -> Tensor:
    """The loss of stage 1 of dependency features (B, T, F) each: distance + weight * (redundancy of both).

    The distance is the squared Frobenius norm between the two, the redundancy that of X'X - I for the temporal means X
    (B, F). Equation (2) of the paper takes frames for the distance and normalises nothing; Algorithm 1 takes one input
    (B, F) for both terms, normalises its columns over the batch and divides it by B.

    Args:
        weight: the paper's lambda.
        divisor: of the normalised features: `batch` is B, as Algorithm 1 is printed; it leaves 1/B on the diagonal of
            X'X, never 1, and makes the redundancy small beside the distance. `root` is the square root of B, as in the
            losses it is modelled on, where X'X are correlations.
        cross: what the distance is between: `frames`, normalised over batch and time, mean over the T, as far as
            equation (2) can be kept; or the `means`, which is Algorithm 1 to the letter.
    Raises:
        UsageError: another divisor, or another `cross`.
        DataError: B is 1: a batch of one has no statistics.
    """
    _check("divisor", divisor, ("batch", "root"))
    _check("cross term", cross, ("frames", "means"))
    rows, frames, _ = style.shape
    if rows == 1:
        raise DataError(
            "a batch of one utterance has no mean and variance for stage 1 of SLIM",
            remedy="choose a `batch_size` that leaves no single utterance of a list over",
        )
    scale = rows if divisor == "batch" else rows**0.5
    means = [_normalised(features.mean(1)) / scale for features in (style, linguistics)]
    if cross == "means":
        distance = (means[0] - means[1]).square().sum()
    else:
        difference = _normalised(style.flatten(0, 1)) - _normalised(linguistics.flatten(0, 1))
        distance = (difference / scale).square().sum() / frames
    identity = torch.eye(style.shape[2], device=style.device)
    redundancy = torch.stack([(x.T @ x - identity).square().sum() for x in means]).sum()
    return distance + weight * redundancy


def _perceptron(widths: Sequence[int], slope: float, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers from width to width, with LeakyReLU and dropout between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(slope), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


class Compression(nn.Module):
    """Encoder features (B, T, D) to dependency features (B, T, F), frame by frame: a residual bottleneck, then down.

    In training its batch norm takes statistics over batch and time.
    """

    def __init__(self, width: int, features: int, slope: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, features)
        self.norm = nn.BatchNorm1d(features)
        self.up = nn.Linear(features, width)
        self.out = nn.Linear(width, features)
        self.activation = nn.LeakyReLU(slope)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        narrow = _by_frame(self.norm, self.down(x))
        x = x + self.up(self.dropout(self.activation(narrow)))
        compressed: Tensor = self.out(self.activation(self.dropout(x)))
        return compressed


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, weighted by an attention of each channel: (B, T, D) -> (B, 2 D).

    Args:
        width: D. attention: channels of the attention.
        context: whether the attention sees mean and standard deviation of the whole utterance beside each frame.
    """

    def __init__(self, width: int, attention: int, *, context: bool) -> None:
        super().__init__()
        self.context = context
        self.hidden = nn.Linear(3 * width if context else width, attention)
        self.norm = nn.BatchNorm1d(attention)
        self.out = nn.Linear(attention, width)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        if self.context:
            uniform = torch.full_like(x[..., :1], 1 / x.shape[1])
            seen = torch.cat([x, *(part[:, None].expand_as(x) for part in self._statistics(x, uniform))], dim=2)
        hidden = _by_frame(self.norm, functional.relu(self.hidden(seen)))
        weights = torch.softmax(self.out(torch.tanh(hidden)), dim=1)
        return torch.cat(self._statistics(x, weights), dim=1)

    @staticmethod
    def _statistics(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        mean = (weights * x).sum(1)
        variance = (weights * (x - mean[:, None]).square()).sum(1)
        return mean, variance.clamp(min=1e-12).sqrt()


class Subspace(nn.Module):
    """One side of SLIM, style or linguistics: the encoder up to its last chosen block, compression and pooling.

    `statistics` are mean and variance of the dependency features of real speech, kept by stage 1 for the mismatch.
    """

    def __init__(
        self,
        encoder: str | Mapping[str, Any],
        layers: Sequence[int],
        features: int,
        slope: float,
        attention: int,
        context: bool,
        mlp: Sequence[int],
    ) -> None:
        super().__init__()
        self.first, self.last = layers
        available = architecture(encoder).layers
        if not 0 <= self.first <= self.last < available:
            raise CardError(f"blocks {self.first} to {self.last} are not among the {available} of the encoder")
        self.encoder = Backbone(encoder, layers=self.last + 1)
        width = self.encoder.architecture.width
        self.compression = Compression(width, features, slope)
        self.statistics = nn.BatchNorm1d(features, affine=False)
        self.pooling = AttentiveStatistics(width, attention, context=context)
        self.mlp = _perceptron([2 * width, *mlp], slope)

    @property
    def reading(self) -> Reading:
        """The mean of the chosen blocks' outputs."""
        return Reading(self.encoder, (self.first, self.last))

    def standardised(self, dependency: Tensor) -> Tensor:
        """Dependency features (n, F) by `statistics`, which only stage 1 changes."""
        mean, variance = self.statistics.running_mean, self.statistics.running_var
        return functional.batch_norm(dependency, mean, variance, training=False, eps=self.statistics.eps)


class Slim(LowerPrecision):
    """Waveform of zero mean and unit variance to the logit of bona fide, with the extra `mismatch`.

    Args:
        encoder: size of both encoders, see `wav2vec2.Backbone`.
        style_layers, linguistics_layers: first and last block, from 0, whose outputs are averaged.
        features: F, of the compression modules.
        slope: of every LeakyReLU.
        attention, context: see `AttentiveStatistics`.
        mlp: widths of the layers behind the pooling, the embedding last.
        head: widths of the hidden layers of the classifier.
        compared, standardise: see `mismatch`.
    Raises:
        UsageError: layers that the encoder does not have, or another `compared`.
    """

    version = 2
    one_class: ClassVar[tuple[str, ...]] = ("dependency",)  # stages that learn from real speech alone

    def __init__(
        self,
        encoder: str | Mapping[str, Any],
        style_layers: Sequence[int],
        linguistics_layers: Sequence[int],
        features: int,
        slope: float,
        attention: int,
        context: bool,
        mlp: Sequence[int],
        head: Sequence[int],
        compared: str,
        standardise: bool,
    ) -> None:
        super().__init__()
        _check("mismatch", compared, ("means", "frames"))
        self.style = Subspace(encoder, style_layers, features, slope, attention, context, mlp)
        self.linguistics = Subspace(encoder, linguistics_layers, features, slope, attention, context, mlp)
        self.head = _perceptron([2 * mlp[-1] + 2 * features, *head, 1], slope, dropout=0.25)
        self.compared, self.standardise = compared, standardise

    @property
    def sides(self) -> tuple[Subspace, Subspace]:
        return self.style, self.linguistics

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Of style and linguistics."""
        return tuple(side.reading for side in self.sides)

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """(B, N) at 16 kHz, rows of one length, -> scores (B,) and extra `mismatch` (B,). `lengths` is not used."""
        embedding, dependency = self._embedded([reading(wave) for reading in self.readings])
        return Output(self.head(embedding)[:, 0], {"mismatch": self.mismatch(*dependency)}, embedding)

    def _dependency(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        return [side.compression(x) for side, x in zip(self.sides, encoded, strict=True)]

    def _embedded(self, encoded: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Of what the readings give: what the classifier takes, (B, 2 (mlp + F)), style and linguistics side by side;
        and the dependency features (B, T, F) of both.
        """
        dependency = self._dependency(encoded)
        embeddings = [side.mlp(side.pooling(x)) for side, x in zip(self.sides, encoded, strict=True)]
        return torch.cat([*embeddings, *(x.mean(1) for x in dependency)], dim=1), dependency

    def mismatch(self, style: Tensor, linguistics: Tensor) -> Tensor:
        """The cosine distance, 0 to 2, of the two dependency features (B, T, F) of an utterance: (B,).

        The paper (section 5.3) shows it on a logarithmic scale, lower for real speech. It does not say of what: here of
        the temporal means, which are what the classifier takes (`compared: means`), or the mean distance of the frames.
        Nor does it say whether the features are standardised. Here they are, by mean and variance over the real speech
        of stage 1: batch norm makes the loss of stage 1 blind to the offset and the scale of each feature, so without
        it (`standardise: false`) the distance is to a good part one of random offsets.
        """
        if self.compared == "means":
            style, linguistics = style.mean(1, keepdim=True), linguistics.mean(1, keepdim=True)
        if self.standardise:
            style = _by_frame(self.style.standardised, style)
            linguistics = _by_frame(self.linguistics.standardised, linguistics)
        return (1 - functional.cosine_similarity(style, linguistics, dim=2)).mean(1)

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        """What a stage trains, by the group whose learning rate it takes; all else is frozen and in evaluation mode.

        `dependency` is stage 1. Stage 2 is `classifier` where encoders and compression stay frozen, and `whole` in the
        fine-tuned variant: of the encoders the blocks that are averaged, as the paper's count of parameters tells.

        Raises:
            UsageError: no such stage.
        """
        check_stage("SLIM", stage, STAGES)
        groups: dict[str, list[nn.Module]] = {}
        if stage == "dependency":
            groups["compression"] = [part for side in self.sides for part in (side.compression, side.statistics)]
            return groups
        groups["classifier"] = [self.head, *(part for side in self.sides for part in (side.pooling, side.mlp))]
        if stage == "whole":
            groups["compression"] = [side.compression for side in self.sides]
            groups["encoders"] = [block for side in self.sides for block in side.encoder.encoder.layers[side.first :]]
        return groups

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor, **options: Any) -> Loss:
        """The loss of a stage on a batch: `self_contrastive`, which takes the options, or binary cross-entropy.

        Args:
            inputs: what the readings give, (B, T, D) each. labels: (B,), 1 = bona fide, 0 = spoof.
        Raises:
            UsageError: no such stage.
            DataError: spoof, or a batch of one, in stage 1.
        """
        check_stage("SLIM", stage, STAGES)
        if stage != "dependency":
            return self._detection_loss(inputs, labels, **options)
        if not labels.all():
            raise DataError("stage 1 of SLIM learns from real speech alone", remedy="give it bona fide trials only")
        dependency = [features.float() for features in self._dependency(inputs)]
        for side, features in zip(self.sides, dependency, strict=True):
            side.statistics(features.detach().flatten(0, 1))  # moves the running mean and variance in training mode
        with torch.autocast(labels.device.type, enabled=False):  # correlations in half precision are mostly rounding
            return Loss(self_contrastive(*dependency, **options))

    def _detection_loss(self, inputs: Sequence[Tensor], labels: Tensor) -> Loss:
        embedding, _ = self._embedded(inputs)
        return binary_cross_entropy(self.head(embedding)[:, 0], labels)
