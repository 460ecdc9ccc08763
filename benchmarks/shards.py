"""Reading a corpus loose, as tar shards and as parquet shards: files and megabytes a second, and their ratios.

    python -m benchmarks.shards [--files 600] [--rounds 3] [--data-root DIR --dataset NAME] [--remote]

Without a dataset it makes noise of 4 s in FLAC, which compresses badly and so is larger than speech. Batches of 64, in
the order of the list and shuffled, with decoding (one thread) and without. All is in the page cache: what is measured
is what a form costs beside the disk. `--remote` also reads through fsspec (memory://), which has no network in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec
import numpy as np
import soundfile

from bench import audio
from bench.corpora import Dataset
from bench.progress import Silent
from bench.shards import member
from bench.shards.packing import Form, pack
from bench.shards.reading import content, fetch
from bench.workspace import Options, Workspace

BATCH = 64
FORMS: tuple[Form, ...] = ("tar", "parquet")


def synthetic(root: Path, count: int) -> Path:
    """A folder with real/ and fake/ of so many files of noise, 16 kHz, FLAC of 16 bits."""
    random = np.random.default_rng(0)
    for number in range(count):
        place = root / ("real" if number % 2 else "fake") / f"{number:06}.flac"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, 0.05 * random.standard_normal(64_000), 16_000, subtype="PCM_16")
    return root


def raw(path: str) -> int:
    packed = member(path)
    return len(Path(path).read_bytes() if packed is None else content(path, packed))


def decoded(path: str) -> int:
    return len(audio.decode(path)[0])


def seconds(paths: Sequence[str], read: Callable[[str], int]) -> float:
    start = time.perf_counter()
    for first in range(0, len(paths), BATCH):
        batch = paths[first : first + BATCH]
        with fetch(batch):
            for path in batch:
                read(path)
    return time.perf_counter() - start


def upload(folder: Path, address: str) -> str:
    for place in folder.iterdir():
        with fsspec.open(f"{address}/{place.name}", "wb") as file:
            file.write(place.read_bytes())
    return address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--dataset", default="noise")
    parser.add_argument("--remote", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data: dict[str, Path | str] = {}
        if chosen.data_root is None:
            data[chosen.dataset] = synthetic(Path(scratch) / "noise", chosen.files)

        def dataset(**place: Path | str) -> Dataset:
            places = {**data, **place}
            return Workspace(Options(data_root=chosen.data_root or Path(scratch), data=places)).dataset(chosen.dataset)

        loose = dataset()
        forms = {"loose": loose}
        for form in FORMS:
            start = time.perf_counter()
            folder = pack(loose, Path(scratch) / form, Silent(), form=form, shard_bytes=10**8).folder
            print(f"packed as {form} in {time.perf_counter() - start:.2f} s")
            forms[form] = dataset(**{chosen.dataset: folder})
        if chosen.remote:
            forms["tar, memory://"] = dataset(**{chosen.dataset: upload(Path(scratch) / "tar", "memory://pack")})
        size = sum(Path(path).stat().st_size for path in loose.trials["path"].unique()) / 1e6
        print(
            f"{loose.name}: {len(loose.trials):,} files, {size:,.1f} MB, batches of {BATCH}, best of {chosen.rounds}\n"
        )
        show(forms, size, chosen.rounds)


def show(forms: dict[str, Dataset], size: float, rounds: int) -> None:
    order = np.random.default_rng(1).permutation(len(forms["loose"].trials))
    print(f"{'':<10}{'order':<10}{'form':<16}{'files/s':>10}{'MB/s':>10}{'to loose':>10}")
    for name, read in (("bytes", raw), ("decoded", decoded)):
        for shuffled in (False, True):
            paths = {form: one.trials["path"].to_numpy() for form, one in forms.items()}
            best = dict.fromkeys(forms, float("inf"))
            for _ in range(rounds):  # in turn: a machine that gets slower gets slower for all
                for form, own in paths.items():
                    best[form] = min(best[form], seconds((own[order] if shuffled else own).tolist(), read))
            for form, took in best.items():
                rates = f"{len(order) / took:>10,.0f}{size / took:>10,.1f}{best['loose'] / took:>10.2f}"
                print(f"{name:<10}{'shuffled' if shuffled else 'list':<10}{form:<16}{rates}")


if __name__ == "__main__":
    main()
