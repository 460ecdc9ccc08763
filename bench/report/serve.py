"""A site on this machine alone, built again while results come in, and pages that load again when it was.

What is served differs from what is on disk: pages get `LIVE`, a script that asks for the number of the build, and a
policy that lets it ask. Only files that the ledger names are served, only to those who ask for this machine by its own
name (another site whose name leads here is told nothing), and none that a link leads out of the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

from bench.errors import BenchError, UsageError
from bench.report import ledger, places
from bench.report.build import Written
from bench.store import Store

ADDRESS = "127.0.0.1"
PORT, PORTS = 8000, 20  # the first one that is tried, and how many
SECONDS = 1.0  # between two looks at the results folder

LIVE, BUILD = "/-/live.js", "/-/build"
SCRIPT = f"""\
let first = null;
setInterval(async () => {{
  const answer = await fetch("{BUILD}").catch(() => null);
  if (!answer || !answer.ok) return;
  const build = await answer.text();
  if (first !== null && first !== build) location.reload();
  first = build;
}}, 1000);
"""
POLICY = (b"default-src 'none';", b"default-src 'none'; connect-src 'self';")
HEAD = (b"</head>", f'<script defer src="{LIVE}"></script>\n</head>'.encode())

# What the site is made of; not what a build itself keeps beside a cell, nor what a run is still writing.
WATCHED = (
    "*/trials-*.parquet",
    "*/audit-*.json",
    "*/*/latest.json",
    "*/*/*/cell.json",
    "*/*/*/scores.parquet",
    "*/*/*/embeddings.parquet",
    "weights/*/*/train.json",
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".gz": "application/gzip",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
}
State: TypeAlias = frozenset[tuple[str, int, int]]


class Server(ThreadingHTTPServer):
    """Serves the site in a folder on the loopback address. builds: how many builds it has seen."""

    daemon_threads = True

    def __init__(self, out: Path, port: int) -> None:
        super().__init__((ADDRESS, port), _Request)
        self.out, self.files, self.builds = out.resolve(), frozenset[str](), 0

    def renew(self) -> None:
        """Take notice of a build."""
        self.files = frozenset(ledger.opened(self.out).files())
        self.builds += 1

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"


class _Request(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        host, _, port = self.headers.get("Host", "").rpartition(":")
        if host not in ("localhost", ADDRESS) or port != str(self.server.server_port):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = unquote(urlsplit(self.path).path)
        if path in (LIVE, BUILD):
            self._answer(SCRIPT if path == LIVE else str(self.server.builds), path)
            return
        name = path.removeprefix("/")
        if f"{name}/{places.PAGE}" in self.server.files:
            self.send_response(HTTPStatus.MOVED_PERMANENTLY)
            self.send_header("Location", quote(f"/{name}/"))
            self.end_headers()
            return
        self._file(name + places.PAGE if name.endswith("/") or not name else name)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server calls)

    def _file(self, name: str) -> None:
        place = (self.server.out / name).resolve() if name in self.server.files else None
        if place is None or not place.is_relative_to(self.server.out) or not place.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = place.read_bytes()
        if name.endswith(".html"):
            content = content.replace(*POLICY, 1).replace(*HEAD, 1)
        self._answer(content, name)

    def _answer(self, content: str | bytes, name: str) -> None:
        content = content.encode() if isinstance(content, str) else content
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES.get(PurePosixPath(name).suffix, "text/plain; charset=utf-8"))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):  # the page was left
                self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: builds are told, requests are not."""


def serve(store: Store, build: Callable[[], Written], port: int | None, told: Callable[[str], object]) -> None:
    """Build the site, serve it, and build it again whenever the results change, until interrupted.

    Args:
        port: None is `PORT`, or the next one that is free. told: prints a line.

    A later build that fails is told, and the site stays as it was.

    Raises:
        UsageError: the port cannot be had. What the first build raises.
    """
    seen = state(store)
    with listening(build().index.parent, port) as server:
        server.renew()
        Thread(target=server.serve_forever, daemon=True).start()
        told(f"serving {server.url} until Ctrl-C; it follows {store.root}")
        try:
            while True:
                time.sleep(SECONDS)
                seen = follow(store, build, server, seen, told)
        except KeyboardInterrupt:
            server.shutdown()


def follow(
    store: Store, build: Callable[[], Written], server: Server, seen: State, told: Callable[[str], object]
) -> State:
    """Build again where the results are not as they were `seen`; as they are now."""
    now = state(store)
    if now != seen:
        try:
            build()
            server.renew()
        except BenchError as error:
            told(f"error: {error}")
    return now


def state(store: Store) -> State:
    """Places, times and sizes of what is in the results folder."""
    found = set()
    for pattern in WATCHED:
        for place in store.root.glob(pattern):
            with suppress(OSError):  # just replaced
                stat = place.stat()
                found.add((str(place), stat.st_mtime_ns, stat.st_size))
    return frozenset(found)


def listening(out: Path, port: int | None) -> Server:
    """A server on the port asked for.

    Raises:
        UsageError: it cannot be had.
    """
    tried = range(PORT, PORT + PORTS) if port is None else [port]
    for each in tried:
        with suppress(OSError):
            return Server(out, each)
    told = f"port {port}" if port is not None else f"no port from {PORT} to {tried[-1]}"
    raise UsageError(f"{told} can be had on {ADDRESS}", remedy="name a free one with --port")
