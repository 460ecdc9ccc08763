"""One file from a server: whole or not at all, resumed where it stopped, never more than was published."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import io
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import DownloadError
from bench.fetch import download as downloads
from bench.fetch import transport
from bench.fetch.download import Arrived, Remote, download
from bench.fetch.transport import RETRIES
from bench.progress import Silent
from tests.fetch.hub_server import Fault, Server, running

CONTENT = bytes(range(256)) * 1_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Recorder(Silent):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.done = 0
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin_bytes(self, what: str, total: int | None) -> None:
        self.totals.append(total)

    def advance(self, count: int) -> None:
        self.done += count


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, which take no time here."""
    slept: list[float] = []
    monkeypatch.setattr("bench.fetch.transport.time.sleep", slept.append)
    return slept


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "net.pth"


def part_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")


def failure(remote: Remote, place: Path) -> DownloadError:
    """The error of a download that leaves nothing at its place."""
    with pytest.raises(DownloadError) as caught:
        download(remote, place, Silent())
    assert not place.exists()
    assert caught.value.remedy
    return caught.value


def leave_part(place: Path, content: bytes, identity: str, total: int | None = len(CONTENT), tag: str = '"v1"') -> None:
    """What an earlier process left behind when it was killed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part_of(place).write_bytes(content)
    note = {"identity": identity, "total": total, "validator": tag}
    place.with_name(f"{place.name}.part.json").write_text(json.dumps(note))


def test_a_file_arrives_with_its_hash(server: Server, place: Path) -> None:
    """Whole, at its place, with nothing beside it, in one request; progress is told in bytes."""
    remote = Remote(server.add("/net", CONTENT), len(CONTENT), SHA256, MD5)
    display = Recorder()
    assert download(remote, place, display) == Arrived(len(CONTENT), SHA256)
    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]
    (seen,) = server.seen
    assert (seen.headers["accept-encoding"], seen.range) == ("identity", None)
    assert seen.headers["user-agent"].startswith("antispoof-bench/")
    assert (display.totals, display.done, display.notes) == ([len(CONTENT)], len(CONTENT), [])


def test_an_empty_file_is_a_file(server: Server, place: Path) -> None:
    """Nothing is all that was asked for."""
    assert download(Remote(server.add("/net", b"")), place, Silent()).bytes == 0
    assert (place.read_bytes(), list(place.parent.iterdir())) == (b"", [place])


def test_a_cut_connection_is_gone_on_with(server: Server, place: Path, pauses: list[float]) -> None:
    """Each further request asks for what is missing, of the same version; what has arrived is not sent again."""
    url = server.add("/net", CONTENT)
    server.faults["/net"] = [Fault(cut=100_000), Fault(cut=50_000)]
    display = Recorder()
    assert download(Remote(url), place, display).sha256 == SHA256
    assert place.read_bytes() == CONTENT
    assert [seen.range for seen in server.seen] == [None, "bytes=100000-", "bytes=150000-"]
    assert [seen.headers.get("if-range") for seen in server.seen] == [None, '"v1"', '"v1"']
    assert display.done == len(CONTENT)
    assert display.totals == [len(CONTENT), len(CONTENT) - 100_000, len(CONTENT) - 150_000]
    assert display.notes == [
        "net.pth: the connection ended after 100.0 kB of 256.0 kB; again in 1 s",
        "net.pth: the connection ended after 150.0 kB of 256.0 kB; again in 1 s",
    ]
    assert pauses == [1, 1]  # there was progress


def test_a_killed_process_is_gone_on_with(server: Server, place: Path) -> None:
    """Killed half-way through the transfer: nothing is at the place, and the next process asks for the rest alone."""
    url = server.add("/net", CONTENT)
    server.faults["/net"] = [Fault(hang=120_000)]
    code = (
        "import sys; from pathlib import Path; from bench.fetch.download import *; from bench.progress import Silent\n"
        "download(Remote(sys.argv[1]), Path(sys.argv[2]), Silent())"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", code, url, str(place)]) as process:
        deadline = time.monotonic() + 30
        while not (part_of(place).is_file() and part_of(place).stat().st_size == 120_000):
            assert time.monotonic() < deadline and process.poll() is None
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGKILL)
    assert not place.exists()
    download(Remote(url), place, Silent())
    assert place.read_bytes() == CONTENT
    assert [(seen.range, seen.headers.get("if-range")) for seen in server.seen] == [
        (None, None),
        ("bytes=120000-", '"v1"'),
    ]
    assert list(place.parent.iterdir()) == [place]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 3_000), max_size=RETRIES),
    content=st.binary(min_size=1, max_size=9_000),
    ranges=st.booleans(),
    hashed=st.booleans(),
    etag=st.sampled_from(['"v1"', 'W/"v1"', None]),
)
def test_however_often_it_is_cut_the_file_is_the_file(
    cuts: list[int], content: bytes, ranges: bool, hashed: bool, etag: str | None, server: Server, tmp_path: Path
) -> None:
    """Whether or not the server can resume, names its versions, or publishes a hash."""
    url = server.add("/net", content, ranges=ranges, etag=etag)
    server.faults["/net"] = [Fault(cut=cut) for cut in cuts]
    place = tmp_path / "net.pth"
    digest = hashlib.sha256(content).hexdigest()
    try:
        assert download(Remote(url, sha256=digest if hashed else None), place, Silent()).sha256 == digest
        assert place.read_bytes() == content
    finally:
        place.unlink(missing_ok=True)
        server.faults.clear()


def test_a_server_that_cannot_resume_sends_it_again(server: Server, place: Path) -> None:
    """It answers with the whole file; that counts, not what arrived before."""
    url = server.add("/net", CONTENT, ranges=False)
    server.faults["/net"] = [Fault(cut=100_000)]
    display = Recorder()
    download(Remote(url, sha256=SHA256), place, display)
    assert place.read_bytes() == CONTENT
    assert [seen.range for seen in server.seen] == [None, "bytes=100000-"]
    assert display.totals == [len(CONTENT), len(CONTENT)]


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_begun_again(server: Server, place: Path, if_range: bool) -> None:
    """Without a published hash the two halves must be of one version: If-Range asks, and the answer is compared."""
    url = server.add("/net", CONTENT[::-1], etag='"v2"', if_range=if_range)
    leave_part(place, CONTENT[:1_000], url)
    download(Remote(url), place, Silent())
    assert place.read_bytes() == CONTENT[::-1]
    assert (server.seen[0].range, server.seen[0].headers["if-range"]) == ("bytes=1000-", '"v1"')
    assert len(server.seen) == (1 if if_range else 2)


@pytest.mark.parametrize(
    ("identity", "note"),
    [("https://elsewhere/net", None), (SHA256, b"{"), (SHA256, b"[]"), (SHA256, b'{"identity": 1}')],
)
def test_a_part_of_something_else_is_not_gone_on_with(
    server: Server, place: Path, identity: str, note: bytes | None
) -> None:
    """Of another file, or of nobody knows what: the note beside it is lost or torn."""
    leave_part(place, b"x" * 1_000, identity)
    if note is not None:
        place.with_name("net.pth.part.json").write_bytes(note)
    download(Remote(server.add("/net", CONTENT), sha256=SHA256), place, Silent())
    assert place.read_bytes() == CONTENT
    assert [seen.range for seen in server.seen] == [None]


def test_a_validator_that_is_no_header_is_not_sent(server: Server, place: Path) -> None:
    """The note is a file like any other: what somebody wrote there does not become a header of its own."""
    url = server.add("/net", CONTENT, etag=None)
    leave_part(place, CONTENT[:1_000], url, tag='"v1"\r\nX-Evil: 1')
    download(Remote(url), place, Silent())
    assert place.read_bytes() == CONTENT
    assert all("if-range" not in seen.headers and "x-evil" not in seen.headers for seen in server.seen)


def test_a_part_that_is_whole_needs_no_server(server: Server, place: Path) -> None:
    """Killed between the last byte and the renaming."""
    url = server.add("/net", CONTENT)
    leave_part(place, CONTENT, SHA256)
    assert download(Remote(url, sha256=SHA256), place, Silent()) == Arrived(len(CONTENT), SHA256)
    assert (place.read_bytes(), server.seen) == (CONTENT, [])


def test_a_part_longer_than_the_file_is_begun_again(server: Server, place: Path) -> None:
    """The server has no such part (416); what was there is dropped."""
    url = server.add("/net", CONTENT)
    leave_part(place, CONTENT + b"more", SHA256)
    download(Remote(url, sha256=SHA256), place, Silent())
    assert place.read_bytes() == CONTENT
    assert [seen.range for seen in server.seen] == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_damaged_part_costs_one_more_download(server: Server, place: Path) -> None:
    """The hash tells at the end; it is then downloaded from the beginning, once."""
    leave_part(place, b"\xff" * 1_000, SHA256)
    display = Recorder()
    download(Remote(server.add("/net", CONTENT), sha256=SHA256), place, display)
    assert place.read_bytes() == CONTENT
    assert [seen.range for seen in server.seen] == ["bytes=1000-", None]
    (note,) = display.notes
    assert note.startswith("net.pth: sha256 is ") and note.endswith(f"published is {SHA256}; again from the beginning")


@pytest.mark.parametrize("name", ["sha256", "md5"])
def test_what_is_not_the_published_file_gets_no_name(server: Server, place: Path, name: str) -> None:
    """Both hashes are told, nothing is left, and it is asked for once."""
    url = server.add("/net", CONTENT[:-1] + b"!")
    published, found = (getattr(hashlib, name)(content).hexdigest() for content in (CONTENT, CONTENT[:-1] + b"!"))
    error = failure(Remote(url, **{name: published}), place)
    assert error.what == f"not the published net.pth: {name} is {found}, published is {published}"
    assert (error.where, len(server.seen)) == (url, 1)
    assert list(place.parent.iterdir()) == []


def test_a_server_that_cuts_and_lies_is_given_up(server: Server, place: Path) -> None:
    """A wrong file in several answers is downloaded twice and not for ever."""
    url = server.add("/net", CONTENT)
    server.faults["/net"] = [Fault(cut=100_000), Fault(), Fault(cut=100_000), Fault(), Fault(cut=100_000)]
    failure(Remote(url, sha256="0" * 64), place)
    assert len(server.seen) == 4


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_size_is_refused_before_the_transfer(server: Server, place: Path, length: int) -> None:
    """The published size and that of the server are told."""
    url = server.add("/net", CONTENT)
    server.faults["/net"] = [Fault(hang=0)]  # not a byte is needed
    error = failure(Remote(url, bytes=length), place)
    assert error.what == f"not the published net.pth: {length:,} bytes are published, the server has {len(CONTENT):,}"


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (404, "the server has no such file (404 Not Found)"),
        (410, "the server has no such file (410 Gone)"),
        (403, "the server refuses the file (403 Forbidden)"),
        (418, "the server refuses the file (418 I'm a Teapot)"),
        (302, "the server refuses the file (302 Found)"),
    ],
)
def test_a_status_that_stays_is_told_at_once(server: Server, place: Path, status: int, what: str) -> None:
    """One request; the status and the hub's code are kept for who knows more about them."""
    server.faults["/net"] = [Fault(status=status, headers={"X_Error_Code": "Why"})]
    error = failure(Remote(f"{server.url}/net"), place)
    assert (error.what, error.where, error.status, error.code) == (what, f"{server.url}/net", status, "Why")
    assert len(server.seen) == 1
    assert list(place.parent.iterdir()) == []


def test_a_status_that_passes_is_waited_for(server: Server, place: Path, pauses: list[float]) -> None:
    """Growing pauses, or as long as the server says."""
    url = server.add("/net", CONTENT)
    server.faults["/net"] = [
        Fault(status=500),
        Fault(status=503),
        Fault(status=429, headers={"Retry_After": "17"}),
        Fault(status=502, headers={"Retry_After": "999999"}),
        Fault(status=504, headers={"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    ]
    display = Recorder()
    download(Remote(url), place, display)
    assert place.read_bytes() == CONTENT
    assert pauses == [1, 2, 17, 120, 16]
    assert display.notes[2] == "net.pth: the server says 429 Too Many Requests; again in 17 s"


def test_a_server_that_stays_broken_is_given_up(server: Server, place: Path, pauses: list[float]) -> None:
    """After so many attempts in a row without a byte; what has arrived is kept for the next command."""
    url = server.add("/net", CONTENT)
    server.faults["/net"] = [Fault(cut=1_000), *[Fault(status=503)] * 9]
    error = failure(Remote(url), place)
    assert error.what == f"net.pth: the server says 503 Service Unavailable, {RETRIES + 1} times"
    assert "it goes on where it was" in str(error.remedy)
    assert (len(pauses), len(server.seen)) == (RETRIES, RETRIES + 1)
    assert part_of(place).stat().st_size == 1_000
    server.faults.clear()
    download(Remote(url), place, Silent())
    assert (place.read_bytes(), server.seen[-1].range) == (CONTENT, "bytes=1000-")


def test_a_server_that_is_not_there_is_given_up(place: Path) -> None:
    """A refused connection may pass; a name that nobody knows does not."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = failure(Remote(f"http://127.0.0.1:{port}/net"), place)
    assert error.what == f"net.pth: the connection failed (Connection refused), {RETRIES + 1} times"


def certificate() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (URLError(socket.gaierror(socket.EAI_NONAME, "unknown")), "the server cannot be found"),
        (URLError(certificate()), "the certificate of the server is not valid: self-signed certificate"),
        (ValueError("Invalid IPv6 URL"), "not a web address: Invalid IPv6 URL"),
    ],
)
def test_a_fault_that_stays_is_told_at_once(
    fault: Exception, what: str, place: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """A name that nobody knows, a certificate of somebody else, a redirect to an address that is none."""

    def broken(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(transport._OPENER, "open", broken)
    assert failure(Remote("https://example.org/net"), place).what == what
    assert not pauses


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/net", "data:,x"])
def test_only_web_addresses_are_opened(url: str, place: Path, pauses: list[float]) -> None:
    """A card cannot make a download out of a file of this machine."""
    assert failure(Remote(url), place).what.startswith("not a web address (unknown url type: ")
    assert not pauses


def test_a_time_out_passes(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a byte for so long is taken for broken, and the rest asked for anew."""
    monkeypatch.setattr(transport, "TIMEOUT", 0.2)
    url = server.add("/net", CONTENT)
    server.faults["/net"] = [Fault(hang=8_192)]
    display = Recorder()
    download(Remote(url), place, display)
    assert place.read_bytes() == CONTENT
    assert display.notes == ["net.pth: no answer for 0 s; again in 1 s"]
    assert server.seen[1].range == "bytes=8192-"


# What a server may not do


def test_redirects_are_followed(server: Server, place: Path) -> None:
    """To where the file is, also when it is gone on with."""
    server.add("/moved", CONTENT)
    server.redirects["/net"] = f"{server.url}/moved?signature=1"
    server.faults["/moved"] = [Fault(cut=10)]
    download(Remote(f"{server.url}/net"), place, Silent())
    assert place.read_bytes() == CONTENT
    assert [(seen.path, seen.range) for seen in server.seen] == [
        ("/net", None),
        ("/moved", None),
        ("/net", "bytes=10-"),
        ("/moved", "bytes=10-"),
    ]


def test_a_token_goes_to_its_server_alone(server: Server, place: Path) -> None:
    """It follows a redirect on the server that it is for, and stays behind where another one is asked."""
    server.add("/there", CONTENT)
    server.redirects["/net"] = "/moved"
    server.redirects["/moved"] = f"{server.url}/there".replace("127.0.0.1", "localhost")
    remote = Remote(f"{server.url}/net", token="hf_secret")
    download(remote, place, Silent())
    assert [(seen.path, seen.headers.get("authorization")) for seen in server.seen] == [
        ("/net", "Bearer hf_secret"),
        ("/moved", "Bearer hf_secret"),
        ("/there", None),
    ]
    assert "hf_secret" not in repr(remote)


@pytest.mark.parametrize(
    "address", ["http://example.org/net", "http://127.0.0.1/net", "file:///etc/hostname", "ftp://x/"]
)
def test_no_redirect_leads_away_from_https(address: str) -> None:
    """Neither to http, which anybody on the way can change, nor to a file of this machine."""
    request, body = urllib.request.Request("https://example.org/net"), io.BytesIO(b"moved")
    with pytest.raises(DownloadError, match="the server leads to an address that is not https") as caught:
        transport._Redirects().redirect_request(request, body, 302, "Found", http.client.HTTPMessage(), address)
    assert caught.value.where == "https://example.org/net"
    assert body.closed


def test_redirects_in_a_circle_end(server: Server, place: Path) -> None:
    """They are a refusal like any other."""
    server.redirects["/net"] = "/net"
    assert failure(Remote(f"{server.url}/net"), place).what == "the server refuses the file (302 Found)"


def test_a_web_page_is_not_a_file(server: Server, place: Path) -> None:
    """A login, a licence to click, a virus warning of a drive: the page is not saved as the file."""
    url = server.add("/net", b"<html>Click here</html>", type="text/html; charset=utf-8")
    error = failure(Remote(url), place)
    assert error.what == "the server sends a web page instead of the file"
    assert error.remedy == f"open {url} in a browser, save the file, and put it at {place}"
    assert not list(place.parent.iterdir())


def test_another_encoding_is_refused(server: Server, place: Path) -> None:
    """The hash is that of the file, not of what a server packed it into, unasked."""
    url = server.add("/net", CONTENT, headers={"Content-Encoding": "gzip"})
    assert failure(Remote(url), place).what == "the server sends the file in another encoding"


@pytest.mark.parametrize("cut", [None, 4_096])
def test_a_file_of_unknown_length(server: Server, place: Path, cut: int | None) -> None:
    """In chunks, whose end is marked: a cut one is noticed, and begun again where nobody knows what it is a part of."""
    url = server.add("/net", CONTENT, chunked=True)
    server.faults["/net"] = [] if cut is None else [Fault(cut=cut)]
    display = Recorder()
    download(Remote(url), place, display)
    assert place.read_bytes() == CONTENT
    assert set(display.totals) == {None}


def test_a_file_whose_end_is_not_marked_needs_a_hash(server: Server, place: Path) -> None:
    """Without length, chunks and hash a cut file would pass for a whole one."""
    url = server.add("/net", CONTENT, silent=True)
    what = "the server does not say how long the file is, so a cut one could not be told"
    assert failure(Remote(url), place).what == what
    download(Remote(url, sha256=SHA256), place, Silent())
    assert place.read_bytes() == CONTENT


@pytest.mark.parametrize("told", ["bytes 0-9/256000", "bytes 1000-255999/256001", "bytes 1000-255999/*", "1000", "²"])
def test_another_part_than_asked_for_is_not_used(server: Server, place: Path, told: str) -> None:
    """Of another place or another size, or nobody can say of which: the file is asked for from the beginning."""
    url = server.add("/net", CONTENT)
    leave_part(place, CONTENT[:1_000], SHA256)
    real, sent = transport._OPENER.open, []

    def lying(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
        answer: http.client.HTTPResponse = real(request, timeout=timeout)
        if answer.status == 206:
            answer.headers.replace_header("Content-Range", told)
            sent.append(answer)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport._OPENER, "open", lying)
        display = Recorder()
        download(Remote(url, sha256=SHA256), place, display)
    assert place.read_bytes() == CONTENT
    assert display.notes == ["net.pth: the file on the server has changed; again in 1 s"]
    assert [seen.range for seen in server.seen] == ["bytes=1000-", None]


# The disk


def test_what_is_there_is_not_overwritten(server: Server, place: Path) -> None:
    """Also not when it came while somebody else was asked."""
    place.parent.mkdir()
    place.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="there is a file already") as caught:
        download(Remote(server.add("/net", CONTENT)), place, Silent())
    assert caught.value.where == str(place)
    assert (place.read_bytes(), server.seen, list(place.parent.iterdir())) == (b"mine", [], [place])


def test_two_processes_do_not_write_one_file(server: Server, place: Path) -> None:
    """The second one is told so."""
    place.parent.mkdir()
    with part_of(place).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        error = failure(Remote(server.add("/net", CONTENT)), place)
        assert (error.what, server.seen) == ("another process is downloading this file", [])


def test_a_file_system_without_locks_is_used_without(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the network drives of clusters may be."""

    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("bench.locks.fcntl.flock", unknown)
    download(Remote(server.add("/net", CONTENT)), place, Silent())
    assert place.read_bytes() == CONTENT


def test_a_full_disk_is_told_before_the_transfer(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed and what is free; a part that is there counts."""
    free = downloads.SPARE + 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))
    url = server.add("/net", CONTENT)
    error = failure(Remote(url), place)
    assert error.what == "net.pth needs 256.0 kB more, and only 67.2 MB are free"
    assert error.where == str(place.parent)
    leave_part(place, CONTENT[:200_000], SHA256)
    download(Remote(url, sha256=SHA256), place, Silent())
    assert place.read_bytes() == CONTENT


def test_a_disk_that_fills_up_meanwhile(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has arrived is kept."""
    url = server.add("/net", CONTENT)
    real = downloads._Part.write

    def full(part: downloads._Part, chunk: bytes) -> None:
        if part.bytes:
            raise OSError(28, "No space left on device")
        real(part, chunk[:1_000])

    monkeypatch.setattr(downloads._Part, "write", full)
    monkeypatch.setattr(downloads, "CHUNK", 1_000)
    error = failure(Remote(url), place)
    assert error.what == "cannot be written: No space left on device"
    assert error.remedy == "free some space and run the same command again: it goes on where it was"
    assert part_of(place).read_bytes() == CONTENT[:1_000]


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    """The place is told, and the options that choose another one."""
    (tmp_path / "weights").write_text("a file")
    error = failure(Remote(server.add("/net", CONTENT)), tmp_path / "weights" / "net.pth")
    assert error.what == "cannot be written: File exists"
    assert "--weights" in str(error.remedy)
