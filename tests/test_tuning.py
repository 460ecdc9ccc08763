"""Batch sizes and decode processes, measured on detectors whose time follows a law: nothing here sleeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import decoding, environment, tuning
from bench.batches import CLIP_SAMPLES, Portion, Portions
from bench.cards import AudioRecipe
from bench.errors import CardError
from bench.executors.local import Local
from bench.scorer import Scorer
from bench.store import Store
from bench.tuning import Tuning
from tests.passing import numbered, scorer
from tests.tiny import TILE, WHOLE, World, log_lines


class Law(nn.Module):
    """A forward pass of n rows takes `fixed` + n * `each` seconds of `clock`; more than `most` rows do not fit."""

    spent = 0.0
    shapes: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, fixed: float = 0.0, each: float = 0.0, most: int = 10_000) -> None:
        super().__init__()
        self.fixed, self.each, self.most = fixed, each, most

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        if len(wave) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 bytes.")
        assert lengths.tolist() == [wave.shape[1]] * len(wave)
        Law.spent += self.fixed + len(wave) * self.each
        Law.shapes.append(tuple(wave.shape))
        return wave[:, 0]


def clock() -> float:
    return Law.spent


def law(audio: Mapping[str, Any] = TILE, **arguments: Any) -> Scorer:
    return scorer("det", f"{__name__}:Law", audio, **arguments)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Law.spent, Law.shapes = 0.0, []


# --- the batch size ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixed", "each", "size", "tried"),
    [
        (0.0, 1.0, 8, 16),  # as fast at any size: the second one ends the search
        (8.0, 1.0, 256, 512),  # rates 0.500 0.667 0.800 0.889 0.941 0.970 0.985: 512 brings 1.6 %
        (4.0, 1.0, 128, 256),
        (1e6, 1.0, 512, 512),  # grows to the last
    ],
)
def test_the_smallest_size_that_is_about_as_fast_as_any(fixed: float, each: float, size: int, tried: int) -> None:
    """Within 3 % of the best; sizes double until that brings less than 3 %; clips a second are those at the size."""
    found = tuning.found(law(fixed=fixed, each=each), "cpu", clock)
    assert found is not None
    assert found.batch_size == size
    assert found.clips_per_second == pytest.approx(size / (fixed + size * each))
    assert found.peak_memory_bytes > 0
    assert max(shape[0] for shape in Law.shapes) == tried


@pytest.mark.parametrize(("most", "size"), [(40, 32), (8, 8), (7, None)])
def test_what_does_not_fit_into_memory_ends_the_search(most: int, size: int | None) -> None:
    """The largest that fits, of a detector that would grow; nothing where the first size does not fit."""
    found = tuning.found(law(fixed=1e6, most=most), "cpu", clock)
    assert (found.batch_size if found else None) == size


def test_a_margin_of_memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a size takes, and the next batch beside it, may be 80 % of the memory: here 160 clips of 256 bytes."""
    monkeypatch.setattr(environment, "peak_memory_bytes", lambda device: 256 * max(shape[0] for shape in Law.shapes))
    monkeypatch.setattr(environment, "memory_bytes", lambda device: 256 * 200)
    found = tuning.found(law(fixed=1e6), "cpu", clock)
    assert found is not None
    assert (found.batch_size, found.peak_memory_bytes) == (64, 64 * 256)


@pytest.mark.parametrize(("audio", "samples"), [(TILE, 64), (WHOLE, CLIP_SAMPLES)])
def test_a_detector_is_measured_on_what_its_recipe_gives_it(audio: Mapping[str, Any], samples: int) -> None:
    """Windows of the recipe, or clips of about 4 s, what a unit of batch size is of whole files."""
    tuning.found(law(audio, each=1.0), "cpu", clock)
    assert set(Law.shapes) == {(8, samples), (16, samples)}


def test_a_detector_that_fails_is_left_to_the_pass() -> None:
    """What cannot be built or raises has no size, and ends nothing."""
    assert tuning.found(scorer("det", "NotBuilt"), "cpu") is None
    with pytest.raises(CardError):
        law(colour="red").build(torch.device("cpu"))
    assert tuning.found(law(colour="red"), "cpu") is None


# --- what is remembered -----------------------------------------------------------------------------------------------

SOME = Tuning(batch_size=64, clips_per_second=200.0, peak_memory_bytes=10)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The detectors that were measured."""
    names: list[str] = []

    def found(scorer: Scorer, device: str) -> Tuning | None:
        names.append(f"{scorer.name} on {device}")
        return SOME

    monkeypatch.setattr(tuning, "found", found)
    return names


def test_a_detector_is_measured_once_on_a_device(tmp_path: Path, measured: list[str]) -> None:
    """Another name is the same detector; other arguments, another recipe, precision, weights or device are not."""
    store, executor = Store(tmp_path), Local("cpu")
    weights = tmp_path / "weights.pt"
    weights.write_bytes(bytes(5))
    others = [law(each=2.0), law(WHOLE), law(each=1.0, weights=weights)]
    for one in (law(each=1.0), *others):
        assert tuning.tuned(store, executor, one) == SOME
        assert tuning.tuned(Store(tmp_path), executor, one) == SOME
    assert measured == ["det on cpu"] * 4
    kept = json.loads((tmp_path / "tuning.json").read_text())
    assert [entry["weights_bytes"] for entry in kept.values()] == [0, 0, 0, 5]
    assert {entry["torch"] for entry in kept.values()} == {torch.__version__}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "hardware", lambda device: {"device": "another"})
        tuning.tuned(store, executor, law(each=1.0))
    assert len(measured) == 5


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"KEY": 3}', '{"KEY": {"batch_size": 0}}'])
def test_a_damaged_record_is_measured_anew(tmp_path: Path, measured: list[str], damage: str) -> None:
    """Nothing that stands in the file ends a run; what is found replaces it."""
    store, executor = Store(tmp_path), Local("cpu")
    tuning.tuned(store, executor, law())
    (key,) = json.loads(store.tuning_file.read_text())
    store.tuning_file.write_text(damage.replace("KEY", key))
    assert tuning.tuned(store, executor, law()) == tuning.tuned(store, executor, law()) == SOME
    assert len(measured) == 2


def test_what_was_not_found_is_not_remembered(tmp_path: Path) -> None:
    """A detector that did not fit is tried again by the next run."""
    assert tuning.tuned(Store(tmp_path), Local("cpu"), law(colour="red")) is None
    assert not (tmp_path / "tuning.json").exists()


# --- decode processes -------------------------------------------------------------------------------------------------


def tuning_of(clips_per_second: float) -> Tuning:
    return Tuning(batch_size=8, clips_per_second=clips_per_second, peak_memory_bytes=0)


@pytest.mark.parametrize(
    ("seconds", "rates", "workers"),
    [(0.002, [1000.0], 3), (0.0021, [1000.0], 4), (0.002, [1000.0, 1000.0], 2), (0.002, [10.0], 2), (0.0, [9.0], 1)],
)
def test_decode_processes_follow_from_both_speeds(seconds: float, rates: list[float], workers: int) -> None:
    """Seconds a clip times clips a second of all detectors that share the device, rounded up, and one more."""
    assert tuning.workers(seconds, map(tuning_of, rates)) == workers


@pytest.mark.parametrize(("audio", "clips"), [(TILE, 1.0), (WHOLE, 80 / CLIP_SAMPLES)])
def test_the_time_of_decoding_is_the_median_for_a_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audio: Mapping[str, Any], clips: float
) -> None:
    """Of the files that can be read, by one thread; of whole files, for as much audio as a clip has."""
    trials = numbered(tmp_path, 4)
    Path(trials["path"][1]).unlink()
    threads = []
    takes = {0: 5.0, 1: 1000.0, 2: 1.0, 3: 2.0}
    now = [0.0]

    def read(portion: Portion, *rest: Any, real: Callable[..., Any] = decoding.read) -> Any:
        threads.append(torch.get_num_threads())
        now[0] += takes[portion.number]
        return real(portion, *rest)

    monkeypatch.setattr("bench.tuning.read", read)
    monkeypatch.setattr("bench.tuning.time.perf_counter", lambda: now[0])
    portions = Portions(trials, list(np.arange(4)[:, None]), ["det"])[:]
    recipe = AudioRecipe.model_validate(audio)
    assert tuning.decode_seconds(portions, recipe, None, "cpu") == pytest.approx(2.0 / clips)
    assert threads == [1] * 4
    assert tuning.decode_seconds(portions[1:2], recipe, None, "cpu") == 0.0


# --- in a run ---------------------------------------------------------------------------------------------------------


class Pretended(Local):
    """This CPU, taken for a GPU with 12 cores beside it."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.kind, self.cores = "cuda", 12


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr("bench.executors.opened", lambda options: Pretended())
    world.dataset("set", range(1, 12))
    world.detector("det", arguments={"log": str(world.log)})
    return world


def sizes(monkeypatch: pytest.MonkeyPatch, **by_name: int) -> None:
    """What is found for detectors of these names, 1,000 clips/s each."""

    def found(scorer: Scorer, device: str) -> Tuning:
        return tuning_of(1000.0).model_copy(update={"batch_size": by_name[scorer.name]})

    monkeypatch.setattr(tuning, "found", found)


def test_a_run_takes_what_was_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of that size, and decode processes for 1,000 files/s of 0.0031 s each; the manifest says so."""
    sizes(monkeypatch, det=4)
    monkeypatch.setattr(tuning, "decode_seconds", lambda files, *rest: 0.0031 if len(files) == 11 else 99.0)
    about = world.cell("det", "set", workers=None).manifest
    assert [len(batch) for batch in world.given()] == [4, 4, 3]
    assert (about["batch_size"], about["decode_workers"], about["workers"]) == (4, 5, None)
    assert "threads" not in about


def test_what_is_asked_for_is_not_measured(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch size of the user's needs no tuning; decode processes are then those of a GPU that was not measured."""
    monkeypatch.delattr(tuning, "found")
    about = world.cell("det", "set", workers=None, batch_size=6).manifest
    assert [len(batch) for batch in world.given()] == [6, 5]
    assert (about["batch_size"], about["decode_workers"]) == (6, 8)


def test_detectors_of_a_pass_keep_their_own_sizes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan has the largest one, and no forward pass takes more than its detector's."""
    world.detector("small", arguments={"log": str(world.root / "small.log"), "scale": 2.0})
    sizes(monkeypatch, det=8, small=4)
    first, second = world.run("det,small", "set")
    assert [len(batch) for batch in world.given()] == [8, 3]
    assert [len(batch) for batch in log_lines(world.root / "small.log")] == [4, 4, 3]
    assert [one.as_cell.manifest["batch_size"] for one in (first, second)] == [8, 4]


def test_detectors_of_whole_files_keep_their_own_sizes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There rows are as many as clips of 4 s fit: of 2 s twice the batch size."""
    for number in range(1, 12):
        world.audio(number, frames=CLIP_SAMPLES // 2)
    for name in ("large", "small"):
        world.detector(name, audio=WHOLE, arguments={"log": str(world.root / name), "scale": float(len(name))})
    sizes(monkeypatch, large=5, small=2)
    world.run("large,small", "set")
    assert [len(batch) for batch in log_lines(world.root / "large")] == [10, 1]
    assert [len(batch) for batch in log_lines(world.root / "small")] == [4, 4, 2, 1]


@pytest.mark.parametrize(("again", "rest"), [({}, [[4, 5, 6], [7, 8, 9], [10, 11]]), ({"batch_size": 2}, None)])
def test_a_killed_run_goes_on_in_the_same_batches(
    world: World, monkeypatch: pytest.MonkeyPatch, again: Mapping[str, int], rest: list[list[int]] | None
) -> None:
    """Those that it began with, whatever is found or fixed by now, unless a size is asked for: the same scores."""
    monkeypatch.setattr("bench.passes.FLUSH_SECONDS", 0.0)
    flag = world.root / "interrupted"
    world.detector("det", "InterruptedAt", arguments={"at": 5, "flag": str(flag), "log": str(world.log)})
    sizes(monkeypatch, det=3)
    with pytest.raises(KeyboardInterrupt):
        world.run("det", "set")
    world.given()
    sizes(monkeypatch, det=8)
    (world.results / "tuning.json").unlink()
    cell = world.cell("det", "set", **again)
    assert cell.status == "complete"
    assert world.given() == (rest or [[3, 4], [5, 6], [7, 8], [9, 10], [11]])
    assert cell.manifest["batch_size"] == again.get("batch_size", 3)


def test_another_device_begins_with_a_size_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a GPU's size may not fit on a CPU, and would not give the same bits there."""
    flag = world.root / "interrupted"
    world.detector("det", "InterruptedAt", arguments={"at": 1, "flag": str(flag), "log": str(world.log)})
    sizes(monkeypatch, det=3)
    with pytest.raises(KeyboardInterrupt):
        world.run("det", "set")
    world.given()
    monkeypatch.setattr("bench.executors.opened", lambda options: Local("cpu"))
    monkeypatch.setattr(environment, "hardware", lambda device: {"device": "another"})
    about = world.cell("det", "set").manifest
    assert [len(batch) for batch in world.given()] == [8, 3]
    assert (about["decode_workers"], about["threads"]) == (0, min(torch.get_num_threads(), Local("cpu").cores))
