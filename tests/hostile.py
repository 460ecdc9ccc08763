"""A store whose names are meant to break a page."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.store import Store
from bench.trials import BONAFIDE, SPOOF, validate
from tests import stores

SCRIPT = "<script>alert(1)</script>"
MARKUP = "<img src=x onerror=alert(1)>&amp;\"'`"
PATH = "../../etc/passwd\\..\\x"
UNICODE = "déтектор 検出器 \u202eABC🎙️"
LONG = "x" * 300
NAMES = (SCRIPT, MARKUP, PATH, UNICODE, LONG)


def fill(store: Store) -> None:
    """Detectors x two trial lists. Titles, speakers, attacks and trials have every one of `NAMES`; names of detectors
    and datasets are as bad as an import lets them be."""
    draws = np.random.default_rng(0)
    labels = [BONAFIDE] * 40 + [SPOOF] * 60
    trials = validate(
        pd.DataFrame(
            {
                "trial": [f"{NAMES[n % 5]} {n}" for n in range(100)],
                "label": labels,
                "speaker": [NAMES[n % 5] for n in range(100)],
                "attack": [""] * 40 + [NAMES[n % 5] for n in range(60)],
                "codec": ["", "c" * 80] * 50,
            }
        ),
        "hostile",
    )
    texts = {
        "licence": MARKUP,
        "summary": SCRIPT,
        "title": LONG,
        "notes": [MARKUP],
        "about": [UNICODE],
        "warnings": [SCRIPT],
    }
    for dataset in ("itw", "<i>&\"'/%2e%2e/"):
        for place, name in enumerate(("plain", "<b>&\"'/%2e%2e/", "検出器", "d" * 120)):
            shift = np.where(np.arange(100) < 40, 1.0 + place / 2, 0.0)
            stores.put(
                store,
                trials,
                dict(zip(trials["trial"], draws.normal(shift), strict=True)),
                detector=name,
                dataset=dataset,
                extras={"a<b>": draws.normal(size=100).tolist()},
                made={"title": NAMES[place], "family": MARKUP, "licence": SCRIPT, "notices": [MARKUP], "paper": SCRIPT},
                facts=texts,
                leakage="held-out",
                finished="2026-01-02T03:04:05+00:00",
            )
        store.block(dataset, "blocked", SCRIPT, MARKUP)
