"""Fixtures every test may use: the shared folder of real corpora and golden outputs, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real audio, golden outputs and released weights; tests that need it skip with the reason."""
    folder = Path(os.environ.get("BENCH_SHARED", ROOT.parent / "shared"))
    if not (folder / "golden" / "README.txt").is_file():
        pytest.skip(f"no shared corpora and golden outputs at {folder} (set BENCH_SHARED)")
    return folder.resolve()
