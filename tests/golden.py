"""Checkpoints in the authors' format with synthetic weights, and what the authors' own code answered with them.

The shared folder holds the key lists, the rule that makes the weights, and the outputs; see its golden/README.txt.
"""

from __future__ import annotations

import importlib.util
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class Case(NamedTuple):
    """One input of a golden file, before any preparation, and the two values the authors' network gave."""

    name: str
    wave: NDArray[np.float32]
    output: NDArray[np.float64]


def golden(shared: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "golden" / f"{name}.json").read_text())
    return found


def cases(shared: Path, name: str) -> list[Case]:
    found = []
    for item in golden(shared, name)["inputs"]:
        wave = eval(item["recipe"], {"np": np})
        assert np.allclose(wave[:3], item["first3"], atol=1e-6), "the expression gives another signal here"
        found.append(Case(item["name"], wave, np.array(item["output"])))
    return found


def checkpoint(shared: Path, name: str, folder: Path) -> Path:
    """Write the checkpoint of a golden file to `folder/name.pth`.

    What the checkpoint of SLS, where it lies there already, has in common with this one is taken from it: faster than
    drawing 300 million numbers again.
    """
    rule = _generator(shared)
    rows = rule.read_keys(shared / "golden" / f"keys_{name}.txt")
    seed = golden(shared, name)["checkpoint"]["seed"]
    drawn = set(rule.read_keys(shared / "golden" / "keys_sls.txt"))
    sls = folder / "sls.pth"
    known: dict[str, torch.Tensor] = torch.load(sls, weights_only=True, mmap=True) if sls.exists() else {}
    shapes = {key: shape for key, shape, _ in rows}

    def tensor(key: str, shape: tuple[int, ...], special: Any) -> torch.Tensor:
        if key in known and (key, shape, special) in drawn:
            return known[key]
        return torch.from_numpy(np.array(rule.tensor(key, shape, seed, special, shapes.get(key[:-1] + "v"))))

    path = folder / f"{name}.pth"
    with ThreadPoolExecutor(2) as pool:  # numpy draws without the lock of the interpreter
        torch.save(OrderedDict(zip(shapes, pool.map(lambda row: tensor(*row), rows), strict=True)), path)
    return path


def _generator(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic_checkpoint", shared / "golden" / "synthetic_checkpoint.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
