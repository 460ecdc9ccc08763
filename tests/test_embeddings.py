"""Embeddings: which trials have one, that they are kept through a kill, and that no score is another for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench import embeddings, passes
from bench import trials as trial_table
from bench.embeddings import sample
from bench.errors import ScoringError, StoreError
from bench.executors.local import Local
from bench.files import write_parquet
from bench.models import Output
from bench.models.aasist import AASIST
from bench.models.antideepfake import AntiDeepfake
from bench.models.lfcc_lcnn import LfccLcnn
from bench.models.linear_probe import LinearProbe
from bench.models.rawnet2 import RawNet2
from bench.models.slim import Slim
from bench.models.sls import SLS
from bench.models.ssl_aasist import SSLAASIST
from bench.models.two_stage import TwoStageXLSR
from bench.models.wav2vec2 import Backbone
from bench.registry import detectors
from bench.trials import BONAFIDE, SPOOF
from tests.tiny import World

BACKBONE = {"layers": 2, "width": 32, "feed_forward": 64, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}


def trials_of(bonafide: int, attacks: dict[str, int]) -> pd.DataFrame:
    spoof = [name for name, count in attacks.items() for _ in range(count)]
    labels = [BONAFIDE] * bonafide + [SPOOF] * len(spoof)
    ids = [f"t{row}" for row in range(len(labels))]
    return pd.DataFrame({"trial": ids, "label": labels, "attack": [""] * bonafide + spoof})


def test_the_sample_is_even_over_classes_and_attacks() -> None:
    """Half of each class; of the spoofed an equal share of each attack, all of one that has fewer."""
    trials = trials_of(3_000, {"A": 2_000, "B": 500, "C": 10})
    chosen = trials[sample(trials)]
    assert chosen["attack"].value_counts().to_dict() == {"": 200, "A": 95, "B": 95, "C": 10}


def test_a_class_that_is_short_leaves_its_place_to_the_other() -> None:
    """All of a small class are taken, and the sample is full all the same."""
    trials = trials_of(30, {"A": 1_000})
    assert trials[sample(trials)]["label"].value_counts().to_dict() == {SPOOF: 370, BONAFIDE: 30}


@settings(max_examples=25)
@given(st.integers(0, 30), st.lists(st.integers(1, 9), max_size=5), st.integers(1, 40), st.randoms())
def test_the_sample_follows_from_the_list_and_not_from_its_order(
    bonafide: int, attacks: list[int], size: int, random: Random
) -> None:
    """So many trials, or all; the same ones whatever order they stand in."""
    trials = trials_of(bonafide, {f"A{number}": count for number, count in enumerate(attacks)})
    chosen = sample(trials, size)
    assert chosen.sum() == min(size, len(trials))
    order = np.array(random.sample(range(len(trials)), len(trials)), dtype=int)
    assert (sample(trials.iloc[order].reset_index(drop=True), size) == chosen[order]).all()
    with pytest.MonkeyPatch.context() as patch:  # nor on how many ids are looked at a time
        patch.setattr(trial_table, "PIECE_ROWS", 3)
        assert (sample(trials, size) == chosen).all()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Ten files, of which six are sampled, and a part after every batch."""
    monkeypatch.setattr(passes, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(embeddings, "sample", partial(sample, size=6))
    world = World(tmp_path)
    world.dataset("set", range(1, 11))
    return world


def stored(world: World, detector: str = "det") -> dict[str, list[float]]:
    table = world.cell(detector, "set", batch_size=2).embeddings()
    assert table is not None
    return {trial: [float(one) for one in row] for trial, row in zip(table["trial"], table["embedding"], strict=True)}


def test_a_cell_keeps_those_of_its_sample(world: World) -> None:
    """In half precision, in the order of the list; what that cannot hold is its largest number."""
    world.detector("det", "WithEmbedding")
    found, trials = stored(world), world.cell("det", "set").scores()["trial"].tolist()
    assert len(found) == 6
    assert list(found) == [trial for trial in trials if trial in found]
    number = trials.index(next(iter(found))) + 1
    assert next(iter(found.values())) == [number, -number, 65_504.0]


def test_scores_are_the_same_bytes_with_and_without(world: World) -> None:
    """A detector that also gives embeddings stores the scores, to the byte, of one that does not."""
    world.detector("det", "WithEmbedding")
    world.detector("plain", "Tiny")
    assert world.scores("det", "set") == world.scores("plain", "set")
    assert world.cell("plain", "set").embeddings() is None


def test_a_killed_run_keeps_what_it_had(world: World) -> None:
    """After an interrupt and another run there are as many embeddings as without it, each once."""
    world.detector("whole", "WithEmbedding")
    expected = stored(world, "whole")
    world.detector("det", "WithEmbedding")
    real = Local.score
    with pytest.MonkeyPatch.context() as patch:

        def dying(*given: Any) -> Iterator[Any]:
            for count, item in enumerate(real(*given)):
                if count == 3:
                    raise ScoringError("killed")
                yield item

        patch.setattr(Local, "score", dying)
        with pytest.raises(ScoringError, match="killed"):
            world.run("det", "set", batch_size=2)
    assert stored(world) == expected
    cell = world.cell("det", "set", batch_size=2)
    assert cell.path is not None and not (cell.path / "parts").exists()


def test_an_embedding_of_another_shape_ends_the_cell(world: World) -> None:
    """One row of numbers a trial, or the detector is told."""
    world.detector("det", "WithEmbedding", arguments={"flat": True})
    reason = world.cell("det", "set", batch_size=10).reason
    assert reason == "the embedding has shape (10,) for 10 trials (det)"


@pytest.mark.parametrize("damage", [b"no parquet", b""])
def test_damaged_embeddings_are_told(world: World, damage: bytes) -> None:
    """The error names the file, and that no score is lost with it."""
    world.detector("det", "WithEmbedding")
    cell = world.cell("det", "set")
    assert cell.path is not None
    (cell.path / embeddings.FILE).write_bytes(damage)
    with pytest.raises(StoreError, match=r"embeddings\.parquet(.|\n)*the scores are not touched"):
        cell.embeddings()


@pytest.mark.parametrize(
    ("trials", "rows"),
    [
        (["a", "b"], [np.zeros(2, np.float16), np.zeros(3, np.float16)]),
        (["a", "b"], [np.array(["x"]), np.array(["y"])]),
        ([1, 2], [np.zeros(2, np.float16)] * 2),
    ],
)
def test_what_is_no_embeddings_is_refused(tmp_path: Path, trials: list[Any], rows: list[np.ndarray]) -> None:
    """A map needs rows of one length, of numbers, and names of trials."""
    write_parquet(tmp_path / embeddings.FILE, pd.DataFrame({"trial": trials, "embedding": rows}))
    with pytest.raises(StoreError, match="no embeddings of one length"):
        embeddings.read(tmp_path)


def slim() -> Slim:
    card = detectors()["slim"].arguments
    layers = {"style_layers": [0, 1], "linguistics_layers": [1, 1]}
    return Slim(**{**card, **layers, "encoder": BACKBONE, "mlp": [16, 8], "attention": 8})


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "aasist": (lambda: AASIST(**detectors()["aasist-l"].arguments), "out_layer"),
    "ssl-aasist": (lambda: SSLAASIST(BACKBONE), "out_layer"),
    "sls": (lambda: SLS(BACKBONE, 16), "fc3"),
    "rawnet2": (lambda: RawNet2(**detectors()["rawnet2-la"].arguments), "fc2_gru"),
    "two-stage": (lambda: TwoStageXLSR(BACKBONE), "classifier.3"),
    "linear probe": (lambda: LinearProbe(BACKBONE), "linear"),
    "antideepfake": (lambda: AntiDeepfake(BACKBONE), "proj_fc"),
    "lfcc-lcnn": (LfccLcnn, "m_output_act.0"),
    "slim": (slim, "head"),
}


@pytest.mark.parametrize("name", MODELS)
def test_an_embedding_is_what_the_last_layer_takes(name: str) -> None:
    """The very input of the named layer, row by row."""
    make, layer = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, Backbone):
            module.initialise(0)
    taken: list[Tensor] = []
    model.get_submodule(layer).register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    with torch.inference_mode():
        count = 64_600 if name == "sls" else 16_000  # its head fits one number of frames
        output = model(torch.randn(2, count), torch.tensor([count, count]))
    assert isinstance(output, Output) and output.embedding is not None
    assert output.embedding.shape[0] == 2 and output.embedding.isfinite().all()
    assert torch.equal(output.embedding, taken[0])
