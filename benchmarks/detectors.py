"""How fast SLS is, batch for batch in memory. Prints ratios measured in one run; asserts nothing.

    make parity
    PYTHONPATH=.venv/parity/fairseq:. .venv/bin/python -m benchmarks.detectors [--device cpu] [--clips 4] [--rounds 3]

1. XLS-R + SLS on 4 s, with the backbone in bfloat16 and in float32, against the authors' evaluation in float32 with the
   same weights: genuine fairseq, whose backbone they run twice a batch (`benchmarks.authors`), with the autograd graph
   that they record and without. Where fairseq is not installed our own backbone stands for it, and that is said.
2. What bfloat16 does to scores and ranks.

Weights are random: the clock does not mind, and no rank says anything about detection. `benchmarks.gpu` measures from
files on disk to scores on disk.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from bench import audio, environment, registry
from bench.models.sls import SLS
from bench.precision import fast, lowered
from benchmarks import authors
from benchmarks.common import SAMPLES, in_turn, machine, print_rates, random_detector, ratio, write_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=int, default=4, help="a batch")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    device = environment.pick_device(arguments.device)
    print(f"{machine(device)}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory(prefix="bench-detectors-") as place:
        # No copy of the other: parametrized layers share a class, so lowering a copy would break the original.
        (_, model), (_, faster) = (random_detector(Path(place), "xlsr-sls") for _ in range(2))
        assert isinstance(model, SLS)
        recipe = registry.detectors()["xlsr-sls"].audio
        paths = write_files(Path(place), "asvspoof", "flac", 8 * arguments.clips)
        waves = torch.from_numpy(np.stack([audio.prepare(path, recipe).wave for path in paths])).to(device)
    double, whose = authors.double_pass(model.to(device))  # first: it may bring weights of its own
    faster.to(device).load_state_dict(model.state_dict())
    faster = lowered(faster, "bf16")
    batches = torch.split(waves, arguments.clips)
    against_authors(faster, model, double, whose, batches[0], device, arguments.rounds)
    ranks(faster, model, batches)


@torch.inference_mode()
def scores(model: torch.nn.Module, batches: tuple[Tensor, ...]) -> np.ndarray:
    """Of our detectors (n,)."""
    found = [model(wave, torch.full((len(wave),), SAMPLES)).scores for wave in batches]
    return torch.cat(found).cpu().numpy()


def against_authors(
    faster: torch.nn.Module,
    model: SLS,
    double: authors.DoublePass,
    whose: str,
    wave: Tensor,
    device: str,
    rounds: int,
) -> None:
    @torch.inference_mode()
    def without_graph() -> Tensor:
        return double(wave)  # type: ignore[no-any-return]  # a module's call is untyped

    functions = {
        "ours, bfloat16": lambda: scores(faster, (wave,)),
        "ours, float32": lambda: scores(model, (wave,)),
        "authors' double pass, no graph": without_graph,
        "authors' double pass, as released": lambda: double(wave),
    }
    times = in_turn(list(functions.values()), rounds, device)
    apart = np.abs(without_graph().cpu().numpy() - scores(model, (wave,))).max()
    has = "this device has" if "bf16" in fast(device) else "this device has no instructions for"
    print(f"SLS, {len(wave)} clips of 4 s, same weights, {whose}; float32 scores apart by {apart:.1e}")
    print_rates(list(functions), times, len(wave))
    print(f"  {'ours / as released, float32':<36} {ratio(times, 3, 1):9.2f}          (target 2)")
    print(f"  {'ours / without the graph, float32':<36} {ratio(times, 2, 1):9.2f}")
    print(f"  {'bfloat16 / as released in float32':<36} {ratio(times, 3):9.2f}          (target 5; bfloat16: {has})")
    print(f"  {'bfloat16 / float32':<36} {ratio(times, 1):9.2f}          (target 2.5 where the processor has it)")


def ranks(faster: torch.nn.Module, model: SLS, batches: tuple[Tensor, ...]) -> None:
    reference, found = scores(model, batches), scores(faster, batches)
    tau = kendalltau(reference, found).statistic
    print(
        f"  over {len(reference)} clips: bfloat16 within {np.abs(reference - found).max():.4f} of float32 "
        f"(the spread is {np.ptp(reference):.4f}), Kendall's tau of the ranks {tau:.4f}"
    )


if __name__ == "__main__":
    main()
