"""Files that a worker could not cope with."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bench import audio
from bench.batches import Portions
from bench.cards import AudioRecipe
from bench.executors.job import Job
from bench.executors.suspects import deadly, unreachable, unreadable
from bench.runner import Scored
from bench.scorer import Scorer
from bench.scoring import Done
from bench.shards import Member
from tests.tiny import TILE, World


def test_files_and_shards_that_are_not_here(tmp_path: Path) -> None:
    """Loose files, members of local shards and of those at an address; a store that does not answer has none."""
    here = tmp_path / "a.wav"
    here.touch()
    MemoryFileSystem().pipe("/packs/0.tar", b"x")
    there = [str(here), Member(str(here), 0, 1, 0, "m.wav").path, Member("memory://packs/0.tar", 0, 1, 0, "m.wav").path]
    gone = [str(tmp_path / "b.wav"), Member("memory://packs/1.tar", 0, 1, 0, "m.wav").path, "", str(tmp_path)]
    assert unreachable([*there, *gone]) == gone
    assert unreachable(["shard://nonsense://x/y.tar#0+1:00000000/m.wav"]) != []


def test_only_files_with_a_note_are_suspected() -> None:
    """A file that was read and is gone by now is none; nor is one that is here and damaged."""
    trials = pd.DataFrame({"trial": ["a", "b", "c"], "path": ["/gone/a.wav", "/gone/b.wav", __file__]})
    portions = list(Portions(trials, [np.arange(3)], ["det"]))
    block = pd.DataFrame({"trial": ["a", "b", "c"], "note": ["the file is missing", "", "no audio"]})
    assert unreadable(portions, [Done(0, (Scored("det", block, 0.0),))]) == ["/gone/a.wav"]


def test_the_file_that_ends_its_process_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name; nothing where all can be decoded, or refused in peace."""
    world = World(tmp_path)
    paths = [str(world.audio(number)) for number in range(1, 8)]
    Path(paths[2]).write_text("no audio")
    trials = pd.DataFrame({"trial": paths, "path": paths})
    portions = list(Portions(trials, np.array_split(np.arange(7), 3), ["det"]))
    job = Job([Scorer("det", "tests.tiny:Tiny", {}, AudioRecipe(**TILE))])
    assert deadly(portions, job) == ""
    real = audio.prepare

    def prepare(path: str, *rest: Any) -> audio.Utterance:
        if path == paths[4]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, *rest)

    monkeypatch.setattr(audio, "prepare", prepare)
    assert deadly(portions, job) == paths[4]
