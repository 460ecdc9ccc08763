"""A run on a Ray cluster: several nodes simulated on this machine by Ray's own utility."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bench import audio, executors, trainings
from bench.errors import ScoringError, UsageError
from bench.executors import crew
from bench.files import read_parquet
from bench.models import Loss
from bench.progress import Silent
from bench.training import engine
from bench.workspace import Options
from tests.tiny import Tiny, World, log_lines, run_in_child, score_bytes
from tests.training import toys

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'antispoof-bench[ray]'")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),  # sockets that Ray leaves to its exit
]


class Poisoned(Tiny):
    """Where it is built, decoding file 7 kills the process."""

    def __init__(self) -> None:
        super().__init__()
        real = audio.prepare

        def prepare(path: str, *rest: Any) -> audio.Utterance:
            if Path(path).stem == "7":
                os.kill(os.getpid(), signal.SIGKILL)
            return real(path, *rest)

        audio.prepare = prepare  # type: ignore[assignment]


class SlowToy(toys.Toy):
    """In a worker, whose main thread is Ray's, it learns slowly and each step leaves the id of its node in `log`."""

    def __init__(self, log: str, delay: float) -> None:
        super().__init__()
        self.log, self.delay = log, delay

    def loss(self, stage: str, inputs: Sequence[Tensor], labels: Tensor, **options: Any) -> Loss:
        if self.head.training and threading.current_thread() is not threading.main_thread():
            with Path(self.log).open("a") as file:
                file.write(f"{ray.get_runtime_context().get_node_id()}\n")
            time.sleep(self.delay)
        return super().loss(stage, inputs, labels, **options)


class Nodes:
    """The simulated cluster: a head with one CPU, and nodes that come and go."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address

    def add(self) -> Any:
        node = self._cluster.add_node(num_cpus=1, wait=False)
        soon(lambda: len([one for one in ray.nodes() if one["Alive"]]) == 2)
        return node

    def remove(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # Ray's own, of its start
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setattr("bench.executors.crew.LOOK_SECONDS", 0.5)
        arguments = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=arguments)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield Nodes(cluster)
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def on_ray(nodes: Nodes, **options: Any) -> dict[str, Any]:
    return {"executor": "ray", "address": nodes.address, "batch_size": 2, **options}


def soon(happened: Callable[[], bool]) -> None:
    """Wait for something that has to happen."""
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_neither_a_killed_driver_nor_a_lost_node_changes_a_byte(world: World, nodes: Nodes) -> None:
    """Scores, extras and notes are those of this machine; what a killed driver had stored is not scored again."""
    world.dataset("set", range(1, 90))
    (world.data / "audio" / "9.wav").unlink()
    world.detector("slow", arguments={"delay": 0.1, "log": str(world.log)})
    for name in ("extras", "fast"):
        world.detector(name, "WithExtras" if name == "extras" else "Tiny")
    child = multiprocessing.get_context("spawn").Process(
        target=run_in_child, args=(world.root, "slow,extras", "set", 0.2, 0), kwargs=on_ray(nodes)
    )
    child.start()
    soon(lambda: len(list(world.results.rglob("parts/*.parquet"))) > 4)
    child.kill()
    child.join()
    stored = {trial for part in world.results.rglob("slow/*/parts/*.parquet") for trial in read_parquet(part)["trial"]}
    world.given()
    assert 0 < len(stored) < 40
    second = nodes.add()

    def kill() -> None:
        soon(lambda: len(log_lines(world.log)) > 8)
        nodes.remove(second)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = world.run("slow,extras", "set", **on_ray(nodes))
    killer.join()
    again = {str(number) for batch in world.given() for number in batch}
    assert again == {str(number) for number in range(1, 90)} - stored - {"9"}
    manifest = outcomes[0].as_cell.manifest
    assert (manifest["executor"], manifest["hardware"]["devices"], manifest["hardware"]["nodes"]) == ("ray", 2, 2)
    here = world.run("fast,extras", "set", batch_size=2, results=world.root / "here")
    assert [score_bytes(one.as_cell) for one in outcomes] == [score_bytes(one.as_cell) for one in here]


def test_a_file_that_kills_its_decoder_is_named(world: World, nodes: Nodes) -> None:
    """All others are scored first."""
    world.dataset("set", range(1, 13))
    world.detector("det", "tests.executors.test_cluster:Poisoned")
    with pytest.raises(ScoringError, match=r"failed on 3 workers: .*; decoding the file kills the process: ") as caught:
        world.run("det", "set", **on_ray(nodes, workers=1))
    assert caught.value.where == str(world.data / "audio" / "7.wav")
    assert caught.value.remedy == "mend or remove the file, then run again"
    stored = {trial for part in world.results.rglob("parts/*.parquet") for trial in read_parquet(part)["trial"]}
    assert stored >= {str(number) for number in range(1, 13)} - {"7", "8"}


def test_a_training_goes_on_from_what_came_back(world: World, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on a node that is lost on the way and then on another one: the weights of an undisturbed training."""
    for name, seed in (("train", 0), ("dev", 1)):
        made = toys.corpus(world.data, name, 5, 5, seed=seed)
        lines = made.trials[["path", "trial", "label"]].to_csv(index=False)
        (world.data / f"{name}.csv").write_text(lines)
        card = {"reader": "tests.tiny:published_list", "arguments": {"file": f"{name}.csv"}, "obtain": ""}
        world._card(name, card)
    log = world.root / "nodes.log"
    recipe = {"train": "train", "dev": "dev", "seed": 1, "stages": {"body": toys.stage(epochs=8)}}
    model = "tests.executors.test_cluster:SlowToy"
    world.detector(
        "toy", model, audio=toys.AUDIO, arguments={"log": str(log), "delay": 0.2}, recipe=recipe, trained_on=["train"]
    )

    def trained(**options: Any) -> dict[str, bytes]:
        workspace = world.workspace(**options)
        (done,) = trainings.carry_out(workspace, trainings.plan(workspace, ["toy"]), Silent())
        assert done.weights is not None, done.reason
        left = {file.name for file in done.weights.parent.iterdir()}
        assert left <= {"model.safetensors", "last.safetensors", "train.json", "train.log"}
        return toys.final(done.weights.parent)

    def kill() -> None:
        soon(lambda: any(world.results.rglob("state.safetensors")))
        nodes.remove(victim)

    victim = nodes.add()
    first = partial(sorted, key=lambda place: place.node != victim.node_id)  # the order of Ray is any
    monkeypatch.setattr("bench.executors.apprentices.places", lambda kind: first(crew.places(kind)))
    killer = threading.Thread(target=kill)
    killer.start()
    there = trained(**on_ray(nodes))
    killer.join()
    steps = log.read_text().split()
    assert steps[0] == victim.node_id != steps[-1]
    assert steps.count(steps[-1]) < 8 * 3  # not from the beginning
    assert there == trained(results=world.root / "here")
    assert engine.STATE_FILE not in {file.name for file in world.results.rglob("*")}


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "no Ray cluster answers: .*refused"),
        ("ray://127.0.0.1:1", "no Ray cluster answers: .*refused"),
        ("here", "'here' is no address of a cluster"),
    ],
)
def test_an_address_where_nobody_is(address: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error at once, with the remedy."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the connection of the other tests
    with pytest.raises(UsageError, match=told), executors.opened(Options(executor="ray", address=address)):
        pass


def test_a_cluster_picks_its_devices() -> None:
    """It has no single GPU to name."""
    with pytest.raises(UsageError, match=r"a cluster has no device 'cuda:1'\n  remedy: use --device auto, cuda or cpu"):
        executors.opened(Options(executor="ray", device="cuda:1"))


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that tells the extra."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "bench.executors.cluster", raising=False)
    with pytest.raises(UsageError, match=r"Ray is not installed\n.*\n  remedy: pip install 'antispoof-bench\[ray\]'"):
        executors.opened(Options(executor="ray"))
