"""Seconds to read the largest list, ASVspoof 2021 DF with all phases (611,829 rows), from a synthetic key.

    python benchmarks/readers.py [--audio]

`--audio` also makes an (empty) file for every trial, and reads the list and looks for missing files with them there.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench import corpora, registry, trials

ROWS = 611_829
BONA_FIDE = 22_617
T = TypeVar("T")


def make_key(root: Path, rows: int = ROWS) -> list[str]:
    """Write a key, of the real size or a smaller one, under the data root; the ids of its trials."""
    chance = random.Random(0)
    ids = [f"DF_E_{number}" for number in chance.sample(range(2_000_000, 5_000_000), rows)]
    lines = []
    for row, trial in enumerate(ids):
        bona_fide = row * ROWS < rows * BONA_FIDE
        attack, label = ("bonafide", "bonafide") if bona_fide else (f"Task1-team{chance.randrange(1, 34):02}", "spoof")
        vocoder = "bonafide" if bona_fide else "neural_vocoder_nonautoregressive"
        phase = chance.choices(("eval", "progress", "hidden"), (87, 10, 3))[0]
        lines.append(f"TEF{row % 93} {trial} low_m4a vcc2020 {attack} {label} notrim {phase} {vocoder} Task1 - FF E\n")
    chance.shuffle(lines)
    key = root / "asvspoof2021/keys/DF/CM/trial_metadata.txt"
    key.parent.mkdir(parents=True)
    key.write_text("".join(lines))
    return ids


def timed(what: str, work: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = work()
    print(f"{what:<40} {time.perf_counter() - start:6.2f} s")
    return result


def main() -> None:
    card = registry.datasets()["asvspoof2021-df-all"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ids = make_key(root)
        if "--audio" in sys.argv:
            audio = root / "asvspoof2021/ASVspoof2021_DF_eval/flac"
            audio.mkdir(parents=True)
            for trial in ids:
                (audio / f"{trial}.flac").touch()
        dataset = timed("load: read, validate, digest", lambda: corpora.load(card, root))
        timed("  of which validate", lambda: trials.validate(dataset.trials, "key"))
        timed("  of which digest", lambda: trials.digest(dataset.trials))
        missing = timed("missing_audio", lambda: corpora.missing_audio(dataset.trials))
        print(f"{len(dataset.trials):,} trials, {len(missing):,} without audio")


if __name__ == "__main__":
    main()
