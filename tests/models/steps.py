"""What tests of several detectors are made of: noise to score, and steps in float64."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """As loud as speech is, the same for the same seed."""
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def selu(x: Array) -> Array:
    """Of Klambauer et al., https://arxiv.org/abs/1706.02515, with the constants of its code."""
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    branches: Array = scale * np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1))
    return branches
