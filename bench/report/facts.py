"""What the manifest of a cell says of how its scores came about, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# A path from the root of a file system; not the one in a web address, nor one below another folder.
_ABSOLUTE = re.compile(
    r"(?:(?<![\w./\\%~-])|(?<=\bfile://))(?:[A-Za-z]:|\\)?[/\\](?:[^\s/\\:,;()'\"]+[/\\])*(?=[^\s/\\:,;()'\"])"
)


def provenance(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What determined the scores, as label and text; what the manifest does not tell is left out."""
    detector = manifest.get("detector", {})
    weights = detector.get("weights") or {}
    told = {
        "Summary": detector.get("summary"),
        "Paper": detector.get("paper"),
        "Code": detector.get("code"),
        "Licence": detector.get("licence"),
        "Notices": detector.get("notices"),
        "Weights file": weights.get("file"),
        "Weights source": weights.get("source"),
        "Weights licence": weights.get("licence"),
        "Weights sha256": weights.get("sha256"),
        "Weights verified": weights.get("verified"),
        "Recipe key": weights.get("recipe_key"),
        "Training seed": weights.get("seed"),
        "Training started from": {part: _start(found) for part, found in (weights.get("start") or {}).items()},
        "Lists of the training": [_list(facts) for facts in weights.get("lists", ())],
        "Score file": manifest.get("file"),
        "Trained on": detector.get("trained_on"),
        "Selected on": detector.get("selected_on"),
        "Audio": detector.get("audio"),
        "Trials scored": manifest.get("scored"),
        "Trials that cannot be decoded": manifest.get("failed"),
        "Precision": manifest.get("precision"),
        "Compiled": manifest.get("compiled") or None,
        "Probes of faster arithmetic": manifest.get("probes"),
        "Executor": manifest.get("executor"),
        "Begun with": manifest.get("earlier"),
        "Batch size": manifest.get("batch_size"),
        "Timings": manifest.get("timings"),
        "Versions": manifest.get("versions"),
        "Hardware": manifest.get("hardware"),
        "Finished": manifest.get("finished"),
        "Notes": detector.get("notes"),
    }
    return [(label, words(value)) for label, value in told.items() if value not in (None, "", [], (), {})]


def words(value: Any) -> str:
    """A value of a manifest for reading: nested mappings as `key value`, lists with commas."""
    if isinstance(value, Mapping):
        pairs = ((str(key).replace("_", " "), value[key]) for key in sorted(value) if value[key] is not None)
        return " · ".join(f"{key} {words(inner)}" for key, inner in pairs)
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def public(text: str) -> str:
    """A reason without the folders of the machine that it was met on: `not audio: …/0.wav`."""
    return _ABSOLUTE.sub("…/", text)


def _list(facts: Mapping[str, Any]) -> str:
    return f"{facts['name']} ({facts['trials']:,} trials, digest {facts['digest'][:12]})"


def _start(found: Mapping[str, Any] | str) -> str:
    """Weights that a part started from, in words."""
    if isinstance(found, str):
        return found
    return f"{found['file']}, sha256 {found['sha256']}{'' if found['verified'] else ', unverified'}"
