"""A cost model of large runs: fits it on measurements of this machine, then says how long runs take and what bounds
them. Asserts nothing. docs/scaling.md explains the model.

    python -m benchmarks.scaling [--clips-per-second 1600] [--cores 8] [--storage 2e9]

Measured here: decoding (s a file and s an audio second, on one core), headers, the driver (s a trial and s a portion,
with two worker processes that do nothing), the start of a worker. Not measured here, and so arguments: what one GPU
scores, the cores that decode for it, what the storage gives all machines together.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from bench import audio, batches, registry
from bench.cards import AudioRecipe
from bench.scorer import Scorer
from benchmarks import ceilings
from benchmarks.common import SAMPLES, machine, random_detector, run, seconds, write_card, write_files, write_list
from benchmarks.scoring import NO_OP

CLIPS = (10**5, 10**7, 10**9)
GPUS = (1, 8, 64, 1_000)
BATCH = 64  # trials a portion on a GPU
CLIP_SECONDS = 3.3  # mean of ASVspoof 2021 DF as `benchmarks.common` draws it
CLIP_BYTES = 34e9 / 611_829  # FLAC, ASVspoof 2021 DF: 34 GB for 611,829 files
ASSUMED_FLOPS = 600e12 * 0.4  # 40 % of 600 Tflop/s in bf16: an assumption about a large GPU, not a measurement
DRIVER_RUNS = ((20_000, 4_096), (80_000, 4_096), (20_000, BATCH), (80_000, BATCH))  # trials, trials a portion


class Fit(NamedTuple):
    """Coefficients of a linear cost, in seconds, and the root mean square of what it misses, of the mean cost."""

    coefficients: tuple[float, ...]
    residual: float


@dataclass(frozen=True)
class Costs:
    """Seconds: to decode a file and an audio second of it; of the driver, for a trial and for a portion; of the start
    of a worker."""

    file: float
    audio_second: float
    trial: float
    portion: float
    start: float


@dataclass(frozen=True)
class Machines:
    """What is not measured here. clips: a second on one GPU. cores: that decode for each GPU. storage: bytes a second,
    for all machines together."""

    clips: float
    cores: int
    storage: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips-per-second", type=float, help="of one GPU; see `benchmarks.gpu`")
    parser.add_argument("--cores", type=int, default=8, help="that decode for a GPU")
    parser.add_argument("--storage", type=float, default=2e9, help="bytes a second for all machines together")
    arguments = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine('cpu')}")
    with tempfile.TemporaryDirectory(prefix="bench-scaling-") as place:
        costs = measured(Path(place))
    assumed = ASSUMED_FLOPS / float(ceilings.operations("xlsr-sls", np.array([SAMPLES]))[0])
    machines = Machines(arguments.clips_per_second or assumed, arguments.cores, arguments.storage)
    origin = "given" if arguments.clips_per_second else "assumed: SLS at 40 % of 600 Tflop/s"
    print(f"a GPU: {machines.clips:,.0f} clips/s ({origin}); {machines.cores} cores decode for it (given)")
    print(f"storage: {machines.storage / 1e9:g} GB/s for all together (given), {CLIP_BYTES / 1e3:.1f} kB a clip")
    clip = costs.file + CLIP_SECONDS * costs.audio_second
    print(f"cores that such a GPU needs: {machines.clips * clip:.1f}, at {1e3 * clip:.2f} ms a clip")
    print(f"GPUs that one driver feeds: {1 / (costs.trial + costs.portion / BATCH) / machines.clips:.0f}")
    print_table(costs, machines)


def measured(folder: Path) -> Costs:
    """All that this machine tells, printed."""
    paths = [*write_files(folder, "asvspoof", "flac", 96), *write_files(folder, "itw", "flac", 96)]
    decode = fit_decode(paths)
    print(
        f"decode: {1e3 * decode.coefficients[0]:.3f} ms a file + {1e3 * decode.coefficients[1]:.3f} ms an audio second",
        end="",
    )
    print(f" on one core (FLAC), residual {decode.residual:.0%}")
    frame = pd.DataFrame({"trial": [path.stem for path in paths], "path": [str(path) for path in paths]})
    elapsed = min(seconds(lambda: batches.durations(frame)) for _ in range(3))
    print(f"headers, which lists of whole files are planned by: {1e3 * elapsed / len(paths):.3f} ms a file")
    driver = fit_driver(folder, paths[0])
    print(
        f"driver: {1e6 * driver.coefficients[1]:.1f} µs a trial + {1e3 * driver.coefficients[2]:.3f} ms a portion",
        end="",
    )
    print(f" + {driver.coefficients[0]:.2f} s, processor time, residual {driver.residual:.0%}")
    imports, weights = start_of_worker(folder)
    print(
        f"start of a worker: import {imports:.1f} s, SLS built and its weights read {weights:.1f} s (compilation apart)"
    )
    (file, audio_second), (_, trial, portion) = decode.coefficients, driver.coefficients
    return Costs(file, audio_second, trial, portion, imports + weights)


def fitted(terms: np.ndarray, costs: Sequence[float]) -> Fit:
    """Least squares of relative error: costs (n,) by terms (n, k), no coefficient below 0."""
    from scipy.optimize import nnls

    found = np.asarray(costs)
    coefficients, _ = nnls(terms / found[:, None], np.ones(len(found)))
    missed = terms @ coefficients - found
    return Fit(tuple(map(float, coefficients)), float(np.sqrt(np.mean(missed**2)) / found.mean()))


def fit_decode(paths: Sequence[Path]) -> Fit:
    """Seconds of one core for a file: constant, and an audio second."""
    recipe = AudioRecipe(window="whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lengths = [audio.prepare(path, recipe).seconds for path in paths]
    # The least of some rounds, as others may be using this core.
    costs = [min(seconds(partial(audio.prepare, path, recipe)) for _ in range(5)) for path in paths]
    torch.set_num_threads(threads)
    return fitted(np.array([[1.0, length] for length in lengths]), costs)


def fit_driver(folder: Path, path: Path) -> Fit:
    """Processor seconds of the driver for a run, from list to finished cell: constant, a trial, a portion."""
    write_card(folder, "no-op", NO_OP)
    terms, costs = [], []
    for trials, rows in DRIVER_RUNS:
        write_list(folder, "many", [path], trials)
        with patch.object(batches, "FACT_ROWS", rows):
            started = time.process_time()
            run(folder, "no-op", "many", device="cpu,cpu")
            costs.append(time.process_time() - started)
        terms.append([1.0, trials, -(-trials // rows)])
    return fitted(np.array(terms), costs)


def start_of_worker(folder: Path) -> tuple[float, float]:
    """Seconds to import what scores, and to build SLS with weights from a file that is in memory."""
    imports = seconds(lambda: subprocess.run([sys.executable, "-c", "import bench.executors"], check=True))
    random_detector(folder, "xlsr-sls")
    card = registry.detectors()["xlsr-sls"]
    scorer = Scorer("sls", card.model, card.arguments, card.audio, folder / "xlsr-sls.safetensors")
    return imports, seconds(lambda: scorer.build(torch.device("cpu")))


def hours(clips: int, gpus: int, costs: Costs, machines: Machines) -> dict[str, float]:
    """How long each part takes by itself; they run at the same time, all but the start."""
    decode = clips * (costs.file + CLIP_SECONDS * costs.audio_second) / (machines.cores * gpus)
    found = {
        "decode cores": decode,
        "storage": clips * CLIP_BYTES / machines.storage,
        "GPUs": clips / (machines.clips * gpus),
        "driver": clips * (costs.trial + costs.portion / BATCH),
        "start": costs.start,
    }
    return {name: value / 3600 for name, value in found.items()}


def print_table(costs: Costs, machines: Machines) -> None:
    print("\n| clips | " + " | ".join(f"{gpus:,} GPU{'s' if gpus > 1 else ''}" for gpus in GPUS) + " |")
    print("|---" * (1 + len(GPUS)) + "|")
    for clips in CLIPS:
        row = []
        for gpus in GPUS:
            parts = hours(clips, gpus, costs, machines)
            bound = max(parts, key=lambda name: parts[name])
            total = parts["start"] + max(value for name, value in parts.items() if name != "start")
            row.append(f"{total:.3g} h, {bound}")
        print(f"| {clips:,} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
