"""The command that makes one detector of several: fuse."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from bench import terminal
from bench.cli import shared
from bench.cli.shared import existing, workspace_of


@click.command()
@click.argument("detectors", nargs=-1, required=True, metavar="DETECTOR...")
@click.option("--dev", required=True, help="The dataset to fit the fusion on.")
@click.option("--datasets", "-s", required=True, multiple=True, help="What to score (names or globs of stored cells).")
@click.option("--name", help="Of the fused detector.  [default: those of its members, joined by +]")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@shared.cards
@shared.results
def fuse(
    detectors: Sequence[str], dev: str, datasets: Sequence[str], name: str | None, as_json: bool, **options: Any
) -> None:
    """Fuse the stored scores of detectors into one, by logistic regression on a development set.

    Needs neither corpora nor weights. Every member needs complete scores of one trial list, with the same weights, on
    the development set and on what is to be scored. The fused scores are log-odds, stored as a detector of their own
    and printed beside its members. Exit status 1 when a dataset asked for by name cannot be fused.

    \b
    bench fuse aasist xlsr-sls --dev asvspoof2019-la-dev --datasets itw
    """
    from bench import fusion, results

    store = existing(options["results"])
    fitted, outcomes = fusion.fuse(workspace_of(options), detectors, dev, datasets, name)
    scored = [outcome.dataset for outcome in outcomes if outcome.cell is not None]
    found = results.collect(store, scored, [fitted.name, *fitted.members], breakdowns=False) if scored else []
    refused = [outcome for outcome in outcomes if outcome.cell is None]
    if as_json:
        told = [{"dataset": one.dataset, "reason": one.reason, "remedy": one.remedy} for one in refused]
        terminal.print_json({**results.as_json(found), "fusion": fitted.as_json(), "refused": told})
    else:
        terminal.out.print(Text(fitted.told), soft_wrap=True)
        if found:
            terminal.print_results(found)
        for one in refused:
            terminal.print_reason(f"{fitted.name} on {one.dataset}", f"refused: {one.reason}", one.remedy)
    if not scored or any(one.named for one in refused):
        sys.exit(1)
