"""What a page says of how scores came about."""

from __future__ import annotations

import pytest

from bench.report.facts import provenance, public, words

WEIGHTS = {
    "file": "model.safetensors",
    "verified": True,
    "seed": 42,
    "recipe_key": "0123456789ab",
    "start": {"backbone": "random", "style": {"file": "w.pt", "sha256": "ef" * 32, "verified": False}},
    "lists": [{"name": "calls", "digest": "ab" * 32, "trials": 2580, "warnings": []}],
}


def test_what_weights_were_made_of_is_told() -> None:
    """Seed, recipe key, every list with its digest, and what each part started from; what is not told is left out."""
    told = dict(
        provenance({"detector": {"weights": WEIGHTS, "paper": "", "notes": ["one", "two"]}, "precision": "fp32"})
    )
    assert told == {
        "Weights file": "model.safetensors",
        "Weights verified": "yes",
        "Recipe key": "0123456789ab",
        "Training seed": "42",
        "Training started from": f"backbone random · style w.pt, sha256 {'ef' * 32}, unverified",
        "Lists of the training": f"calls (2,580 trials, digest {('ab' * 32)[:12]})",
        "Precision": "fp32",
        "Notes": "one, two",
    }


def test_a_manifest_of_nothing_tells_nothing() -> None:
    """A blocked cell has none."""
    assert provenance({}) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1234567, "1,234,567"),
        (0.123456789, "0.123457"),
        (False, "no"),
        (["a", 1], "a, 1"),
        ({"b_c": None, "z": 1.5, "a_b": [True]}, "a b yes · z 1.5"),
    ],
)
def test_values_are_for_reading(value: object, said: str) -> None:
    """Thousands, six digits, words for truth, mappings by name without what is empty."""
    assert words(value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not audio: /home/me/data/itw/0.wav", "not audio: …/0.wav"),
        ("C:\\data\\itw\\0.wav is short", "…/0.wav is short"),
        ("(/a/b.wav), /c", "(…/b.wav), …/c"),
        ("cannot open:/home/me/0.wav", "cannot open:…/0.wav"),
        ("file:///home/me/0.wav", "file://…/0.wav"),
        ("\\\\server\\share\\0.wav is short", "…/0.wav is short"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("itw/release_in_the_wild/0.wav", "itw/release_in_the_wild/0.wav"),
        ("bona fide / spoof, 1/2", "bona fide / spoof, 1/2"),
    ],
)
def test_folders_of_this_machine_stay_here(text: str, said: str) -> None:
    """A path from the root keeps its last name; web addresses and paths below a folder stay."""
    assert public(text) == said
