"""Find, verify and safely read checkpoints. Nothing in a checkpoint is ever executed.

A card names a file; it is searched by that name in the user's weights folders. Its sha256 must be the one on the card;
without one on the card it is used and marked `unverified`. Reading is tensor-only (`weights_only`): a pickle that wants
to call something is refused.
"""

from __future__ import annotations

import glob
import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from bench.cards import DetectorCard
from bench.errors import Blocked, WeightsError

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@dataclass(frozen=True)
class Checkpoint:
    """A weights file that is here. `verified` is whether its hash is the published one."""

    path: Path
    sha256: str
    verified: bool


def find(card: DetectorCard, folders: Sequence[Path]) -> Checkpoint:
    """The released checkpoint of a card: the first file of its name and hash in the folders, searched to any depth.

    Raises:
        Blocked: no file of this name; the remedy says what to download from where to where.
        WeightsError: none of them is the one that was published.
    """
    wanted = card.weights
    if wanted is None:
        raise WeightsError(f"{card.name} has no released weights")
    strangers: list[tuple[Path, str]] = []  # `model.pth` is the name of many a checkpoint
    for folder in folders:
        found = (folder / wanted.file, *sorted(folder.rglob(glob.escape(wanted.file))))
        for path in dict.fromkeys(path for path in found if path.is_file()):
            sha256 = file_sha256(path)
            if wanted.sha256 in (None, sha256):
                return Checkpoint(path, sha256, verified=wanted.sha256 is not None)
            strangers.append((path, sha256))
    if strangers:
        path, sha256 = strangers[0]
        raise WeightsError(
            f"not the published {wanted.file}: sha256 is {sha256}, the card says {wanted.sha256}",
            where=path,
            remedy=f"download it again from {wanted.source}, or make a card of your own for these weights",
        )
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
            warnings.simplefilter("ignore")  # of pickle protocols, sparse tensors, ...: read or refused, no hint helps
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("GLOBAL ")[2].split(" ")[0]
        what = "not a file of plain tensors: a damaged download, or a pickle of another kind"
        if reason:
            what = f"refused: this file is a pickle that asks for {reason}; it may run code when loaded"
        remedy = "get the weights as plain tensors or safetensors from their publisher"
        raise WeightsError(what, where=path, remedy=remedy) from None
    except Exception as error:  # whatever a damaged file makes the reader stumble over, it is not a checkpoint
        # The first sentence: torch goes on with advice to switch the safe reading off.
        said = ": ".join(filter(None, (type(error).__name__, re.split(r"\.? *\n|\. ", str(error))[0])))
        what = f"not readable as a torch checkpoint ({said})"
        raise WeightsError(what, where=path, remedy="fetch it again") from None
    if not isinstance(state, Mapping) or not all(isinstance(k, str) and _is_plain(v) for k, v in state.items()):
        raise WeightsError("not a mapping of names to tensors", where=path, remedy="save the model's state_dict alone")
    return dict(state)


def _is_plain(value: object) -> bool:
    """Whether it is a tensor of values in memory: neither sparse nor quantised nor without storage."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def load_into(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load a checkpoint strictly: every tensor of the model from the file, every tensor of the file into the model.

    A model that was released under other names has `names_in(keys)`: its own names -> those in a file with these keys,
    and the keys that may be left out. Errors speak of tensors as the file does. `path` is for the errors.

    Raises:
        WeightsError: keys that are missing or left over, other shapes or types, tensors that are not finite.
    """
    wanted = model.state_dict()
    names, unused = dict(zip(wanted, wanted, strict=True)), set[str]()
    if names_in := getattr(model, "names_in", None):
        names, unused = names_in(tensors.keys())
    common = {own: name for own, name in names.items() if name in tensors}
    shape = {own for own, name in common.items() if wanted[own].shape != tensors[name].shape}
    kind = {own for own, name in common.items() if not _converts(tensors[name].dtype, wanted[own].dtype)}
    fitting = {own: tensors[common[own]].to(wanted[own].dtype) for own in common.keys() - shape - kind}
    problems = [
        *_named("missing", names.values() - tensors.keys()),
        *_named("unknown", tensors.keys() - names.values() - unused),
        *_named("of another shape", {names[own] for own in shape}),
        *_named("of another type", {names[own] for own in kind}),
        *_named("not finite", {names[own] for own, value in fitting.items() if not value.isfinite().all()}),
    ]
    if problems:
        raise WeightsError(
            f"these are not weights of this architecture: {'; '.join(problems)}",
            where=path,
            remedy="check that the card's `model`, `arguments` and `weights` belong together",
        )
    # Assigned, not copied: a model of gigabytes is in memory once, and one built without storage gets its own.
    model.load_state_dict(fitting, strict=True, assign=True)


def _converts(given: torch.dtype, wanted: torch.dtype) -> bool:
    """Whether numbers may be stored as another type than the model's: floats may, nothing else."""
    return given == wanted or {given, wanted} <= FLOATS


def _named(what: str, keys: AbstractSet[str]) -> list[str]:
    """`3 tensors missing (a, b, c)`, or nothing."""
    if not keys:
        return []
    listed = sorted(keys)
    more = ", …" if len(listed) > 3 else ""
    return [f"{len(listed)} tensors {what} ({', '.join(listed[:3])}{more})"]
