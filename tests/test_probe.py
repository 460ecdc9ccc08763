"""Whether a faster arithmetic may stand for float32: what it moves, on which trials, and what a run makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import matrix, passes, precision, probe
from bench.errors import UsageError
from bench.metrics import eer
from bench.probe import BOUND, TRIALS, Probe, batches_to_try, compared, moved
from bench.progress import Silent
from bench.results import evaluate_cell
from bench.workspace import Options
from tests.tiny import Lowerable, Tiny, World, card

scores = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=40)


def moved_by_counting(one: np.ndarray, other: np.ndarray) -> float:
    """The definition: for each k the trials among the k lowest of one and not of the other."""
    count = len(one)
    order = [list(np.argsort(values, kind="stable")) for values in (one, other)]
    return max(len(set(order[0][:k]) - set(order[1][:k])) for k in range(count + 1)) / count


@given(pairs=scores)
def test_moved_is_the_largest_share_that_changes_sides(pairs: list[tuple[int, int]]) -> None:
    """By counting sets at every threshold, ties included; the same from either side."""
    one, other = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    assert moved(one, other) == pytest.approx(moved_by_counting(one, other))
    assert moved(one, other) == moved(other, one)
    assert moved(one, one * 3 - 1) == 0


@given(seed=st.integers(0, 10**6), noise=st.floats(0, 1))
def test_no_error_rate_moves_by_more_than_the_trials_that_changed_sides(seed: int, noise: float) -> None:
    """The EER of either order is within `moved`, as a share of the smaller class, of the other's."""
    generator = np.random.default_rng(seed)
    labels = np.arange(60) % 3 == 0
    one = generator.normal(labels, 1)
    other = one + generator.normal(0, noise, 60)
    apart = abs(eer(one, labels).eer - eer(other, labels).eer)
    assert apart <= moved(one, other) * 60 / 20 + 1e-12


def test_nothing_moves_among_no_trials() -> None:
    """And no trial is no proof."""
    assert moved(np.zeros(0), np.zeros(0)) == 0
    found = compared(pd.Series(dtype=float), pd.Series(dtype=float))
    assert (found.passed, found.told) == (False, "there was no trial to try it on")


@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=40))
def test_whole_batches_of_the_plan_are_tried(sizes: list[int]) -> None:
    """Each at most once, in order, all of them where there are few trials."""
    batches = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    chosen = [int(batch[0]) for batch in batches_to_try(batches)]
    assert chosen == sorted(set(chosen)) and chosen
    assert set(chosen) <= {int(batch[0]) for batch in batches}
    if sum(sizes) <= TRIALS:
        assert len(chosen) == len(batches)


def test_the_tried_batches_are_spread_over_the_list() -> None:
    """Of 10,000 trials in batches of 8, 32 batches, as far from each other and from the ends."""
    batches = np.split(np.arange(10_000), range(8, 10_000, 8))
    chosen = [int(batch[0]) // 8 for batch in batches_to_try(batches)]
    assert len(chosen) == 32
    assert (chosen[0], chosen[-1]) == (19, 1230)
    assert set(np.diff(chosen)) <= {39, 40}


def test_what_a_probe_tells() -> None:
    """The bound and the figure, for the display and for the manifest."""
    bad = Probe(200, 0.035, 0.5)
    assert bad.told == "which moves 3.5% of 200 trials past a threshold (at most 1% may)"
    assert bad.facts() == {
        "trials": 200, "moved": 0.035, "difference": 0.5, "reason": "", "bound": BOUND, "passed": False,
    }  # fmt: skip
    assert Probe(0, 1.0, None, "it broke").told == "it broke"
    assert Probe(200, BOUND, 0.5).passed


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.dataset("set", range(1, 41))
    return world


def manifest(world: World, **options: Any) -> dict[str, Any]:
    cell = world.cell("det", "set", batch_size=4, **options)
    assert cell.path is not None, cell.reason
    found: dict[str, Any] = json.loads((cell.path / "cell.json").read_text())
    return found


def test_a_faster_arithmetic_that_keeps_the_order_is_taken(world: World) -> None:
    """The manifest says which ran and what the probe measured; scores are the faster ones; the key is another."""
    world.detector("det", "Lowerable", arguments={"off": 1e-7})
    fast = manifest(world, precision="bf16")
    assert (fast["precision"], fast["status"]) == ("bf16", "complete")
    assert fast["probes"] == {
        "bf16": {"trials": 40, "moved": 0.0, "difference": pytest.approx(1e-7), "reason": "", "bound": 0.01,
                 "passed": True},
    }  # fmt: skip
    reference = manifest(world)
    assert (reference["precision"], reference["probes"]) == ("fp32", {})
    assert fast["key"] != reference["key"] and fast["scorer"] != reference["scorer"]
    found, expected = (world.cell("det", "set", precision=one).scores()["score"] for one in ("bf16", "fp32"))
    np.testing.assert_allclose(found - expected, 1e-7, rtol=1e-6)


def test_a_faster_arithmetic_that_changes_the_order_is_refused(world: World) -> None:
    """The cell is computed in float32, with its key, and says why; asked again it is done."""
    world.detector("det", "Lowerable", arguments={"off": 0.5, "each": 2, "log": str(world.log)})
    found = manifest(world, precision="bf16")
    assert (found["precision"], found["probes"]["bf16"]["passed"]) == ("fp32", False)
    assert found["probes"]["bf16"]["moved"] > 0.01
    world.given()
    for asked in ("bf16", "fp32", "auto"):
        (planned,) = world.plan("det", "set", precision=asked)
        assert (planned.state, planned.key) == ("done", found["key"])
    assert world.given() == []


def test_the_refusal_is_told(world: World) -> None:
    """Once, with detector, dataset and figure."""
    world.detector("det", "Lowerable", arguments={"off": 1.5e308})  # infinite in float32
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    workspace = world.workspace(precision="bf16")
    matrix.run(workspace, matrix.plan(workspace, ["det"], ["set"]), Notes())
    assert notes == ["det on set: in fp32, not in bf16, the score of trial '1' is not finite"]


def test_a_cell_in_float32_does_not_stand_for_one_that_was_never_tried(world: World) -> None:
    """`bf16` asks for another cell; `auto` takes what is there."""
    world.detector("det", "Lowerable")
    assert manifest(world)["precision"] == "fp32"
    assert [pair.state for pair in world.plan("det", "set", precision="auto")] == ["done"]
    assert [pair.state for pair in world.plan("det", "set", precision="bf16")] == ["score"]
    assert manifest(world, precision="bf16")["precision"] == "bf16"
    assert [pair.precision for pair in world.plan("det", "set", precision="bf16")] == ["bf16"]


def test_a_finished_cell_keeps_its_facts_when_a_faster_one_is_refused(world: World) -> None:
    """Only what the probes found is added; asked again nothing is left to do."""
    world.detector("det", "Tiny")
    first = manifest(world)
    second = manifest(world, precision="tf32")
    assert second.pop("probes") == {
        "tf32": {"trials": 0, "moved": 1.0, "difference": None, "reason": "this device has no instructions for tf32",
                 "bound": 0.01, "passed": False},
    }  # fmt: skip
    assert second == {name: value for name, value in first.items() if name != "probes"}
    assert [pair.state for pair in world.plan("det", "set", precision="tf32")] == ["done"]


def test_a_detector_without_a_large_part_computes_in_float32(world: World) -> None:
    """Whatever is asked for: nothing is probed and the cell is that of float32."""
    world.detector("det", "Tiny")
    found = manifest(world, precision="bf16")
    assert (found["precision"], found["probes"]) == ("fp32", {})
    assert [pair.state for pair in world.plan("det", "set")] == ["done"]


def test_float32_that_fails_in_the_probe_fails_in_the_pass(world: World) -> None:
    """With the reason of the pass."""
    world.detector("det", "RaisesAt", arguments={"at": 5})
    assert world.cell("det", "set", precision="auto").reason.startswith("ValueError: cannot digest 5")


def test_what_a_class_can_compute_in() -> None:
    """bf16 with the hook of the contract only; what was not asked for is none."""
    assert precision.candidates(Lowerable, "auto") == ("bf16", "tf32")
    assert precision.candidates(Tiny, "auto") == ("tf32",)
    assert precision.candidates(Lowerable, "bf16") == ("bf16",)
    assert precision.candidates(Tiny, "bf16") == precision.candidates(Lowerable, "fp32") == ()
    assert passes.faster(card(model="FactsSum", audio={"window": "facts"}), "auto") == ()


def test_tf32_is_for_the_time_of_a_forward_pass() -> None:
    """On for it, off for float32, and then as it was."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    for asked in ("fp32", "tf32", "bf16"):
        with precision.arithmetic(asked):
            flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            assert flags == ((True, True) if asked == "tf32" else (False, False))
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize(("flags", "expected"), [("avx512_bf16", ("bf16",)), ("amx_bf16", ("bf16",)), ("avx512f", ())])
def test_the_processor_says_whether_it_has_bfloat16(
    monkeypatch: pytest.MonkeyPatch, flags: str, expected: tuple[str, ...]
) -> None:
    """By the flags of the system."""
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: f"flags : fpu {flags} sse")
    assert precision.fast("cpu") == expected


def test_an_unknown_precision_is_refused() -> None:
    """Before anything runs."""
    with pytest.raises(UsageError, match="`precision` cannot be 'fp16'") as caught:
        Options(precision="fp16")  # type: ignore[arg-type]  # as a caller without types may
    assert caught.value.remedy == "give `fp32` or `tf32` or `bf16` or `auto`"
    assert probe.TRIALS >= 200  # a bound of 1 % of fewer trials would be one trial


def test_what_a_cell_was_computed_in_is_told_beside_its_number(world: World) -> None:
    """Where it is not float32."""
    world.detector("det", "Lowerable")
    told = {}
    for asked in ("fp32", "bf16"):
        cell = world.cell("det", "set", precision=asked)
        told[asked] = evaluate_cell(world.workspace().store, cell).remarks
    assert [remark for remark in told["bf16"] if remark not in told["fp32"]] == ["computed in bf16"]


def test_a_precision_that_a_detector_does_not_have_is_told(world: World) -> None:
    """It computes in float32 then."""
    world.detector("det", "Tiny")
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    workspace = world.workspace(precision="bf16")
    matrix.run(workspace, matrix.plan(workspace, ["det"], ["set"]), Notes())
    assert notes == ["det on set: in fp32, no part of it computes in bf16"]


def test_an_address_without_a_cluster_is_a_slip_of_the_pen() -> None:
    """It would be ignored."""
    with pytest.raises(UsageError, match="an address is that of a Ray cluster") as caught:
        Options(address="auto")
    assert caught.value.remedy == "give --executor ray with --address"
