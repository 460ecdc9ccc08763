"""What `bench doctor` found in the audio of a trial list, kept beside its cells: the report needs no corpus.

results/<dataset>/audit-<digest12>.json     an audit, as `bench doctor --json` prints it, with `bench`, the version
                                            that made it, and `examined`, when
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import StoreError
from bench.files import read_json, write_json

EXAMPLES = 20  # of a finding: a corpus that is not there would name every file


class _Record(BaseModel):
    # Later versions may say more.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Found(_Record):
    """A finding, as `bench.doctor.findings.Finding`; examples: the first of `count`, paths without the corpus' root."""

    kind: str
    severity: Literal["error", "warning", "note"]
    what: str
    count: int = Field(default=1, ge=0)
    examples: list[str] = []
    remedy: str = ""


class Property(_Record):
    """What one property of the files achieves, as `bench.doctor.shortcuts.Shortcut`."""

    name: str
    unit: str
    eer: float = Field(ge=0, le=1)
    auc: float = Field(ge=0, le=1)
    bonafide: float
    spoof: float
    severity: Literal["warning", "note"] | None = None


class Kept(_Record):
    """An audit of all trials of a list. bench, examined: '' for one that is damaged; files: how many were read."""

    digest: str
    bench: str
    examined: str
    trials: int = Field(ge=0)
    files: int = Field(ge=0)
    findings: list[Found]
    shortcuts: list[Property]


def keep(place: Path, told: Mapping[str, Any], paths: Iterable[str], *, bench: str, examined: str) -> None:
    """Keep an audit at the place that the store has for it.

    Args:
        told: `bench.doctor.Audit.as_dict`. paths: of all trials, '' where one has none: what is kept goes onto pages,
            and says nothing of where the corpus lies on this machine.
    """
    folder = _common(paths)
    findings = [
        {**found, "examples": [example.replace(folder, "") for example in found["examples"][:EXAMPLES]]}
        for found in told["findings"]
    ]
    write_json(place, {**told, "findings": findings, "bench": bench, "examined": examined})


def read(place: Path, digest: str) -> Kept | None:
    """The audit of a trial list, None where there is none. One that cannot be read is an audit with that finding."""
    try:
        found = read_json(place)
        if found is None:
            return None
        kept = Kept.model_validate(found)
        if kept.digest != digest:
            raise StoreError("it is of another trial list", where=place)
    except (StoreError, ValidationError) as error:
        why = error.what if isinstance(error, StoreError) else f"{error.error_count()} of its fields are not valid"
        what = f"the findings that were kept cannot be read: {why} ({place.name})"
        damaged = Found(kind="damaged", severity="error", what=what, remedy="examine the dataset again")
        return Kept(digest=digest, bench="", examined="", trials=0, files=0, findings=[damaged], shortcuts=[])
    return kept


def _common(paths: Iterable[str]) -> str:
    """The folder that all files are below, with its final separator; '' where there is none but the root."""
    folders = {path.rpartition("/")[0] for path in paths if path}
    try:
        folder = os.path.commonpath(folders)
    except ValueError:  # no path at all, or relative and absolute ones
        return ""
    return f"{folder}/" if folder.strip("/") else ""
