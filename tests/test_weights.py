"""Checkpoints: found by name and hash, read without executing anything, loaded strictly."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import weights
from bench.cards import DetectorCard
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
