"""The convolutional extractor of wav2vec 2.0, XLS-R, MMS and HuBERT, frame by frame. Baevski et al., arXiv 2006.11477.

Seven convolutions make a frame of 320 samples; in the kind with layer norms each is followed by a norm over the
channels and a GELU. Transformers keeps (B, C, T), so that every norm turns the largest tensors of the network round and
back, which takes longer than the norm. Here a frame's channels stay side by side, and a convolution is a product of
matrices: a window of `stride` frames is a row of memory as it lies, and what a kernel sees beyond it lies in the next
row, so that nothing is copied. The clips of a batch lie end to end in one matrix, each with a frame more than it has
(at the end; it also hears the next clip, and is dropped). Equal to transformers' module within 1e-5 of the largest
value.

Shapes: B clips, N samples, T = (N - 400) // 320 + 1 frames, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
RECEPTIVE_FIELD = 400  # samples
HOP = 320  # samples a frame


def frames_in(samples: int) -> int:
    """T of N samples.

    Raises:
        ValueError: fewer samples than one frame sees.
    """
    if samples < RECEPTIVE_FIELD:
        raise ValueError(f"{samples} samples are less than one frame of {RECEPTIVE_FIELD}")
    return (samples - RECEPTIVE_FIELD) // HOP + 1


def extract(layers: Iterable[Any], wave: Tensor) -> Tensor:
    """Samples (B, N) -> (B, T, C), by the layers of transformers' extractor that have a layer norm each.

    Args:
        layers: `conv_layers` of the extractor: `conv`, `layer_norm` and `activation`.
        wave: of the type of the weights, any N from 400 on.
    Raises:
        ValueError: fewer samples.
    """
    count = frames_in(wave.shape[1])
    spare = (count + 1) * HOP - wave.shape[1]  # of either sign: samples that no frame hears are cut off
    hidden = functional.pad(wave, (0, spare)).reshape(-1, 1)
    for layer in layers:
        hidden = layer.activation(layer.layer_norm(_convolved(layer.conv, hidden)))
    return hidden.view(len(wave), count + 1, -1)[:, :count]


def _convolved(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """The convolution of (n, C) along n, (n // stride, C out); its last row lacks what lies behind the end of `x`."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    taps = conv.weight.mT  # (C out, kernel, C)
    if conv.in_channels == 1:  # windows of samples are few numbers beside the channels made of them: copied
        windows = functional.pad(x[:, 0], (0, kernel - stride)).unfold(0, kernel, stride)
        return functional.linear(windows, taps.flatten(1), conv.bias)
    rows = x.view(-1, stride * x.shape[1])
    out = functional.linear(rows, taps[:, :stride].flatten(1), conv.bias)
    if kernel > stride:
        beyond = taps[:, stride:].flatten(1).to(out.dtype)  # autocast leaves what is done in place alone
        out[:-1].addmm_(rows[1:, : beyond.shape[1]].to(out.dtype), beyond.T)
    return out
