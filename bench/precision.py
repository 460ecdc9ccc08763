"""The arithmetic of a detector: float32, or faster and with fewer digits.

    fp32    the reference: no TF32 in convolutions or products
    tf32    products of float32 values rounded to 10 bits of mantissa, on NVIDIA GPUs from compute capability 8.0 on
    bf16    the large part of a detector (its backbone) in bfloat16, the rest and what comes out in float32

What a detector computes in is part of its cell's key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.executors import Executor

Precision = Literal["fp32", "tf32", "bf16"]
HOOK = "lower_precision"  # the method of a detector that has a large part, see `bench.models`


def lowered(model: torch.nn.Module, precision: Precision) -> torch.nn.Module:
    """The model, which computes in `precision` from now on; of `tf32` the pass takes care, see `arithmetic`.

    Raises:
        UsageError: bf16 for a detector that has no such part.
    """
    if precision == "bf16":
        hook = getattr(model, HOOK, None)
        if hook is None:
            raise UsageError(f"{type(model).__name__} has no part that computes in bfloat16")
        hook()
    return model


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """Products and convolutions on a GPU in TF32 or not; as it was before at the end."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def candidates(network: type[torch.nn.Module], asked: str) -> tuple[Precision, ...]:
    """What a detector of this class can compute in besides fp32, of what was asked for; fastest first."""
    can: tuple[Precision, ...] = ("bf16", "tf32") if hasattr(network, HOOK) else ("tf32",)
    return tuple(one for one in can if asked in (one, "auto"))


def worthwhile(one: Precision, executor: Executor, asked: str) -> bool:
    """Whether to compute in it on the devices of an executor. bf16 that was asked for by name is, even where the
    device has no instructions for it and it is slower."""
    return one == asked == "bf16" or one in executor.call(fast)


def fast(device: str) -> tuple[Precision, ...]:
    """The precisions that a device has instructions for."""
    if device.startswith("cuda"):
        return ("bf16", "tf32") if torch.cuda.get_device_capability(device) >= (8, 0) else ()
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ()
    return ("bf16",) if "avx512_bf16" in flags or "amx_bf16" in flags else ()
