"""Specification -> SVG that may stand inside a page: small, the same bytes every time, no id that another figure has.

vl-convert numbers clip paths through the life of the process, repeats every attribute at every mark and writes three
decimals. Here ids begin with the name of the figure, what all marks of a group share goes to the group, and a tenth of
a pixel is enough.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import altair as alt
import vl_convert

# The Vega-Lite that altair writes for, as vl-convert names it: `6.4`.
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])

_SVG = "{http://www.w3.org/2000/svg}"
_GEOMETRY = ("d", "transform", "x", "y", "x2", "y2", "width", "height")
_NEEDLESS = ("class", "aria-hidden", "aria-roledescription", "role", "pointer-events", "version", "font-family")
_DEFAULTS = {
    ("opacity", "1"),
    ("stroke-width", "1"),
    ("text-anchor", "start"),
    ("stroke-miterlimit", "10"),
    ("transform", "translate(0,0)"),
    ("x2", "0"),
    ("y2", "0"),
}
# Presentation attributes that children inherit; `opacity` is not one of them.
_INHERITED = (
    *("fill", "fill-opacity", "font-size", "font-weight", "text-anchor"),
    *("stroke", "stroke-dasharray", "stroke-linecap", "stroke-opacity", "stroke-width"),
)
_DECIMALS = re.compile(r"-?\d+\.\d{2,}(e-\d+)?")
_CIRCLE = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_TRANSLATION = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")

ElementTree.register_namespace("", _SVG[1:-1])


def svg(spec: dict[str, Any], name: str) -> tuple[str, int]:
    """A Vega-Lite specification drawn, and its width in pixels; `name` begins the ids."""
    empty = {**spec, "datasets": {data: [] for data in spec["datasets"]}}
    vega = json.loads(_compiled(json.dumps(empty, sort_keys=True)))
    for source in vega["data"]:
        if source["name"] in spec["datasets"]:
            source["values"] = spec["datasets"][source["name"]]
    # No address may be read: all data is in the specification.
    text = vl_convert.vega_to_svg(vega, allowed_base_urls=[])
    root = ElementTree.fromstring(text)  # noqa: S314 (of our own making, with texts escaped)
    _rename(root, name)
    _shrink(root)
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>"), round(float(root.attrib["width"]))


@lru_cache(maxsize=64)
def _compiled(spec: str) -> str:
    """A Vega-Lite specification without its data, as Vega: a third of the work, and the figures of a kind share it."""
    return json.dumps(vl_convert.vegalite_to_vega(spec, vl_version=VEGA_LITE))


def _rename(root: ElementTree.Element, name: str) -> None:
    ids = {element.attrib["id"]: f"{name}-{number}" for number, element in enumerate(root.iterfind(".//*[@id]"))}
    for element in root.iter():
        if "id" in element.attrib:
            element.set("id", ids[element.attrib["id"]])
        if "clip-path" in element.attrib:
            element.set("clip-path", f"url(#{ids[element.attrib['clip-path'][len('url(#') : -1]]})")


def _shrink(element: ElementTree.Element) -> None:
    for child in list(element):
        if child.tag != f"{_SVG}defs":
            _shrink(child)
    for key, value in list(element.items()):
        if key in _GEOMETRY:
            value = _DECIMALS.sub(_tenth, value)
            element.set(key, value)
        if key in _NEEDLESS or (key, value) in _DEFAULTS:
            del element.attrib[key]
    element[:] = [kept for child in element if _visible(child) for kept in _unwrapped(child)]
    if element.tag == f"{_SVG}g":
        _share(element)
    elif element.tag == f"{_SVG}path":
        _as_circle(element)


def _tenth(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _visible(element: ElementTree.Element) -> bool:
    """Whether it paints anything; vega gives every mark its own fill and stroke."""
    if element.tag == f"{_SVG}g":
        return len(element) > 0
    painted = any(element.get(key, "none") != "none" for key in ("fill", "stroke"))
    return element.tag != f"{_SVG}path" or (painted and element.get("display") != "none")


def _unwrapped(element: ElementTree.Element) -> list[ElementTree.Element]:
    """The children of a group that says nothing."""
    return list(element) if element.tag == f"{_SVG}g" and not element.attrib else [element]


def _share(group: ElementTree.Element) -> None:
    """What all children have goes to the group, with the most common value; those with another keep their own."""
    for key in _INHERITED:
        values = [child.attrib[key] for child in group if key in child.attrib]
        if 1 < len(values) == len(group):
            ((common, _),) = Counter(values).most_common(1)
            group.set(key, common)
            for child in group:
                if child.get(key) == common:
                    del child.attrib[key]


def _as_circle(path: ElementTree.Element) -> None:
    shape, place = _CIRCLE.fullmatch(path.get("d", "")), _TRANSLATION.fullmatch(path.get("transform", ""))
    if shape and place:
        path.tag = f"{_SVG}circle"
        del path.attrib["d"], path.attrib["transform"]
        path.attrib |= {"cx": place[1], "cy": place[2], "r": shape[1]}
