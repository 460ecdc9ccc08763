"""What happened in a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt

from bench.errors import UsageError
from bench.report.figures import Figure, theme

WIDTH, HEIGHT = 360, 140
LOSSES = {"training_loss": "training", "validation_loss": "dev"}


def curves(name: str, points: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Loss and EER of the dev set by epoch; stages one after the other.

    Args:
        points: the `curve` of each stage of train.json, one stage after the other; `validation_loss` and
            `validation_eer` are None where nothing was measured.
    """
    if not points:
        raise UsageError("a figure of a training needs a point of its curve")
    places, begun = _epochs(points)
    losses: list[dict[str, Any]] = []
    eers: list[dict[str, Any]] = []
    for at, point in zip(places, points, strict=True):
        about = {"x": at, "stage": str(point["stage"]), "best": bool(point["best"])}
        for key, label in LOSSES.items():
            if point[key] is not None:
                (value,) = theme.finite([point[key]], f"the {label} loss")
                losses.append({**about, "k": label, "y": value})
        if point["validation_eer"] is not None:
            (value,) = theme.finite([100 * point["validation_eer"]], "the dev EER")
            eers.append({**about, "y": value})
    stages = [{"x": start, "k": label} for label, start in begun.items()]
    slots = {"width": WIDTH, "height": HEIGHT, "epochs": [0, max(places)]}
    told = f"Loss by epoch, {len(points)} points in {len(stages)} stages"
    if eers:
        told += f", and the EER of the dev set, at its lowest {min(row['y'] for row in eers):.2f} %"
    data = {"losses": losses, "eers": eers, "stages": stages}
    return theme.figure(name, title, f"{told}.", _curves(bool(eers)), slots, data)


def _epochs(points: Sequence[Mapping[str, Any]]) -> tuple[list[float], dict[str, float]]:
    """Epochs since the beginning, fractions where a stage is looked at within one, and where each stage begins."""
    looks = Counter((point["stage"], point["epoch"]) for point in points)
    begun: dict[str, float] = {}
    seen: Counter[tuple[str, int]] = Counter()
    places: list[float] = []
    for point in points:
        stage = begun.setdefault(str(point["stage"]), places[-1] if places else 0.0)
        look = (point["stage"], point["epoch"])
        seen[look] += 1
        places.append(round(stage + point["epoch"] - 1 + seen[look] / looks[look], 4))
    return places, begun


@cache
def _curves(with_eer: bool) -> theme.Kind:
    whole = alt.Axis(tickMinStep=1, format="d", tickCount=6)
    x = alt.X("x:Q", title="epoch", scale=alt.Scale(domain=["@epochs"], nice=False), axis=whole)
    tooltip = [alt.Tooltip("stage:N", title="stage"), alt.Tooltip("x:Q", title="epoch", format=".4~g")]
    scale = alt.Scale(domain=list(LOSSES.values()), range=[theme.SERIES[0], theme.SERIES[1]])
    losses = alt.Chart(alt.NamedData("losses")).encode(
        x=x,
        y=alt.Y("y:Q", title="loss", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
        color=alt.Color("k:N", scale=scale, legend=alt.Legend(symbolType="stroke", orient="top-right", columns=1)),
        detail="stage:N",
        tooltip=[*tooltip, alt.Tooltip("k:N", title="loss of"), alt.Tooltip("y:Q", title="loss", format=".4~g")],
    )
    eers = alt.Chart(alt.NamedData("eers")).encode(
        x=x,
        y=alt.Y("y:Q", title="dev EER (%)", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4)),
        detail="stage:N",
        tooltip=[*tooltip, alt.Tooltip("y:Q", title="dev EER (%)", format=".2f")],
    )
    stages = alt.Chart(alt.NamedData("stages")).encode(x=x)
    begins = stages.mark_rule(strokeDash=[2, 3])
    names = stages.mark_text(align="left", baseline="bottom", dx=3, dy=-4, limit=180).encode(y=alt.value(0), text="k:N")
    upper = theme.layered(begins, losses.mark_line(), losses.mark_circle(size=30, opacity=1), names)
    if not with_eer:
        return theme.kind_of(upper)
    colour = theme.SERIES[2]
    lower = theme.layered(begins, eers.mark_line(color=colour), eers.mark_circle(size=30, opacity=1, color=colour))
    return theme.kind_of(alt.VConcatChart(vconcat=[upper, lower], spacing=24))
