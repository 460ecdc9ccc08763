"""Which corpus a trial list is of: by its name, its manifest, or its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.families import corpus_of, shipped_card, siblings, whole
from tests.tiny import World


@pytest.mark.parametrize(
    ("name", "made_of"),
    [
        ("itw", "itw"),
        ("itw:200", "itw"),
        ("itw+mp3@64k", "itw"),
        ("itw+reverb@0.6s+noise@15db:200", "itw"),
        ("asvspoof2021-df-all:9", "asvspoof2021-df-all"),
        ("calls:v2", "calls:v2"),  # a number alone makes a sample
    ],
)
def test_samples_and_perturbed_versions_are_of_a_whole_dataset(name: str, made_of: str) -> None:
    """What stands behind the first `+`, and a number behind a colon, is no part of it."""
    assert whole(name) == made_of


@pytest.mark.parametrize(
    ("facts", "corpus"),
    [
        ({"name": "asvspoof2021-df"}, "asvspoof2021-df"),
        ({"name": "asvspoof2021-df-all"}, "asvspoof2021-df"),  # a manifest of old says nothing: the card does
        ({"name": "asvspoof2021-df-all:200", "sibling_of": None}, "asvspoof2021-df"),
        ({"name": "mlaad-en-v5+trim", "sibling_of": None}, "mlaad-en"),
        ({"name": "calls"}, "calls"),
        ({"name": "calls-2", "sibling_of": "calls"}, "calls"),
        ({"name": "itw", "sibling_of": "calls"}, "calls"),  # what ran counts more than what has the name here
    ],
)
def test_a_list_is_of_the_corpus_that_its_manifest_or_its_card_tells(facts: dict[str, Any], corpus: str) -> None:
    """Itself where neither names another."""
    assert corpus_of(facts) == corpus


def test_every_shipped_sibling_has_its_corpus_among_the_cards() -> None:
    """All lists of a corpus are found from any of them, and each names the same one."""
    for name, card in registry.datasets().cards.items():
        assert shipped_card(f"{name}:5") == card
        family = siblings(card)
        assert card in family
        assert {corpus_of({"name": one.name}) for one in family} == {card.sibling_of or name}
    assert shipped_card("calls") is None


def test_a_cell_tells_its_family_and_the_published_counts(tmp_path: Path) -> None:
    """So that results are read without the user's cards; a sample has neither."""
    world = World(tmp_path)
    counts = {"trials": 4, "bonafide": 2, "spoof": 2}
    world.dataset("calls-2", range(4), sibling_of="calls", counts=counts)
    world.detector("det")
    facts = world.cell("det", "calls-2").manifest["dataset"]
    assert (facts["sibling_of"], facts["counts"], facts["about"]) == ("calls", counts, [])
    facts = world.cell("det", "calls-2", limit=2).manifest["dataset"]
    assert (facts["name"], facts["sibling_of"], facts["counts"]) == ("calls-2:2", None, None)
