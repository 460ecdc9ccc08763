"""The public Python API: the names of `bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from bench.errors import Blocked, UsageError
from bench.gate import Gate
from bench.models import Facts
from bench.results import as_json
from bench.store import Store
from tests.tiny import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.dataset("d", range(6))
    made.detector("det", arguments={"log": str(made.log)})
    return made


def options(world: World, **more: Any) -> dict[str, Any]:
    """Places as a user writes them: strings."""
    places = {"data_root": world.data, "results": world.results, "cards": world.cards, "weights": world.root}
    return {**{name: str(place) for name, place in places.items()}, "device": "cpu", "workers": 0, **more}


def test_what_is_public() -> None:
    """`bench` exports seven names, each with a docstring, and importing it loads neither torch nor pandas."""
    assert bench.__all__ == ["check", "evaluate", "load_dataset", "load_detector", "run", "score", "train"]
    assert all(getattr(bench, name).__doc__ for name in bench.__all__)
    code = "import sys, bench; print({'torch', 'pandas', 'sklearn'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_run(world: World) -> None:
    """`run` returns the results of the pairs asked for, in order of datasets and detectors, and stores them."""
    found = bench.run(["random", "d*t"], ["d"], **options(world))
    assert [(result.cell.detector, result.cell.dataset, result.cell.status) for result in found] == [
        ("random", "d", "complete"),
        ("det", "d", "complete"),
    ]
    labels = [n % 2 for n in range(6)]
    told = bench.evaluate(found[1].cell.scores()["score"].to_numpy(), labels)
    not_of_these = dict.fromkeys(("act_dcf", "cllr", "min_tdcf_2019", "min_tdcf_2021"))
    assert found[1].metrics == told | not_of_these
    assert as_json(found)["cells"][1]["eer"] == told["eer"]
    world.given()
    bench.run("det", "d", **options(world))
    assert world.given() == [], "finished cells are not scored again"


def test_one_name_is_a_list_of_one(world: World) -> None:
    """A string stands for itself, never for its letters; places may be paths or strings, `data` too."""
    place = world.corpus("own", range(20, 24))
    found = bench.run("det", "mine", **options(world, data={"mine": str(place)}, weights=[world.root]))
    assert [(result.cell.dataset, result.trials) for result in found] == [("mine", 4)]


def test_blocked_pairs_are_in_the_list(world: World) -> None:
    """What cannot run is a result without metrics and with its reason; the rest runs."""
    blocked, scored = bench.run("aasist,random", "d", **options(world))
    assert (blocked.cell.status, blocked.metrics, blocked.digest) == ("blocked", None, "")
    assert "AASIST.pth" in blocked.cell.reason
    assert scored.metrics is not None


def test_a_sample(world: World) -> None:
    """`limit` gives the sample that `load_dataset` gives under the same name and digest."""
    (found,) = bench.run("random", "d", **options(world, limit=4))
    sample = bench.load_dataset("d", **options(world, limit=4))
    assert (sample.name, sample.digest, len(sample.trials)) == ("d:4", found.digest, 4)


def test_check(world: World, tmp_path: Path) -> None:
    """The verdicts on the cells of a results folder; without one everything accepted is missing."""
    world.cell("det", "d")
    file = tmp_path / "leaderboard.yml"
    gate = Gate(Store(world.results), file, make=True)
    gate.accept(gate.check())
    assert [verdict.kind for verdict in bench.check(str(file), str(world.results))] == ["identical"]
    assert [verdict.kind for verdict in bench.check(file, tmp_path / "nowhere")] == ["missing"]


def test_load_dataset(world: World) -> None:
    """`load_dataset` is the trial list; what is not here raises `Blocked` with the remedy."""
    dataset = bench.load_dataset("d", **options(world))
    assert dataset.trials["trial"].tolist() == [str(n) for n in range(6)]
    assert dataset.trials["label"].tolist() == ["spoof", "bonafide"] * 3
    with pytest.raises(Blocked, match="release_in_the_wild"):
        bench.load_dataset("itw", **options(world))


def test_load_detector(world: World) -> None:
    """`load_detector` is a network in evaluation mode, with its weights; an untrained one says how to train it."""
    network = bench.load_detector("random", **options(world))
    assert not network.training
    assert network([Facts("LA_E_1", None, None, None)]).shape == (1,)
    world.detector("trained", "Trainable", arguments={"log": str(world.log)}, recipe={"train": "d"})
    with pytest.raises(Blocked, match=r"trained is not trained yet\n.*`bench train trained` trains it"):
        bench.load_detector("trained", **options(world))
    (made,) = bench.train("trained", **options(world))
    assert (made.state, made.weights is not None and made.weights.is_file()) == ("trained", True)
    weight = bench.load_detector("trained", **options(world)).state_dict()["weight"]
    assert weight.item() == pytest.approx((1 + 3 + 5) / 3 / 32768)


def test_released_weights(shared: Path) -> None:
    """A released detector comes with its weights: another one of the same card scores a wave the same."""
    weights = shared / "golden" / "weights"
    first, second = (bench.load_detector("aasist-l", weights=weights, device="cpu") for _ in range(2))
    wave = torch.randn(1, 64_600, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scores = [network(wave, torch.tensor([64_600])).scores for network in (first, second)]
    assert scores[0].shape == (1,)
    assert torch.equal(*scores)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda given: bench.run("dett", "d", **given), "did you mean det"),
        (lambda given: bench.load_detector("aasist-x", **given), "did you mean aasist"),
        (lambda given: bench.load_dataset("it-w", **given), "did you mean itw"),
        (lambda given: bench.train("dett", **given), "did you mean det"),
        (lambda given: bench.run("det", "d", **given, train="always"), "`train` cannot be 'always'"),
        (lambda given: bench.run("det", "d", **given, datadir="x"), "no option is called 'datadir'\n.*data_root"),
        (lambda given: bench.run("det", "d", **{**given, "device": "tpu"}), "tpu"),
    ],
)
def test_names_that_cannot_be_meant(call: Any, told: str, world: World) -> None:
    """Unknown detectors, datasets, options and devices are `UsageError`, with the nearest names."""
    with pytest.raises(UsageError, match=told):
        call(options(world))
