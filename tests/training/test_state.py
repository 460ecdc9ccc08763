"""The state file: whole or not at all, exact, and never a way to run something."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.errors import StoreError, WeightsError
from bench.training.state import (
    learned_names,
    optimiser_tensors,
    part_of,
    read_facts,
    read_tensors,
    restore_optimiser,
    write_tensors,
)
from tests.training import toys

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
@settings(deadline=None)
def test_facts_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, Any]) -> None:
    """Any JSON, numbers to the last bit, beside the tensors or alone."""
    place = tmp_path_factory.getbasetemp() / "facts.safetensors"
    write_tensors(place, {"a": torch.zeros(1)}, facts)
    assert read_facts(place) == read_tensors(place)[1] == facts


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    """Of every type and shape that a training has, also views, and gradients are none of it."""
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    tensors = {
        "model/weight": weight,
        "model/view": weight.detach()[:, ::2].T,
        "model/count": torch.tensor(7),
        "average/half": weight.detach().bfloat16(),
        "optimiser/0/step": torch.tensor(3.0),
        "model/empty": torch.zeros(0, 2),
    }
    write_tensors(tmp_path / "state", tensors)
    found, facts = read_tensors(tmp_path / "state")
    assert (found.keys(), facts) == (tensors.keys(), {})
    for name, value in tensors.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert torch.equal(found[name], value)
    assert list(part_of(found, "model")) == ["count", "empty", "view", "weight"]
    assert list(part_of(found, "optimiser")) == ["0/step"]


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """Which other programs read."""
    write_tensors(tmp_path / "state", {"a": torch.arange(3)}, {"stage": 1})
    assert safetensors.torch.load_file(tmp_path / "state")["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:7],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\xff" * len(content),
        lambda content: content.replace(b'"facts":"{', b'"facts":"['),
        lambda content: b"PK\x03\x04" + content,
    ],
    ids=["empty", "header", "half", "a byte short", "ones", "facts", "zip"],
)
def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path, damage: Any) -> None:
    """Whatever is wrong with it, and wherever the facts or the tensors are read."""
    place = tmp_path / "key" / "state.safetensors"
    write_tensors(place, {"a": torch.zeros(100)}, {"stage": 1})
    place.write_bytes(damage(place.read_bytes()))
    for read in (read_tensors, read_facts):
        with pytest.raises(WeightsError) as raised:
            read(place)
        assert raised.value.what.startswith("not readable: ")
        assert raised.value.where == str(place)
        assert raised.value.remedy == f"delete the folder {place.parent}: the training begins anew"


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else remains of the one that did not fit."""
    place = tmp_path / "state.safetensors"
    write_tensors(place, {"a": torch.ones(3)}, {"step": 1})
    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        real(path, content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"(?s)cannot be written: No space left on device.*free some space"):
        write_tensors(place, {"a": torch.zeros(300)}, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    assert read_facts(place) == {"step": 1}


class Nested(nn.Module):
    """Two parts, one of them used twice, and a buffer and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.second = nn.Linear(2, 1)
        self.again = self.second
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("shift", torch.zeros(1))


def test_what_modules_hold_are_parameters_and_buffers() -> None:
    """In the order of the model's state; a batch norm's statistics are learnt, too."""
    model = Nested()
    norm = [f"first.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    assert learned_names(model, [model.first[1]]) == norm
    assert learned_names(model, [model.second, model.first[1]]) == [*norm, "second.weight", "second.bias"]
    assert learned_names(model, [model]) == list(model.state_dict())
    assert learned_names(model, []) == []


def steps(model: nn.Module, optimiser: torch.optim.Optimizer, count: int) -> dict[str, Tensor]:
    """The weights after so many steps on numbers that follow from the step."""
    for step in range(count):
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        model(inputs).square().mean().backward()
        optimiser.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_an_optimiser_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, kind: type[torch.optim.Adam], fused: bool
) -> None:
    """To the last bit, and with the same types; a parameter that never had a gradient has no state."""

    def built() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        return model, kind([*model.parameters(), nn.Parameter(torch.zeros(2))], lr=0.1, fused=fused)

    with torch.random.fork_rng():
        model, optimiser = built()
        steps(model, optimiser, 3)
        write_tensors(tmp_path / "state", {**model.state_dict(), **optimiser_tensors(optimiser)})
        before = optimiser_tensors(optimiser)
        expected = steps(model, optimiser, 3)

        model, optimiser = built()
    saved, _ = read_tensors(tmp_path / "state")
    model.load_state_dict({name: saved.pop(name) for name in model.state_dict()})
    restore_optimiser(optimiser, saved)
    found = optimiser_tensors(optimiser)
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == {
        name: (value.dtype, value.shape) for name, value in before.items()
    }
    assert {name.partition("/")[0] for name in found} == {"0", "1"}
    again = steps(model, optimiser, 3)
    assert all(torch.equal(again[name], value) for name, value in expected.items())


def test_what_is_frozen_is_not_learnt() -> None:
    """Of a detector whose head alone is trained, the head alone."""
    model = toys.Toy()
    assert learned_names(model, model.trainable("head")["head"]) == ["head.1.weight", "head.1.bias"]
