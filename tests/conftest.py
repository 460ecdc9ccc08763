"""Fixtures every test may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import audio, report, terminal
from bench.cards import AudioRecipe
from bench.report.site import Site
from bench.store import Store
from tests import hostile

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real audio, golden outputs and released weights; tests that need it skip with the reason."""
    folder = Path(os.environ.get("BENCH_SHARED", ROOT.parent / "shared"))
    if not (folder / "golden" / "README.txt").is_file():
        pytest.skip(f"no shared corpora and golden outputs at {folder} (set BENCH_SHARED)")
    return folder.resolve()


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """`bench demo` from the shell, in an empty folder, once: that folder, and what was printed."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    script = Path(sys.executable).parent / "bench"
    return folder, subprocess.run([script, "demo"], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of cells of every status, with the names of `tests.hostile`."""
    folder = tmp_path_factory.mktemp("hostile")
    store = Store(folder / "results")
    hostile.fill(store)
    report.write(store, folder / "site", site=Site("https://example.org/board/"), processes=1)
    return folder / "site"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, no BENCH_* of the user, and an output of a fixed width."""
    for name in ("DATA", "WEIGHTS", "RESULTS", "CARDS", "LEADERBOARD"):
        monkeypatch.delenv(f"BENCH_{name}", raising=False)
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr(terminal.out, "width", 160)
    return place


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, in order."""
    files: list[str] = []
    real = audio.prepare

    def prepare(path: str, recipe: AudioRecipe, *rest: Any) -> audio.Utterance:
        files.append(Path(path).stem)
        return real(path, recipe, *rest)

    monkeypatch.setattr(audio, "prepare", prepare)
    return files
