"""Two-stage fine-tuned XLS-R, and its frozen baseline: attention pooling over the last hidden state of XLS-R 300M and a
small classifier, trained first alone and then together with the top blocks of the encoder.

There is no paper. The source is the notebook wav2vec2-xls-r-base-split.ipynb of github.com/hhuydaugg/wav2vec2 (MIT);
its names of tensors (`xlsr.*`, `attention_weights_layer.*`, `classifier.*`) load strictly. As there, the model sees the
zeros behind a short file: no attention mask is passed. Where this module does better than the notebook:

- the score is the difference of the float32 logits; softmax under half precision ties the confident trials;
- the backbone drops and masks nothing in training, so a frozen encoder gives the same features as in evaluation.

Shapes: B rows, N samples, T frames, D width of the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.hidden_state import HiddenStateDetector
from bench.models.objective import check_stage

TUNED_BLOCKS = 8  # the top blocks that the second stage trains; the final norm behind them stays as it is


class TwoStageXLSR(HiddenStateDetector):
    """Waveform of zero mean and unit variance to the logit of bona fide minus the logit of spoof.

    Args:
        backbone: see `wav2vec2.Backbone`.
    """

    version = 2
    stages = ("head", "fine-tuning")

    def __init__(self, backbone: str | Mapping[str, Any]) -> None:
        super().__init__(backbone)
        width = self.backbone.architecture.width
        self.attention_weights_layer = nn.Sequential(nn.Linear(width, 128), nn.Tanh(), nn.Linear(128, 1))
        self.classifier = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 2))

    def embedded(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden state (B, T, D) -> (B, 256), and the logits (B, 2): spoof, bona fide."""
        attention = torch.softmax(self.attention_weights_layer(hidden), dim=1)  # (B, T, 1)
        embedding = self.classifier[:-1]((attention * hidden).sum(1))
        return embedding, self.classifier[-1](embedding)

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        """What a stage trains, by the group whose learning rate it takes; all else is frozen and in evaluation mode.

        `head` alone is the frozen baseline; `fine-tuning` goes on from it and adds the top eight blocks.

        Raises:
            UsageError: no such stage.
        """
        check_stage(type(self).__name__, stage, self.stages)
        groups: dict[str, list[nn.Module]] = {"head": [self.attention_weights_layer, self.classifier]}
        if stage == "fine-tuning":
            groups["encoder"] = list(self.backbone.encoder.layers[-TUNED_BLOCKS:])
        return groups
