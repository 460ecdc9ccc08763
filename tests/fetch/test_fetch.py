"""`bench fetch`: what is missing, where it comes from and goes to, on which terms, and that it really gets there."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click.testing
import pytest
from pydantic import ValidationError

from bench import cli, fetch, terminal, weights, yamlfile
from bench.cards import Archive
from bench.errors import UsageError
from bench.fetch import Outcome, hub
from bench.progress import Silent
from bench.registry import datasets
from tests.fetch.hub_server import COMMIT, Fault, Server, running, sha256
from tests.tiny import World
from tests.tiny import files_below as below

MODEL = bytes(range(256)) * 20
SHA256 = sha256(MODEL)
SCRIPT = Path(sys.executable).parent / "bench"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A hub of its own, and nobody logged in."""
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
        # The library would ask the real hub which programs call it.
        monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", {}, raising=False)
        yield server


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("bench.fetch.transport.time.sleep", lambda seconds: None)
    monkeypatch.setattr("bench.registry.yamlfile.load", LOAD)
    for name in ("DATA", "WEIGHTS", "RESULTS", "CARDS"):
        monkeypatch.delenv(f"BENCH_{name}", raising=False)
    (tmp_path / "world").mkdir()
    return World(tmp_path / "world")


def once(read: Callable[..., Any]) -> Callable[..., Any]:
    """Each test makes workspaces of its own; the cards that ship with the harness are parsed once for all of them."""
    cached = functools.cache(read)
    return lambda file: (cached if file.parent.name in ("detectors", "datasets") else read)(file)


LOAD = once(yamlfile.load)


def released(**fields: Any) -> dict[str, Any]:
    """The `weights` of a card."""
    return {"file": "net.pth", "source": "the authors", "licence": "CC BY-NC 4.0", **fields}


def of_hub(path: str = "net.pth", repo: str = "org/net", **fields: Any) -> dict[str, Any]:
    return {"repo": repo, "path": path, **fields}


def get(world: World, names: str, kind: Any = "detectors", **options: Any) -> list[Outcome]:
    workspace = world.workspace(**options)
    return fetch.carry_out(workspace, fetch.plan(workspace, kind, [names]), Silent())


def got(world: World, names: str, kind: Any = "detectors", **options: Any) -> Outcome:
    (outcome,) = get(world, names, kind, **options)
    return outcome


def failed(world: World, names: str, kind: Any = "detectors", **options: Any) -> Outcome:
    outcome = got(world, names, kind, **options)
    assert not outcome.ok and outcome.remedy
    return outcome


def record(place: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(place.with_name(f"{place.name}.source.json").read_text())
    assert facts["date"].endswith("+00:00")
    return facts


def here(world: World) -> set[str]:
    """Files below the weights folder."""
    folder = world.root / "weights"
    return {str(file.relative_to(folder)) for file in below(folder)}


# Checkpoints of the hub


def test_a_file_of_the_hub(world: World, server: Server) -> None:
    """A branch is made its commit before the transfer; a run finds the file, and its record says where it is from."""
    server.repo("org/net", {"net.pth": MODEL, "README.md": b"hello"})
    world.detector("det", weights=released(hub=of_hub()))
    outcome = got(world, "det")
    place = world.root / "weights" / "net.pth"
    assert outcome.ok and outcome.told == f"{place} (5.1 kB, sha256 {SHA256}, as the hub has it)"
    workspace = world.workspace()
    checkpoint = workspace.checkpoint(workspace.detectors["det"])
    assert checkpoint is not None and (checkpoint.path, checkpoint.sha256) == (place, SHA256)
    assert [seen.path for seen in server.seen] == [
        "/api/models/org/net/revision/main",
        f"/org/net/resolve/{COMMIT}/net.pth",
        f"/cdn/{SHA256}",
    ]
    facts = record(place)
    del facts["date"]
    assert facts == {
        "file": "net.pth",
        "url": f"{server.url}/org/net/resolve/{COMMIT}/net.pth",
        "repository": "org/net",
        "revision": "main",
        "commit": COMMIT,
        "path": "net.pth",
        "bytes": len(MODEL),
        "sha256": SHA256,
        "licence": "CC BY-NC 4.0",
    }
    assert here(world) == {"net.pth", "net.pth.source.json"}


def test_what_is_here_is_not_downloaded(world: World, server: Server) -> None:
    """Every weights folder is searched first, by name to any depth; nobody is asked."""
    world.detector("det", weights=released(hub=of_hub(), sha256=SHA256))
    other = world.root / "other" / "deep" / "net.pth"
    other.parent.mkdir(parents=True)
    other.write_bytes(MODEL)
    outcome = got(world, "det", weights=(world.root / "weights", world.root / "other"))
    assert (outcome.ok, outcome.told, outcome.item.state) == (True, str(other), "here")
    assert server.seen == []
    assert not (world.root / "weights").exists()


def test_a_second_fetch_downloads_nothing(world: World, server: Server) -> None:
    """What came is here."""
    server.repo("org/net", {"net.pth": MODEL})
    world.detector("det", weights=released(hub=of_hub()))
    assert got(world, "det").ok
    server.seen.clear()
    assert got(world, "det").item.state == "here"
    assert server.seen == []


def test_an_interrupted_file_of_the_hub_is_gone_on_with(world: World, server: Server) -> None:
    """The rest is asked for where the hub leads to, and its hash is that of the whole."""
    server.repo("org/net", {"net.pth": MODEL})
    server.faults[f"/cdn/{SHA256}"] = [Fault(cut=1_000)]
    world.detector("det", weights=released(hub=of_hub()))
    assert got(world, "det").ok
    assert [seen.range for seen in server.of(f"/cdn/{SHA256}")] == [None, "bytes=1000-"]


@pytest.mark.parametrize("revision", ["v1.0", COMMIT, "refs/pr/7"])
def test_a_revision_may_be_a_tag_a_commit_or_a_reference(revision: str, world: World, server: Server) -> None:
    """The commit is what is downloaded."""
    server.repo("org/net", {"sub/net.pth": MODEL}, revisions=("v1.0", "refs/pr/7"))
    world.detector("det", weights=released(hub=of_hub("sub/net.pth", revision=revision)))
    assert got(world, "det").ok
    facts = record(world.root / "weights" / "net.pth")
    assert (facts["revision"], facts["commit"], facts["path"]) == (revision, COMMIT, "sub/net.pth")


def test_a_small_file_of_the_hub_has_no_hash(world: World, server: Server) -> None:
    """Then the card may have one; without either it is said that nobody vouches for it."""
    server.repo("org/net", {"net.pth": b"small"})
    world.detector("det", weights=released(hub=of_hub()))
    assert got(world, "det").told.endswith(f"(5 bytes, sha256 {sha256(b'small')}, unverified: the card has none)")
    world.detector("other", weights=released(hub=of_hub(), file="other/net.pth", sha256=sha256(b"small")))
    assert got(world, "other").told.endswith(", as on the card)")


def test_the_hub_and_the_card_must_agree(world: World, server: Server) -> None:
    """A file that was replaced on the hub is told before gigabytes of it have come."""
    server.repo("org/net", {"net.pth": MODEL})
    world.detector("det", weights=released(hub=of_hub(), sha256="0" * 64))
    outcome = failed(world, "det")
    assert outcome.told.startswith(f"not the published net.pth: sha256 is {SHA256}, the card says {'0' * 64}")
    assert "name the commit of the card's file as `revision`" in outcome.remedy
    assert server.downloads == []


def test_a_wrong_file_from_the_hub_gets_no_name(world: World, server: Server) -> None:
    """The hash of the hub is compared with what has come."""
    server.repo("org/net", {"net.pth": MODEL})
    server.add(f"/cdn/{SHA256}", MODEL[::-1])
    world.detector("det", weights=released(hub=of_hub()))
    outcome = failed(world, "det")
    assert f"sha256 is {sha256(MODEL[::-1])}, published is {SHA256}" in outcome.told
    assert here(world) == set()


# Who may have it


def test_a_gated_repository_without_a_login(world: World, server: Server) -> None:
    """The page with the terms, how to log in, and to run it again: step by step. Nothing is written."""
    server.repo("org/net", {"net.pth": MODEL}, gated=True)
    world.detector("det", weights=released(hub=of_hub(gated=True)))
    outcome = failed(world, "det")
    assert outcome.told.startswith(
        "org/net is gated: its files are for accounts that accepted its terms, and you are not logged in"
    )
    assert outcome.remedy == (
        f"1. open {server.url}/org/net, log in and accept the terms; "
        f"2. run `hf auth login`, or set HF_TOKEN to a token from {server.url}/settings/tokens, of that account; "
        "3. then run the same command again"
    )
    assert here(world) == set()


def test_a_gated_repository_of_another_account(world: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged in, but the terms are not accepted, or the authors did not answer; also where the card knows nothing."""
    server.repo("org/net", {"net.pth": MODEL}, kind="dataset", gated=True)
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")
    world.detector("det", weights=released(hub=of_hub(kind="dataset")))
    outcome = failed(world, "det")
    assert "and the account of your token is not among them yet" in outcome.told
    assert f"1. open {server.url}/datasets/org/net, log in" in outcome.remedy
    assert "hf_somebody" not in str(outcome)


def test_an_accepted_account_gets_it(world: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token goes to the hub and not to where the hub leads, and is written nowhere."""
    server.repo("org/net", {"net.pth": MODEL}, gated=True)
    server.cdn = server.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("HF_TOKEN", server.token)
    world.detector("det", weights=released(hub=of_hub(gated=True)))
    assert got(world, "det").ok
    assert {seen.path: seen.headers.get("authorization") for seen in server.downloads} == {
        f"/org/net/resolve/{COMMIT}/net.pth": f"Bearer {server.token}",
        f"/cdn/{SHA256}": None,
    }
    assert not any(server.token in file.read_text(errors="replace") for file in below(world.root))


def test_what_the_hub_does_not_have(world: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repository, revision or file: which one is missing is told with the others; without a login it does not say."""
    server.repo("org/net", {"net.pth": MODEL})
    world.detector("repo", weights=released(hub=of_hub(repo="org/gone", revision="v2"), file="a.pth"))
    world.detector("revision", weights=released(hub=of_hub(revision="v2"), file="b.pth"))
    world.detector("file", weights=released(hub=of_hub("gone.pth"), file="c.pth"))
    outcomes = {outcome.item.needed_by[0]: outcome for outcome in get(world, "repo,revision,file")}
    assert (
        "the hub refuses org/gone (401): it is private, or absent, or your token is not valid" in outcomes["repo"].told
    )
    assert "`hf auth login`" in outcomes["repo"].remedy
    assert "the model repository org/net has no revision v2 (404)" in outcomes["revision"].told
    assert "the model repository org/net has no file gone.pth at revision main (404)" in outcomes["file"].told
    assert f"look at {server.url}/org/net, and correct `hub`" in outcomes["file"].remedy
    monkeypatch.setenv("HF_TOKEN", server.token)
    told = failed(world, "repo").told
    assert "the hub does not have the model repository org/gone (asked for revision v2; 404)" in told


def test_a_hub_that_is_busy_is_asked_again(world: World, server: Server) -> None:
    """As any server; one that stays away is given up with its address."""
    server.repo("org/net", {"net.pth": MODEL})
    server.faults["/api/models/org/net/revision/main"] = [Fault(status=503), Fault(status=429)]
    world.detector("det", weights=released(hub=of_hub()))
    assert got(world, "det").ok


def test_a_hub_that_is_away(world: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is told, and that the same command goes on later."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    world.detector("det", weights=released(hub=of_hub()))
    outcome = failed(world, "det")
    assert outcome.told.startswith(
        "org/net: the hub cannot be reached (ConnectError), 6 times (http://127.0.0.1:9/org/net"
    )


def test_the_hub_may_be_switched_off(world: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is obeyed, and named."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    world.detector("det", weights=released(hub=of_hub()))
    outcome = failed(world, "det")
    assert outcome.remedy == "unset HF_HUB_OFFLINE to download"
    assert server.seen == []


# Whole models of the hub


FOLDER = {
    "config.json": b"{}",
    "preprocessor_config.json": b'{"do_normalize": true}',
    "model.safetensors": MODEL,
    "pytorch_model.bin": MODEL[::-1],
    "modeling_evil.py": b"import os",
    "handler.py": b"import os",
    "README.md": b"hello",
    "onnx/model.onnx": b"x",
    "onnx/config.json": b"{}",
}


def whole(**fields: Any) -> dict[str, Any]:
    return released(hub={"repo": "org/net"}, file="org/net", **fields)


def test_a_whole_model_of_the_hub(world: World, server: Server) -> None:
    """Configuration and safetensors into <weights>/<org>/<name>; no program, no pickle beside safetensors."""
    server.repo("org/net", FOLDER)
    world.detector("det", weights=whole())
    place = world.root / "weights" / "org" / "net"
    outcome = got(world, "det")
    names = {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert {file.name for file in place.iterdir()} == names
    assert {seen.path.rpartition("/")[2] for seen in server.downloads} == {*names, SHA256}
    digest = weights.sha256_of(place)
    assert outcome.told == f"{place} (5.1 kB, sha256 {digest}, as the hub has it)"
    workspace = world.workspace()
    checkpoint = workspace.checkpoint(workspace.detectors["det"])
    assert checkpoint is not None and (checkpoint.path, checkpoint.sha256) == (place, digest)
    facts = record(place)
    assert (facts["commit"], facts["sha256"], facts["url"]) == (COMMIT, digest, f"{server.url}/org/net")
    assert {file["path"]: file["sha256"] for file in facts["files"]} == {name: sha256(FOLDER[name]) for name in names}
    assert not (place / "net.source.json").exists()  # it would be part of the hash


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["config.json", "pytorch_model.bin", "x.py"], ["config.json", "pytorch_model.bin"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (["../evil.safetensors", "a/b.safetensors", "/x.safetensors", "tokenizer.json", ".safetensors\n"], []),
        (["pytorch_model.bin.index.json", "training_args.bin", "optimizer.pt"], []),
    ],
)
def test_which_files_a_model_is_loaded_from(files: list[str], wanted: list[str]) -> None:
    """Safetensors with their index, a pickle only where there are none; a name of the hub is never a path."""
    assert hub.of_a_model(files) == wanted


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_repository_that_is_no_model(missing: str, world: World, server: Server) -> None:
    """Without configuration or weights nothing is downloaded."""
    server.repo("org/net", {name: FOLDER[name] for name in ("config.json", "model.safetensors") if name != missing})
    world.detector("det", weights=whole())
    assert failed(world, "det").told.startswith("no config.json beside weights in org/net")
    assert server.downloads == []


def test_a_folder_is_there_whole_or_not_at_all(world: World, server: Server) -> None:
    """Broken off between two files, a run does not find it; the next fetch asks only for what is missing."""
    server.repo("org/net", FOLDER)
    server.faults[f"/cdn/{SHA256}"] = [Fault(cut=2_000), *[Fault(status=503)] * 9]
    world.detector(
        "det", weights=whole(sha256=folder_hash("config.json", "preprocessor_config.json", "model.safetensors"))
    )
    failed(world, "det")
    assert not (world.root / "weights" / "org" / "net").exists()
    server.faults.clear()
    assert got(world, "det").told.endswith(", as on the card)")
    assert server.seen[-1].range == "bytes=2000-"
    found = world.workspace().checkpoint(world.workspace().detectors["det"])
    assert found is not None and found.verified


def test_files_of_another_commit_do_not_stay_in_a_folder(world: World, server: Server) -> None:
    """What an earlier fetch left is used where its hash is that of this commit."""
    staging = world.root / "weights" / "org" / "net.part"
    staging.mkdir(parents=True)
    for name, content in (("config.json", b"old"), ("model.safetensors", MODEL), ("old.safetensors", b"old")):
        (staging / name).write_bytes(content)
    server.repo("org/net", FOLDER)
    world.detector("det", weights=whole())
    assert got(world, "det").ok
    place = world.root / "weights" / "org" / "net"
    assert (place / "config.json").read_bytes() == b"{}"
    assert not (place / "old.safetensors").exists()
    assert not server.of(f"/cdn/{SHA256}")


def folder_hash(*names: str) -> str:
    lines = "".join(f"{name} {sha256(FOLDER[name])}\n" for name in sorted(names))
    return hashlib.sha256(lines.encode()).hexdigest()


# Checkpoints from elsewhere


def test_a_file_of_a_plain_server(world: World, server: Server) -> None:
    """Verified by the hash of the card; its record has the address."""
    url = server.add("/download/x", MODEL) + "?download=1"
    world.detector("det", weights=released(url=url, sha256=SHA256))
    assert got(world, "det").told == f"{world.root}/weights/net.pth (5.1 kB, sha256 {SHA256}, as on the card)"
    facts = record(world.root / "weights" / "net.pth")
    assert (facts["url"], facts["sha256"], facts["licence"]) == (url, SHA256, "CC BY-NC 4.0")
    assert "commit" not in facts


def test_a_file_without_a_hash_is_unverified(world: World, server: Server) -> None:
    """It comes, and its hash is told so that it can stand on the card."""
    world.detector("det", weights=released(url=server.add("/net", MODEL)))
    assert got(world, "det").told.endswith(f"sha256 {SHA256}, unverified: the card has none)")


def test_a_wrong_or_missing_file_of_a_plain_server(world: World, server: Server) -> None:
    """Told with its address; the other detector still gets its weights."""
    world.detector("wrong", weights=released(url=server.add("/wrong", b"x"), file="a.pth", sha256=SHA256))
    world.detector("gone", weights=released(url=f"{server.url}/gone", file="b.pth"))
    world.detector("right", weights=released(url=server.add("/net", MODEL), file="c.pth", sha256=SHA256))
    wrong, gone, right = get(world, "wrong,gone,right")
    assert f"not the published a.pth: sha256 is {sha256(b'x')}" in wrong.told
    assert gone.told == f"the server has no such file (404 Not Found) ({server.url}/gone)"
    assert right.ok and here(world) == {"c.pth", "c.pth.source.json"}


def zipped(files: Mapping[str, bytes]) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return file.getvalue()


def test_members_of_one_archive(world: World, server: Server) -> None:
    """Downloaded once for all of them, and removed when the last one is out; each is verified by itself."""
    url = server.add("/all.zip", zipped({"a/net.pth": MODEL, "b.pth": MODEL[::-1]}))
    world.detector("a", weights=released(url=url, member="a/net.pth", sha256=SHA256))
    world.detector("b", weights=released(url=url, member="b.pth", file="b.pth", sha256=sha256(MODEL[::-1])))
    world.detector("wrong", weights=released(url=url, member="b.pth", file="c.pth", sha256=SHA256))
    outcomes = get(world, "a,b")
    assert all(outcome.ok for outcome in outcomes)
    assert len(server.seen) == 1
    assert (world.root / "weights" / "net.pth").read_bytes() == MODEL
    assert record(world.root / "weights" / "net.pth")["member"] == "a/net.pth"
    assert here(world) == {"net.pth", "net.pth.source.json", "b.pth", "b.pth.source.json"}
    assert "not the published c.pth" in failed(world, "wrong").told
    failed(world, "wrong")
    assert len(server.seen) == 2  # what did not succeed stays on the shelf
    assert not (world.root / "weights" / "c.pth").exists()


def test_a_member_that_is_not_there(world: World, server: Server) -> None:
    """What is in the archive is told."""
    url = server.add("/all.zip", zipped({"a/net.pth": MODEL}))
    world.detector("det", weights=released(url=url, member="net.pth"))
    assert failed(world, "det").remedy == "correct the card; in it are a/net.pth"


def test_a_perturbed_dataset_needs_the_files_of_the_clean_one(world: World) -> None:
    """Once, however many perturbations are named."""
    world.dataset("set", [1, 2], audio=False)
    planned = fetch.plan(world.workspace(), "datasets", ["set+trim", "set+mp3@64k", "set"])
    assert [card.name for card in planned.cards] == [item.name for item in planned.items] == ["set"]


def test_what_has_no_address_is_explained(world: World, server: Server) -> None:
    """Where from, where to, and how to check it: nothing else is left to find out."""
    world.detector("det", weights=released(sha256=SHA256, source="https://drive.example.org/folder"))
    outcome = failed(world, "det")
    assert outcome.item.state == "by hand"
    assert outcome.remedy == (
        "1. download net.pth from https://drive.example.org/folder; "
        f"2. put it at {world.root}/weights/net.pth; 3. `sha256sum` of it must print {SHA256}"
    )


def test_another_file_of_the_name_stays(world: World, server: Server) -> None:
    """Elsewhere in the folders it does not matter; at the place itself nothing is downloaded, and that is told."""
    world.detector("det", weights=released(url=server.add("/net", MODEL), sha256=SHA256))
    (world.root / "weights" / "mine").mkdir(parents=True)
    (world.root / "weights" / "mine" / "net.pth").write_bytes(b"mine")
    assert got(world, "det").ok
    place = world.root / "weights" / "net.pth"
    place.write_bytes(b"other")
    server.seen.clear()
    outcome = failed(world, "det")
    assert (outcome.item.state, server.seen, place.read_bytes()) == ("wrong", [], b"other")
    assert outcome.told.startswith("not the published net.pth: sha256 is")


def test_a_file_that_comes_meanwhile_stays(world: World, server: Server) -> None:
    """Between plan and transfer somebody else may have put it there: it is not overwritten."""
    world.detector("det", weights=released(url=server.add("/net", MODEL), sha256=SHA256))
    world.detector("packed", weights=released(url=server.add("/z", zipped({"n": MODEL})), member="n", file="n.pth"))
    world.detector("folder", weights=whole())
    workspace = world.workspace()
    planned = fetch.plan(workspace, "detectors", ["det,packed,folder"])
    for name in ("net.pth", "n.pth", "org/net"):
        place = world.root / "weights" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"mine")
    for outcome in fetch.carry_out(workspace, planned, Silent()):
        assert not outcome.ok and outcome.told.startswith("there is something already")
    assert server.seen == []


def test_what_cards_share_is_downloaded_once(world: World, server: Server) -> None:
    """And is needed by all of them; two files for one place are a mistake of the cards."""
    url = server.add("/net", MODEL)
    for name in ("a", "b"):
        world.detector(name, weights=released(url=url))
    world.detector("c", weights=released(url=f"{url}2"))
    first, second = get(world, "a,b,c")
    assert (first.ok, first.item.needed_by, len(server.seen)) == (True, ("a", "b"), 1)
    assert second.told == f"c wants another file at {world.root}/weights/net.pth than a"
    assert second.remedy == "give `file` on one of the cards a folder (`folder/name`)"


def test_what_training_starts_from_is_fetched(world: World, server: Server) -> None:
    """Every part of the recipe that does not begin at random; a card without a download says why it needs none."""
    server.repo("org/net", {"net.pth": MODEL})
    start = {"style": released(hub=of_hub()), "content": released(url=server.add("/c", MODEL), file="content.pth")}
    world.dataset("set", range(4))
    world.detector("trained", recipe={"train": "set", "start": start})
    world.detector("scratch", recipe={"train": "set"})
    world.detector("chance", recipe={"train": "set", "start": {"style": "random"}})
    world.detector("none")
    outcomes = get(world, "trained,scratch,chance,none")
    assert [outcome.told for outcome in outcomes[2:]] == ["trained here, on set"] * 2 + ["needs no weights"]
    assert all(outcome.ok for outcome in outcomes)
    assert here(world) >= {"net.pth", "content.pth"}


def test_a_folder_that_cannot_be_written(world: World, server: Server) -> None:
    """Told with the options that name another one; the next item is tried all the same."""
    (world.root / "weights").write_text("a file")
    world.detector("det", weights=released(url=server.add("/net", MODEL)))
    world.detector("none")
    first, second = get(world, "det,none")
    assert "cannot be written" in first.told and "--weights" in first.remedy
    assert second.ok


def test_unknown_names_are_told(world: World) -> None:
    """As everywhere, with the nearest known ones."""
    with pytest.raises(UsageError, match="no detector is called 'aasit'"):
        fetch.plan(world.workspace(cards=None), "detectors", ["aasit"])
    with pytest.raises(UsageError, match="no dataset is called 'itv'"):
        fetch.plan(world.workspace(cards=None), "datasets", ["itv"])


# Corpora

CM = "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm"
LA_2019 = {
    "LA/README.LA.txt": b"",
    f"{CM}.train.trn.txt": b"LA_0079 LA_T_1 - - bonafide\nLA_0079 LA_T_2 - A01 spoof\n",
    f"{CM}.dev.trl.txt": b"LA_0069 LA_D_1 - - bonafide\nLA_0069 LA_D_2 - A02 spoof\n",
    f"{CM}.eval.trl.txt": b"LA_0039 LA_E_1 - - bonafide\nLA_0039 LA_E_2 - A11 spoof\nLA_0039 LA_E_3 - A12 spoof\n",
    **{f"LA/ASVspoof2019_LA_train/flac/LA_T_{n}.flac": b"x" for n in (1, 2)},
    **{f"LA/ASVspoof2019_LA_dev/flac/LA_D_{n}.flac": b"x" for n in (1, 2)},
    **{f"LA/ASVspoof2019_LA_eval/flac/LA_E_{n}.flac": b"x" for n in (1, 2, 3, 9)},
}
LA_KEY = b"LA_1 LA_E_1 alaw ita_tx A07 spoof notrim eval\nLA_2 LA_E_2 g722 loc_tx bonafide bonafide notrim eval\n"
DF_KEY = b"".join(
    b"LA_%d DF_E_%d nocodec asvspoof %s notrim eval %s - - - -\n"
    % (n, n, b"A14 spoof" if n % 2 else b"bonafide bonafide", b"traditional_vocoder" if n % 2 else b"bonafide")
    for n in range(8)
)
DF = "ASVspoof2021_DF_eval"
LA = "ASVspoof2021_LA_eval"
# The documented trees of the releases (zenodo, DataShare, the hub), with a few trials each.
RELEASES: dict[str, dict[str, dict[str, bytes]]] = {
    "asvspoof2019-la": {"LA.zip": LA_2019},
    "asvspoof2021-la": {
        "LA-keys-full.tar.gz": {"keys/LA/CM/trial_metadata.txt": LA_KEY, "keys/LA/ASV/trial_metadata.txt": b"x"},
        f"{LA}.tar.gz": {
            f"{LA}/ASVspoof2021.LA.cm.eval.trl.txt": b"LA_E_1\nLA_E_2\n",
            **{f"{LA}/flac/LA_E_{n}.flac": b"x" for n in (1, 2)},
        },
    },
    "asvspoof2021-df": {
        "DF-keys-full.tar.gz": {"keys/DF/CM/trial_metadata.txt": DF_KEY},
        **{
            f"{DF}_part0{part}.tar.gz": {f"{DF}/flac/DF_E_{n}.flac": b"x" for n in (2 * part, 2 * part + 1)}
            for part in range(4)
        },
    },
    "itw": {
        "release_in_the_wild.zip": {
            "release_in_the_wild/meta.csv": b"file,speaker,label\n0.wav,Ayn Rand,spoof\n1.wav,Ayn Rand,bona-fide\n",
            **{f"release_in_the_wild/{n}.wav": b"x" for n in (0, 1)},
        }
    },
}
RIRS = "RIRS_NOISES"
RIRS_NOISES = {
    f"{RIRS}/pointsource_noises/noise-free-sound-0000.wav": b"x",
    f"{RIRS}/simulated_rirs/smallroom/Room001/Room001-00001.wav": b"x",
    f"{RIRS}/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav": b"x",
    f"{RIRS}/real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav": b"x",
}
RELEASES |= {
    "rirs-noises-noise": {"rirs_noises.zip": RIRS_NOISES},
    "rirs-noises-rooms": {"rirs_noises.zip": RIRS_NOISES},
    "musan-noise": {
        "musan.tar.gz": {f"musan/{kind}/free-sound/{kind}-free-sound-0000.wav": b"x" for kind in ("music", "noise")}
    },
    "ravdess": {
        "Audio_Speech_Actors_01-24.zip": {f"Actor_0{n}/03-01-01-01-01-01-0{n}.wav": b"x" for n in (1, 2)},
        "Audio_Song_Actors_01-24.zip": {"Actor_01/03-02-01-01-01-01-01.wav": b"x"},
    },
}
TRIALS = {
    "asvspoof2019-la": 3,
    "asvspoof2021-la": 2,
    "asvspoof2021-df": 8,
    "itw": 2,
    "rirs-noises-noise": 1,
    "rirs-noises-rooms": 2,
    "musan-noise": 1,
    "ravdess": 3,
}


def packed(name: str, files: Mapping[str, bytes]) -> bytes:
    if name.endswith(".zip"):
        return zipped(files)
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return file.getvalue()


def release(world: World, server: Server, name: str, contents: Mapping[str, bytes] | None = None, **fields: Any) -> str:
    """A card that differs from the shipped one only in where its archives are: on this server, under their names."""
    if contents is None:
        contents = {file: packed(file, files) for file, files in RELEASES[name].items()}
    archives = []
    for archive in datasets()[name].archives:
        if archive.file in contents:
            server.add(f"/{archive.file}", contents[archive.file])
        told = {"file": archive.file, "folder": archive.folder, "unpack": archive.unpack}
        archives.append({**told, "url": f"{server.url}/{archive.file}"})
    card = {"name": f"my-{name}", "extends": name, "archives": archives, **fields}
    (world.cards / f"my-{name}.yaml").write_text(json.dumps(card))
    return f"my-{name}"


def test_every_card_with_archives_is_proven_below() -> None:
    """With all of its archives; the siblings of a dataset have the same ones."""
    cards = datasets().cards
    assert {name for name, card in cards.items() if card.archives and card.sibling_of is None} == RELEASES.keys()
    for name, contents in RELEASES.items():
        assert {archive.file for archive in cards[name].archives} == contents.keys()
    for card in cards.values():
        assert card.archives == cards[card.sibling_of or card.name].archives
        assert all(archive.hub or str(archive.url).startswith("https://") for archive in card.archives)
        assert all(f"bench fetch datasets {card.sibling_of or card.name}`" in card.obtain for _ in card.archives[:1])


@pytest.mark.parametrize("name", RELEASES)
def test_the_reader_finds_what_the_archives_hold(name: str, world: World, server: Server) -> None:
    """Each is unpacked where the card's reader looks first; every trial has its audio, and the archives are gone."""
    mine = release(world, server, name)
    *archives, last = get(world, mine, "datasets")
    assert (last.ok, last.told) == (True, f"ready, {TRIALS[name]} trials")
    assert all(outcome.ok for outcome in archives) and len(archives) == len(RELEASES[name])
    workspace = world.workspace()
    assert workspace.missing_audio(mine) == []
    first = world.data / datasets()[name].arguments["places"][0]
    assert all(Path(path).is_relative_to(first) for path in workspace.dataset(mine).trials["path"])
    left = {file.name for file in below(world.data)}
    assert not left & RELEASES[name].keys()
    for outcome in archives:
        assert outcome.item.place is not None
        facts = record(outcome.item.place)
        assert facts["unpacked"] == len(RELEASES[name][outcome.item.name])
        assert facts["sha256"] == sha256(server.files[f"/{outcome.item.name}"].content)
        assert facts["licence"] == datasets()[name].licence
    server.seen.clear()
    again = got(world, mine, "datasets")
    assert (again.item.state, again.told, server.seen) == ("here", f"ready, {TRIALS[name]} trials", [])


def test_the_shipped_card_of_a_corpus_on_the_hub(world: World, server: Server) -> None:
    """In-the-Wild as it is: its repository on this server, at the commit of the moment."""
    content = packed("release_in_the_wild.zip", RELEASES["itw"]["release_in_the_wild.zip"]) + bytes(0)
    server.repo("mueller91/In-The-Wild", {"release_in_the_wild.zip": content}, kind="dataset")
    archive, last = get(world, "itw", "datasets", cards=None)
    assert (archive.ok, last.told) == (True, "ready, 2 trials")
    facts = record(world.data / "itw" / "release_in_the_wild.zip")
    assert (facts["commit"], facts["repository"]) == (COMMIT, "mueller91/In-The-Wild")


def test_siblings_share_their_archives(world: World, server: Server) -> None:
    """Training, development and evaluation list are one download, and all of them are ready after it."""
    mine = release(world, server, "asvspoof2019-la")
    for split in ("train", "dev"):
        card = {"name": f"my-{split}", "extends": mine, "sibling_of": mine, "arguments": {"split": split}}
        (world.cards / f"{split}.yaml").write_text(json.dumps(card))
    archive, *ready = get(world, f"my-train,my-dev,{mine}", "datasets")
    assert archive.item.needed_by == ("my-train", "my-dev", mine)
    assert [outcome.told for outcome in ready] == ["ready, 2 trials", "ready, 2 trials", "ready, 3 trials"]
    assert len(server.seen) == 1


def test_a_place_of_ones_own_is_where_it_goes(world: World, server: Server) -> None:
    """`--data NAME=PATH`, also for the siblings of NAME, is the root of that dataset."""
    mine = release(world, server, "asvspoof2019-la")
    elsewhere = world.root / "elsewhere"
    assert get(world, mine, "datasets", data={mine: elsewhere})[-1].ok
    assert (elsewhere / "asvspoof2019" / "LA" / "ASVspoof2019_LA_eval").is_dir()
    assert not list(below(world.data))


def test_one_archive_that_fails_does_not_stop_the_others(world: World, server: Server) -> None:
    """The next fetch asks for that one alone, although the dataset is not ready yet."""
    contents = {file: packed(file, files) for file, files in RELEASES["asvspoof2021-df"].items()}
    lost = contents.pop(f"{DF}_part02.tar.gz")
    mine = release(world, server, "asvspoof2021-df", contents)
    outcomes = get(world, mine, "datasets")
    assert [outcome.item.name for outcome in outcomes if not outcome.ok] == [f"{DF}_part02.tar.gz"]
    assert len(outcomes) == 5  # that the dataset is not ready is no news
    server.add(f"/{DF}_part02.tar.gz", lost)
    server.seen.clear()
    outcomes = get(world, mine, "datasets")
    assert [outcome.told for outcome in outcomes if outcome.item.state == "here"][-1] == "ready, 8 trials"
    assert [seen.path for seen in server.seen] == [f"/{DF}_part02.tar.gz"]


def test_an_interrupted_archive_is_gone_on_with(world: World, server: Server) -> None:
    """Broken off in the transfer, or in unpacking; nothing is asked for twice."""
    mine = release(world, server, "itw")
    size = len(server.files["/release_in_the_wild.zip"].content)
    server.faults["/release_in_the_wild.zip"] = [Fault(cut=100), *[Fault(status=503)] * 9]
    assert not get(world, mine, "datasets")[-1].ok
    server.faults.clear()
    server.seen.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.fetch.archives._merge", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            get(world, mine, "datasets")
    assert not (world.data / "itw" / "release_in_the_wild").exists()
    assert get(world, mine, "datasets")[-1].told == "ready, 2 trials"
    assert [seen.range for seen in server.seen] == ["bytes=100-"] and size > 100


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_archive_that_the_user_has_is_used(world: World, server: Server) -> None:
    """Put where it would be downloaded to: it is unpacked, and stays, because it is not ours."""
    content = packed("LA.zip", LA_2019)
    mine = release(world, server, "asvspoof2019-la", {})
    place = world.data / "asvspoof2019" / "LA.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert get(world, mine, "datasets")[-1].told == "ready, 3 trials"
    assert place.read_bytes() == content
    assert record(place)["unpacked"] == len(LA_2019)
    assert server.seen == []


@pytest.mark.parametrize("published", ["bytes", "md5", "sha256"])
def test_a_wrong_archive_of_the_user_is_not_used(published: str, world: World, server: Server) -> None:
    """It is told how it differs, and not touched."""
    content = packed("LA.zip", LA_2019)
    facts = {"bytes": len(content), "md5": hashlib.md5(content).hexdigest(), "sha256": sha256(content)}
    archive = {"file": "LA.zip", "folder": "asvspoof2019", "url": f"{server.url}/LA.zip", published: facts[published]}
    mine = release(world, server, "asvspoof2019-la", {}, archives=[archive])
    place = world.data / "asvspoof2019" / "LA.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(content + b"!")
    outcome = failed(world, mine, "datasets")
    assert outcome.told.startswith(f"not the published LA.zip: {published} is ")
    assert f"published is {facts[published]}" in outcome.told
    assert (place.read_bytes(), server.seen) == (content + b"!", [])
    place.write_bytes(content)
    assert get(world, mine, "datasets")[-1].ok


@pytest.mark.parametrize("published", [{"md5": "0" * 32}, {"sha256": "0" * 64}, {"bytes": 7}])
def test_an_archive_that_is_not_the_published_one(published: dict[str, Any], world: World, server: Server) -> None:
    """Nothing is unpacked, nothing is left."""
    archive = {"file": "LA.zip", "folder": "asvspoof2019", "url": f"{server.url}/LA.zip", **published}
    mine = release(world, server, "asvspoof2019-la", {"LA.zip": packed("LA.zip", LA_2019)}, archives=[archive])
    server.add("/LA.zip", packed("LA.zip", LA_2019))
    assert failed(world, mine, "datasets").told.startswith("not the published LA.zip: ")
    assert not list(below(world.data))


def test_a_damaged_archive_is_told(world: World, server: Server) -> None:
    """It stays for a look at it; the remedy is to delete it."""
    mine = release(world, server, "asvspoof2019-la", {"LA.zip": packed("LA.zip", LA_2019)[:-60]})
    outcome = failed(world, mine, "datasets")
    place = world.data / "asvspoof2019" / "LA.zip"
    assert outcome.told.startswith("LA.zip is not unpacked: it is damaged") and str(place) in outcome.told
    assert outcome.remedy.startswith("delete it and download it again")
    assert {file.name for file in below(world.data)} == {"LA.zip", "LA.zip.source.json"}


def test_an_archive_that_does_not_hold_the_corpus(world: World, server: Server) -> None:
    """What is missing is told after everything came, and how to download it again."""
    files = {name: content for name, content in LA_2019.items() if not name.endswith("LA_E_3.flac")}
    mine = release(world, server, "asvspoof2019-la", {"LA.zip": packed("LA.zip", files)})
    archive, last = get(world, mine, "datasets")
    lost = world.data / "asvspoof2019" / "LA" / "ASVspoof2019_LA_eval" / "flac" / "LA_E_3.flac"
    assert archive.ok and not last.ok
    assert last.told == f"everything was downloaded, and 1 of 3 audio files are missing, first {lost}"
    here, wrong = get(world, mine, "datasets")
    assert (here.item.state, wrong.item.state, len(server.seen)) == ("here", "wrong", 1)
    written = world.data / "asvspoof2019" / "LA.zip.source.json"
    assert wrong.remedy.endswith(f"to download everything again, delete {written}")
    written.unlink()
    server.add("/LA.zip", packed("LA.zip", LA_2019))
    assert get(world, mine, "datasets")[-1].ok


def test_a_list_that_is_no_archive(world: World, server: Server) -> None:
    """`unpack: false`: the file itself is what is needed."""
    url = server.add("/list.csv", b"path,trial,label\naudio/1.wav,1,bonafide\naudio/2.wav,2,spoof\n")
    for number in (1, 2):
        world.audio(number)
    archive = {"file": "list.csv", "folder": "lists", "url": url, "unpack": False}
    world.dataset("set", [1, 2], arguments={"file": "lists/list.csv"}, archives=[archive])
    (world.data / "set.csv").unlink()
    _, last = get(world, "set", "datasets")
    lost = f"{world.data}/lists/audio/1.wav"
    assert last.told == f"everything was downloaded, and 2 of 2 audio files are missing, first {lost}"
    here, wrong = get(world, "set", "datasets")
    assert (here.told, wrong.item.state, len(server.seen)) == (f"{world.data}/lists/list.csv", "wrong", 1)


def test_an_archive_of_the_hub_is_one_file() -> None:
    """A repository alone does not say which; and there is one source, not two and not none."""
    for source, what in (
        ({"hub": {"repo": "org/set"}}, "`hub` of an archive needs the `path` of a file"),
        ({"hub": of_hub("a.zip"), "url": "https://example.org/a.zip"}, "give one of `url` and `hub`"),
        ({}, "give one of `url` and `hub`"),
    ):
        with pytest.raises(ValidationError, match=what):
            Archive.model_validate({"file": "a.zip", "folder": "set", **source})
    archive = Archive.model_validate({"file": "a.zip", "folder": "set", "hub": of_hub("a.zip")})
    assert archive.hub is not None and archive.hub.path == "a.zip"


def test_a_corpus_without_archives_is_explained(world: World, server: Server) -> None:
    """MLAAD: the steps of the card, and the place where the reader expects it. One that is made needs nothing."""
    mlaad, demo = get(world, "mlaad-en,demo", "datasets", cards=None)
    assert (mlaad.ok, mlaad.item.state) == (False, "by hand")
    assert mlaad.told == "MLAAD (fake/en) is not here"
    assert "1. log in at https://huggingface.co/datasets/mueller91/MLAAD" in mlaad.remedy
    assert mlaad.remedy.endswith(f"; it belongs at {world.data}/mlaad/fake/en")
    assert (demo.ok, demo.told) == (True, "made by the first run that needs it")
    assert server.seen == []


def test_a_corpus_that_is_here_is_left_alone(world: World, server: Server) -> None:
    """In any of the places that its reader accepts, however it came there."""
    mine = release(world, server, "itw", {})
    for name, content in RELEASES["itw"]["release_in_the_wild.zip"].items():
        file = world.data / "in_the_wild" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    outcome = got(world, mine, "datasets")
    assert (outcome.ok, outcome.told, server.seen) == (True, "ready, 2 trials", [])


class TestCommand:
    """`bench fetch` as a user meets it."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setattr(terminal.out, "width", 160)

    def bench(self, world: World, *arguments: object) -> click.testing.Result:
        places = ("--cards", world.cards, "--weights", world.root / "weights", "--data-root", world.data)
        given = [str(argument) for argument in ("fetch", *arguments, *places)]
        return click.testing.CliRunner().invoke(cli.main, given, catch_exceptions=False)

    def test_terms_come_before_the_download(self, world: World, server: Server) -> None:
        """Licences of code and weights, notices, what goes where; then what came. Exit status 0."""
        server.repo("org/net", {"net.pth": MODEL}, gated=False)
        notices = ["For research alone.", "A patent application is cited."]
        for name in ("one", "two"):
            world.detector(name, weights=released(hub=of_hub()), notices=notices)
        done = self.bench(world, "detectors", "one", "two")
        place = world.root / "weights" / "net.pth"
        assert done.exit_code == 0
        assert done.stdout.splitlines() == [
            "one, two",
            "  licence: MIT",
            "  weights: CC BY-NC 4.0",
            "  For research alone.",
            "  A patent application is cited.",
            "",
            f"net.pth (one, two): download net.pth of {server.url}/org/net at main",
            f"  to {place}",
            f"net.pth: {place} (5.1 kB, sha256 {SHA256}, as the hub has it)",
        ]
        assert "net.pth: 5.1 kB to go" in done.stderr
        again = self.bench(world, "detectors", "one")
        assert (again.exit_code, again.stdout) == (0, f"\nnet.pth (one): nothing to download: {place} (unverified)\n")

    def test_a_dry_run_does_nothing(self, world: World, server: Server) -> None:
        """It shows terms, addresses, sizes and places, asks nobody, writes nothing; 1 where a hand is needed."""
        archive = {"file": "set.zip", "folder": "set", "url": f"{server.url}/set.zip", "bytes": 3_000_000}
        world.dataset("set", [], arguments={"file": "set/set.csv"}, archives=[archive])
        (world.data / "set.csv").unlink()
        before = set(below(world.root))
        done = self.bench(world, "datasets", "set", "--dry-run")
        assert done.exit_code == 0
        assert f"set.zip (set): download {server.url}/set.zip (3.0 MB)\n  to {world.data}/set/set.zip\n" in done.stdout
        world.detector("det", weights=released())
        before |= set(below(world.cards))
        done = self.bench(world, "detectors", "det", "--dry-run")
        assert done.exit_code == 1
        assert f"\n    2. put it at {world.root}/weights/net.pth\n" in f"{done.stdout}\n"
        assert (set(below(world.root)), server.seen) == (before, [])

    def test_failures_are_told_at_the_end(self, world: World, server: Server) -> None:
        """All of them, step by step, with exit status 1; what could come has come."""
        server.repo("org/net", {"net.pth": MODEL}, gated=True)
        world.detector("gated", weights=released(hub=of_hub(gated=True), file="gated.pth"))
        world.detector("open", weights=released(url=server.add("/net", MODEL)))
        done = self.bench(world, "detectors", "gated,open")
        assert done.exit_code == 1
        assert f"  gated: accept the terms at {server.url}/org/net first\n" in done.stdout
        told = done.stdout.partition("gated.pth: org/net is gated")[2]
        assert "\n  remedy: 1. open " in told and "\n    2. run `hf auth login`" in told and "\n    3. then run" in told
        assert here(world) == {"net.pth", "net.pth.source.json"}

    def test_ctrl_c_says_that_nothing_is_lost(self, world: World, server: Server) -> None:
        """Exit status 130."""
        world.detector("det", weights=released(url=server.add("/net", MODEL)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fetch, "carry_out", _interrupt)
            done = self.bench(world, "detectors", "det")
        assert done.exit_code == 130
        assert "what has arrived is kept, the same command goes on from there" in done.stderr

    def test_wrong_usage(self, world: World) -> None:
        """No name, a kind nobody knows, a name nobody knows: exit status 2."""
        world.detector("det")
        for arguments in (["detectors"], ["models", "det"], ["detectors", "dett"]):
            assert self.bench(world, *arguments).exit_code == 2

    def test_a_killed_command_is_gone_on_with(self, world: World, server: Server, tmp_path: Path) -> None:
        """Killed half-way through a file of the hub: the same command asks for the rest, and ends well."""
        server.repo("org/net", {"net.pth": MODEL})
        server.faults[f"/cdn/{SHA256}"] = [Fault(hang=3_000)]
        world.detector("det", weights=released(hub=of_hub(), sha256=SHA256))
        places = ("--cards", world.cards, "--weights", world.root / "weights")
        command = [str(part) for part in (SCRIPT, "fetch", "detectors", "det", *places)]
        environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
        part = world.root / "weights" / "net.pth.part"
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not (part.is_file() and part.stat().st_size == 3_000):
                assert time.monotonic() < deadline and process.poll() is None
                threading.Event().wait(0.05)
            process.send_signal(signal.SIGKILL)
        assert here(world) == {"net.pth.part", "net.pth.part.json"}
        again = self.bench(world, "detectors", "det")
        assert again.exit_code == 0, again.output
        assert [seen.range for seen in server.of(f"/cdn/{SHA256}")] == [None, "bytes=3000-"]
        assert (world.root / "weights" / "net.pth").read_bytes() == MODEL
