"""What it takes to build a detector anywhere: the card's model and arguments, where its weights lie, its arithmetic."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import precision, registry, weights
from bench.cards import AudioRecipe
from bench.errors import CardError, WeightsError
from bench.precision import Precision


@dataclass(frozen=True)
class Scorer:
    """A detector by its card; picklable.

    name: what the scoring pass calls it. precision: what it computes in, see `bench.precision`. compiled: by
    torch.compile, for windows of one length on a GPU. batch_size: what it takes in a forward pass, where the batches
    of its pass may be larger, in their unit (`bench.batches`); None: a whole batch.
    """

    name: str
    model: str
    arguments: Mapping[str, Any]
    recipe: AudioRecipe
    weights: Path | None = None
    precision: Precision = "fp32"
    compiled: bool = False
    batch_size: int | None = None

    def build(self, device: torch.device) -> torch.nn.Module:
        """The detector in evaluation mode on a device.

        Raises:
            CardError: no such class, or arguments it does not take.
            WeightsError: weights that do not fit.
        """
        network = resolve_model(self.model, self.name)
        if self.weights is not None and (from_folder := getattr(network, "from_folder", None)) is not None:
            model = _make(from_folder, self.model, {"folder": self.weights, **self.arguments}, self.name)
        elif self.weights is not None:
            tensors = weights.read(self.weights)
            try:
                model = build_model(self.model, self.arguments, self.name, tensors)
                weights.load_into(model, tensors, self.weights)
            except WeightsError as error:  # the detector's own word, which does not know the file
                raise WeightsError(error.what, where=self.weights, remedy=weights.MISMATCH) from None
        else:
            model = build_model(self.model, self.arguments, self.name)
            if any(parameter.is_meta for parameter in model.parameters()):
                raise CardError("this detector scores with weights only", where=f"detector card {self.name}")
        model = precision.lowered(model.eval().to(device), self.precision)
        if self.compiled:
            # Where torch keeps what it compiles is emptied at every start of some machines.
            kept = os.path.expanduser("~/.cache/bench/compiled")  # noqa: PTH111 # pathlib raises where there is no home
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", kept)
            model.compile(dynamic=False)
        return model


def resolve_model(target: str, card: str) -> type[torch.nn.Module]:
    """The class a detector card names.

    Raises:
        CardError: no such class, or something that is no torch.nn.Module: nothing else is called.
    """
    network = registry.resolve(target, f"detector card {card}")
    if not (isinstance(network, type) and issubclass(network, torch.nn.Module)):
        raise CardError(f"{target} is no torch.nn.Module", where=f"detector card {card}")
    return network


def build_model(
    target: str, arguments: Mapping[str, Any], card: str, tensors: Mapping[str, torch.Tensor] | None = None
) -> torch.nn.Module:
    """A detector's network as its card describes it, without weights; `tensors` tell sizes that the card leaves open.

    Raises:
        CardError: no such class, something that is no torch.nn.Module (it is not called), arguments it does not take.
    """
    network = resolve_model(target, card)
    infer = getattr(network, "infer", None)
    inferred = infer(tensors) if infer is not None and tensors is not None else {}
    return _make(network, target, inferred | dict(arguments), card)


def _make(
    make: Callable[..., torch.nn.Module], target: str, arguments: Mapping[str, Any], card: str
) -> torch.nn.Module:
    try:
        return make(**arguments)
    except TypeError as error:
        raise CardError(f"{target} does not take these arguments: {error}", where=f"detector card {card}") from None


def model_version(target: str, card: str) -> int:
    """The adapter version of a detector's class: its attribute `version`, 1 where it has none."""
    return int(getattr(registry.resolve(target, f"detector card {card}"), "version", 1))
