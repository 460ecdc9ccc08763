"""What the convolutional extractor of XLS-R 300M costs, by part. Prints ratios measured in one run; asserts nothing.

    .venv/bin/python -m benchmarks.frontend [--device cpu] [--clips 4] [--rounds 3]

For clips of 4 s, in float32 and in bfloat16:

1. the extractor of transformers, ours (`bench.models.extractor`), and torch's convolution on the same memory, which
   was as fast in scoring on the CPU where ours was chosen and half as fast again in training: look here for a GPU;
2. the time in convolutions, norms, GELU and copies of the first two, by torch's profiler;
3. the share of the extractor, and of the positional convolution, in the whole forward pass of SLS.

Weights are random: the clock does not mind.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from bench import environment
from bench.models.extractor import extract
from bench.models.sls import SLS
from benchmarks.common import SAMPLES, in_turn

# Which operators are what: the innermost ones, whose own time is counted.
PARTS = {
    "convolutions": ("mm", "convolution", "cudnn"),
    "norms": ("layer_norm",),
    "GELU": ("gelu",),
    "copies": ("copy_", "clone", "fill_"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=int, default=4, help="a batch")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    device = environment.pick_device(arguments.device)
    hardware = environment.hardware(device)
    print(f"{hardware['device']} ({hardware['cpu']}), torch {torch.__version__}, {torch.get_num_threads()} threads")
    model = SLS("xls-r-300m")
    model.backbone.initialise(0)
    model.eval().to(device)
    wave = torch.randn(arguments.clips, SAMPLES, device=device) / 10
    for name in ("float32", "bfloat16"):
        if name == "bfloat16":
            model.lower_precision()
        print(f"\n{name}, {arguments.clips} clips of 4 s")
        measure(model, wave, arguments.rounds)


@torch.inference_mode()
def measure(model: Any, wave: Tensor, rounds: int) -> None:
    """Prints all three, with the model as it is."""
    backbone = model.backbone
    module, position = backbone.feature_extractor, backbone.encoder.pos_conv_embed
    samples = wave.to(position.conv.weight.dtype)
    hidden = backbone.feature_projection(extract(module.conv_layers, samples))[0]
    lengths = torch.full((len(wave),), SAMPLES)
    forms: dict[str, Callable[[], Tensor]] = {
        "transformers": lambda: module(samples),
        "ours": lambda: extract(module.conv_layers, samples),
        "torch's convolution": lambda: channels_last(module.conv_layers, samples),
    }
    within = (lambda: position(hidden), lambda: model(wave, lengths))
    times = list(zip(*in_turn((*forms.values(), *within), rounds, wave.device.type), strict=True))
    spent = [statistics.median(each) for each in times]
    for name, column in zip(forms, times, strict=False):
        ratio = statistics.median(first / other for first, other in zip(times[0], column, strict=True))
        print(f"  {name:<22} {1000 * statistics.median(column):9.2f} ms   transformers / this {ratio:6.2f}")
    for name in ("transformers", "ours"):
        told = "  ".join(f"{part} {milliseconds:.2f}" for part, milliseconds in parts(forms[name], wave).items())
        print(f"  {name:<22} ms: {told}")
    shares = (100 * each / spent[-1] for each in (spent[1], spent[-2]))
    told = "extractor {:.1f} %, positional convolution {:.1f} %".format(*shares)
    print(f"  of the forward pass of SLS, {1000 * spent[-1]:.2f} ms: {told}")


def channels_last(layers: Any, wave: Tensor) -> Tensor:
    """As `extract`, by torch's convolution in two dimensions, which knows this order of memory; in one it does not."""
    hidden = wave[:, None, None]
    for layer in layers:
        kernel = layer.conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        if layer.conv.in_channels == 1:
            windows = hidden[:, 0].unfold(2, kernel.shape[3], layer.conv.stride[0])
            hidden = functional.linear(windows, kernel[:, 0, 0], layer.conv.bias)
        else:
            hidden = functional.conv2d(hidden, kernel, layer.conv.bias, (1, layer.conv.stride[0])).permute(0, 2, 3, 1)
        hidden = layer.activation(layer.layer_norm(hidden)).permute(0, 3, 1, 2)
    return hidden[:, :, 0].mT


def parts(what: Callable[[], Tensor], wave: Tensor) -> dict[str, float]:
    """Milliseconds on the device of `wave` in each of `PARTS`, and in all other operators."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * wave.is_cuda
    with profile(activities=activities, acc_events=True) as profiled:
        what()
        if wave.is_cuda:
            torch.cuda.synchronize()
    found = dict.fromkeys((*PARTS, "other"), 0.0)
    for event in profiled.key_averages():
        if not event.key.startswith("aten::"):
            continue  # on a GPU its kernels are listed too, beside the operators that they are of
        part = next((part for part, names in PARTS.items() if any(name in event.key for name in names)), "other")
        found[part] += (event.self_device_time_total if wave.is_cuda else event.self_cpu_time_total) / 1000
    return found


if __name__ == "__main__":
    main()
