"""How near the pass comes to what the machine can do, from files on disk to scores on disk. Asserts nothing.

    python -m benchmarks.gpu [--device auto] [--precision auto] [--scale 1] [--detectors NAME,...] [--plain]

1. Writes FLAC and WAV files of realistic lengths (`benchmarks.common`): thousands for a GPU, dozens for a CPU.
2. Measures the ceilings: products of random matrices in each precision, copies from pinned memory, decoding on a core.
3. `bench run` of SLS (4 s), AntiDeepfake (whole files of mixed lengths; XLS-R 1B on a GPU, the 300M shape on a CPU),
   AASIST and LFCC-GMM, each in the fastest precision that the device has and it can compute in, or the one asked for.
4. With `--plain`: SLS by a script in the authors' style in the same run, see `benchmarks.authors`.

A rate is that from the first scores on to the finished cell, so that it holds for long lists; `start` is all before:
probe, weights, compilation, the first batch. `waited` is the time that the device stood still between its batches, over
the same time; a CPU without decode workers decodes in it. Flops are those of the plain network on the samples of each
file, without padding; their share is of the products in the same precision (LFCC-GMM computes in float64, whatever it
is called). Peak memory is of the GPU; of a CPU, that of this process so far. Weights are random. The probe of ranks is
made, told, and not heeded: scores of random weights lie so close together that it refuses what trained ones allow.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from bench import environment, probe, registry
from bench.files import write_json
from bench.models.sls import SLS
from benchmarks import authors, ceilings
from benchmarks.common import machine, random_detector, run, seconds, write_files, write_list

# Trials by detector; a GPU needs so many that a pass takes some ten seconds, and compiles from 10,000 on.
TRIALS = {
    "cuda": {"xlsr-sls": 24_000, "antideepfake-xls-r-1b": 6_000, "aasist": 24_000, "lfcc-gmm": 6_000},
    "cpu": {"xlsr-sls": 24, "antideepfake-mms-300m": 24, "aasist": 64, "lfcc-gmm": 96},
}
FILES = {"cuda": 4_000, "cpu": 96}  # trials beyond take the same files again: they are read and decoded again
PLAIN = {"cuda": (1_400, 14), "cpu": (8, 4)}  # files and batch size of the authors' script, which keeps two graphs
TARGETS = {"xlsr-sls": 0.40, "antideepfake-xls-r-1b": 0.35}  # share of the bf16 ceiling on a GPU
PLAIN_TARGET = 6.0


@dataclass(frozen=True)
class Measured:
    """A pass. Rates are of a second; `waited` is a share of the time."""

    detector: str
    trials: int
    precision: str
    batch_size: int
    start_seconds: float
    clips: float
    audio_seconds: float
    flops: float
    waited: float
    peak_memory_bytes: int
    probes: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="as in `bench run`; several GPUs are allowed")
    parser.add_argument("--precision", default="auto", choices=["fp32", "tf32", "bf16", "auto"])
    parser.add_argument("--scale", type=float, default=1.0, help="times as many trials")
    parser.add_argument("--detectors", help="instead of the usual ones, by commas")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--plain", action="store_true", help="also the authors' script, for SLS")
    parser.add_argument("--plain-workers", type=int, default=0, help="of its DataLoader; the authors have 0")
    parser.add_argument("--json", type=Path, help="write what was measured into this file, too")
    arguments = parser.parse_args()
    devices = environment.pick_devices(arguments.device)
    kind = devices[0].partition(":")[0]
    usual = TRIALS[kind]
    names = arguments.detectors.split(",") if arguments.detectors else list(usual)
    counts = {name: max(2, int(usual.get(name, min(usual.values())) * arguments.scale)) for name in names}
    asked = {name: getattr(arguments, name) for name in ("device", "precision", "batch_size", "workers")}
    print(f"{datetime.now(UTC):%Y-%m-%d}, {len(devices)} x {machine(devices[0])}")
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as place:
        folder = Path(place)
        paths = corpus(folder, min(FILES[kind], max(counts.values())))
        told: dict[str, Any] = {"machine": machine(devices[0]), "devices": len(devices)}
        told["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        told |= ceilings_of(paths, devices)
        probe.BOUND = 1.0
        passes = [measure(folder, name, paths, trials, asked) for name, trials in counts.items()]
        # Measured again, and the best counts: what else runs on a machine lowers what it can do.
        again = products(devices)
        told["products"] = {name: max(again[name], value) for name, value in told["products"].items()}
        told["passes"] = [asdict(one) | {"share": one.flops / told["products"][one.precision]} for one in passes]
        print_passes(told)
        if arguments.plain:
            told["plain"] = plain(folder, paths, devices[0], arguments.plain_workers)
            compare(told)
    if arguments.json:
        write_json(arguments.json, told)


def corpus(folder: Path, count: int) -> list[Path]:
    """Half of the files as ASVspoof has them (FLAC), half as In-the-Wild has them (WAV), in turn."""
    kinds = [
        write_files(folder, kind, suffix, -(-count // 2)) for kind, suffix in (("asvspoof", "flac"), ("itw", "wav"))
    ]
    return [path for path in chain(*zip_longest(*kinds)) if path is not None][:count]


def products(devices: Sequence[str]) -> dict[str, float]:
    """Operations a second in each precision, for all devices together."""
    return {name: len(devices) * value for name, value in ceilings.products(devices[0]).items()}


def ceilings_of(paths: Sequence[Path], devices: Sequence[str]) -> dict[str, Any]:
    """What the machine can do, for all of `devices` together, printed and told."""
    copied = ceilings.copies(devices[0])
    some = paths[: 2 * 96]
    decode = {
        suffix: ceilings.decoding([path for path in some if path.suffix == f".{suffix}"]) for suffix in ("flac", "wav")
    }
    print(f"host to device, pinned: {'-' if copied is None else f'{copied / 1e9:.1f} GB/s'}")
    for suffix, (files, heard) in decode.items():
        print(f"decoding {suffix} on one core: {files:,.0f} files/s, {heard:,.0f} s of audio a second")
    return {"products": products(devices), "copied_bytes_per_second": copied, "decoding": decode}


def measure(folder: Path, name: str, paths: Sequence[Path], trials: int, asked: dict[str, Any]) -> Measured:
    """The pass of a detector over so many trials."""
    detector, model = random_detector(folder, name)
    del model
    write_list(folder, "list", paths, trials)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    cell, timeline, elapsed = run(folder, detector, "list", **asked)
    manifest = cell.manifest
    lengths = np.array([soundfile.info(path).frames for path in paths])[np.arange(trials) % len(paths)]
    if registry.detectors()[name].audio.window == "whole":
        lengths = np.sort(lengths)  # the order in which they are scored
    # A list of one batch has nothing behind its first scores.
    first, start = timeline.reports[0] if len(timeline.reports) > 1 else (0, 0.0)
    counted, span = lengths[first:], elapsed - start
    flops = float(ceilings.operations(name, counted).sum()) / span
    return Measured(
        detector=name,
        trials=trials,
        precision=manifest["precision"],
        batch_size=manifest["batch_size"],
        start_seconds=start,
        clips=len(counted) / span,
        audio_seconds=float(counted.sum()) / 16_000 / span,
        flops=flops,
        waited=manifest["timings"]["waited_seconds"] / span,
        peak_memory_bytes=manifest["timings"]["peak_memory_bytes"],
        probes=manifest["probes"],
    )


RATES = ("clips/s", "audio s/s", "Tflop/s", "of the ceiling", "waited")
COLUMNS = ("detector", "trials", "precision", "batch", *RATES, "peak GiB", "start s")


def print_passes(told: dict[str, Any]) -> None:
    """The table of the passes, and what the probes found."""
    ceiling = ", ".join(f"{name} {value / 1e12:.2f} Tflop/s" for name, value in told["products"].items())
    print(f"products of random matrices: {ceiling}\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for found in told["passes"]:
        name = found["detector"]
        aimed = f" (target {TARGETS[name]:.0%})" if name in TARGETS and found["precision"] == "bf16" else ""
        cells = (
            name,
            f"{found['trials']:,}",
            found["precision"],
            f"{found['batch_size']}",
            f"{found['clips']:,.2f}",
            f"{found['audio_seconds']:,.1f}",
            f"{found['flops'] / 1e12:,.3f}",
            f"{found['share']:.1%}{aimed}",
            f"{found['waited']:.1%}",
            f"{found['peak_memory_bytes'] / 2**30:.2f}",
            f"{found['start_seconds']:.1f}",
        )
        print(f"| {' | '.join(cells)} |")
    for found in told["passes"]:
        for precision, tried in found["probes"].items():
            moved = tried["reason"] or f"moves {tried['moved']:.1%} of {tried['trials']} trials"
            print(f"{found['detector']}, probe of {precision}: {moved}")


def plain(folder: Path, paths: Sequence[Path], device: str, workers: int) -> dict[str, Any]:
    """The authors' script, warmed up with its first batch."""
    _, model = random_detector(folder, "xlsr-sls")
    assert isinstance(model, SLS)
    files, batch_size = PLAIN[device.partition(":")[0]]
    network, whose = authors.double_pass(model.to(device))
    chosen = paths[:files]

    def script(some: Sequence[Path]) -> None:
        authors.script(network, some, folder / "plain.txt", device, batch_size, workers)

    script(chosen[:batch_size])
    elapsed = seconds(lambda: script(chosen), device)
    return {"backbone": whose, "files": len(chosen), "batch_size": batch_size, "clips": len(chosen) / elapsed}


def compare(told: dict[str, Any]) -> None:
    """The line of the authors' script, and of SLS against it."""
    found = told["plain"]
    print(
        f"\nSLS by a plain script in the authors' style ({found['backbone']}, double pass, fp32, "
        f"batch {found['batch_size']}, {found['files']} files): {found['clips']:.2f} clips/s"
    )
    for measured in told["passes"]:
        if measured["detector"] == "xlsr-sls":
            found["ratio"] = measured["clips"] / found["clips"]
            print(f"SLS here / plain script: {found['ratio']:.2f} (target {PLAIN_TARGET:g} on a GPU)")


if __name__ == "__main__":
    main()
