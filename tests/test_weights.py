"""Checkpoints: found by name and hash, read without executing anything, loaded strictly."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import io
import json
import os
import pickle
import resource
import struct
import sys
import types
import typing
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench import weights
from bench.cards import DetectorCard, Weights
from bench.errors import Blocked, WeightsError

STATE = {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "bias": torch.tensor([5.0, 6.0])}


def card(file: str = "net.pth", sha256: str | None = None) -> DetectorCard:
    return DetectorCard.model_validate(
        {
            "name": "net",
            "title": "Net",
            "summary": "A net.",
            "licence": "MIT",
            "family": "net",
            "model": "torch.nn:Linear",
            "audio": {"window": "whole"},
            "weights": {"file": file, "source": "https://example.org/net", "licence": "MIT", "sha256": sha256},
        }
    )


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def saved(path: Path, state: object, **options: Any) -> Path:
    torch.save(state, path, **options)
    return path


def find(card: DetectorCard, folders: Sequence[Path]) -> weights.Checkpoint:
    assert card.weights is not None
    return weights.find(card.weights, folders, card.name)


def load(model: torch.nn.Module, path: Path) -> None:
    weights.load_into(model, weights.read(path), path)


def check_loaded(path: Path) -> None:
    """The file fills a layer with `STATE`."""
    model = torch.nn.Linear(2, 2)
    load(model, path)
    assert all(torch.equal(value, STATE[key]) for key, value in model.state_dict().items())


def refusal(path: Path) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        weights.read(path)
    assert caught.value.where == str(path) and caught.value.remedy
    return caught.value


# Finding


def test_weights_are_found_by_name_at_any_depth(tmp_path: Path) -> None:
    """The file name on the card is enough; a folder of that name is no file."""
    (tmp_path / "net.pth").mkdir()
    path = put(tmp_path / "a" / "b" / "c" / "net.pth")
    put(tmp_path / "a" / "other-net.pth")
    found = find(card(), [tmp_path])
    assert (found.path, found.sha256) == (path, digest(b"x"))


def test_the_first_folder_wins_and_in_it_the_top(tmp_path: Path) -> None:
    """In the order in which folders are given; a folder that does not exist holds nothing."""
    first, second = tmp_path / "z", tmp_path / "a"
    put(second / "net.pth")
    deep = put(first / "deep" / "net.pth")
    folders = [tmp_path / "nowhere", first, second]
    assert find(card(), folders).path == deep
    top = put(first / "net.pth")
    assert find(card(), folders).path == top


def test_weights_are_verified_by_the_hash_on_the_card(tmp_path: Path) -> None:
    """A card with a hash gives verified weights, one without gives unverified ones with the hash of the file."""
    put(tmp_path / "net.pth")
    assert find(card(sha256=digest(b"x")), [tmp_path]).verified
    found = find(card(), [tmp_path])
    assert not found.verified and found.sha256 == digest(b"x")


def test_a_file_of_another_hash_is_refused(tmp_path: Path) -> None:
    """Both hashes, the file, and where to get the right one."""
    path = put(tmp_path / "net.pth", b"truncated")
    put(tmp_path / "deep" / "net.pth", b"other")
    with pytest.raises(WeightsError) as caught:
        find(card(sha256="0" * 64), [tmp_path])
    assert caught.value.what == f"not the published net.pth: sha256 is {digest(b'truncated')}, the card says {'0' * 64}"
    assert caught.value.where == str(path)
    assert str(caught.value.remedy).startswith("download it again from https://example.org/net, or make a card")


def test_the_hash_tells_files_of_one_name_apart(tmp_path: Path) -> None:
    """Many a project calls its checkpoint model.pth: the one of the right hash is taken, wherever it lies."""
    put(tmp_path / "one" / "a" / "model.pth", b"other detector")
    path = put(tmp_path / "two" / "model.pth", b"right")
    found = find(card("model.pth", digest(b"right")), [tmp_path / "one", tmp_path / "two"])
    assert found == weights.Checkpoint(path, verified=True)


def test_missing_weights_block_with_what_to_download_from_where_to_where(tmp_path: Path) -> None:
    """A user reads the file, its source, the folder it goes to, and what was searched."""
    with pytest.raises(Blocked) as caught:
        find(card(), [tmp_path / "w", tmp_path / "v"])
    assert caught.value.what == f"the weights net.pth are not here (searched {tmp_path / 'w'}, {tmp_path / 'v'})"
    target = tmp_path / "w" / "net.pth"
    remedy = f"download net.pth from https://example.org/net to {target}, or name its folder with --weights"
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        (
            {"member": "run/net.pth", "url": "https://example.org/net.zip"},
            "take run/net.pth out of the archive at https://example.org/net and put it at",
        ),
        (
            {"hub": {"repo": "org/net"}},
            "download config.json, preprocessor_config.json, processor_config.json and the weights (*.safetensors, "
            "else pytorch_model.bin) from https://example.org/net to",
        ),
        ({"hub": {"repo": "org/net", "path": "epoch_2.pth"}}, "download net.pth from https://example.org/net to"),
    ],
    ids=["member of an archive", "folder of the hub", "file of the hub"],
)
def test_what_to_download_is_what_the_source_has(tmp_path: Path, fields: dict[str, Any], what: str) -> None:
    """The archive that a member is in, all that a model of the hub is loaded from, a file."""
    missing = Weights(file="net.pth", source="https://example.org/net", licence="MIT", **fields)
    with pytest.raises(Blocked) as caught:
        weights.find(missing, [tmp_path], "net")
    by_hand = f"{what} {tmp_path / 'net.pth'}"
    assert caught.value.remedy == f"`bench fetch detectors net`, or {by_hand}, or name its folder with --weights"


@pytest.mark.parametrize("file", ["net[1].pth", "n*t.pth", "n?t.pth", "[net].pth", "**"])
def test_glob_characters_in_a_file_name_are_characters(tmp_path: Path, file: str) -> None:
    """They neither match other files nor miss their own."""
    for other in ("net1.pth", "net.pth", "n.pth"):
        put(tmp_path / "deep" / other)
    with pytest.raises(Blocked):
        find(card(file), [tmp_path])
    path = put(tmp_path / "deep" / file)
    assert find(card(file), [tmp_path]).path == path


@pytest.mark.parametrize("file", ["~", "$HOME"])
def test_names_with_a_meaning_are_names(tmp_path: Path, file: str) -> None:
    """Nothing is expanded and no folder is a checkpoint."""
    put(tmp_path / "net.pth")
    with pytest.raises(Blocked):
        find(card(file), [tmp_path])


def wanted(file: str, *aliases: str, sha256: str | None = None) -> Weights:
    return Weights(file=file, aliases=aliases, source="https://example.org/net", licence="MIT", sha256=sha256)


def test_files_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    """`model.safetensors` says little: with its folder's name it is one of many, at any depth and on no other path."""
    paths = {name: put(tmp_path / "hub" / name / "model.safetensors", name.encode()) for name in ("sls", "slim")}
    put(tmp_path / "slim.d" / "model.safetensors")
    put(tmp_path / "slim" / "deeper" / "model.safetensors")
    for name, path in paths.items():
        assert weights.find(wanted(f"{name}/model.safetensors"), [tmp_path], "net").path == path
        found = weights.find(wanted("model.safetensors", sha256=digest(name.encode())), [tmp_path], "net")
        assert found == weights.Checkpoint(path, verified=True)
    with pytest.raises(Blocked, match=r"^the weights other/model\.safetensors are not here"):
        weights.find(wanted("other/model.safetensors"), [tmp_path], "net")


def test_a_checkpoint_has_several_names(tmp_path: Path) -> None:
    """Its own goes before its aliases, an earlier alias before a later one, whichever folder each is in."""
    card = wanted("model.pth", "epoch_2.pth", "v1/best.pth")
    third = put(tmp_path / "a" / "v1" / "best.pth")
    assert weights.find(card, [tmp_path / "a", tmp_path / "b"], "net").path == third
    second = put(tmp_path / "b" / "deep" / "epoch_2.pth")
    assert weights.find(card, [tmp_path / "a", tmp_path / "b"], "net").path == second
    first = put(tmp_path / "b" / "model.pth")
    assert weights.find(card, [tmp_path / "a", tmp_path / "b"], "net").path == first


def test_the_hash_decides_among_the_names(tmp_path: Path) -> None:
    """A stranger under the card's own name does not hide the right file under an alias."""
    put(tmp_path / "model.pth", b"stranger")
    path = put(tmp_path / "epoch_2.pth", b"right")
    card = wanted("model.pth", "epoch_2.pth", sha256=digest(b"right"))
    assert weights.find(card, [tmp_path], "net") == weights.Checkpoint(path, verified=True)


@pytest.mark.parametrize("name", ["../out.pth", "/", "", "/out.pth", ".", "a/../out.pth", "a\\out.pth", "a\0.pth"])
def test_a_name_leads_nowhere_else(name: str) -> None:
    """A card that points outside the weights folders, with the name itself or with an alias, is none."""
    for names in ([name], ["net.pth", name], ["net.pth", "epoch_2.pth", name]):
        with pytest.raises(ValidationError, match="String should match pattern"):
            wanted(*names)


def hub_folder(folder: Path, **files: bytes) -> Path:
    for name, content in {"config__json": b"{}", "model__safetensors": safetensors.torch.save(STATE), **files}.items():
        put(folder / name.replace("__", "."), content)
    return folder


def test_a_folder_of_the_hub_is_a_checkpoint(tmp_path: Path) -> None:
    """Found by its name when it has a configuration, and read like a file."""
    put(tmp_path / "a" / "xls-r" / "model.safetensors")
    with pytest.raises(Blocked):
        weights.find(wanted("xls-r"), [tmp_path], "net")
    folder = hub_folder(tmp_path / "b" / "xls-r")
    found = weights.find(wanted("xls-r"), [tmp_path], "net")
    assert found == weights.Checkpoint(folder, verified=False)
    assert found.bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_the_hash_of_a_folder_is_that_of_what_is_read(tmp_path: Path) -> None:
    """Of `name sha256` lines by name, of the settings and the weights: no other file beside them changes it."""
    folder = hub_folder(tmp_path / "xls-r", preprocessor_config__json=b"[]")
    files = ["config.json", "model.safetensors", "preprocessor_config.json", "processor_config.json"]

    def expected() -> str:
        lines = (f"{name} {digest((folder / name).read_bytes())}\n" for name in files if (folder / name).is_file())
        return digest("".join(lines).encode())

    seen = [weights.sha256_of(folder)]
    assert seen == [expected()]
    for name in ("README.md", "vocab.json", "pytorch_model.bin", "model.safetensors.index.json", "other.safetensors"):
        put(folder / name)
        assert weights.sha256_of(folder) == seen[0], name
    for name in files:
        put(folder / name, name.encode())
        seen.append(weights.sha256_of(folder))
        assert seen[-1] == expected()
    assert len(set(seen)) == 5
    assert weights.find(wanted("xls-r", sha256=seen[-1]), [tmp_path], "net").verified


def test_the_hash_of_a_sharded_folder_is_that_of_its_parts(tmp_path: Path) -> None:
    """Those that the index names, and a part beside them that it does not name changes nothing."""
    folder = sharded(tmp_path / "xls-r", {"a": "part-2.safetensors", "b": "part-1.safetensors"})
    parts = {name: put(folder / name, name.encode()) for name in ("part-1.safetensors", "part-2.safetensors")}
    put(folder / "part-3.safetensors")
    lines = "".join(f"{name} {digest(path.read_bytes())}\n" for name, path in parts.items())
    assert weights.sha256_of(folder) == digest(lines.encode())


# Reading


@pytest.mark.parametrize("legacy", [False, True])
def test_a_plain_torch_file_is_read(tmp_path: Path, legacy: bool) -> None:
    """Tensors and parameters under their names, on the CPU, from both formats of torch."""
    state = OrderedDict(a=STATE["weight"], b=torch.nn.Parameter(STATE["bias"]), c=torch.tensor(3), d=torch.zeros(0))
    tensors = weights.read(saved(tmp_path / "net.pth", state, _use_new_zipfile_serialization=not legacy))
    assert list(tensors) == list("abcd")
    assert all(torch.equal(tensors[key], state[key]) and tensors[key].device.type == "cpu" for key in state)


def test_safetensors_are_read(tmp_path: Path) -> None:
    """By the suffix of the file."""
    safetensors.torch.save_file(STATE, tmp_path / "net.safetensors")
    tensors = weights.read(tmp_path / "net.safetensors")
    assert tensors.keys() == STATE.keys() and all(torch.equal(tensors[key], STATE[key]) for key in STATE)


@contextmanager
def foreign(**classes: type) -> typing.Iterator[None]:
    """Classes of modules that exist while a file is written and not when it is read: `a__b__C` is `a.b:C`."""
    added = []
    for path, kind in classes.items():
        *packages, name = path.split("__")
        kind.__module__, kind.__name__, kind.__qualname__ = ".".join(packages), name, name
        for depth in range(1, len(packages) + 1):
            module = ".".join(packages[:depth])
            if module not in sys.modules:
                sys.modules[module] = types.ModuleType(module)
                added.append(module)
        setattr(sys.modules[kind.__module__], name, kind)
    yield
    for module in added:
        del sys.modules[module]


def trained_state(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer writes: weights among options, history and an optimiser."""
    return {
        "args": argparse.Namespace(arch="wav2vec2", lr=[0.1], nested=argparse.Namespace(seed=1)),
        **extra,
        "model": OrderedDict(STATE),
        "optimizer_history": [{"criterion_name": "C", "num_updates": 3, "lr_scheduler_state": {"best": np.float64(1)}}],
        "extra_state": {"epoch": 2, "val_loss": np.float32(0.5), "seen": np.arange(3), "metrics": OrderedDict(a=1.0)},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.ones(2, 2), "step": 3}}, "param_groups": [{"lr": 0.1}]},
    }


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trainers that would leave this mark if a reader imported them."""
    mark, modules = tmp_path / "imported", tmp_path / "modules"
    for name in ("fairseq", "omegaconf", "hydra", "pytorch_lightning"):
        put(modules / f"{name}.py", f"import pathlib; pathlib.Path({str(mark)!r}).touch()".encode())
    monkeypatch.syspath_prepend(str(modules))
    return mark


@pytest.mark.parametrize("legacy", [False, True])
def test_a_fairseq_checkpoint_is_read_without_fairseq(tmp_path: Path, legacy: bool, importable: Path) -> None:
    """Options of modules that are not here, numpy scalars and an optimiser are passed over, and nothing is imported."""

    class Config:
        def __init__(self, content: object) -> None:
            self._content = content

    class Kind(str):
        pass

    before = set(torch.serialization.get_safe_globals())
    with foreign(omegaconf__dictconfig__DictConfig=Config, fairseq__dataclass__constants__Kind=Kind):
        cfg = Config({"model": Config([1, "a", Kind("avg")]), "path": Path("/data"), "any": typing.Any})
        state = trained_state({"cfg": cfg, "task_state": {}})
        saved(tmp_path / "a.pt", state, _use_new_zipfile_serialization=not legacy)
    tensors = weights.read(tmp_path / "a.pt")
    assert list(tensors) == list(STATE) and all(torch.equal(tensors[key], STATE[key]) for key in STATE)
    assert not importable.exists() and not {"fairseq", "omegaconf"} & sys.modules.keys()
    assert set(torch.serialization.get_safe_globals()) == before
    load(torch.nn.Linear(2, 2), tmp_path / "a.pt")


@pytest.mark.parametrize(
    "held",
    [
        dict,
        [bool, bytes, float, frozenset, int, list, range, slice, str, tuple],
        defaultdict(dict),
        defaultdict(list, a=[1]),
        typing.Tuple[float, float],  # noqa: UP006 - as trainers of that time wrote it
        typing.Dict[str, typing.List[int]],  # noqa: UP006 - likewise
        [datetime.datetime(2021, 5, 1, tzinfo=datetime.UTC), datetime.timedelta(1)],
    ],
    ids=["dict", "types", "empty defaultdict", "defaultdict", "generic type", "nested generic type", "dates"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_what_real_configurations_hold_is_passed_over(tmp_path: Path, held: object, legacy: bool) -> None:
    """omegaconf keeps the type of every node and, in 2.0, a `defaultdict(dict)`."""
    saved(tmp_path / "a.pt", trained_state({"cfg": held}), _use_new_zipfile_serialization=not legacy)
    assert list(weights.read(tmp_path / "a.pt")) == list(STATE)


def test_a_dict_of_a_trainers_own_kind_is_refused(tmp_path: Path) -> None:
    """Lightning's hyper-parameters: torch fills plain dicts only, so one with something in it cannot be passed over."""

    class Attributes(dict[str, Any]):
        pass

    with foreign(pytorch_lightning__utilities__parsing__AttributeDict=Attributes):
        empty = saved(tmp_path / "empty.pt", trained_state({"hyper_parameters": Attributes()}))
        filled = saved(tmp_path / "filled.pt", trained_state({"hyper_parameters": Attributes(a=1)}))
    assert list(weights.read(empty)) == list(STATE)
    error = refusal(filled)
    assert error.what == "not a file of plain tensors: a damaged download, or a pickle of another kind"
    assert error.remedy == "get the weights as plain tensors or safetensors from their publisher"


@pytest.mark.parametrize("count", [200, 201])
def test_names_of_configuration_in_one_file_are_limited(tmp_path: Path, count: int) -> None:
    """Each is another reading of the file: after two hundred it is refused by the next."""
    names = "".join(f"X\x01\0\0\0acfairseq\nN{number}\n" for number in range(count))
    path = packed(tmp_path / "a.pth", b"\x80\x02}(" + names.encode() + b"u.")
    what = "refused: this file is a pickle that asks for fairseq.N200; it may run code when loaded"
    assert refusal(path).what == ("not a mapping of names to tensors" if count == 200 else what)


def test_a_lightning_checkpoint_is_read(tmp_path: Path) -> None:
    """`state_dict` among loops, callbacks and hyper-parameters, below the module's own attribute."""

    class Checkpointing:
        pass

    with foreign(pytorch_lightning__callbacks__ModelCheckpoint=Checkpointing):
        state = {
            "epoch": 3,
            "pytorch-lightning_version": "2.1.0",
            "state_dict": OrderedDict((f"model.{key}", value) for key, value in STATE.items()),
            "callbacks": {Checkpointing: {"best_model_score": torch.tensor(0.1), "best_model_path": "x"}},
            "hyper_parameters": {"optimizer": argparse.Namespace(lr=1e-4), "dir": Path("/x")},
        }
        saved(tmp_path / "a.ckpt", state)
    assert list(weights.read(tmp_path / "a.ckpt")) == ["model.weight", "model.bias"]
    check_loaded(tmp_path / "a.ckpt")


@pytest.mark.parametrize("around", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model.", "model.module."])
def test_what_wrappers_put_before_every_name_is_taken_off(tmp_path: Path, prefix: str, around: str | None) -> None:
    """DataParallel, torch.compile, an attribute `model`, one in another, in a file of their own or of a trainer; the
    file is read as it is."""
    state: dict[str, Any] = {prefix + key: value for key, value in STATE.items()}
    path = saved(tmp_path / "a.pth", {around: state, "epoch": 1} if around else state)
    assert list(weights.read(path)) == list(state)
    check_loaded(path)


def test_wrappers_of_torch_are_known(tmp_path: Path) -> None:
    """As torch itself names what DataParallel holds."""
    wrapped = torch.nn.DataParallel(torch.nn.Linear(2, 2))
    wrapped.module.load_state_dict(STATE)
    check_loaded(saved(tmp_path / "a.pth", wrapped.state_dict()))


def test_a_prefix_of_some_names_is_part_of_them(tmp_path: Path) -> None:
    """What not every name begins with is no wrapper."""
    path = saved(
        tmp_path / "a.pth", {f"model.{key}": value for key, value in STATE.items()} | {"models.x": torch.ones(1)}
    )
    with pytest.raises(WeightsError, match=r"3 tensors unknown \(model\.bias, model\.weight, models\.x\)"):
        load(torch.nn.Linear(2, 2), path)


@pytest.mark.parametrize("wrapper", ["", "module.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("attribute", ["model", "module", "_orig_mod"])
def test_what_a_model_calls_its_own_is_no_wrapper(tmp_path: Path, attribute: str, wrapper: str) -> None:
    """All of it may hang below an attribute called `model`: its own file loads, and so does a wrapped one."""
    own, source = torch.nn.Module(), torch.nn.Linear(2, 2)
    own.add_module(attribute, torch.nn.Linear(2, 2))
    state = {f"{wrapper}{attribute}.{key}": value for key, value in source.state_dict().items()}
    load(own, saved(tmp_path / "a.pth", state))
    assert all(torch.equal(own.state_dict()[f"{attribute}.{key}"], value) for key, value in source.state_dict().items())


def sharded(folder: Path, names: Mapping[str, object], suffix: str = "safetensors") -> Path:
    index = {"safetensors": "model.safetensors.index.json", "bin": "pytorch_model.bin.index.json"}[suffix]
    put(folder / index, json.dumps({"metadata": {"total_size": 1}, "weight_map": names}).encode())
    return folder


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_sharded_folder_is_read_whole(tmp_path: Path, suffix: str) -> None:
    """Every part that the index names, once; a single file goes before an index, safetensors before pickles."""
    for number, (key, value) in enumerate(STATE.items()):
        if suffix == "safetensors":
            safetensors.torch.save_file({key: value}, tmp_path / f"part-{number}.safetensors")
        else:
            saved(tmp_path / f"part-{number}.bin", {key: value})
    sharded(tmp_path, {key: f"part-{number}.{suffix}" for number, key in enumerate(STATE)}, suffix)
    tensors = weights.read(tmp_path)
    assert tensors.keys() == STATE.keys() and all(torch.equal(tensors[key], STATE[key]) for key in STATE)
    saved(tmp_path / "pytorch_model.bin", {"bin": torch.ones(1)})
    assert list(weights.read(tmp_path)) == (["bin"] if suffix == "bin" else list(STATE))
    safetensors.torch.save_file({"single": torch.ones(1)}, tmp_path / "model.safetensors")
    assert list(weights.read(tmp_path)) == ["single"]


@pytest.mark.parametrize(
    "names",
    [
        {"a": "../out.safetensors"},
        {"a": "OUTSIDE"},
        {"a": "deeper/out.safetensors"},
        {"a": "."},
        {"a": ".."},
        {"a": ""},
        {"a": 1},
        {"a": None},
        {"a": ["part.safetensors"]},
        {"a": "part.safetensors", "b": 1},
        {"a": "part\0.safetensors"},
        {"a": "\ud800.safetensors"},
        {"a": "absent.safetensors"},
        ["part.safetensors"],
        "part.safetensors",
        None,
    ],
    ids=repr,
)
def test_an_index_names_files_beside_it_and_nothing_else(tmp_path: Path, names: Any) -> None:
    """Paths that lead elsewhere, folders, other types: refused, with a file and a remedy, and nothing is read there."""
    outside = tmp_path / "out.safetensors"
    for path in (outside, tmp_path / "hub" / "deeper" / "out.safetensors", tmp_path / "hub" / "part.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(STATE, path)
    if isinstance(names, dict):
        names = {key: str(outside) if value == "OUTSIDE" else value for key, value in names.items()}
    with pytest.raises(WeightsError) as caught:
        weights.read(sharded(tmp_path / "hub", names))
    assert caught.value.what.startswith(
        ("not an index of weights files", "not readable as", "absent.safetensors of this model")
    )
    assert str(caught.value.where).startswith(str(tmp_path / "hub")) and caught.value.remedy == "fetch it again"


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"{}", b'{"weight_map": 3}', b"\xff"])
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever is in it."""
    path = put(tmp_path / "model.safetensors.index.json", content)
    with pytest.raises(WeightsError) as caught:
        weights.read(tmp_path)
    assert (caught.value.what, caught.value.where) == ("not an index of weights files", str(path))


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "folder"])
def test_what_happens_to_a_file_after_it_was_read_changes_no_weight(tmp_path: Path, kind: str) -> None:
    """The values are in memory, not in a file that is mapped: written over, it leaves them alone."""
    path = tmp_path / ("a.pth" if kind in ("zip", "legacy") else "model.safetensors")
    state = {"weight": torch.arange(100_000.0), "bias": torch.arange(3.0)}
    if path.suffix == ".pth":
        saved(path, state, _use_new_zipfile_serialization=kind == "zip")
    else:
        safetensors.torch.save_file(state, path)
    tensors = weights.read(tmp_path if kind == "folder" else path)
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert all(torch.equal(tensors[key], state[key]) for key in state)


def test_what_happens_to_a_file_changes_no_repeated_value_either(tmp_path: Path) -> None:
    """A bias that is stored as one number, repeated, has its own memory once it is part of a model."""
    path = saved(tmp_path / "a.pth", STATE | {"bias": torch.ones(1).expand(2)})
    model = torch.nn.Linear(2, 2)
    load(model, path)
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert model.bias.tolist() == [1.0, 1.0] and model.bias.is_contiguous()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_no_weight(tmp_path: Path) -> None:
    """Refused as any other tensor without plain values."""
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    error = refusal(saved(tmp_path / "a.pth", STATE | {"weight": nested}))
    assert error.what == "not a mapping of names to tensors"


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("stride", [0, 1])
def test_no_memory_is_reserved_on_the_word_of_a_file(tmp_path: Path, stride: int, legacy: bool) -> None:
    """A tensor of 2**40 values that are one and the same, or of which the file holds one, costs nothing."""

    class Huge:
        def __reduce__(self) -> tuple[object, ...]:
            storage = torch.ones(1).storage()  # type: ignore[no-untyped-call]  # untyped in torch
            return torch._utils._rebuild_tensor_v2, (storage, 0, (2**40,), (stride,), False, OrderedDict())

    path = saved(tmp_path / "a.pth", {"weight": Huge()}, _use_new_zipfile_serialization=not legacy)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError) as caught:
        load(torch.nn.Linear(2, 2), path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100 * 1024
    wrong = "not readable as a torch checkpoint" if stride else "these are not weights of this architecture"
    assert caught.value.what.startswith(wrong) and caught.value.where == str(path)


class Hostile:
    """Touches a file when it is unpickled by somebody careless."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.mark}'",)


def hostile_files(folder: Path, mark: Path) -> dict[str, Path]:
    state = {"weight": Hostile(mark)}
    files = {
        "zip": saved(folder / "zip.pth", state),
        "legacy": saved(folder / "legacy.pth", state, _use_new_zipfile_serialization=False),
        "safetensors": saved(folder / "a.safetensors", state),
    }
    for protocol in range(6):
        files[f"pickle {protocol}"] = put(folder / f"{protocol}.pth", pickle.dumps(state, protocol=protocol))
    return files


def test_the_hostile_files_of_these_tests_are_hostile(tmp_path: Path) -> None:
    """Plain unpickling executes them; so the next test would see it."""
    mark = tmp_path / "executed"
    pickle.loads(hostile_files(tmp_path, mark)["pickle 4"].read_bytes())
    assert mark.exists()


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    """A pickle that calls something is refused in every format, and nothing has been called."""
    mark = tmp_path / "executed"
    for kind, path in hostile_files(tmp_path, mark).items():
        error = refusal(path)
        if kind in ("zip", "legacy", "pickle 2"):
            what = "refused: this file is a pickle that asks for posix.system; it may run code when loaded"
            assert error.what == what
            assert error.remedy == "get the weights as plain tensors or safetensors from their publisher"
        with pytest.raises(WeightsError):
            load(torch.nn.Linear(2, 2), path)
    assert not mark.exists()


def probe(mark: Path) -> type:
    """A class that leaves the mark when it is called, made anew, or given a state."""

    class Probe:
        def __new__(cls, *arguments: object) -> Probe:
            if arguments:
                mark.touch()
            return super().__new__(cls)

        def __setstate__(self, state: object) -> None:
            mark.touch()

    return Probe


def asking(module: str, name: str, how: str) -> bytes:
    """A pickle of {"x": something that `module.name` makes of "echo"}, as only somebody hostile writes it."""
    text = b"X\x04\x00\x00\x00echo"
    made = {"call": b"(" + text + b"tR", "new": b"(" + text + b"t\x81", "state": b")\x81" + text + b"b"}[how]
    return b"\x80\x02}(X\x01\x00\x00\x00xc" + f"{module}\n{name}\n".encode() + made + b"u."


def packed(path: Path, program: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("data.pkl", program), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", content)
    return path


TRAINERS = ["omegaconf.base", "fairseq.tasks", "hydra", "lightning", "pytorch_lightning"]
HERE = [
    "argparse",
    "datetime",
    "typing",
    "enum",
    "pathlib",
    "numpy",
    "numpy.testing",
    "_codecs",
    "collections",
    "collections.abc",
]
OTHERS = ["fairseqx", "xfairseq", "builtins", "_operator", "torch.hub", "subprocess", "importlib", "runpy"]


@pytest.mark.parametrize("how", ["call", "new", "state"])
@pytest.mark.parametrize("module", TRAINERS + HERE)
def test_names_of_configurations_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, how: str
) -> None:
    """Where plain unpickling would find something that acts, in modules that are even imported, nothing is touched."""
    mark = tmp_path / "executed"
    for depth in range(1, module.count(".") + 2):
        parent = ".".join(module.split(".")[:depth])
        monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent) or types.ModuleType(parent))
    monkeypatch.setattr(sys.modules[module], "Probe", probe(mark), raising=False)
    program = asking(module, "Probe", how)
    pickle.loads(program)
    assert mark.exists()
    mark.unlink()
    assert refusal(packed(tmp_path / "a.pth", program)).what == "not a mapping of names to tensors"
    assert not mark.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_what_calls_something_is_refused_inside_a_configuration_too(tmp_path: Path, legacy: bool) -> None:
    """Deep in options that are passed over, by the name of what it asks for, and never executed."""
    mark = tmp_path / "executed"

    class Config:
        def __init__(self, content: object) -> None:
            self.content = content

    with foreign(fairseq__Config=Config):
        hidden = argparse.Namespace(a=Config([argparse.Namespace(b={"c": Hostile(mark)})]))
        path = saved(tmp_path / "a.pt", trained_state({"cfg": hidden}), _use_new_zipfile_serialization=not legacy)
    what = "refused: this file is a pickle that asks for posix.system; it may run code when loaded"
    assert refusal(path).what == what
    assert not mark.exists()


@pytest.mark.parametrize("module", OTHERS)
@pytest.mark.parametrize("how", ["call", "new", "state"])
def test_other_names_are_refused(tmp_path: Path, module: str, how: str) -> None:
    """Only what trainers are known to leave is passed over."""
    error = refusal(packed(tmp_path / "a.pth", asking(module, "eval", how)))
    assert error.what == f"refused: this file is a pickle that asks for {module}.eval; it may run code when loaded"


def test_a_whole_module_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    """What `torch.save(model)` wrote needs code of its publisher."""
    assert "asks for torch.nn.modules.linear.Linear" in refusal(saved(tmp_path / "a.pth", torch.nn.Linear(1, 1))).what


@pytest.mark.parametrize(
    "state",
    [
        [1, 2],
        torch.zeros(2),
        {"model": {"epoch": 3}, "epoch": 3},
        {"weight": torch.zeros(2), "epoch": 3},
        {1: torch.zeros(1)},
        {"weight": torch.eye(3).to_sparse()},
        {"weight": torch.zeros(3, device="meta")},
    ],
    ids=["list", "tensor", "nested", "number", "number as name", "sparse", "no storage"],
)
def test_what_is_no_mapping_of_names_to_tensors_is_refused(tmp_path: Path, state: object) -> None:
    """Lists, training states, tensors without plain values."""
    error = refusal(saved(tmp_path / "a.pth", state))
    assert error.what == "not a mapping of names to tensors"
    assert error.remedy == "save the model's state_dict alone"


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 1_000, b"PK\x03\x04", b"<html>404 Not Found</html>", b"version https://git-lfs.github.com/spec/v1\n"],
    ids=["empty", "zeros", "zip magic", "web page", "pointer"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    """One line that never advises to switch the safe reading off."""
    error = refusal(put(tmp_path / f"a.{suffix}", content))
    assert error.what.startswith(("not readable as", "not a file of plain tensors"))
    assert "\n" not in error.what and "Re-running" not in error.what and "False" not in error.what


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Missing, or a folder without weights."""
    for path in (tmp_path / "a.pth", tmp_path / "a.safetensors"):
        assert refusal(path).what.startswith("not readable as")
    assert refusal(tmp_path).what == "no weights in this folder"


@given(share=st.floats(0, 0.99), kind=st.sampled_from(["zip", "legacy", "safetensors"]))
@settings(max_examples=40, deadline=None)
def test_a_checkpoint_that_is_cut_short_is_refused(
    share: float, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever the download ended."""
    path = tmp_path_factory.mktemp("cut") / ("a.safetensors" if kind == "safetensors" else "a.pth")
    content = safetensors.torch.save(STATE)
    if kind != "safetensors":
        buffer = io.BytesIO()
        torch.save(STATE, buffer, _use_new_zipfile_serialization=kind == "zip")
        content = buffer.getvalue()
    refusal(put(path, content[: int(share * (len(content) - 1))]))


@given(seed=st.integers(0, 2**32), edits=st.integers(1, 4), legacy=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_damaged_checkpoint_is_tensors_or_a_weights_error(
    seed: int, edits: int, legacy: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever bytes of the pickle are changed, nothing but the error of this module comes out."""
    buffer, random = io.BytesIO(), np.random.default_rng(seed)
    torch.save(STATE, buffer, _use_new_zipfile_serialization=not legacy)

    def damaged(content: bytes) -> bytes:
        data = bytearray(content)
        for at in random.integers(len(data), size=edits):
            data[at] = random.integers(256)
        return bytes(data)

    content = buffer.getvalue()
    if legacy:
        content = damaged(content)
    else:
        archive = io.BytesIO()
        with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(archive, "w") as target:
            for name in source.namelist():
                part = source.read(name)
                target.writestr(name, damaged(part) if name.endswith("data.pkl") else part)
        content = archive.getvalue()
    path = put(tmp_path_factory.mktemp("damaged") / "a.pth", content)
    model = torch.nn.Linear(2, 2)
    try:
        load(model, path)
    except WeightsError as error:
        assert error.where == str(path)
    else:
        assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
        {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        [],
    ],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, header: object) -> None:
    """Shapes, offsets and types that are not those of the data; no memory is reserved on its word."""
    text = json.dumps(header).encode()
    path = put(tmp_path / "a.safetensors", struct.pack("<Q", len(text)) + text + bytes(8))
    assert refusal(path).what.startswith("not readable as safetensors: ")


# Loading


def test_weights_are_loaded_into_the_model(tmp_path: Path) -> None:
    """Every value, from either format; numbers stored in half precision become the model's."""
    for path in (saved(tmp_path / "a.pth", STATE), tmp_path / "a.safetensors"):
        safetensors.torch.save_file(STATE, tmp_path / "a.safetensors")
        model = torch.nn.Linear(2, 2)
        load(model, path)
        assert all(torch.equal(model.state_dict()[key], STATE[key]) for key in STATE)
    half = {key: value.half() for key, value in STATE.items()}
    model = torch.nn.Linear(2, 2)
    load(model, saved(tmp_path / "half.pth", half))
    assert model.weight.dtype == torch.float32 and torch.equal(model.weight.data, STATE["weight"])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bias": None}, "1 tensors missing (bias)"),
        ({"scale": torch.ones(1)}, "1 tensors unknown (scale)"),
        ({f"x{i}": torch.ones(1) for i in range(5)}, "5 tensors unknown (x0, x1, x2, …)"),
        ({"weight": torch.ones(2, 3)}, "1 tensors of another shape (weight)"),
        ({"weight": torch.ones(4)}, "1 tensors of another shape (weight)"),
        ({"weight": torch.ones(2, 2, dtype=torch.int64)}, "1 tensors of another type (weight)"),
        ({"weight": torch.ones(2, 2, dtype=torch.complex64)}, "1 tensors of another type (weight)"),
        ({"bias": torch.tensor([1.0, torch.nan])}, "1 tensors not finite (bias)"),
        ({"bias": torch.tensor([1.0, -torch.inf])}, "1 tensors not finite (bias)"),
        ({"bias": torch.tensor([1.0, 1e300], dtype=torch.float64)}, "1 tensors not finite (bias)"),
        ({"huge": torch.ones(1).expand(2**40)}, "1 tensors unknown (huge)"),
        ({"weight": torch.ones(1).expand(2**40)}, "1 tensors of another shape (weight)"),
        (
            {"weight": None, "bias": torch.full((2,), torch.nan), "module.weight": torch.ones(2, 2)},
            "1 tensors missing (weight); 1 tensors unknown (module.weight); 1 tensors not finite (bias)",
        ),
    ],
)
def test_weights_of_another_architecture_are_refused(
    tmp_path: Path, change: dict[str, torch.Tensor | None], what: str
) -> None:
    """What is missing, left over, of another shape or type or not finite; the model is left as it was."""
    state = {key: value for key, value in {**STATE, **change}.items() if value is not None}
    path, model = saved(tmp_path / "a.pth", state), torch.nn.Linear(2, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load(model, path)
    assert caught.value.what == f"these are not weights of this architecture: {what}"
    assert caught.value.where == str(path)
    assert caught.value.remedy == "check that the card's `model`, `arguments` and `weights` belong together"
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)


def test_released_weights_are_found_and_read(shared: Path) -> None:
    """AASIST as its authors released it, by the hash on its card."""
    from bench import registry

    found = find(registry.detectors()["aasist"], [shared / "golden"])
    assert found.verified and found.path.name == "AASIST.pth"
    assert len(weights.read(found.path)) > 100
