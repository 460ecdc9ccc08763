"""The site on this machine: what is served, to whom, and that it follows the results."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from bench.errors import StoreError, UsageError
from bench.report import serve
from bench.report.build import Written
from bench.report.ledger import FILE, Ledger, Page, stored
from bench.report.serve import BUILD, LIVE, Server, follow, listening, state
from bench.store import Store

POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'self'\">"
PAGE = f"<html><head>{POLICY}</head><body>&lt;/head&gt;</body></html>".encode()
FILES = {"index.html": PAGE, "a/index.html": PAGE, "a/t é.csv": b"x\r\n", "a/c.flac": b"fLaC", "link.txt": b"t"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    place = tmp_path / "site"
    Ledger("1", {"index.html": Page(made_of="1", files=stored(place, FILES))}).write(place)
    (place / "stranger.txt").write_text("not ours")
    (tmp_path / "secret.txt").write_text("secret")
    (place / "link.txt").unlink()
    (place / "link.txt").symlink_to(tmp_path / "secret.txt")
    return place


@pytest.fixture
def server(out: Path) -> Iterator[Server]:
    with Server(out, 0) as server:
        server.renew()
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def get(server: Server, path: str, host: str = "", method: str = "GET") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"localhost:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_pages_load_again(server: Server, out: Path) -> None:
    """A page is served with the script that asks for builds, and may ask; on disk it has no trace of that."""
    for path in ("/", "/index.html", "/a/", "/a/index.html?x=1"):
        answer, content = get(server, path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert content.count(f'<script defer src="{LIVE}"></script>'.encode()) == 1
        assert b"default-src 'none'; connect-src 'self'; script-src 'self'" in content
    assert (out / "index.html").read_bytes() == PAGE
    assert get(server, LIVE)[0].headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert get(server, BUILD)[1] == b"1"
    server.renew()
    assert get(server, BUILD)[1] == b"2"


def test_files(server: Server) -> None:
    """Others are served as they are, never kept by a browser, with the type that they have."""
    answer, content = get(server, "/a/t%20%C3%A9.csv")
    assert (content, answer.headers["Content-Type"]) == (b"x\r\n", "text/csv; charset=utf-8")
    assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert get(server, "/a/c.flac")[0].headers["Content-Type"] == "audio/flac"
    answer, content = get(server, "/index.html", method="HEAD")
    assert (answer.status, content) == (200, b"")
    assert get(server, "/a")[0].headers["Location"] == "/a/"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/a/..%2f..%2fsecret.txt",
        "//etc/passwd",
        "/link.txt",
        "/stranger.txt",
        f"/{FILE}",
        "/a/../index.html",
        "/%00",
        "/a/none.html",
    ],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    """Neither what lies outside, by name or by a link, nor what the ledger does not name."""
    answer, content = get(server, path)
    assert answer.status == 404
    assert b"secret" not in content


@pytest.mark.parametrize("host", ["evil.example:{}", "localhost.evil.example:{}", "localhost", "127.0.0.1:1", "{}"])
def test_other_names_of_this_machine(server: Server, host: str) -> None:
    """A page of another site, whose name was made to lead here, reads nothing."""
    answer, content = get(server, "/", host.format(server.server_port))
    assert answer.status == 421
    assert b"<html><head>" not in content


def test_it_listens_to_this_machine_alone(server: Server) -> None:
    """The address is the loopback one."""
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_a_port_that_is_taken(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next free one is taken, unless it was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} can be had on 127.0.0.1") as found:
            listening(out, port)
        assert found.value.remedy == "name a free one with --port"
        monkeypatch.setattr(serve, "PORT", port)
        with listening(out, None) as server:
            assert port < server.server_port < port + serve.PORTS
        monkeypatch.setattr(serve, "PORTS", 1)
        with pytest.raises(UsageError, match=f"no port from {port} to {port}"):
            listening(out, None)


def test_a_build_follows_the_results(tmp_path: Path, out: Path) -> None:
    """When a cell is written or goes, and not because of what a build or a run in progress writes there."""
    store, built, told = Store(tmp_path / "results"), list[int](), list[str]()
    folder = store.cell_folder("set", "det", "0" * 64)
    (folder / "parts").mkdir(parents=True)
    seen = state(store)

    def build() -> Written:
        built.append(1)
        return Written(out / "index.html", 1, 0)

    def step() -> tuple[int, int]:
        nonlocal seen
        seen = follow(store, build, one, seen, told.append)
        return len(built), one.builds

    with Server(out, 0) as one:
        (folder / "replicates.parquet").touch()
        (folder / "parts" / "x.parquet").touch()
        assert step() == (0, 0)
        (folder / "cell.json").write_text("{}")
        assert step() == (1, 1)
        assert step() == (1, 1)
        (folder / "cell.json").unlink()
        assert step() == (2, 2)

        def build() -> Written:
            raise StoreError("no room", remedy="make some")

        (folder / "cell.json").write_text("{}")
        assert step() == (2, 2)
    assert told == ["error: no room\n  remedy: make some"]


def test_it_ends_when_interrupted(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It builds, tells its address and serves until Ctrl-C, which is no error; the port is free then."""
    port, told = 0, list[str]()

    def sleep(_: float) -> None:
        nonlocal port
        port = int(told[0].split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            raise KeyboardInterrupt

    monkeypatch.setattr(serve, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(serve, "PORT", 18_000)
    serve.serve(Store(tmp_path / "results"), lambda: Written(out / "index.html", 1, 0), None, told.append)
    assert told == [f"serving http://127.0.0.1:{port}/ until Ctrl-C; it follows {tmp_path / 'results'}"]
    socket.create_server(("127.0.0.1", port)).close()
