"""MLAAD, which holds only spoof, beside M-AILABS, which most of it was made from.

Müller et al., "MLAAD: The Multi-Language Audio Anti-Spoofing Dataset", IJCNN 2024, arXiv 2401.09512. No paper fixes the
bona fide side, so "MLAAD-EN" is no one trial list: the card names the model folders and the bona fide rule, and each
choice has its own digest. Ids are `<model folder>/<file>` and, bona fide, the path below the root of M-AILABS.

`meta.csv` is read by column name and without quoting: transcripts hold bare quote characters, and columns move between
releases. Its paths are wrong in places; the file lies in the folder of its `meta.csv`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.corpora.files import absent, audio_files, first, inside, missing, names_in, plain_names, reader, under
from bench.corpora.tables import read_table
from bench.errors import Blocked, DataError, unknown
from bench.registry import datasets
from bench.trials import BONAFIDE, SPOOF, trial_ids, validate

RULES = ("matched", "balanced", "all")
ORIGIN = ("original", "original_path", "meta", "line")
RELEASES = {"v5": "mlaad-en-v5"}  # and the card whose `models` are its English folders; of no other is the list known


def about(trials: pd.DataFrame, arguments: Mapping[str, Any]) -> list[str]:
    """Which models and which bona fide side: two sentences.

    `36 model folders (digest 0f3a52b1c9de), 1,000 clips each: all 36 of release v5 and no other`; the digest is that of
    the sorted names, a line each, in sha256. `12,345 bona fide: the distinct M-AILABS originals of these clips (rule
    matched), 4 readers`.

    Args:
        trials: of `read`. arguments: that it was called with.
    """
    spoof = trials[trials["label"] == SPOOF]
    clips = spoof["attack"].value_counts()
    names = hashlib.sha256("".join(f"{name}\n" for name in sorted(clips.index)).encode()).hexdigest()[:12]
    least, most = clips.min(), clips.max()
    each = f"{_counted(least, 'clip')} each" if least == most else f"{least:,} to {most:,} clips each"
    known = [_release(name, set(clips.index)) for name in RELEASES] if arguments.get("language", "en") == "en" else []
    real = trials[trials["label"] == BONAFIDE]
    side = {
        "matched": "the distinct M-AILABS originals of these clips (rule matched)",
        "all": "every M-AILABS file of the language (rule all)",
        "balanced": f"M-AILABS files, as many as clips (rule balanced, seed {arguments.get('seed', 0)})",
    }[arguments["bona_fide"]]
    readers = real.loc[real["speaker"] != "", "speaker"].nunique()
    return [
        f"{_counted(len(clips), 'model folder')} (digest {names}), {each}: {', '.join(known) or 'of no known release'}",
        f"{len(real):,} bona fide: {side}, {_counted(readers, 'reader')}",
    ]


def _release(name: str, present: set[str]) -> str:
    """How far the model folders are those of a release."""
    models = set(datasets()[RELEASES[name]].arguments["models"])
    shared, others = len(models & present), len(present - models)
    told = f"all {len(models)}" if shared == len(models) else f"{shared} of the {len(models)}"
    return f"{told} of release {name} and {f'{others:,} other' if others else 'no other'}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@reader(about=about)
def read(
    root: Path,
    *,
    places: Sequence[str],
    originals: Sequence[str],
    bona_fide: str,
    language: str = "en",
    models: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The chosen spoof of one language and the bona fide side by a rule.

    Args:
        root: the data root.
        places: where below the root the folder of languages (`fake`) may be.
        originals: where below the root M-AILABS (`en_US`, `en_UK`, ...) may be.
        bona_fide: `matched`: the distinct originals of the chosen spoof, each once, however many systems re-spoke it;
            `all`: every file of M-AILABS in the language;
            `balanced`: `all`, then the larger class reduced to the size of the smaller: those with the smallest
            sha256 of `<seed>:<trial>`.
        language: folder below `fake`; M-AILABS folders are those that begin with it and `_`.
        models: model folders that make up a named release; without it, all that are present.
        seed: of `balanced`.

    `matched` needs no audio: where not one spoof file is on disk, the originals are not looked for either.

    Raises:
        Blocked: no MLAAD, no M-AILABS, or a model folder of the release absent.
        DataError: a folder without `meta.csv`, a `meta.csv` that does not hold what it should, an original missing.
        UsageError: a rule nobody knows.
    """
    if bona_fide not in RULES:
        raise unknown("bona fide rule", bona_fide, RULES)
    folder = first(under(root, places, (language,)), f"MLAAD (fake/{language})")
    candidates = under(root, originals)
    source = next((place for place in candidates if _languages(place, language)), None)
    tables = [_spoof(folder / model, source or candidates[0]) for model in _models(folder, models)]
    spoof = pd.concat(tables, ignore_index=True)
    heard = len(missing(spoof["path"].tolist())) < len(spoof)
    if source is None and (heard or bona_fide != "matched"):
        raise absent(f"M-AILABS ({language}_*), the bona fide side of MLAAD,", candidates)
    if source is None or bona_fide == "matched":
        real = _matched(spoof, must_exist=heard)
    else:
        real = _everything(source, language)
    if bona_fide == "balanced":
        size = min(len(real), len(spoof))
        real, spoof = _sample(real, size, seed), _sample(spoof, size, seed)
    real = real.assign(label=BONAFIDE, speaker=real["trial"].map(_reader))
    table = pd.concat([spoof.drop(columns=list(ORIGIN)), real], ignore_index=True)
    return validate(table.assign(language=language), folder)


def _models(folder: Path, release: Sequence[str] | None) -> list[str]:
    """The model folders to read, each of which has a `meta.csv`."""
    present = sorted(name for name in names_in(folder) if not name.startswith(".") and (folder / name).is_dir())
    if lost := [model for model in release or () if model not in present]:
        raise Blocked(
            f"{len(lost)} of the {len(release or ())} model folders of this release are not here: "
            f"{', '.join(lost[:5])}{', …' if len(lost) > 5 else ''}",
            where=folder,
            remedy="download them, or score what is present with a card that names no models",
        )
    models = present if release is None else list(release)
    if not models:
        raise DataError("no model folder", where=folder, remedy="check that the download is complete")
    if bare := [model for model in models if not (folder / model / "meta.csv").is_file()]:
        raise DataError(
            f"no meta.csv in {', '.join(bare)}",
            where=folder,
            remedy="complete the download; a folder that is no model of MLAAD does not belong here",
        )
    return models


def _spoof(model: Path, source: Path) -> pd.DataFrame:
    """The trials of one model folder, with where the original of each lies and which line says so (`ORIGIN`)."""
    meta = model / "meta.csv"
    table, lines = read_table(meta, ("path", "original_file"), delimiters="|", quotes=False)
    names = plain_names(table["path"].str.replace("\\", "/").str.rpartition("/")[2], meta, lines)
    paths, ids = inside(table["original_file"], [source], meta, lines)
    spoof = pd.DataFrame(
        {
            "trial": f"{model.name}/" + trial_ids(names),
            "path": f"{model}/" + names,
            "label": SPOOF,
            "attack": model.name,
            "model_name": table.get("model_name", model.name),
            "architecture": table.get("architecture", ""),
        }
    )
    return validate(spoof, meta, lines).assign(original=ids, original_path=paths, meta=str(meta), line=lines)


def _matched(spoof: pd.DataFrame, must_exist: bool) -> pd.DataFrame:
    """The originals that the spoof names, each once."""
    named = spoof.drop_duplicates("original", ignore_index=True)
    lost = missing(named["original_path"].tolist()) if must_exist else []
    if lost:
        mention = named.iloc[lost[0]]
        raise DataError(
            f"{len(lost)} of {len(named)} originals are not in M-AILABS, first {mention['original_path']}",
            where=mention["meta"],
            line=mention["line"],
            remedy="complete the download of M-AILABS",
        )
    return pd.DataFrame({"trial": named["original"], "path": named["original_path"]})


def _everything(source: Path, language: str) -> pd.DataFrame:
    """Every file of M-AILABS in a language."""
    files = [f"{name}/{file}" for name in _languages(source, language) for file in audio_files(source / name)]
    if not files:
        raise DataError("no audio in M-AILABS", where=source, remedy="check that the download is complete")
    return pd.DataFrame({"trial": trial_ids(pd.Series(files)), "path": [f"{source}/{file}" for file in files]})


def _languages(source: Path, language: str) -> list[str]:
    return sorted(name for name in names_in(source) if name.startswith(f"{language}_"))


def _sample(table: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    order = table["trial"].map(lambda trial: hashlib.sha256(f"{seed}:{trial}".encode()).hexdigest())
    return table.loc[order.sort_values().index[:size].sort_values()]


def _reader(original: str) -> str:
    """Who reads: `en_US/by_book/<gender>/<reader>/<book>/wavs/<utterance>`, '' for a path of another form."""
    parts = original.split("/")
    return parts[3] if len(parts) > 4 and parts[1] == "by_book" else ""
