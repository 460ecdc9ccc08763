"""Training on pieces of files: a clip is that of a file of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench.cards import AudioRecipe
from bench.recipes import Pieces
from bench.training.loading import Clips
from bench.trials import validate

RATE = 22_050
CUTS = ((0.0, 0.4), (0.4, 0.8), (0.8, 1.3))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pieces of one file, and files of their samples under the same ids."""
    folder = tmp_path_factory.mktemp("pieces")
    wave = np.random.default_rng(0).normal(0, 3_000, round(1.3 * RATE)).astype(np.int16)
    soundfile.write(folder / "all.wav", wave, RATE)
    cut, own = [], []
    for start, stop in CUTS:
        row = {"trial": f"all/{start}", "label": "spoof"}
        soundfile.write(folder / f"{start}.wav", wave[round(start * RATE) : round(stop * RATE)], RATE)
        last = "" if stop == 1.3 else str(stop)
        cut.append({**row, "path": str(folder / "all.wav"), "start": str(start), "stop": last})
        own.append({**row, "path": str(Path(folder) / f"{start}.wav")})
    return validate(pd.DataFrame(cut), "list"), validate(pd.DataFrame(own), "list")


@pytest.mark.parametrize("crop", ["first", "random"])
@pytest.mark.parametrize("pieces", [None, Pieces(longest=0.3, seconds=(0.1, 0.2))], ids=["whole", "pieces"])
@pytest.mark.parametrize("window", ["tile", "pad", "whole"])
def test_a_clip_of_a_piece_is_that_of_a_file_of_its_own(
    window: str, pieces: Pieces | None, crop: str, lists: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """The same samples and random draws, to the last bit, in whatever order they are asked for."""
    samples = None if window == "whole" else 4_000
    recipe = AudioRecipe.model_validate({"window": window, "samples": samples, "epsilon": 1e-7})
    cut, own = (Clips(trials, recipe, draw=(1, "epoch"), crop=crop, pieces=pieces) for trials in lists)
    for row in (2, 0, 1):
        ((wave, length),) = cut.clips(row)
        ((expected, real),) = own.clips(row)
        np.testing.assert_array_equal(wave, expected)
        assert length == real
