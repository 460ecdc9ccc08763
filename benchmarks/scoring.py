"""What the scoring pass costs beside the bare forward pass. Prints ratios measured in one run; asserts nothing.

    python -m benchmarks.scoring [--trials 64] [--rounds 3] [--batch-size 8]

1. trials/s of `bench run` (files on disk to scores on disk) over the bare forward of AASIST on batches that are ready
   in memory; and over a script in the style of the authors' evaluation: load, tile, forward, one file after the other,
   through the plain network (ours folds and tiles it for a CPU, the numbers are the same).
   The three run in turn, so that a drift of the machine meets all; ratios are of one round, the median is shown.
2. The bookkeeping alone: a detector that does nothing on 600,000 trials, from the plan to the finished cell.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import Tensor, nn

from bench import audio, environment, matrix, passes, registry
from bench.models import Facts
from bench.progress import Silent
from bench.scoring import build_model
from bench.workspace import Options, Workspace

SECONDS = (1.5, 6.0)  # durations of the files, uniform; ASVspoof's are about 3.4 s in the mean
BOOKKEEPING_TRIALS = 600_000


class NoOp(nn.Module):
    """Scores nothing: what is left is the harness."""

    def forward(self, facts: Sequence[Facts]) -> Tensor:
        return torch.zeros(len(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=passes.BATCH_SIZES["cpu"])
    parser.add_argument("--workers", type=int, default=passes.default_workers("cpu"))
    arguments = parser.parse_args()
    hardware = environment.hardware("cpu")
    print(f"{hardware['cpu']}, {hardware['cores']} cores, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        compare_pass(Path(folder), arguments.trials, arguments.rounds, arguments.batch_size, arguments.workers)
        bookkeeping(Path(folder))


def compare_pass(folder: Path, trials: int, rounds: int, batch_size: int, workers: int) -> None:
    """The pass, the bare forward and the plain script in turn, on the same files with the same weights."""
    paths = write_corpus(folder, trials)
    card = registry.detectors()["aasist"]
    model = build_model(card.model, card.arguments, card.name).eval()
    torch.save(model.state_dict(), folder / "random.pth")
    write_card(folder, "aasist-random", "extends: aasist\nweights: {file: random.pth, source: '', licence: none}\n")
    plain = build_model(card.model, card.arguments, card.name).eval().requires_grad_(False)
    plain.load_state_dict(model.state_dict())
    waves = [audio.prepare(path, card.audio).wave for path in paths]
    ready = [torch.from_numpy(np.stack(waves[i : i + batch_size])) for i in range(0, trials, batch_size)]

    @torch.inference_mode()
    def bare() -> None:
        for wave in ready:
            model(wave, torch.full((len(wave),), wave.shape[1]))

    def script() -> None:
        # Parameters ask for no gradient, so none is recorded; with gradients enabled the network takes its plain path.
        for path in paths:
            wave, _ = soundfile.read(path, dtype="float32")
            tiled = np.tile(wave, 64_600 // len(wave) + 1)[:64_600]
            plain(torch.from_numpy(tiled)[None], torch.tensor([64_600]))

    def harness() -> None:
        results = Path(tempfile.mkdtemp(dir=folder))
        run(folder, results, "aasist-random", "files", batch_size=batch_size, workers=workers)

    bare()  # warm-up: allocator and thread pool
    times = [[seconds(what) for what in (harness, bare, script)] for _ in range(rounds)]
    rates = [statistics.median(trials / time for time in column) for column in zip(*times, strict=True)]
    over_bare = statistics.median(bare / harness for harness, bare, _ in times)
    over_script = statistics.median(script / harness for harness, _, script in times)
    print(f"aasist, {trials} files, batch {batch_size}, {workers} workers, median of {rounds} rounds")
    for name, rate in zip(("pass, files to scores", "bare forward, ready batches", "plain script"), rates, strict=True):
        print(f"  {name:<28} {rate:8.2f} trials/s")
    print(f"  pass / bare forward          {over_bare:8.3f}   (target 0.95)")
    print(f"  pass / plain script          {over_script:8.3f}   (target 1.5)")


def bookkeeping(folder: Path) -> None:
    ids = pd.Series(np.arange(BOOKKEEPING_TRIALS)).map("T_{:07d}".format)
    labels = np.where(np.arange(BOOKKEEPING_TRIALS) % 9 == 0, "bonafide", "spoof")
    pd.DataFrame({"path": ids + ".flac", "label": labels}).to_csv(folder / "many.csv", index=False)
    write_card(
        folder,
        "no-op",
        "title: no-op\nsummary: ''\nfamily: ''\nlicence: ''\nmodel: benchmarks.scoring:NoOp\naudio: {window: none}\n",
    )
    elapsed = run(folder, folder / "many", "no-op", "many")
    rate = BOOKKEEPING_TRIALS / elapsed
    print(f"bookkeeping, {BOOKKEEPING_TRIALS:,} trials: {rate:,.0f} trials/s   (target 20,000)")


def write_corpus(folder: Path, trials: int) -> list[Path]:
    """Noise with a speech-like spectrum in FLAC files; what is in them does not matter to the clock."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(trials):
        noise = random.standard_normal(int(16_000 * random.uniform(*SECONDS)))
        wave = np.convolve(noise, np.exp(-np.arange(40) / 8), mode="same")
        paths.append(folder / f"{number}.flac")
        soundfile.write(paths[-1], 0.1 * wave / np.abs(wave).max(), 16_000)
    rows = {"path": [path.name for path in paths], "label": ["bonafide", "spoof"] * (trials // 2)}
    pd.DataFrame(rows).to_csv(folder / "files.csv", index=False)
    return paths


def write_card(folder: Path, name: str, fields: str) -> None:
    (folder / "cards").mkdir(exist_ok=True)
    (folder / "cards" / f"{name}.yaml").write_text(f"name: {name}\n{fields}", encoding="utf-8")


def run(
    folder: Path, results: Path, detector: str, dataset: str, batch_size: int | None = None, workers: int | None = None
) -> float:
    """Seconds from a finished plan to finished cells."""
    options = Options(
        data={dataset: folder / f"{dataset}.csv"},
        weights=(folder,),
        results=results,
        cards=folder / "cards",
        device="cpu",
        batch_size=batch_size,
        workers=workers,
    )
    workspace = Workspace(options)
    plan = matrix.plan(workspace, [detector], [dataset])
    started = time.perf_counter()
    (outcome,) = matrix.run(workspace, plan, Silent())
    elapsed = time.perf_counter() - started
    if not outcome.ok:
        raise SystemExit(f"{outcome.as_cell.status}: {outcome.as_cell.reason}")
    return elapsed


def seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
