"""What the commands print: plans, outcomes, reasons, progress."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
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
    from bench.results import Result
    from bench.trainings import Estimate, Training
    from bench.workspace import Workspace

out = Console(width=None if sys.stdout.isatty() else 160)  # a pipe has no width: tables must not wrap at 80
err = Console(stderr=True)
F1_CAPTION = "F1: bona fide positive, at the test-set EER threshold"
RANK_CAPTION = "rank: shared while the interval of the difference to the best of its group holds zero"
WIDE = 120  # columns of a terminal in which a sentence fits beside the numbers
PLAIN: dict[str, Any] = {"box": SIMPLE_HEAD, "show_edge": False, "pad_edge": False}


@contextmanager
def display() -> Iterator[Display]:
    """Of a command that several processes carry out together, the main one alone shows what it does."""
    from bench import training
    from bench.progress import Silent

    if not training.main_process():
        yield Silent()
        return
    with shown() as display:
        yield display


@contextmanager
def shown() -> Iterator[Display]:
    """A live bar on a terminal, plain lines elsewhere."""
    from bench.progress import Live, Plain

    if err.is_terminal:
        with Live(err) as live:
            yield live
    else:
        yield Plain(err)


def print_plan(workspace: Workspace, planned: Sequence[Planned], as_json: bool) -> None:
    from bench import trainings

    does = {
        "score": "score",
        "train": "train, then score",
        "make": "make the corpus, then score",
        "done": "nothing: finished before",
        "blocked": "blocked",
    }
    wanted: dict[str, dict[int | None, None]] = {}
    for pair in planned:
        if pair.state == "train":
            wanted.setdefault(pair.card.name, {})[pair.seed] = None
    estimates = trainings.estimates(workspace, wanted)
    if as_json:
        told = [{"detector": one.detector, "seeds": one.seeds, "estimate": one.told} for one in estimates]
        print_json({"plan": [_plan_json(pair) for pair in planned], "trainings": told})
        return
    table = Table("detector", "dataset", "trials", "what happens", **PLAIN)
    for (_, _, state), group in groupby(planned, key=lambda pair: (pair.card.name, pair.name, pair.state)):
        members = list(group)
        pair, seeds = members[0], [one.seed for one in members if one.seed is not None]
        missing = f" (audio files missing: {pair.missing:,})" if pair.missing else ""
        trials = f"{len(pair.dataset.trials):,}" if pair.dataset else "–"
        name = f"{pair.card.name} ({_seeds(seeds)})" if seeds else pair.card.name
        table.add_row(Text(name), Text(pair.dataset_name), trials, does[state] + missing)
    out.print(table)
    _print_estimates(estimates)
    _print_blocked(planned)


def _print_estimates(estimates: Sequence[Estimate]) -> None:
    for estimate in estimates:
        name = f"training {estimate.detector} ({_seeds(estimate.seeds)})"
        each = "each " if len(estimate.seeds) > 1 else ""
        out.print(Text.assemble("\n", (name, "bold"), f": {each}{estimate.told}"), soft_wrap=True)


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def print_trainings(workspace: Workspace, trainings: Sequence[Training]) -> None:
    """What became of trainings, or would: where the weights lie and how the stages went, or how long they may take."""
    from bench.training import main_process
    from bench.trainings import estimates

    if not main_process():  # the main one tells all but what went wrong here alone
        for one in trainings:
            if one.state == "failed":
                err.print(Text(f"{_named(one)}, in another process: {one.reason}"), soft_wrap=True)
        return
    does = {
        "train": "to be trained",
        "make": "to be trained, on a corpus that is made first",
        "trained": "trained",
        "done": "trained before",
    }
    wanted: dict[str, list[int | None]] = {}
    for one in trainings:
        if not one.ok:
            continue
        if one.state == "train":
            wanted.setdefault(one.detector, []).append(one.seed)
        lines = [f"\n  {line}" for line in (*_stages(one.record or {}), *([str(one.weights)] if one.weights else []))]
        out.print(Text.assemble((_named(one), "bold"), f": {does[one.state]}", *lines), soft_wrap=True)
    _print_estimates(estimates(workspace, wanted))
    for one in trainings:
        if one.reason:
            print_reason(_named(one), one.reason if one.ok else f"{one.state}: {one.reason}", one.remedy)


def _named(training: Training) -> str:
    return f"{training.detector} (seed {training.seed})"


def _stages(record: Mapping[str, Any]) -> Iterator[str]:
    """A line a stage: `head: 15 epochs, best dev EER 3.87 % in epoch 9`."""
    for stage in record.get("stages", ()):
        epochs = f"{stage['epochs']} epoch{'s' if stage['epochs'] != 1 else ''}"
        told = [f"{stage['stage']}: {epochs}, {stage['steps']:,} steps"]
        if best := stage.get("best") or (stage.get("curve") or [None])[-1]:
            which = "best" if stage.get("best") else "last"
            measures = {"dev EER": best["validation_eer"], "dev loss": best["validation_loss"]}
            known = [(name, value) for name, value in measures.items() if value is not None]
            name, value = known[0] if known else ("training loss", best["training_loss"])
            shown = f"{100 * value:.2f} %" if name == "dev EER" else f"{value:.4g}"
            told.append(f"{which} in epoch {best['epoch']}: {name} {shown}")
        yield ", ".join(told)


def _plan_json(pair: Planned) -> dict[str, Any]:
    return {
        "detector": pair.card.name,
        "dataset": pair.dataset_name,
        "seed": pair.seed,
        "trials": len(pair.dataset.trials) if pair.dataset else None,
        "state": pair.state,
        "key": pair.key or None,
        "missing_files": pair.missing,
        "reason": pair.reason,
        "remedy": pair.remedy,
    }


def print_outcomes(workspace: Workspace, outcomes: Sequence[Outcome], as_json: bool) -> None:
    from bench import matrix, results

    cells = matrix.cells(outcomes)
    found = results.ranked(results.evaluate_cell(workspace.store, cell, breakdowns=False) for cell in cells)
    if as_json:
        print_json(results.as_json(found))
        return
    if shown := [result for result in found if result.cell.status != "blocked"]:
        print_results(shown)
    done = sum(outcome.planned.state == "done" for outcome in outcomes)
    if done and all(outcome.planned.state in ("done", "blocked") for outcome in outcomes):
        out.print(f"\nnothing to score: {done} of {len(outcomes)} cells were finished before", highlight=False)
    for outcome in outcomes:
        if outcome.cell is not None and not outcome.ok:
            cell = outcome.cell
            print_reason(f"{outcome.planned.label} on {cell.dataset}", f"{cell.status}: {cell.reason}", cell.remedy)
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


def print_results(found: Sequence[Result]) -> None:
    """The table of results. Names are plain text: `[red]` in one is printed, not obeyed.

    What is said of a status stands below; in a narrow terminal counts and digests, too, with the lists.
    """
    from bench.comparison import ranks

    wide, places = out.width >= WIDE, ranks(found)
    shown = Table(**PLAIN, padding=(0, 1) if wide else (0, 1, 0, 0), caption_justify="left")
    shown.add_column("rank", justify="right", no_wrap=True)
    shown.add_column("detector", overflow="fold")
    shown.add_column("dataset", overflow="fold")
    # Numbers are never cut, however narrow the terminal: 15.… is worse than a folded name.
    shown.add_column("EER %", justify="right", no_wrap=True, min_width=7)
    shown.add_column("95 %", justify="right", no_wrap=True, min_width=11)
    shown.add_column("F1", justify="right", no_wrap=True, min_width=6)
    if wide:
        shown.add_column("trials", justify="right", no_wrap=True, min_width=6)
        shown.add_column("digest", overflow="fold")
    shown.add_column("status", overflow="fold")
    below: dict[str, int] = {}
    for result, following in zip(found, [*found[1:], None], strict=True):
        status: str = result.cell.status
        if result.metrics is not None:
            status += ", leakage unknown" if result.leakage == "unknown" else f", {result.leakage}"
        if result.cell.manifest.get("imported"):
            status += ", imported"
        if why := _why(result):
            status += f" [{below.setdefault(why, len(below) + 1)}]"
        place = places.get((result.cell.dataset, result.cell.detector))
        about = ["–" if result.trials is None else f"{result.trials:,}", result.digest[:12] or "–"]
        shown.add_row(
            "–" if place is None else str(place),
            Text(result.cell.detector),
            Text(result.cell.dataset),
            "–" if result.eer is None else f"{100 * result.eer:.4f}",
            "–" if result.uncertainty is None else result.uncertainty.interval("eer").told,
            "–" if result.f1_bonafide is None else f"{result.f1_bonafide:.4f}",
            *(about if wide else ()),
            Text(status),
        )
        # Another trial list is another contest: its rows are not read on from these.
        if following is not None and (following.cell.dataset, following.digest) != (result.cell.dataset, result.digest):
            shown.add_row()
    notes = [*_notes(found), *(f"[{number}] {why}" for why, number in below.items())]
    shown.caption = Text("\n".join(notes))
    out.print(shown)


def _notes(found: Sequence[Result]) -> Iterator[str]:
    """What the columns mean, and for each trial list what its intervals are of."""
    yield F1_CAPTION
    lists: dict[tuple[str, str, str], Result] = {}
    for result in found:
        if result.uncertainty is not None:
            key = (result.cell.dataset, result.digest[:12], result.uncertainty.unit.text)
            lists.setdefault(key, result)
    if lists:
        yield RANK_CAPTION
    for (dataset, digest, unit), result in lists.items():
        assert result.uncertainty is not None
        yield f"{dataset} ({result.trials:,} trials, {digest}): 95 % intervals over draws of {unit}"
        about = result.cell.manifest["dataset"].get("about", ())
        yield from (f"  {told}" for told in (*about, *result.uncertainty.unit.warnings))


def _why(result: Result) -> str:
    """What is said of a status in a table."""
    reason = "" if result.caveat else result.cell.reason.partition("\n")[0]
    unverified = "weights unverified" if result.weights == "unverified" else ""
    return "; ".join(filter(None, (reason, *result.remarks, unverified)))


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
