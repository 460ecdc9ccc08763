"""Peak memory of a run over a long list beside one over a short list, with a detector that does nothing.

    python -m benchmarks.memory

Each run is a process of its own, from the plan to the finished cell as `bench run` does it. The lists are one of the
user's own (a table with a path and a label) and the key of ASVspoof 2021 DF, both synthetic. Asserts nothing.

What grows is the list itself: every letter of its ids, paths and attributes is a byte, and a trial 8 more a column. The
key of DF has 14 columns, so that its list alone takes more than the target leaves.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import environment, matrix
from bench.models import Facts
from bench.progress import Silent
from bench.workspace import Options, Workspace
from benchmarks import readers

SHORT = 10_000  # trials
LONG = {"own-list": 600_000, "asvspoof2021-df-all": readers.ROWS}
TARGET = 1.2
CARD = "name: no-op\ntitle: no-op\nsummary: ''\nfamily: ''\nlicence: ''\nmodel: benchmarks.memory:NoOp\n"


class NoOp(nn.Module):
    """Scores nothing, and lies here so that a run loads no other benchmark: what is left is the harness."""

    def forward(self, facts: Sequence[Facts]) -> Tensor:
        return torch.zeros(len(facts))


def main() -> None:
    for name, trials in LONG.items():
        print(name)
        peaks = []
        for rows in (SHORT, trials):
            with tempfile.TemporaryDirectory(prefix="bench-memory-") as place:
                alone(write, Path(place), name, rows)
                peaks.append(alone(peak, Path(place), name))
            print(f"  {rows:>9,} trials {peaks[-1] / 2**20:9.0f} MiB")
        print(f"  {'ratio':<16} {peaks[1] / peaks[0]:9.3f}   (target at most {TARGET})")


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own, which has held no memory before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def write(folder: Path, name: str, rows: int) -> None:
    """The list, and a card of the detector."""
    (folder / "cards").mkdir()
    (folder / "cards" / "no-op.yaml").write_text(f"{CARD}audio: {{window: none}}\n")
    if name == "asvspoof2021-df-all":
        readers.make_key(folder, rows)
        return
    with (folder / f"{name}.csv").open("w") as table:
        table.write("path,label\n")
        table.writelines(f"T_{row:07d}.flac,{'spoof' if row % 9 else 'bonafide'}\n" for row in range(rows))


def peak(folder: Path, name: str) -> int:
    """Bytes that this process has held at most when the cell is finished."""
    own = folder / f"{name}.csv"
    places = {name: own} if own.is_file() else {}
    options = Options(folder, places, results=folder / "results", cards=folder / "cards", device="cpu")
    workspace = Workspace(options)
    (outcome,) = matrix.run(workspace, matrix.plan(workspace, ["no-op"], [name]), Silent())
    if not outcome.ok:
        raise SystemExit(f"{outcome.as_cell.status}: {outcome.as_cell.reason}")
    return environment.peak_memory_bytes("cpu")


if __name__ == "__main__":
    main()
