"""Find, verify and safely read checkpoints. Nothing in a checkpoint is ever executed.

A card names a file; it is searched by that name in the user's weights folders. Its sha256 must be the one on the card;
without one on the card it is used and marked `unverified`. Reading is tensor-only (`weights_only`): a pickle that wants
to call something is refused.
"""

from __future__ import annotations

import glob
import hashlib
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from bench.cards import DetectorCard
from bench.errors import Blocked, WeightsError


@dataclass(frozen=True)
class Checkpoint:
    """A weights file that is here. `verified` is whether its hash is the published one."""

    path: Path
    sha256: str
    verified: bool


def find(card: DetectorCard, folders: Sequence[Path]) -> Checkpoint:
    """The released checkpoint of a card, from the first folder (searched to any depth) that has a file of its name.

    Raises:
        Blocked: no such file; the remedy says what to download from where to where.
        WeightsError: the file is not the one that was published.
    """
    wanted = card.weights
    if wanted is None:
        raise WeightsError(f"{card.name} has no released weights")
    for folder in folders:
        for path in (folder / wanted.file, *sorted(folder.rglob(glob.escape(wanted.file)))):
            if path.is_file():
                sha256 = file_sha256(path)
                if wanted.sha256 not in (None, sha256):
                    raise WeightsError(
                        f"not the published {wanted.file}: sha256 is {sha256}, the card says {wanted.sha256}",
                        where=path,
                        remedy=f"download it again from {wanted.source}, or make a card of your own for these weights",
                    )
                return Checkpoint(path, sha256, verified=wanted.sha256 is not None)
    searched = ", ".join(map(str, folders))
    raise Blocked(
        f"the weights {wanted.file} are not here (searched {searched})",
        remedy=f"download {wanted.file} from {wanted.source} into {folders[0]}, or name its folder with --weights",
    )


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by key, on the CPU: safetensors, or a plain torch file of tensors.

    Raises:
        WeightsError: not a checkpoint, not a mapping of names to tensors, or a pickle that would execute something.
    """
    if path.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(path))
        except (safetensors.SafetensorError, OSError) as error:
            raise WeightsError(f"not readable as safetensors: {error}", where=path, remedy="fetch it again") from None
    try:
        with warnings.catch_warnings():
            # Files that plain `pickle` wrote are of another protocol; they are refused or read, a hint helps nobody.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("GLOBAL ")[2].split(" ")[0]
        raise WeightsError(
            f"refused: this file is a pickle that asks for {reason or 'more than tensors'}",
            where=path,
            remedy="it may run code when loaded; get the weights as plain tensors or safetensors from their publisher",
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        # Whatever a damaged or hostile file makes the reader stumble over, it is not a checkpoint.
        first = str(error).partition("\n")[0]
        raise WeightsError(
            f"not readable as a torch checkpoint: {first}", where=path, remedy="fetch it again"
        ) from None
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise WeightsError("not a mapping of names to tensors", where=path, remedy="save the model's state_dict alone")
    return dict(state)


def load_into(model: torch.nn.Module, path: Path) -> None:
    """Load a checkpoint strictly: every tensor of the model from the file, every tensor of the file into the model.

    Raises:
        WeightsError: keys that are missing or left over, other shapes, tensors that are not finite.
    """
    tensors, wanted = read(path), model.state_dict()
    problems = [
        *_named("missing", wanted.keys() - tensors.keys()),
        *_named("unknown", tensors.keys() - wanted.keys()),
        *_named("of another shape", [k for k in wanted.keys() & tensors.keys() if wanted[k].shape != tensors[k].shape]),
        *_named("not finite", [key for key, value in tensors.items() if not torch.isfinite(value).all()]),
    ]
    if problems:
        raise WeightsError(
            f"these are not weights of this architecture: {'; '.join(problems)}",
            where=path,
            remedy="check that the card's `model`, `arguments` and `weights` belong together",
        )
    model.load_state_dict(tensors, strict=True)


def _named(what: str, keys: Sequence[str] | set[str]) -> list[str]:
    """`3 tensors missing (a, b, c)`, or nothing."""
    if not keys:
        return []
    listed = sorted(keys)
    more = ", …" if len(listed) > 3 else ""
    return [f"{len(listed)} tensors {what} ({', '.join(listed[:3])}{more})"]
