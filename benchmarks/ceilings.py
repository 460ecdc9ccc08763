"""What a machine can do at most, measured on it: products of matrices, copies to a GPU, decoding; and what a detector
asks of it in floating-point operations."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import audio, registry
from bench.cards import AudioRecipe
from bench.models.wav2vec2 import BackboneDetector
from bench.precision import Precision, arithmetic, fast
from bench.scorer import build_model
from benchmarks.common import RATE, SAMPLES, seconds

ROUNDS = 20  # of which the best counts
COPIED = 256 * 2**20  # bytes


def products(device: str) -> dict[Precision, float]:
    """Operations a second of products of square matrices in each precision that the device has instructions for.

    The numbers are random: a GPU multiplies constants faster, because they cost less power.
    """
    return {one: _product(device, one) for one in (*fast(device), "fp32")}


def _product(device: str, precision: Precision) -> float:
    size = 8192 if device.startswith("cuda") else 2048
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    with arithmetic(precision):
        return 2 * size**3 / min(seconds(partial(torch.mm, left, right), device) for _ in range(ROUNDS))


def copies(device: str) -> float | None:
    """Bytes a second from pinned memory to a GPU; None where the device is the CPU."""
    if not device.startswith("cuda"):
        return None
    here, there = (
        torch.empty(COPIED, dtype=torch.uint8).pin_memory(),
        torch.empty(COPIED, dtype=torch.uint8, device=device),
    )
    return COPIED / min(seconds(partial(there.copy_, here, non_blocking=True), device) for _ in range(ROUNDS))


def decoding(paths: Sequence[Path]) -> tuple[float, float]:
    """Files, and seconds of audio, that one core reads and decodes in a second; median of three rounds."""
    recipe = AudioRecipe(window="whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        heard = sum(audio.prepare(path, recipe).seconds for path in paths)
        elapsed = statistics.median(seconds(lambda: [audio.prepare(path, recipe) for path in paths]) for _ in range(3))
    finally:
        torch.set_num_threads(threads)
    return len(paths) / elapsed, heard / elapsed


def operations(name: str, lengths: np.ndarray) -> np.ndarray:
    """Floating-point operations of a detector on files of so many samples each (n,), padding not counted.

    Those of a transformer grow with the square of the length, so three lengths tell all of them.
    """
    card = registry.detectors()[name]
    if card.audio.window != "whole":
        return np.full(len(lengths), _counted(name, card.audio.samples or SAMPLES))
    tried = (RATE, 4 * RATE, 10 * RATE)
    curve = np.polyfit(tried, [_counted(name, samples) for samples in tried], 2)
    return np.polyval(curve, lengths)


@cache
def _counted(name: str, samples: int) -> float:
    """Counted by torch on the reference form: plain modules in float32, nothing folded or done in place."""
    card = registry.detectors()[name]
    model = build_model(card.model, card.arguments, name).eval()
    device = "cpu"
    if isinstance(model, BackboneDetector):
        device = "meta"  # shapes alone tell
        plain = model.backbone.feature_extractor
        model.backbone._extract = lambda wave: plain(wave).mT  # type: ignore[method-assign]  # ours works in place
    with FlopCounterMode(display=False) as counter:  # with gradients, or AASIST folds its layers
        model.to(device)(torch.zeros(1, samples, device=device), torch.tensor([samples]))
    return float(counter.get_total_flops())
