"""What pages are made of, told in hashes: equal ones give equal bytes, so a page need not be made again.

A fingerprint is a sha256 in hex. Files count by their content, so a store that was copied gives the same site.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
from bench import registry
from bench.corpora import root_of
from bench.families import whole
from bench.registry import shipped
from bench.store import Cell, Store

if TYPE_CHECKING:
    from bench.report.audible import Recordings

# What draws, measures and renders: another version of one may give other bytes.
PACKAGES = ("altair", "av", "jinja2", "numpy", "pandas", "pyarrow", "scikit-learn", "soundfile", "vl-convert-python")
OF_CELL = ("scores.parquet", "embeddings.parquet")  # beside cell.json


def fingerprint(*parts: Any) -> str:
    """Of values that JSON can tell."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def content(place: Path) -> str:
    """Of a file; '' where there is none that can be read, which a page tells in its own way."""
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def below(root: Path, pattern: str) -> dict[str, str]:
    """Of all files that a glob finds, by their path below `root`."""
    return {place.relative_to(root).as_posix(): content(place) for place in sorted(root.glob(pattern))}


@cache
def code() -> str:
    """Of what makes the pages: the harness, its cards, templates and static files, and the packages above."""
    packages = {"python": ".".join(map(str, sys.version_info[:2]))}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = ""
    python = below(Path(bench.__file__).parent, "**/*.py")
    cards = {folder: below(shipped(folder), "**/*.*") for folder in ("detectors", "datasets")}
    looks = {folder: below(shipped("reports"), f"{folder}/*") for folder in ("templates", "static")}
    return fingerprint(packages, python, cards, looks)


class Cells:
    """Fingerprints of the cells of one store. Trial lists, which many share, are read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contents: dict[Path, str] = {}

    def of(self, cell: Cell) -> str:
        """Of all that is stored of a cell, of its trial list and of the cells of the other seeds."""
        members = {str(seed): self.of(one) for seed, one in cell.band.items() if one.key != cell.key}
        files = [] if cell.path is None else [content(cell.path / name) for name in OF_CELL]
        told = (cell.dataset, cell.detector, cell.key, cell.status, cell.reason, cell.remedy, cell.manifest)
        return fingerprint(told, files, self._trials(cell), members)

    def _trials(self, cell: Cell) -> str:
        facts: Mapping[str, Any] = cell.manifest.get("dataset") or {}
        if not cell.finished or not isinstance(facts.get("digest"), str):
            return ""
        place = self._store.trials_file(cell.dataset, facts["digest"])
        if place not in self._contents:
            self._contents[place] = content(place)
        return self._contents[place]


def recordings(found: Recordings | None, datasets: Collection[str]) -> dict[str, str]:
    """Of the audio of each dataset: its card, and when the folders two levels below its root have changed.

    Single files are not looked at, as there may be a million. '' for all where nothing is said of corpora.
    """
    if found is None:
        return dict.fromkeys(datasets, "")
    known, told = registry.datasets(found.cards).cards, {}
    for name in datasets:
        card = known.get(whole(name))
        root = None if card is None else root_of(card, found.data_root, found.data)
        told[name] = fingerprint(card and card.model_dump(mode="json"), root and _folders(root))
    return told


def _folders(root: Path) -> list[tuple[str, int]]:
    """Folders below `root`, and when something was last added to or removed from each."""
    places = [root, *root.glob("*/"), *root.glob("*/*/")]
    return sorted((place.relative_to(root).as_posix(), place.stat().st_mtime_ns) for place in places if place.is_dir())
