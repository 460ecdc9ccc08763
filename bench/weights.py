"""Find, verify and safely read checkpoints. Nothing in a checkpoint is ever executed.

A card names a file; it is searched by that name in the user's weights folders. Its sha256 must be the one on the card;
without one on the card it is used and marked `unverified`. Reading is tensor-only (`weights_only`): a pickle that wants
to call something is refused.
"""

from __future__ import annotations

import glob
import hashlib
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors
import safetensors.torch
import torch

from bench.cards import Weights
from bench.errors import MissingWeights, WeightsError

SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")  # of a hub folder, with its weights
MISMATCH = "check that the card's `model`, `arguments` and `weights` belong together"
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@dataclass(frozen=True)
class Checkpoint:
    """A weights file, or folder of the hub, that is here. `verified` is whether its hash is the published one."""

    path: Path
    verified: bool

    @property
    def bytes(self) -> int:
        """The size on disk, about what the weights take in memory."""
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files)

    @cached_property
    def sha256(self) -> str:
        """Of the file; of a folder over the names and hashes of all that a model is loaded from."""
        return sha256_of(self.path)


def find(wanted: Weights, folders: Sequence[Path], needed_by: str) -> Checkpoint:
    """A released checkpoint: the first file of its name and hash in the folders, searched to any depth.

    `needed_by` is the detector that needs it.

    Raises:
        MissingWeights: no file of this name; the remedy says what to download from where to where.
        WeightsError: none of them is the one that was published.
    """
    strangers: list[Path] = []  # `model.pth` is the name of many a checkpoint
    for path in _candidates(wanted, folders):
        if wanted.sha256 is None:
            return Checkpoint(path, verified=False)
        if sha256_of(path) == wanted.sha256:
            return Checkpoint(path, verified=True)
        strangers.append(path)
    if strangers:
        raise WeightsError(
            f"not the published {wanted.file}: sha256 is {sha256_of(strangers[0])}, the card says {wanted.sha256}",
            where=strangers[0],
            remedy=f"download it again from {wanted.source}, or make a card of your own for these weights",
        )
    get = f"download {wanted.file} from {wanted.source} to"
    if wanted.member:
        get = f"take {wanted.member} out of the archive at {wanted.source} and put it at"
    elif wanted.hub and not wanted.hub.path:
        files = f"{', '.join(SETTINGS)} and the weights (*.safetensors, else pytorch_model.bin)"
        get = f"download {files} from {wanted.source} to"
    by_hand = f"{get} {folders[0] / wanted.file}"
    fetch = f"`bench fetch detectors {needed_by}`, or " if wanted.fetchable else ""
    raise MissingWeights(
        f"the weights {wanted.file} are not here (searched {', '.join(map(str, folders))})",
        remedy=f"{fetch}{by_hand}, or name its folder with --weights",
    )


def _candidates(wanted: Weights, folders: Sequence[Path]) -> Iterator[Path]:
    """Files, and folders of a hub model, whose path ends as the card says; its own name before its aliases."""
    for file in (wanted.file, *wanted.aliases):
        parts = PurePosixPath(file).parts
        for folder in folders:
            found = (folder / file, *sorted(folder.rglob(glob.escape(parts[-1]))))
            fitting = dict.fromkeys(path for path in found if path.parts[-len(parts) :] == parts)
            yield from (path for path in fitting if path.is_file() or (path / "config.json").is_file())


def sha256_of(path: Path) -> str:
    """Sha256 (hex) of a file, or of `name sha256` lines of the files of a hub folder that a model is loaded from."""
    if path.is_dir():
        files = [path / name for name in SETTINGS if (path / name).is_file()] + _weights_files(path)
        lines = "".join(f"{file.name} {sha256_of(file)}\n" for file in sorted(files))
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by key, on the CPU.

    Safetensors, a torch file of any age, a folder of the hub; of what a trainer writes the part with the tensors
    (fairseq's `model`, Lightning's `state_dict`).

    Raises:
        WeightsError: not a checkpoint, not a mapping of names to tensors, or a pickle that would execute something.
    """
    content = _read_folder(path) if path.is_dir() else _read_file(path)
    for inner in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(inner), Mapping):
            content = content[inner]
    if not isinstance(content, Mapping) or not all(isinstance(k, str) and _is_plain(v) for k, v in content.items()):
        raise WeightsError("not a mapping of names to tensors", where=path, remedy="save the model's state_dict alone")
    return {key: _owned(value) for key, value in content.items()}


def _weights_files(folder: Path) -> list[Path]:
    """The files of a hub folder that hold its weights: one, or those that its index names."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        if (index := folder / f"{name}.index.json").is_file():
            parts = [folder / part for part in _indexed(index)]
            if lost := [part.name for part in parts if not part.is_file()]:
                raise WeightsError(f"{lost[0]} of this model is missing", where=index, remedy="fetch it again")
            return parts
    raise WeightsError("no weights in this folder", where=folder, remedy="fetch model.safetensors")


def _read_folder(folder: Path) -> dict[str, Any]:
    return {key: value for part in _weights_files(folder) for key, value in _read_file(part).items()}


def _indexed(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if all(re.fullmatch(r"\w[\w.-]*", name, re.ASCII) for name in names):
            return names
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # told below, as names that lead elsewhere are
    raise WeightsError("not an index of weights files", where=index, remedy="fetch it again")


def _read_file(path: Path) -> Any:
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        return dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"not readable as safetensors: {error}", where=path, remedy="fetch it again") from None


class _Inert:
    """Stands for a configuration object in a pickle: takes whatever it is made of and does nothing."""

    def __new__(cls, *_: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# What trainers keep beside the tensors. None of it is imported or called: each name stands for `_stand_in` of it.
_CONFIGURATION = re.compile(
    r"(omegaconf|fairseq|hydra|argparse|typing|enum|pathlib|numpy|_codecs|collections|pytorch_lightning|lightning)\..+"
    r"|builtins\.(dict|list|tuple|int|float|str|bool|bytes|range|slice|frozenset|Ellipsis)|_operator\.getitem"
    r"|datetime\..+"  # types that omegaconf notes of its values, and subscripts of types
)
MOST_NAMES = 200  # of configuration in one file: each costs another reading of its pickle
_REFUSED = re.compile(r"GLOBAL (\S+)")


def _stand_in(name: str) -> tuple[Callable[..., object], str]:
    # Torch fills mappings only, and a defaultdict is filled.
    return (_empty if name == "collections.defaultdict" else _Inert), name


def _empty(*_: object) -> dict[object, object]:
    return {}


def _read_torch(path: Path) -> Any:
    """The content of a torch file, where anything but tensors and plain containers is inert or refused."""
    inert: set[str] = set()
    while True:
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(list(map(_stand_in, inert))):
                warnings.simplefilter("ignore")  # of pickle protocols, sparse tensors, ...: no hint helps
                # Mapped: an optimiser's state, three times the weights, is then never read.
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            found = _REFUSED.search(str(error))
            asked = "" if found is None else found[1] if "." in found[1] else f"builtins.{found[1]}"
            if _CONFIGURATION.fullmatch(asked) and asked not in inert and len(inert) < MOST_NAMES:
                inert.add(asked)
                continue
            what = "not a file of plain tensors: a damaged download, or a pickle of another kind"
            if asked:
                what = f"refused: this file is a pickle that asks for {asked}; it may run code when loaded"
            remedy = "get the weights as plain tensors or safetensors from their publisher"
            raise WeightsError(what, where=path, remedy=remedy) from None
        except Exception as error:  # whatever a damaged file makes the reader stumble over, it is not a checkpoint
            # The first sentence: torch goes on with advice to switch the safe reading off.
            said = ": ".join(filter(None, (type(error).__name__, re.split(r"\.? *\n|\. ", str(error))[0])))
            what = f"not readable as a torch checkpoint ({said})"
            raise WeightsError(what, where=path, remedy="fetch it again") from None


def _is_plain(value: object) -> bool:
    """Whether it is a tensor of values in memory: neither sparse nor quantised nor without storage."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_nested)
    )


_WRAPPER = re.compile(r"module\.|_orig_mod\.|model\.")


def _unwrapped(tensors: Mapping[str, torch.Tensor], own: Collection[str]) -> Mapping[str, torch.Tensor]:
    """Without what wrappers (DataParallel, torch.compile, a Lightning module) put before every key.

    A model's own names stay, though they may begin like that.
    """
    while not tensors.keys() & set(own) and (match := _WRAPPER.match(next(iter(tensors), ""))):
        if not all(key.startswith(match[0]) for key in tensors):
            break
        tensors = {key.removeprefix(match[0]): value for key, value in tensors.items()}
    return tensors


def _owned(value: torch.Tensor) -> torch.Tensor:
    """The values in memory of their own, not in the mapped file, which may change.

    A small storage expanded to a huge shape stays as it is: no memory is reserved on the word of a file.
    """
    return value.detach().clone() if value.untyped_storage().nbytes() >= value.nbytes else value.detach()


def load_into(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load a checkpoint strictly: every tensor of the model from the file, every tensor of the file into the model.

    A model that was released under other names has `names_in(keys)`: its own names -> those in a file with these keys,
    and the keys that may be left out. Wrappers (DataParallel's `module.`) are taken off first. Errors speak of tensors
    as the file does. `path` is for the errors.

    Raises:
        WeightsError: keys that are missing or left over, other shapes or types, tensors that are not finite.
    """
    wanted = model.state_dict()
    tensors = _unwrapped(tensors, wanted)
    names, unused = dict(zip(wanted, wanted, strict=True)), set[str]()
    if names_in := getattr(model, "names_in", None):
        names, unused = names_in(tensors.keys())
    common = {own: name for own, name in names.items() if name in tensors}
    shape = {own for own, name in common.items() if wanted[own].shape != tensors[name].shape}
    kind = {own for own, name in common.items() if not _converts(tensors[name].dtype, wanted[own].dtype)}
    # An expanded tensor is written out now that its shape is the model's.
    fitting = {own: tensors[common[own]].to(wanted[own].dtype).contiguous() for own in common.keys() - shape - kind}
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
            remedy=MISMATCH,
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
