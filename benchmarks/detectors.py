"""How fast the large detectors are. Prints ratios measured in one run; asserts nothing.

    make parity
    PYTHONPATH=.venv/parity/fairseq:. .venv/bin/python -m benchmarks.detectors [--device cpu] [--clips 4] [--rounds 3]

1. XLS-R + SLS on 4 s in float32 against the authors' evaluation at the same precision: genuine fairseq, whose backbone
   they run twice a batch (the second time for an output nobody reads), with the autograd graph they record and without.
   Left out, and said, where fairseq is not installed (`make parity` installs it).
2. The same with the backbone in bfloat16 against our float32, and what that does to scores and ranks.
3. From files on disk to scores on disk, in float32: SLS on 4 s and AntiDeepfake MMS-300M on whole files of mixed
   lengths; clips/s, the share of what this device multiplies in bfloat16, peak memory.

Weights are random: the clock does not mind, and no rank says anything about detection. The audio is the demo corpus.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench import audio, corpora, environment, matrix, registry, weights
from bench.cards import DetectorCard
from bench.models.antideepfake import AntiDeepfake
from bench.models.sls import SLS
from bench.progress import Silent
from bench.workspace import Options, Workspace

SAMPLES = 64_600
DETECTORS = {"xlsr-sls": SLS, "antideepfake-mms-300m": AntiDeepfake}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=int, default=4, help="a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=24, help="scored from disk")
    arguments = parser.parse_args()
    device = environment.pick_device(arguments.device)
    hardware = environment.hardware(device)
    versions = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    print(f"{hardware['device']} ({hardware['cpu']}, {hardware['cores']} cores), {versions}")
    with tempfile.TemporaryDirectory() as folder:
        data = corpora.load(registry.datasets()["demo"], Path(folder), make=True)
        recipe = registry.detectors()["xlsr-sls"].audio
        waves = np.stack([audio.prepare(path, recipe).wave for path in data.trials["path"][: 8 * arguments.clips]])
        model = random_detector(SLS).to(device)
        against_fairseq(model, torch.from_numpy(waves[: arguments.clips]).to(device), arguments.rounds)
        against_float32(model, torch.split(torch.from_numpy(waves).to(device), arguments.clips), arguments.rounds)
        del model
        for name in DETECTORS:
            from_disk(name, Path(folder), device, arguments.files)


def random_detector(network: type[SLS] | type[AntiDeepfake]) -> Any:
    torch.manual_seed(0)
    model = network("xls-r-300m")
    model.backbone.initialise(0)
    return model.eval()


class DoublePass(nn.Module):
    """What the authors evaluate: the last output and the layers from two passes of fairseq, then their head."""

    def __init__(self, backbone: nn.Module, head: SLS) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, wave: Tensor) -> Tensor:
        self.backbone(wave, mask=False, features_only=True)
        layers = self.backbone(wave, mask=False, features_only=True)["layer_results"]
        stacked = torch.stack([layer[0].transpose(0, 1) for layer in layers], dim=1)  # (B, 24, T, D)
        gates = torch.sigmoid(self.head.fc0(stacked.mean(2)))
        maps = functional.selu(self.head.first_bn((stacked * gates[:, :, None]).sum(1, keepdim=True)))
        hidden = functional.selu(self.head.fc1(functional.max_pool2d(maps, 3).flatten(1)))
        return functional.log_softmax(functional.selu(self.head.fc3(hidden)), dim=1)[:, 1]


def against_fairseq(model: SLS, wave: Tensor, rounds: int) -> None:
    if importlib.util.find_spec("fairseq") is None:
        print("SLS against the authors' double pass: left out, fairseq is not installed here (`make parity`)")
        return
    from tests.parity import reference

    lengths = torch.full((len(wave),), SAMPLES)
    theirs = reference.wav2vec2(24, 1024, 4096, 16).to(wave.device)
    weights.load_into(model.backbone, theirs.state_dict(), Path("fairseq"))
    double = DoublePass(theirs, model).requires_grad_(True)

    def authors() -> None:
        double(wave)

    @torch.inference_mode()
    def without_graph() -> None:
        double(wave)

    @torch.inference_mode()
    def ours() -> None:
        model(wave, lengths)

    times = in_turn((ours, without_graph, authors), rounds)
    with torch.inference_mode():
        apart = float((double(wave) - model(wave, lengths)).abs().max())
    print(f"SLS, {len(wave)} clips of 4 s, float32, same weights, scores apart by {apart:.1e}")
    print_rates(("ours", "authors' double pass, no graph", "authors' double pass, as released"), times, len(wave))
    print(f"  ours / authors'                    {ratio(times, 2):8.2f}   (target 2)")
    print(f"  ours / authors' without the graph  {ratio(times, 1):8.2f}")
    model.requires_grad_(False)


def against_float32(model: SLS, batches: tuple[Tensor, ...], rounds: int) -> None:
    faster = copy.deepcopy(model)
    faster.backbone.bfloat16()

    @torch.inference_mode()
    def scores(network: SLS, parts: tuple[Tensor, ...]) -> np.ndarray:
        return torch.cat([network(part, torch.full((len(part),), SAMPLES)) for part in parts]).cpu().numpy()

    times = in_turn((lambda: scores(faster, batches[:1]), lambda: scores(model, batches[:1])), rounds)
    reference, found = scores(model, batches), scores(faster, batches)
    tau = kendalltau(reference, found).statistic
    print(f"SLS, {len(batches[0])} clips of 4 s, backbone in bfloat16, head in float32")
    print_rates(("bfloat16", "float32"), times, len(batches[0]))
    print(f"  bfloat16 / float32                 {ratio(times, 1):8.2f}   (target 2.5 where the processor has it)")
    print(
        f"  over {len(reference)} clips: scores within {np.abs(reference - found).max():.4f} of float32 "
        f"(their spread is {np.ptp(reference):.4f}), Kendall's tau of the ranks {tau:.4f}"
    )


def from_disk(name: str, folder: Path, device: str, files: int) -> None:
    """The whole path of `bench run`, on a sample of the demo corpus."""
    card = registry.detectors()[name]
    model = random_detector(DETECTORS[name])
    safetensors.torch.save_file(model.state_dict(), folder / f"{name}.safetensors")
    work = operations(model, card)
    del model
    cards = folder / "cards"
    cards.mkdir(exist_ok=True)
    weights = f"weights: {{file: {name}.safetensors, source: random, licence: none}}"
    (cards / f"{name}.yaml").write_text(f"name: {name}-random\nextends: {name}\n{weights}\n", encoding="utf-8")
    options = Options(
        data_root=folder, weights=(folder,), results=folder / "results", cards=cards, device=device, limit=files
    )
    workspace = Workspace(options, make=True)
    (outcome,) = matrix.run(workspace, matrix.plan(workspace, [f"{name}-random"], ["demo"]), Silent())
    if outcome.cell is None or not outcome.ok:
        raise SystemExit(f"{outcome.as_cell.status}: {outcome.as_cell.reason}")
    timings = outcome.cell.manifest["timings"]
    rate, audio_rate = (timings[kind] / timings["pass_seconds"] for kind in ("trials", "audio_seconds"))
    seconds = timings["audio_seconds"] if card.audio.window == "whole" else timings["trials"] * SAMPLES / 16_000
    share = work * seconds / timings["pass_seconds"] / ceiling(device)
    window = "whole files" if card.audio.window == "whole" else "4 s"
    print(f"{name}, {timings['trials']} files, {window}, float32, files on disk to scores on disk")
    print(f"  {rate:8.2f} clips/s, {audio_rate:.1f} s of audio a second")
    print(f"  {100 * share:8.1f} % of the bfloat16 matrix product ceiling of {ceiling(device) / 1e12:.2f} Tflop/s")
    print(f"  {timings['peak_memory_bytes'] / 2**30:8.2f} GiB at most in this process so far")


def operations(model: nn.Module, card: DetectorCard) -> float:
    """Floating-point operations of a second of audio through the network, counted on 4 s; longer files need more."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, SAMPLES), torch.tensor([SAMPLES]))
    return float(counter.get_total_flops()) / (SAMPLES / card.audio.rate)


def ceiling(device: str) -> float:
    """What the device multiplies in bfloat16, operations a second: best of five products of square random matrices."""
    size = 8192 if device.startswith("cuda") else 2048
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: left @ right, device) for _ in range(5))


def in_turn(what: tuple[Callable[[], object], ...], rounds: int) -> list[list[float]]:
    """Seconds of each, one after the other in every round, so that a drift of the machine meets all."""
    for function in what:
        function()  # warm-up
    return [[seconds(function) for function in what] for _ in range(rounds)]


def ratio(times: list[list[float]], other: int) -> float:
    """How often the first is done while another is done once: median over the rounds."""
    return statistics.median(row[other] / row[0] for row in times)


def print_rates(names: tuple[str, ...], times: list[list[float]], clips: int) -> None:
    for name, column in zip(names, zip(*times, strict=True), strict=True):
        print(f"  {name:<34} {clips / statistics.median(column):8.2f} clips/s")


def seconds(what: Callable[[], object], device: str = "auto") -> float:
    started = time.perf_counter()
    what()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
