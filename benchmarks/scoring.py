"""What the scoring pass costs beside the bare forward pass. Prints ratios measured in one run; asserts nothing.

    python -m benchmarks.scoring [--trials 64] [--rounds 3] [--batch-size 8]

1. trials/s of `bench run` (files on disk to scores on disk) over the bare forward, on batches that are ready in memory,
   of AASIST, and of SLS on at most 48 of the files; of AASIST also over a script in the style of the authors'
   evaluation: load, tile, forward, one file after the other, through the plain network (ours folds and tiles it for a
   CPU, the numbers are the same). `benchmarks.gpu` has such a script for SLS.
   They run in turn, so that a drift of the machine meets all; ratios are of one round, the median is shown. The pass
   counts from its first scores on: weights are read once, however long a list is.
2. The bookkeeping alone: a detector that does nothing on 600,000 trials, from the plan to the finished cell.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench import audio, passes, registry
from bench.cores import decode_workers
from bench.models import Facts
from benchmarks.authors import loaded
from benchmarks.common import (
    SAMPLES,
    machine,
    print_rates,
    random_detector,
    ratio,
    run,
    seconds,
    write_card,
    write_files,
    write_list,
)

BOOKKEEPING_TRIALS = 600_000
TARGET = 0.98
NO_OP = "title: no-op\nsummary: ''\nfamily: ''\nlicence: ''\nmodel: benchmarks.scoring:NoOp\naudio: {window: none}\n"
SLS_TRIALS = 48  # of fewer, letting go of 1.2 GB of weights in the end would be a part of the pass that one can see


class NoOp(nn.Module):
    """Scores nothing: what is left is the harness."""

    def forward(self, facts: Sequence[Facts]) -> Tensor:
        return torch.zeros(len(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=passes.BATCH_SIZES["cpu"])
    parser.add_argument("--workers", type=int, default=decode_workers("cpu"))
    arguments = parser.parse_args()
    print(f"{machine('cpu')}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory(prefix="bench-scoring-") as place:
        folder = Path(place)
        paths = write_files(folder, "asvspoof", "flac", arguments.trials)
        for name, some in (("aasist", paths), ("xlsr-sls", paths[:SLS_TRIALS])):
            compare_pass(folder, name, some, arguments.rounds, arguments.batch_size, arguments.workers)
        bookkeeping(folder)


def compare_pass(folder: Path, name: str, paths: Sequence[Path], rounds: int, batch_size: int, workers: int) -> None:
    """The pass, the bare forward and the plain script in turn, on the same files with the same weights."""
    detector, model = random_detector(folder, name)
    recipe = registry.detectors()[name].audio
    write_list(folder, "files", paths)
    rest = paths[batch_size:]  # behind the first scores
    waves = [audio.prepare(path, recipe).wave for path in rest]
    ready = [torch.from_numpy(np.stack(waves[i : i + batch_size])) for i in range(0, len(rest), batch_size)]

    def harness() -> float:
        options = {"device": "cpu", "batch_size": batch_size, "workers": workers}
        _, timeline, elapsed = run(folder, detector, "files", **options)
        return elapsed - timeline.reports[0][1]

    @torch.inference_mode()
    def bare() -> None:
        for wave in ready:
            model(wave, torch.full((len(wave),), wave.shape[1]))

    def script() -> None:
        # Parameters ask for no gradient, so none is recorded; with gradients enabled the network takes its plain path.
        for path in rest:
            model(torch.from_numpy(loaded(path))[None], torch.tensor([SAMPLES]))

    others = [bare, script] if name == "aasist" else [bare]
    bare()  # warm-up: allocator and thread pool
    times = [[harness(), *(seconds(other) for other in others)] for _ in range(rounds)]
    print(f"{name}, {len(paths)} files, batch {batch_size}, {workers} workers, median of {rounds} rounds")
    names = ("pass, files to scores", "bare forward, ready batches", "plain script")
    print_rates(names[: 1 + len(others)], times, len(rest))
    print(f"  {'pass / bare forward':<36} {ratio(times, 1):9.3f}   (target {TARGET})")
    if script in others:
        print(f"  {'pass / plain script':<36} {ratio(times, 2):9.3f}   (target 1.5)")


def bookkeeping(folder: Path) -> None:
    ids = pd.Series(np.arange(BOOKKEEPING_TRIALS)).map("T_{:07d}".format)
    labels = np.where(np.arange(BOOKKEEPING_TRIALS) % 9 == 0, "bonafide", "spoof")
    pd.DataFrame({"path": ids + ".flac", "label": labels}).to_csv(folder / "many.csv", index=False)
    write_card(folder, "no-op", NO_OP)
    _, _, elapsed = run(folder, "no-op", "many", device="cpu")
    rate = BOOKKEEPING_TRIALS / elapsed
    print(f"bookkeeping, {BOOKKEEPING_TRIALS:,} trials: {rate:,.0f} trials/s   (target 20,000)")


if __name__ == "__main__":
    main()
