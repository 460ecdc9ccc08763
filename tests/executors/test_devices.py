"""A process for each device: the same bytes as in one, and a process that dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import audio, environment
from bench.batches import Portion
from bench.cards import AudioRecipe
from bench.environment import pick_devices
from bench.errors import ScoringError, UsageError
from bench.executors import devices, opened
from bench.executors.devices import Devices, _work
from bench.executors.job import Job
from bench.executors.local import Local
from bench.files import read_parquet
from bench.scorer import Scorer
from bench.workspace import Options
from tests.tiny import World


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are there at once, as they need not import torch again."""
    real = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: real("fork"))
    monkeypatch.setattr(devices, "LEAVE_SECONDS", 0.1)  # forks hold both ends of their pipe and do not see its end


def test_two_processes_score_as_one_does(tmp_path: Path) -> None:
    """The bytes of scores.parquet, of two detectors, one of which fails alone; the manifest says who did it."""
    world = World(tmp_path)
    world.dataset("set", range(1, 61))
    world.detector("det", "WithExtras")
    world.detector("bad", "RaisesAt", arguments={"at": 17})
    expected = world.scores("det", "set", batch_size=3, results=tmp_path / "one")
    good, bad = world.run("det,bad", "set", batch_size=3, device="cpu,cpu")
    assert good.cell is not None and good.cell.path is not None
    assert (good.cell.path / "scores.parquet").read_bytes() == expected
    assert bad.as_cell.reason == "ValueError: cannot digest 17 (detector bad)"
    assert good.cell.manifest["executor"] == "devices"
    assert good.cell.manifest["hardware"]["devices"] == 2
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_costs_nothing(tmp_path: Path, forked: None) -> None:
    """Killed in the middle of the run: the other one does its share, and the bytes are the same."""
    world = World(tmp_path)
    world.dataset("set", range(1, 41))
    world.detector("plain")
    world.detector("det", arguments={"delay": 0.05, "log": str(world.log)})
    expected = world.scores("plain", "set", batch_size=2)
    executor_score = Devices.score
    killed: list[int] = []

    def killing(self: Devices, *given: object) -> object:
        for count, done in enumerate(executor_score(self, *given)):  # type: ignore[arg-type]  # passed on
            if count == 3:
                child = multiprocessing.active_children()[0]
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
                killed.append(child.pid)
            yield done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Devices, "score", killing)
        found = world.scores("det", "set", batch_size=2, device="cpu,cpu")
    assert found == expected and len(killed) == 1


def test_a_file_that_kills_its_decoder_is_named(tmp_path: Path, forked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are started again, all other trials are scored, and the error tells which file it was."""
    real = audio.prepare

    def prepare(path: str, *rest: Any) -> audio.Utterance:
        if Path(path).stem in ("7", "207"):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, *rest)

    monkeypatch.setattr(audio, "prepare", prepare)
    world = World(tmp_path)
    world.dataset("set", [*range(1, 31), 107, 207])
    world.detector("det")
    told = "4 trials failed on 3 workers: decoding ended: a decode process died"
    with pytest.raises(ScoringError, match=told) as caught:
        world.run("det", "set", batch_size=2, device="cpu,cpu", workers=1)
    assert caught.value.where == str(world.data / "audio" / "7.wav")
    assert caught.value.remedy == "mend or remove the file, then run again"
    stored = {trial for part in world.results.rglob("parts/*.parquet") for trial in read_parquet(part)["trial"]}
    assert stored == {str(number) for number in range(1, 31)} - {"7", "8"}


def test_what_a_device_option_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is every GPU; several are named with commas, each once, the processor as often as one likes."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for count, expected in ((1, ("cuda",)), (3, ("cuda:0", "cuda:1", "cuda:2"))):
        monkeypatch.setattr("torch.cuda.device_count", lambda count=count: count)
        assert pick_devices("auto") == expected
    assert pick_devices("cuda:0, cuda:2") == ("cuda:0", "cuda:2")
    assert pick_devices("cpu,cpu") == ("cpu", "cpu")
    for wrong in ("cuda:1,cuda:1", "cuda,cuda:0", "cpu,cuda:0"):
        with pytest.raises(UsageError, match="cannot score together") as caught:
            pick_devices(wrong)
        assert caught.value.remedy == "name each GPU once, or the CPU alone"


def test_the_executor_that_options_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process for one device, processes for several; memory and calls are those of a device."""
    one, two = opened(Options(device="cpu")), opened(Options(device="cpu,cpu"))
    assert isinstance(one, Local) and isinstance(two, Devices)
    assert [(each.name, each.kind, each.workers) for each in (one, two)] == [("local", "cpu", 1), ("devices", "cpu", 2)]
    monkeypatch.setattr(environment, "memory_bytes", lambda device: 100)
    assert (one.memory_bytes(), two.memory_bytes()) == (100, 50)
    assert two.call(lambda number, device: (number, device), 3) == one.call(lambda number, device: (number, device), 3)


def test_slices_larger_than_a_pipe_holds_do_not_lock_up() -> None:
    """A worker that is sending takes slices all the same, so that both ends never wait for each other."""
    scorer = Scorer("random", "bench.models.probes:Random", {}, AudioRecipe(window="none"))
    ids = np.array([f"T_{number:0100d}" for number in range(20_000)], dtype=object)
    portion = Portion(0, ids, ids, [None] * len(ids), np.zeros(len(ids), dtype=bool), ("random",))
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def work() -> None:
        here.close()  # a fork has both ends
        _work(Job([scorer]), "cpu", 1, 0, there)

    process = context.Process(target=work)
    process.start()
    there.close()

    def send() -> None:
        for number in range(3):
            here.send((number, [portion]))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(timeout=10)
    assert not sender.is_alive()
    assert [here.recv()[0] for _ in range(3)] == [0, 1, 2]
    here.close()
    process.join(timeout=10)
    assert process.exitcode == 0
