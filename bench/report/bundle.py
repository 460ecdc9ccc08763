"""The scripts of the figures as files of the site."""

from __future__ import annotations

import vl_convert

from bench.registry import shipped
from bench.report import places
from bench.report.figures.drawing import VEGA_LITE
from bench.report.tables import Files

SCRIPT = "figures.js"
LIBRARIES = "vega.js"
# What `bench.report.figures` draws with, in one classic script: it works from a file system, where modules do not.
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
_NOTICE = """/*! Vega, Vega-Lite and Vega-Embed, Copyright (c) University of Washington Interactive Data Lab and
contributors, BSD-3-Clause; D3, Copyright (c) Mike Bostock, ISC; bundled by vl-convert, BSD-3-Clause. */
"""


def files() -> Files:
    """assets/figures.js, and assets/vega.js with the libraries it loads: 900 kB that take more than a second to bundle.

    Deterministic for one version of vl-convert, and made without a network.
    """
    script = (shipped("reports") / "static" / SCRIPT).read_bytes()
    libraries = _NOTICE + vl_convert.javascript_bundle(_SNIPPET, vl_version=VEGA_LITE)
    return {f"{places.ASSETS}/{SCRIPT}": script, f"{places.ASSETS}/{LIBRARIES}": libraries.encode()}
