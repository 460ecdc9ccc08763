"""Templates -> bytes of a page: escaping, number formats, links that work from a file system and below any address."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jinja2

from bench.registry import shipped
from bench.report import places


def render(template: str, page: str, **context: Any) -> bytes:
    """A page of the site.

    Args:
        template: its file in reports/templates. page: where it will lie, see `places`: links are relative to it.

    Templates also have `page`, `to(path)`, the link to another file of the site, and all functions of `places`.
    """
    told = _environment().get_template(template)
    return told.render(**context, page=page, to=partial(places.relative, page=page), places=places).encode()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped("reports") / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    environment.filters["percent"] = lambda value, digits=2: f"{100 * value:.{digits}f}"
    environment.filters["fixed"] = lambda value, digits=4: f"{value:.{digits}f}"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["speed"] = lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
    return environment
