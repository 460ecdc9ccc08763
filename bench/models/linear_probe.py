"""A linear probe of a self-supervised encoder: what its last hidden state alone tells of bona fide and spoof.

The encoder stays as it was pre-trained; the mean of its last hidden state over time goes through one linear layer, all
that is trained. It is the head of AntiDeepfake (arXiv 2506.21090) without the fine-tuning, and the yardstick of what
fine-tuning gains. No mask: encoder and mean see the zeros behind a short file, as in two-stage XLS-R, with which it
shares the features that are kept on disk.

Shapes: B rows, N samples, T frames, D width of the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from bench.models.hidden_state import HiddenStateDetector
from bench.models.objective import check_stage


class LinearProbe(HiddenStateDetector):
    """Waveform of zero mean and unit variance to the logit of bona fide minus the logit of spoof.

    Args:
        backbone: see `wav2vec2.Backbone`.
    """

    version = 2
    stages = ("head",)

    def __init__(self, backbone: str | Mapping[str, Any]) -> None:
        super().__init__(backbone)
        self.linear = nn.Linear(self.backbone.architecture.width, 2)

    def embedded(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Last hidden state (B, T, D) -> its mean (B, D), and the logits (B, 2): spoof, bona fide."""
        mean = hidden.mean(1)
        return mean, self.linear(mean)

    def trainable(self, stage: str) -> dict[str, list[nn.Module]]:
        """What the one stage, `head`, trains: the linear layer.

        Raises:
            UsageError: no such stage.
        """
        check_stage(type(self).__name__, stage, self.stages)
        return {"head": [self.linear]}
