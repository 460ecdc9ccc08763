"""Audits of local corpora: is the list the published one, is every file there, does it decode, at which rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich.text import Text

from bench import audio, corpora, environment
from bench.corpora import Dataset
from bench.errors import AudioError, BenchError, UsageError
from bench.progress import Display
from bench.trials import BONAFIDE, SPOOF, spans
from bench.workspace import Workspace

SHOWN = 10  # files named in the text; the JSON has all


@dataclass(frozen=True)
class Finding:
    """What is known of one dataset.

    reason, remedy: why it cannot be read at all, '' where it can.
    missing, undecodable: paths, and path -> what both decoders said.
    rates: class -> sample rate in Hz -> files; a rate that goes with a class is a shortcut.
    seconds: class -> shortest, median and longest duration.
    """

    name: str
    named: bool
    digest: str = ""
    trials: int = 0
    bonafide: int = 0
    spoof: int = 0
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    undecodable: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    seconds: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    reason: str = ""
    remedy: str = ""

    @property
    def healthy(self) -> bool:
        """Nothing is wrong with what is here; an absent corpus is no illness unless it was asked for by name."""
        return not (self.missing or self.undecodable or (self.reason and self.named))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "healthy": self.healthy}

    def text(self) -> Text:
        """The finding for a terminal."""
        if self.reason:
            style = "bold red" if self.named else "bold yellow"
            return Text.assemble((self.name, style), f": {self.reason}\n  remedy: {self.remedy}\n")
        lines = [
            f"  {self.trials:,} trials: {self.bonafide:,} bona fide, {self.spoof:,} spoof; digest {self.digest[:12]}"
        ]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        lines += [
            f"  {label}: {_rates(rates)}; {low:.2f} to {high:.2f} s, median {middle:.2f} s"
            for label, rates in self.rates.items()
            for low, middle, high in [self.seconds[label]]
        ]
        if len(self.rates) == 2 and len({frozenset(rates) for rates in self.rates.values()}) == 2:
            lines.append(
                "  warning: the classes differ in their sample rates, which a detector may hear instead of the voice"
            )
        lines += _named("missing", list(self.missing))
        lines += _named("undecodable", [f"{path}: {why}" for path, why in self.undecodable.items()])
        if self.healthy:
            lines.append("  every file is there and decodes")
        return Text.assemble((self.name, "bold green" if self.healthy else "bold red"), "\n" + "\n".join(lines) + "\n")


def examine(workspace: Workspace, datasets: Iterable[str], display: Display) -> list[Finding]:
    """Read the chosen datasets and decode every file of them (with `limit`, of a sample).

    Raises:
        UsageError: names nobody knows, a card that is not valid.
    """
    return [_examine(workspace, name, named, display) for name, named in workspace.select_datasets(datasets).items()]


def _examine(workspace: Workspace, name: str, named: bool, display: Display) -> Finding:
    try:
        dataset = workspace.evaluated(name)
    except UsageError:
        raise
    except BenchError as error:
        return Finding(name, named, reason=error.reason(searched=named), remedy=error.remedy or "")
    missing = set(corpora.missing_audio(dataset.trials))
    present = [row for row in range(len(dataset.trials)) if row not in missing]
    headers, undecodable = _decode(dataset, present, display)
    labels, paths = dataset.trials["label"].to_numpy(), dataset.trials["path"].to_numpy()
    heard = {label: [row for row in headers if labels[row] == label] for label in (BONAFIDE, SPOOF)}
    # A file counts once, however many of its pieces are trials.
    rates = {label: {paths[row]: headers[row].rate for row in rows}.values() for label, rows in heard.items()}
    return Finding(
        dataset.name,
        named,
        dataset.digest,
        len(labels),
        int((labels == BONAFIDE).sum()),
        int((labels == SPOOF).sum()),
        dataset.warnings,
        tuple(dict.fromkeys(paths[sorted(missing)])),
        undecodable,
        {label: dict(sorted(Counter(found).items())) for label, found in rates.items() if found},
        {label: _spread([headers[row].seconds for row in rows]) for label, rows in heard.items() if rows},
    )


def _decode(dataset: Dataset, rows: list[int], display: Display) -> tuple[dict[int, audio.Header], dict[str, str]]:
    """Row -> duration and rate of the trials whose file decodes, path -> reason of the files that do not."""
    paths, every = dataset.trials["path"].tolist(), spans(dataset.trials)
    pieces: dict[str, list[int]] = {}
    for row in rows:
        pieces.setdefault(paths[row], []).append(row)

    def decode(path: str) -> dict[int, audio.Header] | AudioError:
        try:
            wave, rate = audio.decode(path)
            whole = audio.Header(len(wave) / rate, rate, audio.header(path).channels)
            return {row: whole.piece(every[row], path) for row in pieces[path]}
        except AudioError as error:
            return error

    headers: dict[int, audio.Header] = {}
    undecodable: dict[str, str] = {}
    display.begin(f"{dataset.name}: decoding", len(pieces))
    with ThreadPoolExecutor(int(environment.hardware("cpu")["cores"])) as pool:
        for path, found in zip(pieces, pool.map(decode, pieces), strict=True):
            if isinstance(found, AudioError):
                undecodable[path] = found.what
            else:
                headers |= found
            display.advance(1)
    display.end()
    return headers, undecodable


def _spread(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return float(low), float(middle), float(high)


def _rates(rates: Mapping[int, int]) -> str:
    return ", ".join(f"{count:,} files at {rate:,} Hz" for rate, count in rates.items())


def _named(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = [f"    … and {len(items) - SHOWN:,} more (--json names all)"] if len(items) > SHOWN else []
    return [f"  {len(items):,} {what}:", *(f"    {item}" for item in items[:SHOWN]), *more]
