"""DET curves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
from scipy.special import ndtri

from bench.det import Floats
from bench.errors import UsageError
from bench.report.figures import Figure, theme
from bench.report.measured import Drawn

SIDE = 340  # pixels of each axis
TICKS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)
LOWEST, HIGHEST = (0.0001, 0.001), (0.5, 0.8, 0.95, 0.999)  # where axes may begin and end
ROOM = 26  # pixels for the label of a tick
TOLERANCE = 0.25  # pixels that a thinned curve may be off
IN_PERCENT = "format(100 * cumulativeNormal(datum.value), '.2~f')"


def det(name: str, curves: Mapping[str, Drawn], eers: Mapping[str, float], title: str) -> Figure:
    """False rejections against false acceptances on probit axes, both of one scale, with the diagonal.

    A curve ends where one of its rates is zero. An EER below the axes stands in their corner.

    Args:
        curves: label -> curve, 1 to 8, drawn in this order. eers: label -> EER, a fraction: the marked point.
    """
    shown = theme.labels(curves, "curve")
    if len(shown) > len(theme.SERIES) or curves.keys() != eers.keys():
        raise UsageError(f"a DET plot takes at most {len(theme.SERIES)} curves, and an EER for each")
    rates = theme.finite((eers[label] for label in curves), "an EER")
    # The EER begins a label, so that a long name, which is cut off, does not take it along.
    named = [f"{theme.percent(eer)}   {label}" for label, eer in zip(shown, rates, strict=True)]
    if len(named) == 1:  # its label stands beside the point
        named = [f"EER {theme.percent(rates[0])}"]
    low, high = (float(ndtri(rate)) for rate in _limits(rates))
    points = [
        {"n": number, "i": place, "x": round(x, 3), "y": round(y, 3)}
        for number, curve in enumerate(curves.values())
        for place, (x, y) in enumerate(_thinned(curve, low, high))
    ]
    marks = [
        {"n": number, "k": label, "x": round(float(np.clip(ndtri(eer), low, high)), 4), "eer": eer}
        for number, (label, eer) in enumerate(zip(named, rates, strict=True))
    ]
    slots: dict[str, Any] = {
        "width": SIDE,
        "height": SIDE,
        "labels": named,
        "limits": [round(low, 4), round(high, 4)],
        "ticks": _ticks(low, high),
        "colours": list(theme.SERIES[: len(named)]),
        "dashes": theme.DASHES[: len(named)],
    }
    data = {"points": points, "eers": marks, "diagonal": [{"x": limit} for limit in slots["limits"]]}
    told = ", ".join(f"{label}: EER {theme.percent(eer)}" for label, eer in zip(shown, rates, strict=True))
    return theme.figure(name, title, f"DET curves. {told}.", _det(len(named) > 1), slots, data)


def _limits(eers: list[float]) -> tuple[float, float]:
    """Rates where the axes begin and end: every EER inside, and room on both sides of it."""
    lowest = max((rate for rate in LOWEST if rate <= min(eers) / 4), default=LOWEST[0])
    highest = min((rate for rate in HIGHEST if rate >= 1.5 * max(eers)), default=HIGHEST[-1])
    return lowest, highest


def _ticks(low: float, high: float) -> list[float]:
    """Probits of `TICKS` whose labels have room between the limits."""
    found: list[float] = []
    for tick in TICKS:
        place = round(float(ndtri(tick)), 4)
        if round(low, 4) <= place <= high and (not found or (place - found[-1]) * SIDE / (high - low) >= ROOM):
            found.append(place)
    return found


@cache
def _det(several: bool) -> theme.Kind:
    axis = alt.Axis(values=["@ticks"], labelExpr=IN_PERCENT)
    scale = alt.Scale(domain=["@limits"], nice=False, zero=False)
    x = alt.X("x:Q", scale=scale, axis=axis, title="false acceptance rate (%)")
    y = alt.Y("y:Q", scale=scale, axis=axis, title="false rejection rate (%)")
    # A mark on the diagonal: its place is the same on both axes.
    same = alt.Y("x:Q", scale=scale, axis=axis, title="false rejection rate (%)")
    legend = alt.Legend(columns=1, symbolType="stroke")
    colour: Any = alt.Color("k:N", scale=alt.Scale(domain=["@labels"], range=["@colours"]), legend=legend)
    dash: Any = alt.StrokeDash("k:N", scale=alt.Scale(domain=["@labels"], range=["@dashes"]), legend=legend)
    if not several:
        colour, dash = alt.value(theme.SERIES[0]), alt.value(theme.DASHES[0])
    eers = alt.Chart(alt.NamedData("eers"))
    its_label = alt.LookupData(data=alt.NamedData("eers"), key="n", fields=["k"])
    points = alt.Chart(alt.NamedData("points")).transform_lookup(lookup="n", from_=its_label)
    label, eer = alt.Tooltip("k:N", title="detector"), alt.Tooltip("eer:Q", title="EER", format=".2%")
    rates = [alt.Tooltip(f"{rate}:Q", title=rate.upper(), format=".2%") for rate in ("far", "frr")]

    diagonal = alt.Chart(alt.NamedData("diagonal")).mark_line(color=theme.MUTED, strokeWidth=1, strokeDash=[2, 3])
    lines = [
        diagonal.encode(x=x, y=same),
        points.mark_line(clip=True, strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash, order="i:Q"),
    ]
    pointed = (
        points.transform_calculate(far="cumulativeNormal(datum.x)", frr="cumulativeNormal(datum.y)")
        .mark_circle(size=90, opacity=0, clip=True)
        .encode(x=x, y=y, tooltip=[label, *rates])
    )
    marks = [
        eers.mark_circle(size=60, opacity=1, stroke=theme.PAGE, strokeWidth=1.5).encode(
            x=x, y=same, color=colour, tooltip=[label, eer]
        )
    ]
    if not several:
        text = eers.mark_text(align="left", baseline="middle", dx=8, dy=-8)
        marks.append(text.encode(x=x, y=same, text="k:N"))
    return theme.kind_of(theme.layered(*lines, *marks), theme.layered(*lines, pointed, *marks))


def _thinned(curve: Drawn, low: float, high: float) -> Floats:
    """Probits (N, 2) of the vertices inside the axes, and of one on each side, that tell the line from others."""
    told = (curve.far > 0) & (curve.frr > 0) & (curve.far < 1) & (curve.frr < 1)
    line = np.stack([ndtri(curve.far[told]), ndtri(curve.frr[told])], axis=1)
    inside = ((line >= low) & (line <= high)).all(axis=1)
    beside = np.convolve(inside, [1, 1, 1])[1:-1] if inside.size else inside
    line = line[beside > 0]
    return line[_vertices(line * SIDE / (high - low))]


def _vertices(line: Floats) -> list[int]:
    """Douglas and Peucker (1973): rows of (N, 2) from which no other is further than the tolerance."""
    kept, spans = set(range(len(line)) if len(line) < 3 else (0, len(line) - 1)), [(0, len(line) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        (dx, dy), between = line[last] - line[first], line[first + 1 : last] - line[first]
        off = np.abs(dx * between[:, 1] - dy * between[:, 0]) / max(np.hypot(dx, dy), 1e-9)
        furthest = int(np.argmax(off))
        if off[furthest] > TOLERANCE:
            split = first + 1 + furthest
            kept.add(split)
            spans += [(first, split), (split, last)]
    return sorted(kept)
