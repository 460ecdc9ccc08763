"""YAML that is not trusted, with the line of every field: cards are written by hand, and by strangers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.errors import CardError


class _Loader(yaml.SafeLoader):
    """Safe YAML without keys given twice (the later one would silently win) and without aliases (YAML bombs)."""

    def fetch_alias(self) -> None:
        raise yaml.MarkedYAMLError(problem="aliases (`*name`) are not read in a card", problem_mark=self.get_mark())

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):  # what PyYAML lets through, e.g. of the date 2021-13-01
            problem = f"{node.value!r:.80} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: list[Any] = []
    for key, _ in node.value:
        if key.value in keys:
            raise yaml.MarkedYAMLError(problem=f"`{key.value}` is given twice", problem_mark=key.start_mark)
        keys.append(key.value)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 reads 1e-7 as a string; epsilons are written that way.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load(file: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        CardError: not readable, not YAML, a key twice, an alias, a tag that asks for an object, no mapping of names.
    """
    try:
        raw = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506, a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise CardError(f"not valid YAML: {error.problem}", where=file, line=mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise CardError(f"not valid YAML: {error}", where=file) from None
    except OSError as error:
        raise CardError(f"cannot be read: {error.strerror}", where=file) from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise CardError("this is no mapping of field names to values", where=file, line=1)
    return raw


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text that `load` reads, with the places where they are written; None where it holds none."""
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def line_of(file: Path, path: Sequence[str | int]) -> int | None:
    """The 1-based line of a field of a YAML file, or of the deepest part of `path` that is written there."""
    node = compose(file.read_text(encoding="utf-8"))
    line: int | None = 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == step]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line
