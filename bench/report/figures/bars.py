"""Error rates of many things: intervals in rows, and heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt

from bench.errors import UsageError
from bench.report.figures import Figure, theme

ROW = 22  # pixels
PLOT = 220
SQUARE = 38
# Error rates in percent where a square gets a darker colour: the same in every map, so that maps can be compared.
STEPS = (1, 2, 5, 10, 20, 30, 40)


@dataclass(frozen=True)
class Bar:
    """value, low, high: fractions; low and high None where there is no interval. note: what the tooltip adds."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def intervals(name: str, rows: Sequence[Bar], title: str, axis: str) -> Figure:
    """A dot and its interval a row, in percent, from top to bottom as given.

    Args:
        axis: what the numbers are, such as "EER (%)".
    """
    shown = theme.labels((row.label for row in rows), "row")
    data: list[dict[str, Any]] = []
    for label, row in zip(shown, rows, strict=True):
        (value,) = theme.finite([100 * row.value], f"the value of {label!r}")
        limits: list[float] | list[None] = [None, None]
        if row.low is not None and row.high is not None:
            limits = theme.finite([100 * row.low, 100 * row.high], f"the interval of {label!r}")
        data.append({"k": label, "v": value, "low": limits[0], "high": limits[1], "note": row.note})
    slots = {"width": PLOT, "height": ROW * len(rows), "x": theme.axis_title(axis)}
    told = "; ".join(f"{row['k']} {row['v']:.2f}" for row in data[:30])
    more = f" and {len(data) - 30} more" if len(data) > 30 else ""
    return theme.figure(name, title, f"{axis}: {told}{more}.", _intervals(), slots, {"rows": data, "zero": [{"v": 0}]})


def _names() -> alt.Axis:
    return alt.Axis(domain=False, ticks=False, grid=False, labelLimit=theme.NAMES_LIMIT, labelPadding=8)


@cache
def _intervals() -> theme.Kind:
    rows = alt.Chart(alt.NamedData("rows"))
    x = alt.X("v:Q", title="@x", axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=True))
    y = alt.Y("k:N", title=None, sort=None, axis=_names())
    tooltip = [
        alt.Tooltip("k:N", title="row"),
        alt.Tooltip("v:Q", title="value (%)", format=".2f"),
        alt.Tooltip("low:Q", title="interval from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
        alt.Tooltip("note:N", title="note"),
    ]
    zero = alt.Chart(alt.NamedData("zero")).mark_rule().encode(x="v:Q")
    return theme.kind_of(
        theme.with_names(
            zero,
            rows.mark_rule(strokeWidth=3, color=theme.SERIES[0], opacity=0.45).encode(
                x=alt.X("low:Q", title="@x"), x2="high:Q", y=y, tooltip=tooltip
            ),
            rows.mark_circle(size=60, opacity=1, color=theme.SERIES[0]).encode(x=x, y=y, tooltip=tooltip),
            rows.mark_text(align="right", baseline="middle", dx=46).encode(
                x=alt.value(PLOT), y=y, text=alt.Text("v:Q", format=".2f")
            ),
        )
    )


def heatmap(
    name: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    title: str,
    row_title: str,
    column_title: str,
) -> Figure:
    """EER in percent in the squares of a table, darker in steps of `STEPS`.

    A map of more columns than rows that would be wider than a page is turned: a page is long, not wide.

    Args:
        values: fractions, a sequence for each row with one for each column; None is an empty square.
    """
    if len(values) != len(rows) or any(len(row) != len(columns) for row in values):
        raise UsageError("a heat map needs a row of values for each row, and a value for each column")
    down, across = theme.labels(rows, "row"), theme.labels(columns, "column")
    if len(across) > max(len(down), 15):
        values = list(zip(*values, strict=True))
        down, across, row_title, column_title = across, down, column_title, row_title
    squares = []
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            if value is not None:
                (told,) = theme.finite([100 * value], f"the value of {down[r]!r}, {across[c]!r}")
                squares.append({"r": r, "c": c, "v": told})
    slots = {
        "width": SQUARE * len(across),
        "height": ROW * len(down),
        "rows": down,
        "columns": across,
        "y": theme.axis_title(row_title),
        "x": theme.axis_title(column_title),
    }
    data: dict[str, theme.Rows] = {
        "squares": squares,
        "rows": [{"n": number, "row": label} for number, label in enumerate(down)],
        "columns": [{"n": number, "column": label} for number, label in enumerate(across)],
    }
    alternative = (
        f"Heat map of EER in percent, {len(down)} x {len(across)} squares: {row_title} by "
        f"{column_title}. Darker is a higher EER, in steps at {', '.join(map(str, STEPS))} %."
    )
    return theme.figure(name, title, alternative, _heatmap(max(map(len, across)) > 5), slots, data)


@cache
def _heatmap(slanted: bool) -> theme.Kind:
    # Names stand once in the data, however many squares they have.
    squares = (
        alt.Chart(alt.NamedData("squares"))
        .transform_lookup(lookup="r", from_=alt.LookupData(data=alt.NamedData("rows"), key="n", fields=["row"]))
        .transform_lookup(lookup="c", from_=alt.LookupData(data=alt.NamedData("columns"), key="n", fields=["column"]))
    )
    names = _names()
    names.titlePadding = 24  # a browser's font may be wider than the one that vl-convert measures
    y = alt.Y("row:N", title="@y", scale=alt.Scale(domain=["@rows"]), axis=names)
    across = alt.Axis(domain=False, ticks=False, grid=False, orient="top", labelLimit=120, labelAngle=0)
    if slanted:
        across.labelAngle, across.labelAlign = -60, "left"
    x = alt.X("column:N", title="@x", scale=alt.Scale(domain=["@columns"]), axis=across)
    steps = alt.Scale(type="threshold", domain=list(STEPS), range=[f"var(--heat-{n})" for n in range(len(STEPS) + 1)])
    tooltip = [
        alt.Tooltip("row:N", title="@y"),
        alt.Tooltip("column:N", title="@x"),
        alt.Tooltip("v:Q", title="EER (%)", format=".2f"),
    ]
    return theme.kind_of(
        theme.with_names(
            squares.mark_rect(stroke=theme.PAGE).encode(
                x=x, y=y, color=alt.Color("v:Q", scale=steps, legend=None), tooltip=tooltip
            ),
            # The numbers lie over the squares, so they answer to the pointer as well.
            squares.mark_text(baseline="middle", fontSize=11).encode(
                x=x, y=y, text=alt.Text("v:Q", format=".1f"), tooltip=tooltip
            ),
        )
    )
