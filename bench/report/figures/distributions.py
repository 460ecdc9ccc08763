"""How scores and distances are distributed, by class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import altair as alt
import numpy as np

from bench.det import Floats
from bench.errors import UsageError
from bench.report.figures import Figure, theme
from bench.report.measured import Drawn
from bench.trials import BONAFIDE, SPOOF

WIDTH, HEIGHT = 400, 200
ROW, VIOLIN = 56, 78  # pixels of one small histogram, of one density with its name
SIDES: dict[Literal["left", "right"], int] = {"left": 5, "right": -5}  # pixels from a rule to its label
GRID = 64  # points of a density
QUARTILES = {"low": "lower quartile", "median": "median", "high": "upper quartile"}
CLASSES = tuple(theme.NAME_OF_CLASS[label] for label in (BONAFIDE, SPOOF))
CLASS_COLOURS = alt.Scale(domain=list(CLASSES), range=[theme.OF_CLASS[label] for label in (BONAFIDE, SPOOF)])


def histogram(name: str, drawn: Drawn, thresholds: Mapping[str, float], title: str) -> Figure:
    """The share of each class in each bin of the score, one class over the other.

    Args:
        thresholds: label -> score, drawn as rules; one beyond the drawn scores stands at the border, and says so.
    """
    shown = theme.labels(thresholds, "threshold") if thresholds else []
    values = theme.finite(thresholds.values(), "a threshold")
    low, high = theme.finite(drawn.edges[[0, -1]], "a border")
    middle = (low + high) / 2
    # A label points to the middle. In this order no rule of its half crosses it.
    ordered = sorted(zip(shown, values, strict=True), key=lambda one: (one[1] <= middle, abs(one[1] - middle)))
    rules: list[dict[str, Any]] = []
    for number, (label, value) in enumerate(ordered):
        beyond = "" if low <= value <= high else ", beyond the axis"
        told = f"{theme.shortened(label, 30)} ({value:.4g}{beyond})"
        side = "right" if value > middle else "left"
        rules.append({"x": min(max(value, low), high), "k": told, "level": -6 - 15 * number, "side": side})
    slots = {"width": WIDTH, "height": HEIGHT, "limits": [low, high]}
    told = "; ".join(rule["k"] for rule in rules)
    alternative = "Histogram of the scores by class, the outermost bins with all scores beyond them."
    data: dict[str, theme.Rows] = {"bins": _bins(drawn), "rules": rules}
    return theme.figure(name, title, alternative + (f" Thresholds: {told}." if told else ""), _histogram(), slots, data)


def _bins(drawn: Drawn, merged: int = 1) -> list[dict[str, float]]:
    """Shares in percent by bin, so many bins taken together; the last row closes the steps."""
    edges = theme.finite(drawn.edges[::merged], "a bin")
    shares = []
    for counts in (drawn.bonafide, drawn.spoof):
        together = counts.reshape(-1, merged).sum(axis=1)
        shares.append(theme.finite(100 * together / max(int(together.sum()), 1), "a share"))
    rows = [{"x": edge, "to": to, "b": b, "s": s} for edge, to, b, s in zip(edges, edges[1:], *shares, strict=False)]
    return [*rows, {**rows[-1], "x": edges[-1]}]


def _steps(bins: alt.Chart, x: alt.X, y_title: str | None, stroke: float) -> list[alt.Chart]:
    axis = alt.Axis(tickCount=4) if y_title else None
    return [
        bins.transform_calculate(k=f"'{label}'")
        .mark_area(interpolate="step-after", fillOpacity=0.3, line={"strokeWidth": stroke})
        .encode(
            x=x,
            y=alt.Y(f"{field}:Q", title=y_title, axis=axis, scale=alt.Scale(zero=True), stack=None),
            color=alt.Color("k:N", scale=CLASS_COLOURS),
        )
        for field, label in zip("sb", reversed(CLASSES), strict=True)
    ]


@cache
def _histogram() -> theme.Kind:
    x = alt.X("x:Q", title="score (higher: more bona fide)", scale=alt.Scale(domain=["@limits"], nice=False))
    level = alt.Y("level:Q", scale=None, axis=None)
    rules = alt.Chart(alt.NamedData("rules"))
    marks = [
        rules.mark_rule(color=theme.TEXT, strokeDash=[4, 3]).encode(x=x, y=level, y2=alt.value(HEIGHT)),
        *(
            rules.transform_filter(f"datum.side === '{side}'")
            .mark_text(align=side, baseline="middle", dx=dx, dy=-1)
            .encode(x=x, y=level, text="k:N")
            for side, dx in SIDES.items()
        ),
    ]
    bins = alt.Chart(alt.NamedData("bins"))
    bars = _steps(bins, x, "trials of the class (%)", 1.5)
    pointed = bins.mark_rect(opacity=0).encode(
        x=x,
        x2="to:Q",
        y=alt.value(0),
        y2=alt.value(HEIGHT),
        tooltip=[
            alt.Tooltip("x:Q", title="from", format=".4~g"),
            alt.Tooltip("to:Q", title="to", format=".4~g"),
            alt.Tooltip("b:Q", title=f"{CLASSES[0]} (%)", format=".2f"),
            alt.Tooltip("s:Q", title=f"{CLASSES[1]} (%)", format=".2f"),
        ],
    )
    return theme.kind_of(theme.layered(*bars, *marks), theme.layered(*bars, pointed, *marks))


def ridges(name: str, drawn: Mapping[str, Drawn], title: str) -> Figure:
    """One small histogram a detector, each on a score axis of its own.

    Args:
        drawn: label -> histogram, from top to bottom.
    """
    shown = theme.labels(drawn, "histogram")
    bins = [{"n": number, **row} for number, one in enumerate(drawn.values()) for row in _bins(one, merged=2)]
    names = [{"n": number, "k": label} for number, label in enumerate(shown)]
    slots = {"width": 400, "height": ROW}
    alternative = f"Histograms of the scores by class, each on an axis of its own: {', '.join(shown)}."
    return theme.figure(name, title, alternative, _ridges(), slots, {"bins": bins, "names": names})


@cache
def _ridges() -> theme.Kind:
    x = alt.X("x:Q", title=None, scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(grid=False, tickCount=5))
    chart = alt.FacetChart(
        spec=theme.layered(*_steps(alt.Chart(), x, None, 1)),
        data=alt.NamedData("bins"),
        facet=alt.Facet("k:N", sort=alt.EncodingSortField("n", op="min"), title=None),
        columns=1,
        spacing=12,
    )
    its_name = alt.LookupData(data=alt.NamedData("names"), key="n", fields=["k"])
    chart = chart.transform_lookup(lookup="n", from_=its_name)
    return theme.kind_of(chart.resolve_scale(x="independent", y="independent"))


def violin(name: str, values: Mapping[str, Floats], title: str, axis: str) -> Figure:
    """Densities side by side, with median and quartiles.

    A density is a sum of Gaussians of the width of Silverman (1986), drawn as high as the others.

    Args:
        values: group -> numbers; a group needs at least one. NaN is left out. axis: what the numbers are.
    """
    shown = theme.labels(values, "group")
    densities, boxes = [], []
    for number, (label, group) in enumerate(zip(shown, values.values(), strict=True)):
        known = np.asarray(group, float)
        known = known[~np.isnan(known)]
        if not known.size:
            raise UsageError(f"the group {label!r} of a figure has no number")
        theme.finite([known.min(), known.max()], axis)
        lines = [theme.finite(line, axis) for line in _density(known)]
        densities += [{"n": number, "x": x, "top": number - d, "end": number + d} for x, d in zip(*lines, strict=True)]
        low, median, high = theme.finite(np.quantile(known, [0.25, 0.5, 0.75]), axis)
        called = f"{theme.shortened(theme.NAME_OF_CLASS.get(label, label), 45)} ({known.size:,})"
        boxes.append({"n": number, "at": number - 0.4, "k": called, "low": low, "median": median, "high": high})
    looks = theme.looks(list(values))
    slots = {
        "width": 400,
        "height": VIOLIN * len(shown),
        "x": theme.axis_title(axis),
        "rows": [len(shown) - 0.45, -0.55],
        "numbers": list(range(len(shown))),
        "colours": [looks[group].colour for group in values],
    }
    told = "; ".join(f"{box['k']} median {box['median']:.4g}" for box in boxes)
    alternative = f"Densities of {axis}: {told}."
    return theme.figure(name, title, alternative, _violin(), slots, {"densities": densities, "boxes": boxes})


def _density(values: Floats) -> tuple[Floats, Floats]:
    """Where, and how high next to its highest, scaled to less than half a row."""
    spread = min(float(values.std()), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.34) or values.std()
    width = 0.9 * float(spread) * values.size**-0.2 or max(abs(float(values[0])), 1.0) * 1e-3
    grid = np.linspace(values.min() - 2 * width, values.max() + 2 * width, GRID)
    counts, edges = np.histogram(values, 512)
    middles = (edges[:-1] + edges[1:]) / 2
    density = np.exp(-(((grid[:, None] - middles) / width) ** 2) / 2) @ counts
    return grid, 0.3 * density / density.max()


@cache
def _violin() -> theme.Kind:
    x = alt.X("x:Q", title="@x", scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(tickCount=6))
    rows = alt.Scale(domain=["@rows"], nice=False, zero=False)
    y = alt.Y("n:Q", scale=rows, axis=None)
    colour = alt.Color("n:N", legend=None, scale=alt.Scale(domain=["@numbers"], range=["@colours"]))
    boxes = alt.Chart(alt.NamedData("boxes"))
    names = [alt.Tooltip("k:N", title="group")]
    numbers = [alt.Tooltip(f"{key}:Q", title=told, format=".4~g") for key, told in QUARTILES.items()]
    return theme.kind_of(
        theme.layered(
            alt.Chart(alt.NamedData("densities"))
            .mark_area(fillOpacity=0.35, line={"strokeWidth": 1})
            .encode(x=x, y=alt.Y("top:Q", scale=rows, axis=None), y2="end:Q", color=colour),
            boxes.mark_rule(strokeWidth=3, color=theme.TEXT).encode(
                x=alt.X("low:Q", title="@x"), x2="high:Q", y=y, tooltip=names + numbers
            ),
            boxes.mark_circle(size=70, opacity=1, color=theme.PAGE, stroke=theme.TEXT, strokeWidth=1.5).encode(
                x=alt.X("median:Q", title="@x"), y=y, tooltip=names + numbers
            ),
            boxes.mark_text(align="left", baseline="middle").encode(
                x=alt.value(0), y=alt.Y("at:Q", scale=rows, axis=None), text="k:N"
            ),
        )
    )
