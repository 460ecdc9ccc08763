"""Memory a file and files a second of `bench doctor`.

    python -m benchmarks.doctor [--data-root FOLDER] [--trials 200000 600000]

Memory: synthetic lists, in a process of its own each, with a decoder that returns a hundredth of a second of noise, so
that what grows is what the audit keeps. Speed: every corpus found under the data root, as it is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench import audio, corpora
from bench.cards import DatasetCard
from bench.corpora import Dataset
from bench.doctor.corpus import Member, examine_family
from bench.doctor.facts import FACTS
from bench.errors import Blocked
from bench.progress import Silent
from bench.trials import validate
from bench.workspace import Options, Workspace

RATE = 16_000


def listed(trials: int) -> Dataset:
    """A list of files that do not exist, one of ten bona fide."""
    ids = [f"LA_E_{number:07}" for number in range(trials)]
    table = pd.DataFrame(
        {
            "trial": ids,
            "path": [f"/nowhere/asvspoof2021/ASVspoof2021_DF_eval/flac/{trial}.flac" for trial in ids],
            "label": ["spoof" if number % 10 else "bonafide" for number in range(trials)],
        }
    )
    card = DatasetCard(name="d", title="d", summary="d", licence="none", reader="a:b", obtain="nothing to do")
    return Dataset(card, validate(table, "here"), "0" * 64, ())


def stub(path: str | Path) -> audio.Decoded:
    """A hundredth of a second that depends on the name."""
    seed = int(Path(path).stem[5:])
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, RATE // 100).astype(np.float32)
    return audio.Decoded(wave, RATE, "soundfile")


def held(what: str) -> int:
    """Bytes that this process holds (`VmRSS`), or has held at most (`VmHWM`); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


def remember(trials: int, answers: multiprocessing.Queue[tuple[int, int, float]]) -> None:
    """Bytes held before the audit, the most held in it, seconds."""
    audio.decode_whole = stub
    audio.header = lambda path: audio.Header(0.01, RATE, 1)
    corpora.missing_audio = lambda trials: []
    dataset = listed(trials)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of making the list
    before, started = held("VmRSS"), time.perf_counter()
    (audit,) = examine_family([Member(dataset, True)], Silent())
    assert audit.healthy and audit.files == trials
    answers.put((before, held("VmHWM"), time.perf_counter() - started))


def memory(sizes: list[int]) -> None:
    print(
        f"state kept of a recording: {FACTS.itemsize} bytes, {FACTS.itemsize + 8} with its file and its place in a list"
    )
    context = multiprocessing.get_context("spawn")
    found = []
    for trials in sizes:
        answers = context.Queue()
        process = context.Process(target=remember, args=(trials, answers))
        process.start()
        before, after, seconds = answers.get()
        process.join()
        found.append((trials, before, after))
        print(
            f"{trials:>9,} files: {before / 1e6:.1f} MB before the audit, {after / 1e6:.1f} MB at most in it, "
            f"{trials / seconds:,.0f} files/s"
        )
    (few, few_before, few_after), (many, many_before, many_after) = found[0], found[-1]
    if many > few:
        grown = (many_after - many_before) - (few_after - few_before)
        print(f"bytes a file that the audit adds: {grown / (many - few):.0f}")


def speed(root: Path) -> None:
    workspace = Workspace(Options(data_root=root))
    for name in workspace.datasets.names:
        try:
            dataset = workspace.dataset(name)
        except Blocked:
            continue
        started = time.perf_counter()
        (audit,) = examine_family([Member(dataset, True)], Silent())
        elapsed = time.perf_counter() - started
        print(f"{name}: {audit.files:,} files, {audit.files / elapsed:,.0f} files/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--trials", type=int, nargs="*", default=[200_000, 600_000])
    options = parser.parse_args()
    if options.trials:
        memory(options.trials)
    if options.data_root:
        speed(options.data_root)


if __name__ == "__main__":
    main()
