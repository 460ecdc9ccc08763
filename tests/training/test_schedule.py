"""Learning rates against the schedulers of torch and transformers; what counts as better against its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, StepLR
from transformers import optimization

from bench.recipes import Schedule, Stage
from bench.training.schedule import Course, learning_rate
from tests.training import toys

STEPS, WARMUP, FIRST = 50, 5, 2e-5


def rates(schedule: Schedule, first: float, last: float, steps: int = STEPS) -> list[float]:
    return [learning_rate(schedule, first, last, step, steps, 0) for step in range(steps)]


def scheduled(make: Callable[[torch.optim.Optimizer], LRScheduler], first: float = FIRST) -> list[float]:
    """The learning rate of each step of an optimiser under a scheduler."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=first)
    scheduler = make(optimiser)
    found = []
    for _ in range(STEPS):
        found.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [WARMUP, WARMUP / STEPS], ids=["steps", "share"])
@pytest.mark.parametrize(
    ("name", "last", "oracle"),
    [
        ("linear", 0.0, optimization.get_linear_schedule_with_warmup),
        ("cosine", 0.0, optimization.get_cosine_schedule_with_warmup),
        ("constant", FIRST, lambda adam, warmup, _: optimization.get_constant_schedule_with_warmup(adam, warmup)),
    ],
    ids=["linear", "cosine", "constant"],
)
def test_schedules_with_warm_up_are_those_of_transformers(
    name: Any, last: float, oracle: Callable[..., LRScheduler], warmup: float
) -> None:
    """Warm-up from 0 in so many steps or in this share of all, then down to 0, or flat."""
    found = rates(Schedule(name=name, warmup=warmup), FIRST, last)
    assert found == pytest.approx(scheduled(lambda adam: oracle(adam, WARMUP, STEPS)), rel=1e-12, abs=1e-20)


def test_the_cosine_is_that_of_aasist() -> None:
    """From 1e-4 to 5e-6 along torch's cosine annealing, without warm-up."""
    expected = scheduled(lambda adam: CosineAnnealingLR(adam, STEPS, eta_min=5e-6), 1e-4)
    assert rates(Schedule(name="cosine"), 1e-4, 5e-6) == pytest.approx(expected, rel=1e-9)


def test_linear_decay_goes_from_the_first_rate_to_the_last() -> None:
    """SLIM's first stage: .005 to .0001, in equal steps; the last rate would be that of the step behind the last."""
    found = rates(Schedule(name="linear"), 0.005, 0.0001)
    assert [*found, 0.0001] == pytest.approx(torch.linspace(0.005, 0.0001, STEPS + 1, dtype=torch.float64).tolist())


def test_exponential_decay_has_its_factor_at_the_end() -> None:
    """Behind the warm-up a constant ratio from step to step, which gives the factor over all the steps left."""
    found = rates(Schedule(name="exponential", warmup=WARMUP, factor=0.01), FIRST, FIRST)
    assert found[:WARMUP] == pytest.approx([FIRST * step / WARMUP for step in range(WARMUP)])
    ratio = 0.01 ** (1 / (STEPS - WARMUP))
    assert found[WARMUP:] == pytest.approx(scheduled(lambda adam: ExponentialLR(adam, ratio))[: STEPS - WARMUP])


@pytest.mark.parametrize("every", [1, 3])
def test_a_step_lowers_the_rate_after_so_many_epochs(every: int) -> None:
    """As torch's StepLR, whatever the steps of an epoch."""
    expected = scheduled(lambda adam: StepLR(adam, every, 0.5))
    schedule = Schedule(name="step", factor=0.5, epochs=every)
    found = [learning_rate(schedule, FIRST, FIRST, 7 * epoch, 7 * STEPS, epoch) for epoch in range(STEPS)]
    assert found == pytest.approx(expected, rel=1e-12)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.floats(1e-7, 1),
    st.floats(0, 1),
    st.one_of(st.floats(0, 0.99), st.integers(1, 60)),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_rates_stay_between_zero_and_the_first_and_last(
    name: Any, first: float, last: float, warmup: float, steps: int
) -> None:
    """Whatever the warm-up, also one that is longer than the stage."""
    found = rates(Schedule(name=name, warmup=warmup), first, last, steps)
    assert all(math.isfinite(rate) and 0 <= rate <= max(first, last) * (1 + 1e-12) for rate in found)


def defined(values: list[float], ties: bool) -> tuple[int, int, int]:
    """Best and since of a course by their definition, and how many values were not better than those before."""
    smallest = min(values)
    places = [place for place, value in enumerate(values) if value == smallest]
    best = places[-1] if ties else places[0]
    before = [min([*values[:place], math.inf]) for place in range(len(values))]
    better = [value < low or (ties and value == low) for value, low in zip(values, before, strict=True)]
    return best, len(values) - 1 - best, better.count(False)


@given(st.lists(st.integers(0, 5).map(float), min_size=1, max_size=20), st.booleans())
@settings(deadline=None)
def test_the_course_knows_the_best_validation(values: list[float], ties: bool) -> None:
    """The first of the lowest values, or the last one where ties count as better."""
    course = Course()
    better = [course.add(value, ties=ties) for value in values]
    assert (course.best, course.since, better.count(False)) == defined(values, ties)
    assert course.values == values


@given(st.lists(st.integers(0, 5).map(float), min_size=1, max_size=20), st.booleans(), st.integers(1, 4))
@settings(deadline=None)
def test_a_stage_is_over_after_so_many_validations_without_gain(values: list[float], ties: bool, patience: int) -> None:
    """And never where it has no patience that could end."""
    course, stage = Course(), Stage(**toys.stage(patience=patience))
    for count, value in enumerate(values, start=1):
        course.add(value, ties=ties)
        assert course.over(stage) == (defined(values[:count], ties)[1] >= patience)
        assert not course.over(Stage(**toys.stage()))
