"""Seconds, memory and size of the site of a large store: built, built again, and built after one cell has changed.

    PYTHONPATH=. python -m benchmarks.report [--detectors 25] [--datasets 12] [--trials 30000] [--keep FOLDER]

The detectors and datasets have the cards of this harness, the scores are random: the numbers mean nothing. Replicates
are kept beside the scores, as `bench run` leaves them; what making them costs is told apart. No corpus, so no audio.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import embeddings, registry, results
from bench.cards import DetectorCard
from bench.cellwriter import CellWriter
from bench.cores import cores
from bench.files import write_parquet
from bench.store import Store
from bench.trials import BONAFIDE, SPOOF, digest, validate

DATASETS = (
    "asvspoof2019-la",
    "asvspoof2021-la",
    "asvspoof2021-df",
    "itw",
    "mlaad-en",
    "deepfake-eval-2024",
    "itw+mp3@64k",
    "itw+noise@15db",
    "itw+reverb",
    "calls",
    "podcasts",
    "broadcast",
)
SPEAKERS, ATTACKS, CODECS = 50, 13, 6
BLOCKED = 0.04  # of the pairs
TARGET_COLD, TARGET_SAME, TARGET_BYTES, TARGET_FRONT = 60.0, 5.0, 2 << 30, 300_000

# What a build of its own process tells: seconds without the start of Python, and the peak of it and of its processes.
BUILD = """
import resource, sys, time
from pathlib import Path
started = time.perf_counter()
from bench.report import write
from bench.files import write_parquet
from bench.store import Store
if __name__ == "__main__":
    written = write(Store(Path(sys.argv[1])), Path(sys.argv[2]))
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = sum(used.ru_utime + used.ru_stime for used in (own, theirs))
    print(busy, written.made, written.kept, own.ru_maxrss, theirs.ru_maxrss, "torch" in sys.modules)
"""


def trial_list(trials: int) -> pd.DataFrame:
    """So many trials, a tenth bona fide, of speakers, attacks and codecs drawn at random."""
    draw = np.random.default_rng(0)
    spoof = np.arange(trials) >= trials // 10
    attacks, speakers, codecs = (draw.integers(1, most + 1, size=trials) for most in (ATTACKS, SPEAKERS, CODECS))
    table = {
        "trial": [f"T_{number:07d}" for number in range(trials)],
        "label": np.where(spoof, SPOOF, BONAFIDE),
        "speaker": [f"S{number:02d}" for number in speakers],
        "attack": np.where(spoof, [f"A{number:02d}" for number in attacks], ""),
        "codec": [f"C{number}" for number in codecs],
    }
    return validate(pd.DataFrame(table), "benchmark")


def facts(name: str, trials: pd.DataFrame) -> dict[str, Any]:
    """What a run would say of a dataset."""
    clean, _, perturbation = name.partition("+")
    card = registry.datasets().cards.get(clean)
    bonafide = int((trials["label"] == BONAFIDE).sum())
    told = {
        "name": name,
        "title": card.title if card else name,
        "summary": card.summary if card else "Random scores for a benchmark.",
        "notes": list(card.notes) if card else [],
        "licence": card.licence if card else "none",
        "digest": digest(trials),
        "trials": len(trials),
        "bonafide": bonafide,
        "spoof": len(trials) - bonafide,
        "counts": None,
        "sibling_of": None,
        "about": [],
        "warnings": [],
    }
    return told | ({"perturbation": perturbation, "clean": clean} if perturbation else {})


def manifest(card: DetectorCard, dataset: dict[str, Any], draw: np.random.Generator) -> dict[str, Any]:
    speed = float(draw.uniform(50, 5000))
    detector = card.model_dump(mode="json")
    if detector["weights"]:
        detector["weights"] |= {"file": f"{card.name}.pt", "sha256": "ab" * 32, "verified": True, "trained": False}
    return {
        "key": hashlib.sha256(f"{card.name} {dataset['name']}".encode()).hexdigest(),
        "scorer": hashlib.sha256(card.name.encode()).hexdigest(),
        "dataset": dataset,
        "detector": detector,
        "leakage": str(draw.choice(["held-out", "held-out", "in-domain", "unknown"])),
        "precision": "fp32",
        "batch_size": 16,
        "timings": {
            "audio_seconds_per_second": round(speed, 2),
            "real_time_factor": round(1 / speed, 6),
            "peak_memory_bytes": 2_000_000_000,
        },
        "versions": {"torch": "2.11.0", "numpy": "2.3.0"},
        "hardware": {"device": "cpu", "name": "a processor"},
        "finished": f"2026-10-{draw.integers(1, 29):02d}T12:00:00+00:00",
    }


def fill(store: Store, detectors: int, datasets: int, trials: int, embedded: int) -> None:
    """Random scores of all pairs but a few that are blocked."""
    table = trial_list(trials)
    cards = list(registry.detectors().cards.values())[:detectors]
    bonafide = (table["label"] == BONAFIDE).to_numpy()
    attacks = pd.factorize(table["attack"])[0]
    speakers = pd.factorize(table["speaker"])[0]
    for number, name in enumerate(DATASETS[:datasets]):
        told = facts(name, table)
        store.write_trials(name, told["digest"], table)
        for place, card in enumerate(cards):
            draw = np.random.default_rng([number, place])
            if draw.random() < BLOCKED:
                store.block(
                    name, card.name, "the weights are not here", f"`bench fetch detectors {card.name}` gets them"
                )
                continue
            hard = draw.normal(0, 0.4, ATTACKS + 1)[attacks] + draw.normal(0, 0.3, SPEAKERS)[speakers]
            scores = draw.normal(size=trials) + draw.uniform(1.0, 3.5) * bonafide + hard
            writer = CellWriter(store, manifest(card, told, draw), table)
            block = pd.DataFrame(
                {"trial": table["trial"], "score": scores, "seconds": draw.uniform(1, 8, trials).round(2), "note": ""}
            )
            writer.add(block)
            cell = writer.finish({})
            if place < embedded:
                assert cell.path is not None
                chosen = embeddings.sample(table)
                rows = draw.normal(size=(ATTACKS + 2, 256))[attacks[chosen]] + draw.normal(size=(chosen.sum(), 256))
                write_parquet(cell.path / embeddings.FILE, embeddings.table(table["trial"][chosen].tolist(), rows))


@contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def build(place: Path, what: str) -> tuple[float, int]:
    """Seconds, start of Python included, and the peak of all processes if all had it at once, in bytes."""
    script = place / "build.py"
    script.write_text(BUILD)
    started = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, script, place / "results", place / "site"], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if ran.returncode:
        raise SystemExit(ran.stderr)
    busy, made, kept, own, theirs, torch = ran.stdout.split()
    peak = (int(own) + cores() * int(theirs)) * 1024
    print(f"{what:38}{seconds:8.1f}{float(busy):12.1f}{made:>8}{kept:>8}{peak / 2**20:10,.0f}{torch:>8}", flush=True)
    return seconds, peak


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("detectors", 25), ("datasets", 12), ("trials", 30_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--embedded", type=int, default=0, help="how many detectors keep embeddings")
    parser.add_argument("--keep", type=Path, help="folder for results and site")
    asked = parser.parse_args(arguments)
    with folder(asked.keep) as place:
        store = Store(place / "results")
        if not store.root.exists():
            fill(store, asked.detectors, asked.datasets, asked.trials, asked.embedded)
        print(f"{asked.detectors} detectors x {asked.datasets} datasets x {asked.trials:,} trials, {cores()} cores")
        for what in ("replicates made", "replicates kept"):
            started = time.perf_counter()
            results.collect(store, breakdowns=False)
            print(f"all cells measured in one process, {what}: {time.perf_counter() - started:.1f} s", flush=True)
        print(f"{'':38}{'seconds':>8}{'of cores':>12}{'made':>8}{'kept':>8}{'MiB':>10}{'torch':>8}")
        shutil.rmtree(place / "site", ignore_errors=True)
        cold, peak = build(place, "all pages")
        same, _ = build(place, "nothing has changed")
        one = next(cell for cell in store.current() if cell.finished)
        store.refresh(one, {"changed": one.manifest.get("changed", 0) + 1})
        build(place, "one cell has changed")
        sizes = [file.stat().st_size for file in (place / "site").rglob("*") if file.is_file()]
        front = (place / "site" / "index.html").stat().st_size
        print(f"index.html {front / 1000:,.0f} kB; the site {sum(sizes) / 1e6:,.1f} MB in {len(sizes):,} files")
        for what, found, target in (
            ("all pages, seconds", cold, TARGET_COLD),
            ("nothing has changed, seconds", same, TARGET_SAME),
            ("peak memory, bytes", peak, TARGET_BYTES),
            ("index.html, bytes", front, TARGET_FRONT),
        ):
            print(f"{what}: {found:,.1f}, target {target:,.0f}: {'met' if found < target else 'MISSED'}")


if __name__ == "__main__":
    main()
