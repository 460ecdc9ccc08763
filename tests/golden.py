"""Tensors named and shaped as in the authors' checkpoints, of synthetic values, and what the authors' code answered.

The shared folder holds the key lists, the rule that makes the weights, and the outputs; see its golden/README.txt.
"""

from __future__ import annotations

import importlib.util
import json
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


class Synthetic:
    """The tensors of the checkpoint of a golden file, by the keys that the authors' file has.

    Those of the last checkpoint are kept: what the next has in common with it (SLS and SSL + AASIST have 300 million
    numbers in common) is not drawn again.
    """

    def __init__(self, shared: Path) -> None:
        self._shared = shared
        self._rule = _generator(shared)
        self._last: dict[tuple[Any, ...], torch.Tensor] = {}

    def __call__(self, name: str) -> dict[str, torch.Tensor]:
        """Do not change them in place."""
        about = golden(self._shared, name)["checkpoint"]
        rows = self._rule.read_keys(self._shared / "golden" / f"keys_{name}.txt")
        shapes = {key: shape for key, shape, _ in rows}
        facts = [(key, shape, about["seed"], special, shapes.get(key[:-1] + "v")) for key, shape, special in rows]
        with ThreadPoolExecutor(2) as pool:  # numpy draws without the lock of the interpreter
            self._last = dict(zip(facts, pool.map(self._tensor, facts), strict=True))
        found = dict(zip(shapes, self._last.values(), strict=True))
        for spot in about["spot_checks"]:
            assert np.allclose(found[spot["key"]].flatten()[:3], spot["first3"], rtol=1e-5), "another rule"
        return found

    def _tensor(self, facts: tuple[Any, ...]) -> torch.Tensor:
        known = self._last.get(facts)
        return torch.from_numpy(np.array(self._rule.tensor(*facts))) if known is None else known


def _generator(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic_checkpoint", shared / "golden" / "synthetic_checkpoint.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
