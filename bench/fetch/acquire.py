"""How one thing gets here: a checkpoint, a model of the hub, an archive of a corpus.

Each is downloaded beside its place, verified, and only then in it; nothing that is there is overwritten. Beside it,
`<file>.source.json` says where it came from: address, commit, size, sha256, licence, date.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from bench.cards import Archive, Hub, Weights
from bench.errors import DataError, DownloadError, WeightsError
from bench.fetch import hub
from bench.fetch.archives import take, unpack
from bench.fetch.download import CHUNK, Arrived, Remote, download
from bench.progress import Display
from bench.weights import SETTINGS, sha256_of

SHELF = ".archives"  # in the weights folder: archives that single files are taken from


def weights_file(source: Weights, place: Path, folder: Path, display: Display) -> str:
    """Get a checkpoint; where it is now, in words. Archives that it is a member of lie on the shelf of `folder`.

    Raises:
        DownloadError: it cannot be had, see `bench.fetch.download` and `bench.fetch.hub`.
        WeightsError: it is not the published one, or something is at its place.
        DataError: an archive that cannot be unpacked, or does not hold the member.
    """
    if os.path.lexists(place):
        raise WeightsError("there is something already", where=place, remedy="move it away to download it again")
    if source.hub and not source.hub.path:
        return _model_folder(source, source.hub, place, display)
    remote, origin = _locate(source, display)
    if source.member is None:
        arrived = _download(remote, place, source.hub, display)
    else:
        arrived = _member(source, remote, on_shelf(remote.url, folder), place, display)
    _record(place, {**origin, **arrived._asdict(), "licence": source.licence})
    return _told(place, arrived, source.sha256, remote.sha256 is not None)


def _locate(source: Weights | Archive, display: Display) -> tuple[Remote, dict[str, Any]]:
    """The address of a file with all that is published of it, and what to write down of where it comes from."""
    published: dict[str, Any] = {"sha256": source.sha256}
    if isinstance(source, Archive):
        published |= {"bytes": source.bytes, "md5": source.md5}
    elif source.member:
        published = {}  # of the member, not of the archive that is downloaded
    published = {name: value for name, value in published.items() if value is not None}
    if source.hub is None:
        assert source.url is not None, source
        return Remote(source.url, **published), {"url": source.url, "member": getattr(source, "member", None)}
    repository = hub.look_up(source.hub, display)
    remote = repository.files[source.hub.path]
    _check_hash(source.file, published.get("sha256"), remote.sha256, repository.page)
    return replace(remote, **published), {"url": remote.url, **_origin(source.hub, repository)}


def _check_hash(name: str, published: str | None, found: str | None, where: str | Path) -> None:
    if None not in (published, found) and published != found:
        raise WeightsError(
            f"not the published {name}: sha256 is {found}, the card says {published}",
            where=where,
            remedy="its publisher replaced it: name the commit of the card's file as `revision`, or correct the card",
        )


def _origin(source: Hub, repository: hub.Repository) -> dict[str, Any]:
    return {"repository": source.repo, "revision": source.revision, "commit": repository.commit, "path": source.path}


def _download(remote: Remote, place: Path, source: Hub | None, display: Display) -> Arrived:
    try:
        return download(remote, place, display)
    except DownloadError as error:
        if source is None or error.status is None:
            raise
        raise hub.refusal(source, error.status, error.code) from None


def _model_folder(source: Weights, repository_of: Hub, place: Path, display: Display) -> str:
    """All that a model of the hub is loaded from: into a folder beside its place, which is renamed when it is whole."""
    repository = hub.look_up(repository_of, display)
    names = hub.of_a_model(repository.files)
    loaded = [name for name in names if name not in SETTINGS]
    if SETTINGS[0] not in names or not loaded:
        what = f"no {SETTINGS[0]} beside weights in {repository_of.repo}"
        raise WeightsError(what, where=repository.page, remedy="name the file as `path` of `hub` on the card")
    staging = place.with_name(f"{place.name}.part")
    files: list[dict[str, Any]] = []
    for name in names:
        file, remote = staging / name, repository.files[name]
        if file.is_file() and (remote.sha256 is None or sha256_of(file) != remote.sha256):
            file.unlink()  # of another commit, perhaps
        if not file.is_file():
            _download(remote, file, repository_of, display)
        files.append({"path": name, "bytes": file.stat().st_size, "sha256": sha256_of(file)})
    for stray in staging.iterdir():
        if stray.name not in names:
            stray.unlink()
    arrived = Arrived(sum(file["bytes"] for file in files), sha256_of(staging))
    _check_hash(source.file, source.sha256, arrived.sha256, repository.page)
    staging.rename(place)
    origin = {**_origin(repository_of, repository), "files": files}
    _record(place, {"url": repository.page, **origin, **arrived._asdict(), "licence": source.licence})
    return _told(place, arrived, source.sha256, all(repository.files[name].sha256 for name in loaded))


def _member(source: Weights, remote: Remote, archive: Path, place: Path, display: Display) -> Arrived:
    """One file of an archive, which stays on the shelf: other checkpoints may be members of it too."""
    assert source.member is not None, source
    if not archive.is_file():
        download(remote, archive, display)
    part = place.with_name(f"{place.name}.part")
    try:
        found = take(archive, source.member, part)
        _check_hash(place.name, source.sha256, found, remote.url)
        size = part.stat().st_size
        part.rename(place)
    finally:
        part.unlink(missing_ok=True)
    return Arrived(size, found)


def corpus_archive(source: Archive, place: Path, licence: str, display: Display) -> str:
    """Get a file of a corpus and unpack it beside; what came of it, in words.

    The archive is removed then, unless the user put it there; its record stays, and says that it was unpacked.

    Raises:
        DownloadError: it cannot be had, see `bench.fetch.download` and `bench.fetch.hub`.
        WeightsError, DataError: it is not the published one, or cannot be unpacked.
    """
    if not place.is_file():
        remote, origin = _locate(source, display)
        arrived = _download(remote, place, source.hub, display)
        _record(place, {**origin, **arrived._asdict(), "md5": source.md5, "licence": licence})
    record = read_record(place)
    if not record:
        _check_own(source, place)
    if not source.unpack:
        return str(place)
    count = unpack(place, place.parent, display)
    _record(place, {"licence": licence, **record, "unpacked": count})
    if record:
        place.unlink()
    return f"{count:,} files of {place.name} are in {place.parent}"


def _check_own(source: Archive, place: Path) -> None:
    """Whether an archive that the user put there is the published one."""
    found = {"bytes": str(place.stat().st_size)}
    for name in ("sha256", "md5"):
        if getattr(source, name):
            hashed = hashlib.new(name, usedforsecurity=False)
            with place.open("rb") as file:
                while chunk := file.read(CHUNK):
                    hashed.update(chunk)
            found[name] = hashed.hexdigest()
    for name, value in found.items():
        published = getattr(source, name)
        if published is not None and str(published) != value:
            raise DataError(
                f"not the published {source.file}: {name} is {value}, published is {published}",
                where=place,
                remedy="move it away, and run the same command again to download it",
            )


def on_shelf(url: str, folder: Path) -> Path:
    """Where an archive lies, below the weights folder, while files are taken from it."""
    return folder / SHELF / hashlib.sha256(url.encode()).hexdigest()[:16]


def _told(place: Path, arrived: Arrived, on_card: str | None, by_hub: bool) -> str:
    verified = "as on the card" if on_card else "as the hub has it" if by_hub else "unverified: the card has none"
    return f"{place} ({decimal(arrived.bytes)}, sha256 {arrived.sha256}, {verified})"


def record_of(place: Path) -> Path:
    """Where it is written down where a file comes from."""
    return place.with_name(f"{place.name}.source.json")


def _record(place: Path, facts: dict[str, Any]) -> None:
    """Write down where a file comes from."""
    stated = {"file": place.name, **facts, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    text = json.dumps({name: value for name, value in stated.items() if value is not None}, indent=1)
    part = place.with_name(f"{place.name}.source.json.part")
    part.write_text(f"{text}\n", encoding="utf-8")
    part.replace(record_of(place))


def read_record(place: Path) -> dict[str, Any]:
    """What was written down of a file; nothing where it is not readable, and the file counts as the user's own."""
    try:
        facts = json.loads(record_of(place).read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
