"""One point for each trial or detector."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import altair as alt

from bench.det import Floats
from bench.errors import UsageError
from bench.report.figures import Figure, theme
from bench.report.measured import Line

SIDE = 360  # pixels
HEIGHT = 280
SIDES: dict[Literal["left", "right"], int] = {"left": 4, "right": -4}  # pixels from a point to its label
LETTERS = 24  # of a label
LETTER, LABEL = 7, 16  # pixels that a letter is wide and a label is high, at most


def scatter(
    name: str,
    x: Floats,
    y: Floats,
    kinds: Sequence[str],
    title: str,
    x_title: str,
    y_title: str,
    labels: Sequence[str],
) -> Figure:
    """A point a trial, coloured by kind.

    Args:
        x, y: finite, (N,). kinds: class or attack of each, (N,). labels: what the tooltip calls each, (N,), not
            necessarily unique.
    """
    if not len(x) == len(y) == len(kinds) == len(labels) or not len(x):
        raise UsageError("a scatter needs at least one point, and x, y, kind and label of each")
    looks = theme.looks(kinds)
    across, down = theme.finite(x, x_title), theme.finite(y, y_title)
    legend = list(dict.fromkeys(looks.values()))
    points = [
        {"x": left, "y": up, "k": looks[kind].label, "t": label}
        for left, up, kind, label in zip(across, down, kinds, labels, strict=True)
    ]
    slots: dict[str, Any] = {
        "width": SIDE,
        "height": SIDE,
        "x": theme.axis_title(x_title),
        "y": theme.axis_title(y_title),
        "kinds": [look.label for look in legend],
        "colours": [look.colour for look in legend],
        "shapes": [look.shape for look in legend],
    }
    told = ", ".join(slots["kinds"])
    alternative = f"{len(points):,} points, {x_title} against {y_title}, by {told}."
    return theme.figure(name, title, alternative, _scatter(), slots, {"points": points})


@cache
def _scatter() -> theme.Kind:
    scale = alt.Scale(zero=False, nice=True)
    legend = alt.Legend(columns=3, labelLimit=100, symbolOpacity=1, symbolSize=60)
    return theme.kind_of(
        theme.layered(
            alt.Chart(alt.NamedData("points"))
            .mark_point(filled=True, size=18, opacity=1, fillOpacity=0.6)
            .encode(
                x=alt.X("x:Q", title="@x", scale=scale, axis=alt.Axis(tickCount=6)),
                y=alt.Y("y:Q", title="@y", scale=scale, axis=alt.Axis(tickCount=6)),
                color=alt.Color("k:N", scale=alt.Scale(domain=["@kinds"], range=["@colours"]), legend=legend),
                shape=alt.Shape("k:N", scale=alt.Scale(domain=["@kinds"], range=["@shapes"]), legend=legend),
                tooltip=[
                    alt.Tooltip("t:N", title="trial"),
                    alt.Tooltip("k:N", title="kind"),
                    alt.Tooltip("x:Q", title="@x", format=".4~g"),
                    alt.Tooltip("y:Q", title="@y", format=".4~g"),
                ],
            )
        )
    )


def speed(name: str, lines: Sequence[Line], highlight: str, title: str) -> Figure:
    """EER against audio seconds in a second (log); detectors that no other beats in both are joined.

    Args:
        lines: of one trial list; those without EER or speed are left out. highlight: a detector's name, '' for none.
    """
    told = [(line, line.speed, line.eer) for line in lines if line.speed and line.eer is not None]
    if not told:
        raise UsageError("a figure of speed needs a detector with an EER and a speed")
    speeds = theme.finite((speed for _, speed, _ in told), "a speed")
    eers = theme.finite((100 * eer for _, _, eer in told), "an EER")
    front = _front(speeds, eers)
    named = _named([line for line, _, _ in told], speeds, eers, highlight, front)
    points = []
    for number, (line, rate, eer) in enumerate(zip((line for line, _, _ in told), speeds, eers, strict=True)):
        chosen = line.detector == highlight
        points.append(
            {
                "k": line.title,
                "t": theme.shortened(line.title, LETTERS),
                "x": rate,
                "y": eer,
                "kind": "chosen" if chosen else "front" if number in front else "other",
                "side": named.get(number, ""),
            }
        )
    best = ", ".join(f"{points[n]['k']} ({eers[n]:.2f} % at {speeds[n]:.4g})" for n in front)
    alternative = f"EER in percent against audio seconds in a second of {len(points)} detectors. Best in one: {best}."
    data: dict[str, theme.Rows] = {"points": points, "front": [{"x": speeds[n], "y": eers[n]} for n in front]}
    slots = {"width": SIDE, "height": HEIGHT, "ticks": _ticks(min(speeds), max(speeds))}
    return theme.figure(name, title, alternative, _speed(), slots, data)


def _named(
    lines: Sequence[Line], speeds: Sequence[float], eers: Sequence[float], highlight: str, front: Sequence[int]
) -> Mapping[int, str]:
    """On which side the label of a point begins: of the highlighted one and of those of the front, the lowest EER
    first, as far as labels do not cover each other.
    """
    low, high = math.log(min(speeds)), math.log(max(speeds))
    wanted = [number for number, line in enumerate(lines) if line.detector == highlight]
    found: dict[int, str] = {}
    taken: list[tuple[float, float, float]] = []  # left, right, bottom, in pixels
    for number in dict.fromkeys([*wanted, *sorted(front, key=lambda n: eers[n])]):
        side = "left" if math.log(speeds[number]) <= (low + high) / 2 else "right"
        x = SIDE * (math.log(speeds[number]) - low) / (high - low or 1)
        width = LETTER * len(theme.shortened(lines[number].title, LETTERS))
        left, right = (x, x + width) if side == "left" else (x - width, x)
        bottom = HEIGHT * eers[number] / (max(eers) or 1)
        if all(right < start or left > end or abs(bottom - below) > LABEL for start, end, below in taken):
            found[number] = side
            taken.append((left, right, bottom))
    return found


def _front(speeds: Sequence[float], eers: Sequence[float]) -> list[int]:
    """Indices of the Pareto front, the fastest first: each next one is slower and has a lower EER."""
    front: list[int] = []
    for number in sorted(range(len(speeds)), key=lambda n: (-speeds[n], eers[n])):
        if not front or eers[number] < eers[front[-1]]:
            front.append(number)
    return front


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... about a range; only powers of ten where it is wide, and its ends where none lies inside."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high < 300 * low else (1,)
    found = [float(f"{factor * 10.0**decade:.6g}") for decade in decades for factor in factors]
    return found if any(low <= tick <= high for tick in found) else [float(f"{end:.3g}") for end in (low, high)]


@cache
def _speed() -> theme.Kind:
    axis = alt.Axis(values=["@ticks"], format=",~g")
    x = alt.X("x:Q", title="audio seconds in a second", scale=alt.Scale(type="log", nice=False, padding=24), axis=axis)
    y = alt.Y("y:Q", title="EER (%)", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=6))
    points = alt.Chart(alt.NamedData("points"))
    kinds = alt.Scale(
        domain=["chosen", "front", "other"], range=[theme.OF_CLASS["spoof"], theme.SERIES[0], theme.MUTED]
    )
    tooltip = [
        alt.Tooltip("k:N", title="detector"),
        alt.Tooltip("y:Q", title="EER (%)", format=".2f"),
        alt.Tooltip("x:Q", title="audio seconds in a second", format=",.4~g"),
    ]
    return theme.kind_of(
        theme.layered(
            alt.Chart(alt.NamedData("front"))
            .mark_line(interpolate="step-before", strokeWidth=1, strokeDash=[4, 3], color=theme.SERIES[0])
            .encode(x=x, y=y),
            points.mark_circle(size=70, opacity=1).encode(
                x=x, y=y, color=alt.Color("kind:N", scale=kinds, legend=None), tooltip=tooltip
            ),
            *_labels(points.encode(x=x, y=y, text="t:N")),
        )
    )


def _labels(points: alt.Chart) -> Iterable[alt.Chart]:
    """Labels on a halo: the line of the front would cross them out."""
    for side, dx in SIDES.items():
        beside = points.transform_filter(f"datum.side === '{side}'")
        for colour, stroke in ((theme.PAGE, 4), (theme.TEXT, 0)):
            yield beside.mark_text(
                align=side, baseline="bottom", dx=dx, dy=-5, color=colour, stroke=colour, strokeWidth=stroke
            )
