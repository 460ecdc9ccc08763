"""The matrix: what a run plans, what a cell's key holds, what survives a kill, a defect or a damaged file."""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import bench
from bench import matrix, passes, results, training
from bench.batches import Portions
from bench.cards import DetectorCard
from bench.cellwriter import CellWriter
from bench.errors import BenchError, DataError, ScoringError, StoreError, UsageError
from bench.executors.local import Local
from bench.files import read_parquet, write_json
from bench.imports import import_scores
from bench.progress import Silent
from bench.store import Store
from bench.trials import digest
from bench.weights import sha256_of
from tests.tiny import TILE, WHOLE, Trainable, World, files_below, log_lines, run_in_child, score_bytes


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def logging(world: World) -> World:
    """With a detector `det` that writes down what it is given, and a dataset `set` of the files 1 to 10."""
    world.detector("det", arguments={"log": str(world.log)})
    world.dataset("set", range(1, 11))
    return world


def stored_trials(folder: Path) -> set[str]:
    """What the parts of a cell hold."""
    return {trial for part in folder.glob("parts/*.parquet") for trial in read_parquet(part)["trial"]}


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_cell_records_everything_that_made_it(logging: World) -> None:
    """Scores by trial; card, dataset, key, counts, versions, hardware and timings in cell.json; no host name."""
    cell = logging.cell("det", "set", batch_size=4)
    table = cell.scores()
    assert table["trial"].tolist() == [str(number) for number in range(1, 11)]
    assert table["score"].tolist() == pytest.approx([math.sin(n) for n in range(1, 11)], abs=0)
    assert table["seconds"].tolist() == [0.005] * 10
    about = cell.manifest
    assert (about["status"], about["scored"], about["failed"]) == ("complete", 10, 0)
    assert (about["precision"], about["batch_size"], about["workers"], about["imported"]) == ("fp32", 4, 0, False)
    assert about["detector"]["model"] == "tests.tiny:Tiny"
    assert about["detector"]["audio"] == {"rate": 16000, "window": "tile", "samples": 64, "epsilon": None}
    counts = {"trials": 10, "bonafide": 5, "spoof": 5}
    names = {
        "name": "set",
        "title": "set",
        "licence": "MIT",
        "digest": digest(table.assign(label=["bonafide", "spoof"] * 5)),
    }
    assert about["dataset"].items() >= {**names, **counts}.items()
    assert torch.__version__.startswith(about["versions"]["torch"])
    assert about["timings"]["trials"] == 10
    assert about["timings"]["audio_seconds"] == 0.05
    assert about["timings"]["forward_seconds"] > 0
    assert (len(about["key"]), about["key"][:12]) == (64, cell.path.name if cell.path else "")
    text = json.dumps(about)
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4
    assert str(logging.root) not in text.replace(str(logging.log), "")


def test_the_same_command_again_scores_nothing(logging: World) -> None:
    """The pair is done, no file is read, and no byte of the cell changes."""
    cell = logging.cell("det", "set")
    assert logging.given() == [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10]]
    assert cell.path is not None
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files_below(cell.path)}
    assert [pair.state for pair in logging.plan("det", "set")] == ["done"]
    (outcome,) = logging.run("det", "set")
    assert (outcome.planned.state, outcome.ok, outcome.cell) == ("done", True, cell)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files_below(cell.path)} == before
    assert logging.given() == []


def test_a_plan_writes_nothing(logging: World) -> None:
    """Not even the results folder."""
    assert [(pair.state, pair.dataset_name, pair.missing) for pair in logging.plan("det", "set")] == [
        ("score", "set", 0)
    ]
    assert not logging.results.exists()


def test_the_python_interface_runs_the_same_matrix(logging: World) -> None:
    """`bench.run` gives results with numbers, and those of the same cell the second time."""
    options = {"data_root": logging.data, "cards": logging.cards, "results": logging.results, "device": "cpu"}
    (first,) = bench.run(["det"], ["set"], **options)
    (second,) = bench.run(["det"], ["set"], **options)
    assert first == second
    assert first.metrics is not None
    assert first.metrics["n_bonafide"] == 5
    assert len(bench.load_dataset("set", data_root=logging.data, cards=logging.cards).trials) == 10
    assert not bench.load_detector("det", cards=logging.cards, device="cpu").training


@pytest.mark.parametrize("audio", [TILE, WHOLE], ids=["tile", "whole"])
def test_the_number_of_workers_changes_no_byte(world: World, audio: Mapping[str, Any]) -> None:
    """scores.parquet of 0, 1 and 2 decode processes is the same file."""
    world.dataset("set", range(1, 14))
    world.detector("det", "WithExtras", audio=audio)
    contents = {world.scores("det", "set", workers=n, results=world.root / str(n), batch_size=3) for n in (0, 1, 2)}
    assert len(contents) == 1


def test_equal_recipes_share_a_pass_and_different_ones_do_not(world: World, decoded: list[str]) -> None:
    """Each file is decoded once for two detectors of one recipe, once more for another window."""
    world.dataset("set", range(1, 6))
    for name, window in (("a", TILE), ("b", TILE), ("c", {"window": "tile", "samples": 65}), ("d", {"window": "none"})):
        world.detector(name, "FactsSum" if name == "d" else "Tiny", audio=window)
    outcomes = world.run("a,b,c,d", "set")
    assert [outcome.ok for outcome in outcomes] == [True] * 4
    assert sorted(decoded) == sorted([str(number) for number in range(1, 6)] * 2)
    assert [outcome.as_cell.detector for outcome in outcomes] == ["a", "b", "c", "d"]


class Recorder(Silent):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.begun: list[str] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, what: str, total: int) -> None:
        self.begun.append(what)
        self.total += total

    def advance(self, count: int) -> None:
        self.done += count


def test_progress_counts_each_missing_score_once(logging: World) -> None:
    """Also where a batch is computed again of which most is known; warnings of the dataset are noted."""
    logging.dataset("set", range(1, 11), counts={"trials": 9, "bonafide": 5, "spoof": 5})
    logging.audio(5).write_text("no audio")
    display = Recorder()
    for expected in (10, 1):
        workspace = logging.workspace()
        matrix.run(workspace, matrix.plan(workspace, ["det"], ["set"]), display)
        assert (display.done, display.total) == (expected, expected)
        display.done = display.total = 0
    assert display.begun == ["set: det"] * 2
    assert display.notes == ["warning: set is not the published list: trials 10 (published 9)"] * 2


# --- kills ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., ForkServerProcess]]:
    """Starts `run_in_child` in a process; those that still live are killed at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tiny"])
    with pytest.MonkeyPatch.context() as patch:  # else the server does not find it, and each child imports torch anew
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
        ensure_running()
    started: list[ForkServerProcess] = []

    def start(world: World, flush_seconds: float = 0.0, workers: int = 0) -> ForkServerProcess:
        process = context.Process(target=run_in_child, args=(world.root, "det", "set", flush_seconds, workers))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
        process.close()


class Slow(World):
    """24 files in 12 batches, one of them damaged; `expected` is what an undisturbed run writes."""

    def __init__(self, root: Path, delay: float) -> None:
        super().__init__(root)
        self.dataset("set", range(1, 25))
        self.audio(11).write_text("no audio")
        self.detector("det", "WithExtras")
        self.expected = self.scores("det", "set", batch_size=2, results=root / "undisturbed")
        self.detector("det", "WithExtras", arguments={"log": str(self.log), "delay": delay})


def wait_for(condition: Callable[[], bool], process: ForkServerProcess) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        assert process.is_alive()
        time.sleep(0.002)


@pytest.mark.parametrize("flush_seconds", [0.0, 0.06])
def test_a_run_killed_at_any_moment_goes_on(
    tmp_path: Path, start: Callable[..., ForkServerProcess], flush_seconds: float
) -> None:
    """SIGKILL, again and again: the store is readable after each, only batches of which something was not stored are
    computed again, and the final bytes are those of an undisturbed run."""
    world, moments = Slow(tmp_path, 0.02), random.Random(1)
    (folder,) = [world.workspace().store.cell_folder("set", "det", pair.key) for pair in world.plan("det", "set")]
    stored: set[str] = set()
    computed: list[list[int]] = []
    kills = 0

    def again(given: list[list[int]]) -> list[list[int]]:
        """Batches that were stored; that of the damaged file is tried again once the cell was finished."""
        retried = [[12]] if (folder / "scores.parquet").exists() else []
        return [batch for batch in given if {str(number) for number in batch} <= stored and batch not in retried]

    for _ in range(5):
        process = start(world, flush_seconds)
        wait_for(lambda process=process: world.log.exists() or not process.is_alive(), process)  # type: ignore[misc]  # mypy infers no type for a default bound in a loop
        time.sleep(moments.uniform(0, 0.08))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        given = world.given()
        assert not again(given)
        computed += given
        (cell,) = world.workspace().store.current()
        if cell.finished:
            stored = {str(number) for number in range(1, 25)}
            break
        stored = stored_trials(folder)
        assert cell.reason == f"interrupted or still running: {len(stored)} of 24 trials are stored"
    assert kills >= 3
    final = world.cell("det", "set", batch_size=2)
    assert not again(world.given())
    assert score_bytes(final) == world.expected
    assert (final.status, final.manifest["scored"]) == ("incomplete", 23)
    assert final.path is not None
    assert sorted(path.name for path in final.path.iterdir() if path.suffix != ".part") == [
        "cell.json",
        "scores.parquet",
    ]
    if flush_seconds == 0:  # at most the batch in hand is lost by a kill
        assert len(computed) <= 12 + kills


def test_two_runs_on_one_store_do_not_disturb_each_other(
    tmp_path: Path, start: Callable[..., ForkServerProcess]
) -> None:
    """Both end well and so does a third that starts in between, one is killed, and the bytes are the same."""
    world = Slow(tmp_path, 0.01)
    first, victim = start(world, workers=1), start(world)
    wait_for(lambda: len(log_lines(world.log)) > 6, victim)
    third = start(world)
    victim.kill()
    for process in (first, third):
        process.join()
        assert process.exitcode == 0
    assert score_bytes(world.cell("det", "set", batch_size=2)) == world.expected


def test_ctrl_c_stores_what_was_scored(tmp_path: Path, start: Callable[..., ForkServerProcess]) -> None:
    """A real SIGINT long before the next part is due; what was scored is not scored again."""
    world = Slow(tmp_path, 0.05)
    process = start(world, 1000.0)
    wait_for(lambda: len(log_lines(world.log)) >= 4, process)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join()
    assert process.exitcode == 1
    given = world.given()
    (cell,) = world.workspace().store.current()
    assert cell.status == "running"
    assert cell.path is not None
    assert stored_trials(cell.path) >= {str(number) for batch in given[:3] for number in batch}
    assert score_bytes(world.cell("det", "set", batch_size=2)) == world.expected
    assert [batch for batch in world.given() if batch in given[:3]] == []


def test_an_interrupt_inside_a_batch_loses_that_batch_alone(world: World) -> None:
    """`KeyboardInterrupt` passes through, for every detector of the pass the batches before it are stored."""
    world.dataset("set", range(1, 11))
    world.detector("a", arguments={"log": str(world.log)})
    world.detector("b", "InterruptedAt", arguments={"at": 7, "flag": str(world.root / "flag"), "log": str(world.log)})
    with pytest.raises(KeyboardInterrupt):
        world.run("a,b", "set", batch_size=2)
    world.given()
    assert [outcome.ok for outcome in world.run("a,b", "set", batch_size=2)] == [True, True]
    assert sorted(world.given()) == [[7, 8], [7, 8], [9, 10], [9, 10]]


def test_a_dead_decode_process_stores_what_was_scored(logging: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error ends the run, the next one goes on."""
    real = Local.score

    def dying(*given: Any) -> Iterator[Any]:
        for count, item in enumerate(real(*given)):
            if count == 3:
                raise ScoringError("decoding ended: killed")
            yield item

    with monkeypatch.context() as patch, pytest.raises(ScoringError, match="decoding ended"):
        patch.setattr(Local, "score", dying)
        logging.run("det", "set", batch_size=2)
    logging.given()
    assert logging.cell("det", "set", batch_size=2).status == "complete"
    assert logging.given() == [[7, 8], [9, 10]]


# --- damaged and missing audio --------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [TILE, WHOLE], ids=["tile", "whole"])
@pytest.mark.parametrize("damage", ["text", "absent"])
def test_a_file_that_cannot_be_decoded_leaves_the_cell_without_a_number(
    logging: World, damage: str, window: Mapping[str, Any]
) -> None:
    """Recorded with its reason; a number only with `allow_missing`; mended, its batch alone is computed again."""
    logging.detector("det", audio=window, arguments={"log": str(logging.log)})
    place = logging.audio(5)
    place.unlink()
    if damage == "text":
        place.write_text("no audio")
    (planned,) = logging.plan("det", "set")
    assert (planned.state, planned.missing) == ("score", int(damage == "absent"))

    (outcome,) = logging.run("det", "set", batch_size=2)
    cell = outcome.as_cell
    assert (cell.status, outcome.ok) == ("incomplete", False)
    why = "no decoder reads this file" if damage == "text" else "the file is missing"
    assert cell.reason.startswith(f"1 of 10 files could not be scored; {why}")
    assert cell.reason.endswith(str(place))
    assert cell.remedy == "mend the files and run again, or accept what is there with --allow-missing"
    assert results.evaluate_cell(logging.workspace().store, cell).metrics is None
    assert cell.scores()["score"].isna().tolist() == [number == 5 for number in range(1, 11)]

    logging.given()
    (allowed,) = logging.run("det", "set", batch_size=2, allow_missing=True)
    assert (allowed.ok, allowed.as_cell.status) == (True, "incomplete")
    assert results.evaluate_cell(logging.workspace().store, allowed.as_cell).metrics is not None
    assert [pair.state for pair in logging.plan("det", "set", allow_missing=True)] == ["done"]
    assert len(logging.given()) <= 1

    assert logging.audio(5) == place
    (mended,) = logging.run("det", "set", batch_size=2)
    assert (mended.ok, mended.as_cell.status, mended.as_cell.reason) == (True, "complete", "")
    (batch,) = logging.given()
    assert 5 in batch
    fresh = logging.scores("det", "set", batch_size=2, results=logging.root / "fresh")
    assert score_bytes(mended.as_cell) == fresh


def test_a_mended_file_with_a_bad_score_costs_no_other_score(world: World) -> None:
    """The retry fails and says so; taken away again, the scores of before are still there."""
    world.dataset("set", range(1, 11))
    world.detector("det", "NotFiniteAt", arguments={"at": 5, "log": str(world.log)})
    world.audio(5).unlink()
    assert world.cell("det", "set", batch_size=2).status == "incomplete"
    world.audio(5)
    assert world.cell("det", "set", batch_size=2).reason == "the score of trial '5' is not finite (detector det)"
    world.audio(5).unlink()
    world.given()
    assert world.cell("det", "set", batch_size=2).status == "incomplete"
    assert world.given() == [[6]]


def test_a_killed_run_keeps_the_reason_of_a_file_it_could_not_read(logging: World) -> None:
    """The note is in a part, the run that finishes the cell never saw the file."""
    logging.audio(1).write_text("no audio")
    workspace = logging.workspace(batch_size=2)
    (pair,) = matrix.plan(workspace, ["det"], ["set"])
    executor = Local("cpu")
    stopped = passes.Pass(workspace, [pair], executor, Silent())
    portions = Portions(stopped._dataset.trials, stopped._batches[:1], ["det"])
    for done in executor.score(stopped._job(stopped._scorers), portions):
        stopped._take(done)
    stopped._flush()
    assert logging.cell("det", "set", batch_size=2).reason.startswith("1 of 10 files could not be scored; no decoder")
    assert logging.given() == [[2], [3, 4], [5, 6], [7, 8], [9, 10]]


def test_a_dataset_without_any_audio_is_blocked(logging: World) -> None:
    """With the first path and what to get; a detector that opens no file does not mind."""
    logging.dataset("empty", range(21, 25), audio=False)
    logging.detector("blind", "FactsSum", audio={"window": "none"})
    heard, blind = logging.run("det,blind", "empty")
    cell = heard.as_cell
    assert (heard.ok, heard.cell, cell.status, cell.path) == (False, None, "blocked", None)
    assert cell.reason == f"none of the 4 audio files of empty is here, the first is {logging.data}/audio/21.wav"
    assert cell.remedy == "get empty from its author"
    assert (blind.ok, blind.as_cell.status) == (True, "complete")


# --- defects of detectors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "arguments", "reason", "details"),
    [
        ("NotFiniteAt", {"at": 7}, "the score of trial '7' is not finite (detector bad)", ""),
        ("RaisesAt", {"at": 7}, "ValueError: cannot digest 7 (detector bad)", "Traceback (most recent call last)"),
        ("WrongShape", {}, "score has shape (2, 1) for 2 trials (bad)", ""),
        ("NotBuilt", {}, "ValueError: this module wants a licence key (detector bad)", "wants a licence key"),
    ],
)
def test_a_defect_fails_its_cell_alone(
    world: World, model: str, arguments: dict[str, Any], reason: str, details: str
) -> None:
    """Status failed, the reason in one line, the traceback of a defect in cell.json, and the others are complete."""
    world.dataset("set", range(1, 11))
    world.detector("good", arguments={"log": str(world.log)})
    world.detector("bad", model, arguments=arguments)
    bad, good = world.run("bad,good", "set", batch_size=2)
    assert (bad.ok, bad.as_cell.status, bad.as_cell.reason) == (False, "failed", reason)
    assert bad.as_cell.path is not None
    written = json.loads((bad.as_cell.path / "cell.json").read_text())
    assert (details in written["details"]) if details else written["details"] == ""
    assert (good.ok, good.as_cell.status) == (True, "complete")
    world.given()
    again, _ = world.run("bad,good", "set", batch_size=2)
    assert (again.as_cell.status, again.as_cell.reason, world.given()) == ("failed", reason, [])


def test_a_failed_cell_goes_on_where_it_failed(world: World) -> None:
    """The scores before the defect are kept: trying again costs the failing batch."""
    world.dataset("set", range(1, 11))
    world.detector("det", "RaisesAt", arguments={"at": 7, "log": str(world.log)})
    for expected in ([[1, 2], [3, 4], [5, 6], [7, 8]], [[7, 8]]):
        assert world.cell("det", "set", batch_size=2).status == "failed"
        assert world.given() == expected


def test_out_of_memory_changes_no_score(world: World) -> None:
    """The bytes are those of a detector that fits, and the run goes on with half of the batch."""
    world.dataset("set", range(1, 14))
    world.detector("fits")
    expected = world.scores("fits", "set")
    for name, host in (("gpu", False), ("host", True)):
        world.detector(name, "OutOfMemory", arguments={"most": 3, "host": host})
        assert world.scores(name, "set", batch_size=8) == expected
    world.detector("huge", "OutOfMemory", arguments={"most": 0, "host": False})
    cell = world.cell("huge", "set")
    assert cell.reason == "one trial alone does not fit into memory (detector huge on cpu)"
    assert cell.remedy == "use another --device, or a machine with more memory"


# --- keys -----------------------------------------------------------------------------------------------------------


def test_files_of_the_users_own_are_part_of_the_key(logging: World) -> None:
    """Size or modification time of one makes another cell, which is the current one; of a published corpus not."""
    own = {"data": {"own": logging.corpus("mine", range(1, 5))}}
    keys = [logging.cell("det", "own", **own).key]
    assert [pair.state for pair in logging.plan("det", "own", **own)] == ["done"]
    logging.cell("det", "set")
    logging.audio(3, frames=160)
    keys.append(logging.cell("det", "own", **own).key)
    os.utime(logging.data / "audio" / "3.wav", (1, 1))
    keys.append(logging.cell("det", "own", **own).key)
    assert len(set(keys)) == 3
    assert [cell.key for cell in logging.workspace().store.current() if cell.dataset == "own"] == keys[-1:]
    assert [pair.state for pair in logging.plan("det", "set")] == ["done"]


def test_a_changed_card_is_another_cell_and_the_old_one_stays(logging: World) -> None:
    """Back to the old card, the old cell counts again and nothing is scored; what it says of the card is of today."""
    first = logging.cell("det", "set")
    logging.detector("det", arguments={"log": str(logging.log), "scale": 2.0})
    second = logging.cell("det", "set")
    assert (first.key != second.key, len(logging.given())) == (True, 4)
    logging.detector("det", arguments={"log": str(logging.log)}, licence="another")
    again = logging.cell("det", "set")
    assert (again.key, again.manifest["finished"]) == (first.key, first.manifest["finished"])
    assert (first.manifest["detector"]["licence"], again.manifest["detector"]["licence"]) == ("MIT", "another")
    store = logging.workspace().store
    assert (logging.given(), [cell.key for cell in store.current()]) == ([], [first.key])
    assert len(store.cells()) == 2


def test_code_that_cannot_be_imported_blocks_its_detector_alone(logging: World) -> None:
    """Among others it is blocked with the reason, and the others run."""
    logging.detector("det-broken", "nowhere:Net")
    outcomes = {outcome.planned.card.name: outcome for outcome in logging.run("det*", "set")}
    assert (outcomes["det"].ok, outcomes["det-broken"].ok) == (True, True)
    assert outcomes["det-broken"].as_cell.reason.startswith("nowhere:Net cannot be loaded: ModuleNotFoundError")


# --- samples and siblings -------------------------------------------------------------------------------------------


def test_a_sample_is_a_dataset_of_its_own(logging: World) -> None:
    """NAME:N with another digest and folder, both classes in it; the cell of the whole is not touched."""
    logging.dataset("lopsided", [2, 4, 6, 8, 10, 3])
    for limit, count in ((1, 2), (3, 3), (5, 5)):
        cell = logging.cell("det", "lopsided", limit=limit)
        assert (cell.dataset, cell.status, len(cell.scores())) == (f"lopsided:{limit}", "complete", count)
        assert cell.manifest["dataset"]["bonafide"] == 1
        assert cell.path is not None
        assert cell.path.parent.parent == logging.results / f"lopsided%3A{limit}"
        assert logging.cell("det", "lopsided", limit=limit) == cell
    digests = {cell.manifest["dataset"]["digest"] for cell in logging.workspace().store.current()}
    assert len(digests) == 3
    whole = logging.cell("det", "lopsided", limit=6)
    assert (whole.dataset, len(whole.scores())) == ("lopsided", 6)
    assert whole.manifest["dataset"]["digest"] not in digests


def test_siblings_share_the_scores_of_the_trials_they_share(logging: World) -> None:
    """A phase after the whole corpus computes nothing, the whole after a phase what is new, others share nothing."""
    logging.dataset("part", [3, 4, 5], sibling_of="set")
    logging.dataset("more", [4, 5, 11, 12], sibling_of="set")
    logging.dataset("stranger", [3, 4])
    whole, part = logging.cell("det", "set", batch_size=2), logging.cell("det", "part", batch_size=2)
    assert [len(batch) for batch in logging.given()] == [2] * 5
    expected = whole.scores().set_index("trial").loc[["3", "4", "5"]].reset_index()
    assert part.scores().equals(expected)
    assert part.key != whole.key
    more = logging.cell("det", "more", batch_size=2)
    assert (logging.given(), more.scores()["trial"].tolist()) == ([[11, 12]], ["4", "5", "11", "12"])
    logging.cell("det", "stranger")
    assert logging.given() == [[3, 4]]


def test_scores_of_another_scorer_or_of_own_files_are_not_shared(logging: World) -> None:
    """Another argument is another scorer; a user's own file may be another recording under the same name."""
    logging.dataset("part", [3, 4], sibling_of="set")
    logging.dataset("own", [3, 4], sibling_of="set", reader="bench.corpora.protocol_csv:read")
    logging.cell("det", "set")
    logging.given()
    logging.cell("det", "own")
    assert logging.given() == [[3, 4]]
    logging.detector("det", arguments={"log": str(logging.log), "scale": 3.0})
    logging.cell("det", "part")
    assert logging.given() == [[3, 4]]


# --- perturbed datasets ---------------------------------------------------------------------------------------------


def test_a_perturbed_dataset_has_cells_of_its_own(logging: World) -> None:
    """The same trials and digest, scored anew under every perturbation, once; nothing is shared, not among siblings."""
    logging.dataset("part", [3, 4], sibling_of="set")
    clean, noisy = logging.cell("det", "set"), logging.cell("det", "set+noise@-10db")
    assert len(logging.given()) == 4
    assert clean.manifest["dataset"]["digest"] == noisy.manifest["dataset"]["digest"]
    assert noisy.manifest["dataset"]["perturbation"] == "noise@-10db"
    assert (noisy.manifest["dataset"]["clean"], noisy.dataset) == ("set", "set+noise@-10db")
    assert noisy.path is not None
    assert noisy.path.parent.parent == logging.results / "set%2Bnoise%40-10db"
    assert (clean.scores()["score"] != noisy.scores()["score"]).sum() > 5
    assert logging.cell("det", "set+noise@-10db") == noisy
    assert logging.given() == []
    scores = logging.cell("det", "part+trim").scores()["score"].tolist()  # constant samples: nothing to trim
    assert (scores, logging.given()) == ([math.sin(3), math.sin(4)], [[3, 4]])
    assert logging.cell("det", "part").scores()["score"].tolist() == scores
    assert logging.given() == [], "the clean part has the scores of the clean whole"


def test_what_is_wrong_with_a_list_is_told_once(logging: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for each perturbation of it."""
    logging.dataset("part", [3, 4], counts={"trials": 3, "bonafide": 2, "spoof": 1})
    told: list[str] = []
    monkeypatch.setattr(Silent, "note", lambda _, text: told.append(text))
    logging.run("det", "part,part+trim,part+noise@15db")
    assert told == ["warning: part is not the published list: trials 2 (published 3), bonafide 1 (published 2)"]


def test_a_detector_that_reads_no_samples_is_blocked_on_a_perturbed_dataset(logging: World) -> None:
    """Its scores would be the clean ones under another name; it blocks a run only where it was named."""
    logging.detector("header", "FactsSum", {"window": "facts"})
    logging.detector("nothing", "FactsSum", {"window": "none"})
    outcomes = logging.run("header,nothing,det", "set+trim")
    assert [(each.planned.state, each.ok) for each in outcomes] == [("blocked", False)] * 2 + [("score", True)]
    told = outcomes[0].as_cell
    assert (told.reason, told.remedy) == (
        "header reads no samples: trim changes nothing that it is given",
        "score it on set",
    )
    (pair,) = logging.plan("head*", "set+trim", limit=4)
    assert (pair.named, pair.dataset_name, pair.remedy) == (False, "set+trim:4", "score it on set")


def test_scores_made_elsewhere_of_a_perturbed_dataset_are_imported(logging: World) -> None:
    """As those of any other list."""
    file = logging.root / "scores.txt"
    file.write_text("".join(f"{number} {number / 10}\n" for number in range(1, 11)))
    cell, _ = import_scores(logging.workspace(), file, "ours", "set+mp3@64k")
    assert (cell.dataset, cell.status) == ("set+mp3@64k", "complete")
    assert (cell.manifest["dataset"]["perturbation"], cell.manifest["dataset"]["clean"]) == ("mp3@64k", "set")


# --- seeds ----------------------------------------------------------------------------------------------------------


class Seeded(Trainable):
    """Scores that follow from the seed as wildly as those of a network do."""

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return torch.sin(wave[:, 0].double() * 32768 * self.weight.double())


@pytest.fixture
def trained(world: World) -> World:
    """With a detector `det` whose recipe has seed 3, and one without a recipe."""
    world.dataset("train", range(11, 15))
    world.dataset("set", range(1, 21))
    world.detector("det", __name__ + ":Seeded", arguments={"log": str(world.log)}, recipe={"train": "train", "seed": 3})
    world.detector("plain")
    return world


def fits(world: World) -> int:
    lines = world.log.read_text().splitlines() if world.log.exists() else []
    world.log.unlink(missing_ok=True)
    return len(lines)


def test_each_seed_has_its_weights_and_its_cell(trained: World) -> None:
    """The recipe's own and those that follow it; a detector without a recipe runs once."""
    assert [(pair.label, pair.state) for pair in trained.plan("det,plain", "set", seeds=3)] == [
        *((f"det (seed {seed})", "train") for seed in (3, 4, 5)),
        ("plain", "score"),
    ]
    outcomes = trained.run("det,plain", "set", seeds=3)
    assert [outcome.ok for outcome in outcomes] == [True] * 4
    assert fits(trained) == 3
    cells = [outcome.as_cell for outcome in outcomes[:3]]
    assert len({cell.key for cell in cells}) == 3
    assert [cell.detector for cell in cells] == ["det"] * 3
    weights = [cell.manifest["detector"]["weights"] for cell in cells]
    assert [found["seed"] for found in weights] == [3, 4, 5]
    assert len({found["recipe_key"] for found in weights}) == len({found["sha256"] for found in weights}) == 3
    assert {cell.manifest["detector"]["recipe"]["seed"] for cell in cells} == {3}, "the card stays as it is"
    assert [pair.state for pair in trained.plan("det,plain", "set", seeds=4)] == ["done"] * 3 + ["train", "done"]


def test_seeds_share_a_pass(trained: World, decoded: list[str]) -> None:
    """Files are decoded once for all of them, beside other detectors of the recipe; progress names the seeds."""
    trained.run("det", "set", seeds=2)
    trained.dataset("more", range(21, 27))
    decoded.clear()
    workspace, display = trained.workspace(seeds=2), Recorder()
    outcomes = matrix.run(workspace, matrix.plan(workspace, ["det,plain"], ["more"]), display)
    assert sorted(decoded) == [str(number) for number in range(21, 27)]
    assert (display.begun, display.done) == (["more: det (seed 3), det (seed 4), plain"], 18)
    first, second, _ = (outcome.as_cell.scores()["score"].tolist() for outcome in outcomes)
    assert first != second


def test_the_pair_is_its_band_until_a_run_without_seeds(trained: World) -> None:
    """The store tells all cells of the last run; the next run of one seed makes it a single cell again."""
    outcomes = trained.run("det", "set", seeds=3)
    keys = [outcome.as_cell.key for outcome in outcomes]
    store = trained.workspace().store
    (cell,) = store.current()
    assert (cell.key, {seed: member.key for seed, member in cell.band.items()}) == (
        keys[0],
        dict(zip((3, 4, 5), keys, strict=True)),
    )
    assert matrix.cells(outcomes) == [cell]
    (alone,) = trained.run("det", "set")
    assert (alone.planned.state, store.current()) == ("done", [alone.as_cell])
    assert alone.as_cell.key == keys[0]
    trained.run("det", "set", seeds=2)
    assert [list(cell.band) for cell in store.current()] == [[3, 4]]
    assert fits(trained) == 3


def test_a_band_counts_with_its_mean(trained: World) -> None:
    """`bench.run` gives one result a pair: the EER is the mean of the cells, which are measured each by itself."""
    places = {"data_root": trained.data, "cards": trained.cards, "results": trained.results, "device": "cpu"}
    found, plain = bench.run(["det", "plain"], "set", seeds=3, **places)
    assert plain.band is None
    assert found.band is not None
    assert found.metrics is not None
    singles = [results.evaluate_cell(trained.workspace().store, cell) for cell in found.cell.band.values()]
    eers = [single.metrics["eer"] for single in singles if single.metrics]
    assert len(set(eers)) > 1
    assert found.eer == pytest.approx(sum(eers) / 3)
    assert found.metrics["eer"] == eers[0]


def test_a_seed_that_fails_leaves_the_others_and_no_mean(trained: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failed training is told with its seed, its cell alone is blocked; the next run tries it again."""
    real = training.train

    def failing(card: DetectorCard, *args: Any, **options: Any) -> Path:
        assert card.recipe is not None
        if card.recipe.seed == bad:
            raise DataError("the loss exploded", remedy="train at a lower rate")
        return real(card, *args, **options)

    for bad, shown in ((4, 3), (3, 4)):
        with monkeypatch.context() as patch:
            patch.setattr(training, "train", failing)
            outcomes = trained.run("det", "set", seeds=3, results=trained.root / str(bad))
        assert {one.planned.seed: one.ok for one in outcomes} == {3: bad != 3, 4: bad != 4, 5: True}
        blocked = next(one.as_cell for one in outcomes if one.planned.seed == bad)
        assert (blocked.status, blocked.reason, blocked.remedy) == (
            "blocked",
            f"training with seed {bad} failed: the loss exploded",
            "train at a lower rate",
        )
        (result,) = results.collect(Store(trained.root / str(bad)))
        assert result.band is not None
        assert result.band.told == f"no mean of 3 seeds: seed {bad} is blocked"
        assert result.remarks[0] == f"seed {shown} alone, {result.band.told}"
        assert result.metrics is not None
        assert result.eer == result.metrics["eer"]
        assert [one.ok for one in trained.run("det", "set", seeds=3, results=trained.root / str(bad))] == [True] * 3
        (result,) = results.collect(Store(trained.root / str(bad)))
        assert (result.band and result.band.reason, result.seed) == ("", 3)


def test_a_band_of_blocked_cells_is_blocked(trained: World) -> None:
    """Without the training corpus nothing is trained: one reason for all seeds, in the store as well."""
    (trained.data / "audio" / "12.wav").unlink()
    outcomes = trained.run("det", "set", seeds=2)
    assert [outcome.ok for outcome in outcomes] == [False, False]
    (cell,) = matrix.cells(outcomes)
    assert cell.reason.startswith("training det needs train: 1 of 4 audio files are missing")
    (stored,) = trained.workspace().store.current()
    assert (stored.status, stored.reason) == ("blocked", cell.reason)


def test_seeds_that_come_to_the_same_weights(trained: World) -> None:
    """A recipe that draws nothing gives one cell, which counts for each of its seeds."""
    arguments = {"log": str(trained.log)}
    trained.detector("sure", __name__ + ":Seedless", arguments=arguments, recipe={"train": "train"})
    outcomes = trained.run("sure", "set", seeds=2)
    assert len({outcome.as_cell.key for outcome in outcomes}) == 1
    (result,) = results.collect(trained.workspace().store)
    assert result.band is not None
    assert result.band.eer is not None
    assert result.band.eer.standard_deviation == 0


class Seedless(Seeded):
    def fit(self, utterances: Iterable[tuple[Tensor, int]], seed: int, *, gain: float = 1.0) -> None:
        super().fit(utterances, 0, gain=gain)


# --- training -------------------------------------------------------------------------------------------------------


def test_training_may_be_left_out(trained: World) -> None:
    """`train="never"` blocks what has no weights yet, with the way to them; what is trained is scored."""
    for seeds, name in ((1, "det"), (2, "det (seed 3)")):
        outcomes = trained.run("det,plain", "set", train="never", seeds=seeds)
        assert [outcome.ok for outcome in outcomes] == [False] * seeds + [True]
        assert (outcomes[0].as_cell.reason, outcomes[0].as_cell.remedy) == (
            f"{name} is not trained yet",
            "`bench train det` trains it",
        )
    assert [outcome.ok for outcome in trained.run("d*,plain", "set", train="never")] == [True, True]
    assert fits(trained) == 0
    trained.run("det", "set")
    trained.dataset("more", range(21, 27))
    assert trained.cell("det", "more", train="never").status == "complete"


def test_the_manifest_tells_what_the_weights_were_made_of(trained: World) -> None:
    """Seed, lists, and what each part started from: a released file with its hash, or random weights."""
    (trained.root / "weights").mkdir()
    torch.save({"weight": torch.ones(1)}, trained.root / "weights" / "w.pt")
    start = {"backbone": "random", "style": {"file": "w.pt", "source": "its author", "licence": "MIT"}}
    recipe = {"train": "train", "dev": "set", "seed": 9, "start": start}
    trained.detector("det", __name__ + ":Seeded", arguments={"log": str(trained.log)}, recipe=recipe)
    weights = trained.cell("det", "set").manifest["detector"]["weights"]
    lists = {name: trained.workspace().dataset(name) for name in ("train", "set")}
    assert weights["lists"] == [
        {"name": name, "digest": found.digest, "trials": len(found.trials), "warnings": []}
        for name, found in lists.items()
    ]
    released = {"file": "w.pt", "sha256": sha256_of(trained.root / "weights" / "w.pt"), "verified": False}
    assert (weights["start"], weights["seed"]) == ({"backbone": "random", "style": released}, 9)
    (result,) = results.collect(trained.workspace().store)
    assert (result.random_parts, result.remarks[0]) == (("backbone",), "random backbone")


def test_a_cell_tells_on_which_list_its_detector_was_trained(logging: World) -> None:
    """A training list that is not the published one is in the manifest: the same name stands for other weights."""
    logging.dataset("train", [1, 2, 3, 4], counts={"trials": 2580, "bonafide": 80, "spoof": 2500})
    arguments = {"log": str(logging.log)}
    logging.detector("det-fit", "Trainable", arguments=arguments, recipe={"train": "train"})
    cell = logging.cell("det-fit", "set")
    (warning,) = cell.manifest["detector"]["weights"]["lists"][0]["warnings"]
    assert warning.startswith("train is not the published list: trials 4 (published 2,580)")


def test_all_that_training_lacks_is_told_at_once(trained: World) -> None:
    """Corpora and weights in one reason, with the commands that get them."""
    trained.dataset("gone", range(31, 35), audio=False)
    (trained.data / "train.csv").unlink()
    file = {"file": "net/w.pt", "source": "its author", "licence": "MIT"}
    recipe = {"train": "train", "dev": "gone", "start": {"backbone": file}}
    trained.detector("det", "Trainable", recipe=recipe)
    cell = trained.cell("det", "set")
    needs = "its training needs what is not here, or not all of it"
    assert cell.reason == f"{needs}: train, gone, the weights net/w.pt"
    assert cell.remedy == (
        "`bench fetch datasets train gone` and `bench fetch detectors` with its name; what cannot be downloaded is "
        "explained step by step"
    )


def test_weights_to_start_from_can_be_fetched(trained: World) -> None:
    """Where they alone are missing the pair is one that `bench fetch` helps; a wrong file blocks with its hashes."""
    file = {"file": "w.pt", "url": "https://example.org/w.pt", "source": "example.org", "licence": "MIT"}
    recipe = {"train": "train", "start": {"backbone": {**file, "sha256": "a" * 64}}}
    trained.detector("det", __name__ + ":Seeded", arguments={"log": str(trained.log)}, recipe=recipe)
    (pair,) = trained.plan("det", "set")
    assert (pair.state, pair.fetchable) == ("blocked", True)
    assert pair.reason == f"training det: the weights w.pt are not here (searched {trained.root / 'weights'})"
    assert pair.remedy.startswith("`bench fetch detectors det`, or download w.pt from example.org to ")
    (trained.root / "weights").mkdir()
    (trained.root / "weights" / "w.pt").write_bytes(b"something else")
    (pair,) = trained.plan("det", "set")
    assert (pair.state, pair.fetchable) == ("blocked", False)
    assert pair.reason.startswith("not the published w.pt: sha256 is ")


def test_scoring_is_for_one_process(trained: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `accelerate launch` a run ends before it writes, and says which command is meant."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(
        UsageError, match=r"scoring is for one process, these are 4.*\n.*accelerate launch -m bench train"
    ):
        trained.run("plain", "set")
    assert not trained.results.exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert trained.cell("plain", "set").status == "complete"


# --- blocked --------------------------------------------------------------------------------------------------------


def test_a_missing_checkpoint_blocks_its_pairs_alone(logging: World) -> None:
    """Named it is a failure, chosen by a glob it is not; the reason is kept until the pair has a result."""
    released = {"file": "w.pt", "source": "its author", "licence": "MIT"}
    logging.detector("det-2", "Trainable", weights=released)
    for detectors, ok in (("det,det-2", [True, False]), ("det*", [True, True]), ("det*,det-2", [True, False])):
        outcomes = logging.run(detectors, "set")
        assert [outcome.ok for outcome in outcomes] == ok
        assert outcomes[1].as_cell.reason == f"the weights w.pt are not here (searched {logging.root}/weights)"
        assert outcomes[1].as_cell.remedy.startswith("download w.pt from its author to ")
    store = logging.workspace().store
    assert [(cell.detector, cell.status) for cell in store.current()] == [("det", "complete"), ("det-2", "blocked")]
    (logging.root / "weights").mkdir()
    torch.save({"weight": torch.ones(1)}, logging.root / "weights" / "w.pt")
    found = logging.cell("det-2", "set")
    assert (found.status, found.manifest["detector"]["weights"]["verified"]) == ("complete", False)
    (logging.root / "weights" / "w.pt").unlink()
    (gone,) = logging.run("det-2", "set")
    assert gone.as_cell.status == "blocked"
    assert [cell.status for cell in store.current()] == ["complete", "complete"]


def test_a_missing_corpus_blocks_what_needs_it_alone(logging: World) -> None:
    """By name a failure, by a glob not; a list that contradicts itself blocks with its line."""
    logging.dataset("set-gone", [1, 2])
    (logging.data / "set-gone.csv").unlink()
    logging.dataset("set-odd", [1, 2])
    (logging.data / "set-odd.csv").write_text("path,label\naudio/1.wav,real\naudio/2.wav,maybe\n")
    whole, gone, odd = logging.run("det", "set*")
    assert (whole.ok, gone.ok, odd.ok) == (True, True, True)
    assert gone.as_cell.reason.startswith("the list of trials is not here")
    assert gone.as_cell.remedy.startswith("get set-gone from its author")
    assert odd.as_cell.reason == f"unknown label 'maybe' ({logging.data}/set-odd.csv, line 3)"
    assert [outcome.ok for outcome in logging.run("det", "set,set-gone")] == [True, False]
    assert sorted(cell.status for cell in logging.workspace().store.current()) == ["blocked", "blocked", "complete"]


def test_a_blocked_sample_does_not_speak_for_the_whole(logging: World) -> None:
    """What blocks NAME:N is recorded there; the pair of the whole keeps what its last run resolved it to."""
    (logging.root / "weights").mkdir()
    place = logging.root / "weights" / "w.pt"
    logging.detector("det-2", "Trainable", weights={"file": "w.pt", "source": "its author", "licence": "MIT"})
    torch.save({"weight": torch.ones(1)}, place)
    whole = logging.cell("det-2", "set")
    place.unlink()
    blocked = logging.cell("det-2", "set", limit=4)
    assert (blocked.dataset, blocked.status) == ("set:4", "blocked")
    latest = logging.results / "set" / "det-2" / "latest.json"
    assert json.loads(latest.read_text())["key"] == whole.key


def test_names_nobody_knows_end_the_command_before_anything_runs(logging: World) -> None:
    """Detector, dataset or device: a usage error, and no results folder."""
    for detectors, datasets, options, what in (
        ("dett", "set", {}, "no detector is called 'dett'"),
        ("det", "sett", {}, "no dataset is called 'sett'"),
        ("det", "set", {"device": "cuda:99"}, "cuda:99 is not there"),
        ("det", "set", {"device": "mps"}, "detectors do not run on 'mps' yet"),
    ):
        with pytest.raises(UsageError, match=what):
            logging.run(detectors, datasets, **options)
    assert (logging.given(), logging.results.exists()) == ([], False)


# --- the store under a run ------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(logging: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third part does not fit: an error with the remedy, and only what was not written is computed again."""
    monkeypatch.setattr(passes, "FLUSH_SECONDS", 0.0)
    import pyarrow.parquet

    real, parts = pyarrow.parquet.write_table, []

    def full(table: Any, place: Path, **options: Any) -> None:
        parts.append(place.parent.name == "parts")
        if sum(parts) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(table, place, **options)

    with monkeypatch.context() as patch, pytest.raises(StoreError) as caught:
        patch.setattr("pyarrow.parquet.write_table", full)
        logging.run("det", "set", batch_size=2)
    assert caught.value.what == "cannot be written: No space left on device"
    assert caught.value.remedy == "free some space and run the same command again: nothing written so far is lost"
    assert logging.given() == [[1, 2], [3, 4], [5, 6]]
    cell = logging.cell("det", "set", batch_size=2)
    assert (cell.status, logging.given()) == ("complete", [[5, 6], [7, 8], [9, 10]])
    assert score_bytes(cell) == logging.scores("det", "set", results=logging.root / "fresh", batch_size=2)


def test_a_results_folder_that_is_a_file_is_told_before_anything_is_scored(logging: World) -> None:
    """No training, no scoring: a clear error, and the file stays."""
    logging.results.write_text("precious")
    with pytest.raises(StoreError, match=r"(?s)cannot be written.*remedy: choose a folder you may write to"):
        logging.run("det", "set")
    assert (logging.given(), logging.results.read_text()) == ([], "precious")


@pytest.mark.parametrize("file", ["cell.json", "scores.parquet", "trials"])
def test_what_the_remedy_of_a_damaged_file_says_helps(logging: World, file: str) -> None:
    """Done as told, the same command makes the store whole again."""
    cell = logging.cell("det", "set")
    assert cell.path is not None
    expected = score_bytes(cell)
    place = next(logging.results.glob("set/trials-*.parquet")) if file == "trials" else cell.path / file
    place.write_bytes(b"{damaged")

    def show() -> results.Result:
        return results.collect(logging.workspace().store)[0]

    told = show().cell
    assert (told.status, "not readable" in told.reason, str(place) in told.reason) == ("failed", True, True)
    if file != "trials":  # which the run writes anew
        assert told.remedy in ("delete it and run again", f"delete the folder {cell.path} and run again")
        (cell.path / "cell.json").unlink()
        if "folder" in told.remedy:
            (cell.path / "scores.parquet").unlink()
    logging.run("det", "set")
    assert show().metrics is not None
    assert score_bytes(cell) == expected


def test_hostile_names_of_the_users_own_stay_inside_the_results_folder(logging: World) -> None:
    """HTML, dots and slashes in a `--data` name and in a card's name: cells like any other."""
    before = {path for path in files_below(logging.root) if not path.is_relative_to(logging.results)}
    names = ["../up", "a/b", "<b>x</b>", "..", ".hid", "weights", "Ünïcödé", "/abs"]
    own = dict.fromkeys(names, logging.data / "set.csv")
    outcomes = logging.run("det", ",".join(names), data=own)
    assert [(outcome.ok, outcome.as_cell.dataset) for outcome in outcomes] == [(True, name) for name in names]
    assert sorted(cell.dataset for cell in logging.workspace().store.current()) == sorted(names)
    logging.log.unlink()
    assert {path for path in files_below(logging.root) if not path.is_relative_to(logging.results)} == before


def test_an_old_cell_under_this_key_that_holds_other_trials_is_refused(logging: World) -> None:
    """A folder somebody copied: an error with the folder, nothing is mixed."""
    (pair,) = logging.plan("det", "set")
    store = logging.workspace().store
    other = logging.workspace().dataset(logging.dataset("other", [31, 32])).trials
    about = {"key": pair.key, "dataset": {"name": "set", "trials": 2}, "detector": {"name": "det"}}
    import pandas as pd

    writer = CellWriter(store, about, other)
    writer.add(pd.DataFrame({"trial": other["trial"], "score": 1.0, "seconds": 1.0, "note": ""}))
    cell = writer.finish({})
    assert cell.path is not None
    write_json(cell.path / "cell.json", {**cell.manifest, "status": "running"})
    with pytest.raises(BenchError, match="trial '31' has a score but is not in the list of this cell"):
        logging.run("det", "set")
