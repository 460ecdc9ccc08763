"""The state of a training on disk: one safetensors file, written whole or not at all, from which it goes on exactly.

Tensors are `model/NAME` of everything that was trained so far, `optimiser/INDEX/NAME` in the order of the parameters,
and `average/NAME` where weights are averaged; all else is JSON in the header of the file. Random numbers need no state:
each step seeds its own from its number. The format holds no pickle, so a file from a stranger runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bench.errors import WeightsError
from bench.files import atomically


def learned_names(model: nn.Module, modules: list[nn.Module]) -> list[str]:
    """The names in the model's state of everything that these modules of it hold, parameters and buffers."""
    prefixes = {module: name for name, module in model.named_modules()}
    own = {f"{prefixes[module]}.{name}".lstrip(".") for module in modules for name in module.state_dict()}
    return [name for name in model.state_dict() if name in own]


def write_tensors(place: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """A safetensors file, whole or not at all, with `facts` as JSON.

    Raises:
        StoreError: the disk is full, or the folder cannot be written; the file that was there stays.
    """
    header = None if facts is None else {"facts": json.dumps(facts)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # As bytes: safetensors has no OSError that would tell of a full disk.
    atomically(place, lambda part: part.write_bytes(safetensors.torch.save(plain, header)))


def read_tensors(place: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts of a file that `write_tensors` wrote.

    Raises:
        WeightsError: the file is damaged or another program's.
    """
    with _opened(place) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _facts(file)  # noqa: SIM118 # no mapping


def read_facts(place: Path) -> dict[str, Any]:
    """The facts alone. Raises as `read_tensors`."""
    with _opened(place) as file:
        return _facts(file)


def _facts(file: Any) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((file.metadata() or {}).get("facts", "{}"))
    return facts


@contextmanager
def _opened(place: Path) -> Iterator[Any]:
    try:
        with safe_open(place, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        remedy = f"delete the folder {place.parent}: the training begins anew"
        raise WeightsError(f"not readable: {error}", where=place, remedy=remedy) from None


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors below `part/`, without it."""
    return {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an Adam keeps of each parameter: `INDEX/NAME` -> tensor."""
    state = optimiser.state_dict()["state"]
    return {f"{index}/{name}": value for index, kept in state.items() for name, value in kept.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
