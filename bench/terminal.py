"""What the commands print: plans, outcomes, reasons, progress."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from bench.fetch import Outcome as Fetched
    from bench.fetch import Plan as FetchPlan
    from bench.matrix import Outcome, Planned
    from bench.progress import Display
    from bench.workspace import Workspace

out = Console(width=None if sys.stdout.isatty() else 160)  # a pipe has no width: tables must not wrap at 80
err = Console(stderr=True)
PLAIN: dict[str, Any] = {"box": SIMPLE_HEAD, "show_edge": False, "pad_edge": False}


@contextmanager
def display() -> Iterator[Display]:
    from bench.progress import Live, Plain

    if err.is_terminal:
        with Live(err) as live:
            yield live
    else:
        yield Plain(err)


def print_plan(planned: Sequence[Planned], as_json: bool) -> None:
    does = {
        "score": "score",
        "train": "train, then score",
        "make": "make the corpus, then score",
        "done": "nothing: finished before",
        "blocked": "blocked",
    }
    if as_json:
        print_json({"plan": [_plan_json(pair) for pair in planned]})
        return
    table = Table("detector", "dataset", "trials", "what happens", **PLAIN)
    for pair in planned:
        missing = f" (audio files missing: {pair.missing:,})" if pair.missing else ""
        trials = f"{len(pair.dataset.trials):,}" if pair.dataset else "–"
        table.add_row(Text(pair.card.name), Text(pair.dataset_name), trials, does[pair.state] + missing)
    out.print(table)
    _print_blocked(planned)


def _plan_json(pair: Planned) -> dict[str, Any]:
    return {
        "detector": pair.card.name,
        "dataset": pair.dataset_name,
        "trials": len(pair.dataset.trials) if pair.dataset else None,
        "state": pair.state,
        "key": pair.key or None,
        "missing_files": pair.missing,
        "reason": pair.reason,
        "remedy": pair.remedy,
    }


def print_outcomes(workspace: Workspace, outcomes: Sequence[Outcome], as_json: bool) -> None:
    from bench import results

    found = results.ranked(
        results.evaluate_cell(workspace.store, outcome.as_cell, breakdowns=False) for outcome in outcomes
    )
    if as_json:
        print_json(results.as_json(found))
        return
    if shown := [result for result in found if result.cell.status != "blocked"]:
        out.print(results.table(shown))
    done = sum(outcome.planned.state == "done" for outcome in outcomes)
    if done and all(outcome.planned.state in ("done", "blocked") for outcome in outcomes):
        out.print(f"\nnothing to score: {done} of {len(outcomes)} cells were finished before", highlight=False)
    for outcome in outcomes:
        if outcome.cell is not None and not outcome.ok:
            cell = outcome.cell
            print_reason(f"{cell.detector} on {cell.dataset}", f"{cell.status}: {cell.reason}", cell.remedy)
    _print_blocked([outcome.planned for outcome in outcomes])


def _print_blocked(planned: Sequence[Planned]) -> None:
    """Why pairs are blocked; a reason that many pairs share is said once."""
    from bench import inventory

    known = list(dict.fromkeys(pair.card.name for pair in planned))
    unasked = {pair.card.name for pair in planned if pair.fetchable and not pair.named}
    reasons: dict[tuple[str, str], list[Planned]] = {}
    for pair in planned:
        if pair.state == "blocked":
            reason = f"{pair.reason}; {pair.searched}" if pair.searched and pair.named else pair.reason
            key = (reason, pair.remedy)
            if pair.fetchable and not pair.named:  # of `all`: one line for a dozen checkpoints
                key = (inventory.NO_WEIGHTS, inventory.fetch_all(unasked, known))
            reasons.setdefault(key, []).append(pair)
    for (reason, remedy), pairs in reasons.items():
        detectors = inventory.told({pair.card.name for pair in pairs}, known)
        datasets = ", ".join(dict.fromkeys(pair.dataset_name for pair in pairs))
        print_reason(f"{detectors} on {datasets}", f"blocked: {reason}", remedy)


def print_fetch_plan(planned: FetchPlan) -> None:
    """On what terms it is given, and what happens to each file: before anything is downloaded."""
    from bench.fetch import terms

    for lines, names in terms(planned).items():
        out.print(Text.assemble((", ".join(names), "bold"), *(f"\n  {line}" for line in lines)), soft_wrap=True)
    out.print()
    for item in planned.items:
        does = {"download": f"download {item.told}\n  to {item.place}", "here": f"nothing to download: {item.told}"}
        said = does.get(item.state, f"{item.state}, see below")
        out.print(Text.assemble((item.name, "bold"), f" ({', '.join(item.needed_by)}): {said}"), soft_wrap=True)


def print_fetched(outcomes: Sequence[Fetched]) -> None:
    """What has come, then what has not, with what to do about it."""
    for outcome in outcomes:
        if outcome.ok and outcome.item.state == "download":
            out.print(Text.assemble((outcome.item.name, "bold"), f": {outcome.told}"), soft_wrap=True)
    for outcome in outcomes:
        if not outcome.ok:
            steps = re.sub(r";? (?=[1-9]\. )", "\n    ", outcome.remedy)
            print_reason(outcome.item.name, outcome.told, steps)


def print_reason(what: str, reason: str, remedy: str) -> None:
    remedy = f"\n  remedy: {remedy}" if remedy else ""
    out.print(Text.assemble("\n", (what, "bold"), f": {reason}{remedy}"), soft_wrap=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))
