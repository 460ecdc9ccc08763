"""The recipes in docs/ and the commands in the documents: they parse, so far as that tells without running them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from bench import cli
from tests.conftest import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]


def fenced(document: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def in_yaml(value: Any) -> Iterator[list[str]]:
    """The `bench` commands of containers (`command` and `args`) and entry points anywhere in a document."""
    if isinstance(value, dict):
        command = value.get("command") or str(value.get("entrypoint", "")).split()
        if command[:1] == ["bench"]:
            yield [str(word) for word in [*command, *value.get("args", [])]]
        for inner in value.values():
            yield from in_yaml(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from in_yaml(inner)


def commands(document: Path) -> list[list[str]]:
    """The words of every command line of `bench` in code: of shell, by a line of its own, and of YAML."""
    text = document.read_text(encoding="utf-8")
    unfenced = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    code = "".join(fenced(document, "bash")) + "\n".join(re.findall(r"^ {4}(.*)$", unfenced, re.MULTILINE))
    joined = code.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    found = [shlex.split(line.removesuffix("&"), comments=True) for line in lines if line.startswith("bench ")]
    return found + [one for block in fenced(document, "yaml") for one in in_yaml(yaml.safe_load(block))]


def check(words: list[str]) -> None:
    """Raises click.UsageError for a command that the CLI does not take; carries nothing out."""
    name, *arguments = (word for word in words[1:] if word != "...")  # what a reader fills in
    assert name in cli.main.commands, name
    cli.main.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_documents_are_those_of_the_command_line(document: Path) -> None:
    """Every command of `bench` in a document names options and choices that there are."""
    for words in commands(document):
        try:
            check(words)
        except click.UsageError as error:
            pytest.fail(f"{shlex.join(words)}: {error.format_message()}")


def test_commands_are_found_in_shell_in_yaml_and_over_several_lines() -> None:
    """The search for commands finds those of each recipe, whole."""
    slurm, kubernetes = (commands(ROOT / "docs" / name) for name in ("slurm.md", "kubernetes.md"))
    assert [words[:2] for words in slurm + kubernetes] == [["bench", "run"]] * 4
    assert all("--results" in words and "--detectors" in words for words in slurm + kubernetes)
    assert len(commands(ROOT / "README.md")) > 20


def test_a_command_that_there_is_not_is_told() -> None:
    """The check refuses an option and a choice that the command does not have."""
    with pytest.raises(click.UsageError, match="No such option"):
        check(["bench", "run", "--gpus", "8"])
    with pytest.raises(click.UsageError, match="'slurm' is not one of"):
        check(["bench", "run", "--executor", "slurm"])


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_shell_and_yaml_of_the_recipes_parse(document: Path) -> None:
    """Scripts pass `bash -n`; every YAML block is one object of Kubernetes with a kind and a name."""
    for script in fenced(document, "bash"):
        told = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert (told.returncode, told.stderr) == (0, "")
    for block in fenced(document, "yaml"):
        found = yaml.safe_load(block)
        assert {"apiVersion", "kind", "metadata", "spec"} == set(found)
        assert found["metadata"]["name"]


def test_volumes_of_the_kubernetes_recipes_are_those_that_are_mounted() -> None:
    """Every volume that a container mounts is declared beside it, and the other way round."""

    def pods(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "containers" in value:
                yield value
            for inner in value.values():
                yield from pods(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from pods(inner)

    found = [pod for block in fenced(ROOT / "docs" / "kubernetes.md", "yaml") for pod in pods(yaml.safe_load(block))]
    assert len(found) == 3
    for pod in found:
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
