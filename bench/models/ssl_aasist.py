"""SSL + AASIST: Tak et al., "Automatic speaker verification spoofing and deepfake detection using wav2vec 2.0 and data
augmentation", Odyssey 2022, arXiv 2202.12233.

The AASIST back end on the last hidden state of XLS-R: its residual blocks do not pool over time, and attention, not
the maximum, makes the nodes of the two graphs. Names of tensors are those of the authors' best_SSL_model_LA.pth and
best_SSL_model_DF.pth, github.com/TakHemlata/SSL_Anti-spoofing, MIT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models import Output
from bench.models.aasist import GraphHead, encoder, selu
from bench.models.objective import TwoLogits
from bench.models.wav2vec2 import Backbone, BackboneNames, LowerPrecision

FEATURES = 128
BINS = FEATURES // 3  # spectral nodes
FILTERS = ((1, 32), (32, 32), (32, 64), (64, 64))
GAT_DIMS = (64, 32)
POOL_RATIOS = (0.5, 0.5, 0.5, 0.5)
TEMPERATURES = (2.0, 2.0, 100.0, 100.0)


class SSLAASIST(BackboneNames, LowerPrecision, TwoLogits, GraphHead):
    """Raw waveform of 64,600 samples to the raw logit of bona fide.

    Args:
        backbone: see `bench.models.wav2vec2.Backbone`.
    """

    version = 2

    def __init__(self, backbone: str | Mapping[str, Any]) -> None:
        channels = FILTERS[-1][-1]
        super().__init__(channels, BINS, GAT_DIMS, POOL_RATIOS, TEMPERATURES)
        self.backbone = Backbone(backbone)
        self.LL = nn.Linear(self.backbone.architecture.width, FEATURES)
        self.first_bn = nn.BatchNorm2d(1)
        self.encoder = encoder(FILTERS, pool=1)
        self.first_bn1 = nn.BatchNorm2d(channels)
        self.attention = nn.Sequential(
            nn.Conv2d(channels, 128, 1), nn.SELU(), nn.BatchNorm2d(128), nn.Conv2d(128, channels, 1)
        )

    def forward(self, wave: Tensor, lengths: Tensor) -> Output:
        """Logit of bona fide (B,), and as `margin` the logit of bona fide minus that of spoof.

        Args:
            wave: (B, 64600) float32 in [-1, 1], not normalised, a shorter file tiled.
            lengths: (B,), not needed: every sample of a tiled window is real.
        """
        return self.output(wave, lengths)

    def embedded(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 64600) -> as `classify`."""
        hidden, _ = self.backbone(wave)
        maps = functional.max_pool2d(self.LL(hidden).mT[:, None], 3)  # (B, 1, BINS, T)
        maps = selu(self.first_bn1(self.encoder(selu(self.first_bn(maps)))))
        weights = self.attention(maps)  # (B, C, BINS, T)
        spectral = (maps * torch.softmax(weights, dim=3)).sum(3).mT
        temporal = (maps * torch.softmax(weights, dim=2)).sum(2).mT
        return self.classify(spectral, temporal)

    def scored(self, logits: Tensor) -> Output:
        """Logits (B, 2) -> scores (B,) and `margin`."""
        spoof, bonafide = logits.unbind(1)
        return Output(bonafide, {"margin": bonafide - spoof})
