"""What the crew of a cluster makes of what its workers say, without a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.batches import Portion, Portions
from bench.cards import AudioRecipe
from bench.environment import versions
from bench.errors import ScoringError
from bench.executors.handout import Finished, Lost, hand_out
from bench.executors.job import Job
from bench.executors.node import Arrival, Report
from bench.runner import Scored
from bench.scorer import Scorer
from bench.scoring import Done, Failed
from tests.tiny import TILE

pytest.importorskip("ray", reason="Ray is an extra: pip install 'antispoof-bench[ray]'")
from bench.executors import crew  # behind the skip
from bench.executors.crew import Crew, Place


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The actors that are let go; no Ray is asked for anything."""
    actors: list[Any] = []
    monkeypatch.setattr(crew, "ray", SimpleNamespace(put=lambda value: value, kill=actors.append, nodes=lambda: NODES))
    return actors


NODES = [
    {"NodeID": "a" * 56, "NodeManagerAddress": "10.0.0.1", "Alive": True, "Resources": {"CPU": 9.0, "GPU": 2.0}},
    {"NodeID": "b" * 56, "NodeManagerAddress": "10.0.0.2", "Alive": True, "Resources": {"CPU": 4.0}},
    {"NodeID": "c" * 56, "NodeManagerAddress": "10.0.0.3", "Alive": False, "Resources": {"CPU": 4.0}},
    {"NodeID": "d" * 56, "NodeManagerAddress": "10.0.0.4", "Alive": True, "Resources": {}},
]


def of_one(killed: list[Any]) -> tuple[Crew, str, Any]:
    found = Crew("cpu", Job([Scorer("det", "tests.tiny:Tiny", {}, AudioRecipe(**TILE))]), crew.Depot())
    place = Place("a" * 56, "10.0.0.1", None, 4, ())
    member = found._members[place.name] = crew._Member(place, "actor", ready=True)
    return found, place.name, member


def report(*results: Scored | Failed, unreadable: Sequence[str] = (), number: int | None = 0) -> Report:
    return Report([Done(number, results)], unreadable)


def test_a_worker_for_each_gpu_or_each_node(killed: list[Any]) -> None:
    """With its share of the cores; lost nodes, and those without what is asked for, have none."""
    found = [(place.name, place.cpus, place.takes()["num_gpus"]) for place in crew.places("cuda")]
    assert found == [("node 10.0.0.1 (aaaaaaaa, GPU 0)", 4, 1), ("node 10.0.0.1 (aaaaaaaa, GPU 1)", 4, 1)]
    found = [(place.name, place.cpus, place.takes()["num_gpus"]) for place in crew.places("cpu")]
    assert found == [("node 10.0.0.1 (aaaaaaaa)", 9, 0), ("node 10.0.0.2 (bbbbbbbb)", 4, 0)]


def test_a_node_without_the_audio_is_not_used(killed: list[Any]) -> None:
    """A file that is here and not there refuses the node, blames no slice, and is told with node and remedy."""
    company, name, member = of_one(killed)
    found = company._checked(name, member, 0, report(unreadable=[__file__, "/gone.wav"]))
    assert isinstance(found, Lost)
    assert (found.blamed, found.failed, killed) == (False, (), ["actor"])
    assert found.reason == f"{name} is not used: it lacks {__file__}, which is here; let it see the same folders"
    company._looked = float("inf")
    with pytest.raises(ScoringError, match=r"no node of the cluster can score\nnode 10.0.0.1 .* lacks") as caught:
        company.hire()
    assert caught.value.remedy == crew.NOBODY


def test_a_file_that_is_nowhere_is_a_note(killed: list[Any]) -> None:
    """As on this machine."""
    company, name, member = of_one(killed)
    found = company._checked(name, member, 3, report(unreadable=["/gone.wav"]))
    assert (isinstance(found, Finished), killed) == (True, [])


@pytest.mark.parametrize(("number", "details", "again"), [(0, "Traceback", True), (None, "", True), (0, "", False)])
def test_what_may_be_the_machines_fault_is_tried_elsewhere(
    number: int | None, details: str, again: bool, killed: list[Any]
) -> None:
    """A defect, or a detector that could not be built; not what the harness itself says of its scores."""
    company, name, member = of_one(killed)
    failed = Failed("det", ScoringError("no"), details)
    found = company._checked(name, member, 3, report(failed, number=number))
    assert found == Lost(name, "no", [failed]) if again else isinstance(found, Finished)
    assert killed == (["actor"] if again else [])


def test_libraries_of_other_versions_are_told() -> None:
    """Builds of one version for another CUDA are alike."""
    there = {**versions(), "torch": versions()["torch"].partition("+")[0] + "+cu999"}
    assert crew.mismatch(Arrival(there, [])) == ""
    assert crew.mismatch(Arrival({**there, "numpy": "1.0"}, [])) == f"it has numpy 1.0, this machine {there['numpy']}"


class Flaky:
    """Two workers in turn; `defects` many calls fail by a detector's own defect."""

    def __init__(self, defects: int) -> None:
        self.defects, self.log = defects, list[tuple[str, int]]()
        self.held: deque[tuple[str, int, Sequence[Portion]]] = deque()

    def hire(self) -> Collection[str]:
        return ["a", "b"]

    def send(self, worker: str, slice: int, portions: Sequence[Portion]) -> None:
        self.held.append((worker, slice, portions))

    def wait(self) -> Iterator[Finished | Lost]:
        worker, number, portions = self.held.popleft()
        self.log.append((worker, number))
        if self.defects and "det" in portions[0].detectors:
            self.defects -= 1
            self.held = deque(one for one in self.held if one[0] != worker)
            yield Lost(worker, "defect", [Failed("det", ScoringError("broken"), "Traceback")])
            return
        done = [
            Done(one.number, tuple(Scored(d, pd.DataFrame({"trial": one.trials}), 0.0) for d in one.detectors))
            for one in portions
        ]
        yield Finished(worker, number, done)

    def first_bad(self, portions: Sequence[Portion]) -> str:
        return ""


@pytest.mark.parametrize(("defects", "fails"), [(1, False), (9, True)])
def test_a_detector_fails_where_it_fails_twice(defects: int, fails: bool) -> None:
    """At one slice, on two workers; else every trial is scored once, and the other detectors' always are."""
    trials = pd.DataFrame({"trial": list("tuvw"), "path": ""})
    plan = Portions(trials, np.split(np.arange(4), 4), ["det", "other"])
    flaky = Flaky(defects)
    results = [result for done in hand_out(plan, flaky) for result in done.results]
    scored = [(r.detector, t) for r in results if isinstance(r, Scored) for t in r.block["trial"]]
    assert sorted(t for name, t in scored if name == "other") == list("tuvw")
    assert sorted(t for name, t in scored if name == "det") == ([] if fails else list("tuvw"))
    assert [r.error.what for r in results if isinstance(r, Failed)] == ["broken"] * fails
    assert {worker for worker, number in flaky.log if number == 0} == {"a", "b"}
