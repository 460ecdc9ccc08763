"""A server on 127.0.0.1 that speaks what huggingface_hub and plain downloads need, and fails as servers do.

Answers carry the headers of the real hub: `resolve` gives small files at once and leads to another address for large
ones (`/cdn/<sha256>`), which alone answers ranges. Every request is kept in `seen`.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "1234"
LARGE = 1_000  # bytes from which on a file of the hub is an LFS file


@dataclass
class Fault:
    """What goes wrong with one answer: it ends, or stops without an end, after so many bytes; or is an error status."""

    cut: int | None = None
    hang: int | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """A file as it is sent. `chunked` without a length; `silent` without a length and without chunks."""

    content: bytes
    etag: str | None = '"v1"'
    ranges: bool = True
    if_range: bool = True
    chunked: bool = False
    silent: bool = False
    type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Repo:
    """A repository of the hub: its files at one commit, the names of that commit, and who may have the files."""

    files: dict[str, bytes]
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main",)
    gated: bool = False


@dataclass(frozen=True)
class Seen:
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


class Server(ThreadingHTTPServer):
    """`files` are plain ones by path, `repos` are the hub's by (kind, name); `faults` of a path are used up in order.

    token: the one whose account accepted all terms. cdn: where large files are sent from, this server by default.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Served] = {}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.redirects: dict[str, str] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.seen: list[Seen] = []
        self.token = "hf_accepted"
        self.cdn = self.url
        self.held = threading.Event()  # set at the end of a test: what hangs may go

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def downloads(self) -> list[Seen]:
        """Requests for the content of files."""
        return [seen for seen in self.seen if not seen.path.startswith("/api/")]

    def of(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    def add(self, path: str, content: bytes, **how: Any) -> str:
        """Serve a plain file; its address."""
        self.files[path] = Served(content, **how)
        return self.url + path

    def repo(self, name: str, files: dict[str, bytes], kind: str = "model", **how: Any) -> Repo:
        self.repos[kind, name] = Repo(files, **how)
        return self.repos[kind, name]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        path = urlsplit(self.path).path
        self.server.seen.append(Seen(path, {name.lower(): value for name, value in self.headers.items()}))
        faults = self.server.faults.get(path)
        fault = faults.pop(0) if faults else Fault()
        if fault.status is not None:
            self.error(fault.status, **fault.headers)
        elif path in self.server.redirects:
            self.error(302, Location=self.server.redirects[path])
        elif path in self.server.files:
            self.send(self.server.files[path], fault)
        elif match := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/revision/(.+)", path):
            self.api(match[1], match[2], unquote(match[3]))
        elif match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve("dataset" if match[1] else "model", match[2], match[3], unquote(match[4]), fault)
        elif match := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
            self.send(self.from_cdn(match[1]), fault)
        else:
            self.error(404)

    def error(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    @property
    def account(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def find(self, kind: str, name: str, revision: str) -> Repo | None:
        """The repository, or None after an error as the hub's: without a login it does not say what there is not."""
        repo = self.server.repos.get((kind, name))
        if repo is None:
            self.error(404 if self.account else 401, X_Error_Code="RepoNotFound")
            return None
        if revision not in (repo.commit, *repo.revisions):
            self.error(404, X_Error_Code="RevisionNotFound")
            return None
        return repo

    def api(self, kind: str, name: str, revision: str) -> None:
        if (repo := self.find(kind, name, revision)) is None:
            return
        siblings = []
        for path, content in repo.files.items():
            facts: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": "0" * 40}
            if len(content) >= LARGE:
                facts["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(facts)
        answer = {"id": name, "sha": repo.commit, "private": False, "tags": [], "downloads": 0, "likes": 0}
        gated = "manual" if repo.gated else False
        text = json.dumps({**answer, "gated": gated, "siblings": siblings}).encode()
        self.send(Served(text, etag=None, ranges=False, type="application/json"), Fault())

    def resolve(self, kind: str, name: str, revision: str, path: str, fault: Fault) -> None:
        if (repo := self.find(kind, name, revision)) is None:
            return
        if repo.gated and self.account != self.server.token:
            self.error(403 if self.account else 401, X_Error_Code="GatedRepo")
        elif path not in repo.files:
            self.error(404, X_Error_Code="EntryNotFound")
        elif len(content := repo.files[path]) < LARGE:
            self.send(Served(content, headers={"X-Repo-Commit": repo.commit}), fault)
        else:
            digest = sha256(content)
            linked = {"X_Linked_Size": str(len(content)), "X_Linked_ETag": f'"{digest}"', "X_Repo_Commit": repo.commit}
            self.error(302, Location=f"{self.server.cdn}/cdn/{digest}?signature=1", **linked)

    def from_cdn(self, digest: str) -> Served:
        every = (content for repo in self.server.repos.values() for content in repo.files.values())
        return Served(next(content for content in every if sha256(content) == digest))

    def send(self, served: Served, fault: Fault) -> None:
        content, start = served.content, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = not served.if_range or self.headers.get("If-Range", served.etag) == served.etag
        if asked and served.ranges and same:
            start = int(asked[1])
            if start >= len(content):
                self.error(416, Content_Range=f"bytes */{len(content)}")
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if served.etag:
            self.send_header("ETag", served.etag)
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", served.type)
        self.send_header("Connection", "close")
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif not served.silent:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = fault.cut if fault.cut is not None else fault.hang
        end = len(content) if stop is None else min(len(content), start + stop)
        for at in range(start, end, 4096):
            piece = content[at : min(end, at + 4096)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if served.chunked else piece)
        if served.chunked and stop is None:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        if fault.hang is not None:
            self.server.held.wait(60)
        self.connection.shutdown(socket.SHUT_RDWR)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def running() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.held.set()
            server.shutdown()
            thread.join()
