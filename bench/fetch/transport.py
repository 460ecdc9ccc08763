"""Asking a server over https: what is refused, what may pass, and how often it is asked again.

The transfer is urllib's, for the hub too. `hf_hub_download` compares the size of what it wrote and not its hash, and
the http library below huggingface_hub changed more than once within the releases that this project accepts. So that
library is asked what it alone knows (`bench.fetch.hub`), and one code path carries every byte, from any server.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from http import HTTPStatus
from importlib import metadata
from typing import IO, TypeVar
from urllib.parse import urlsplit

from bench.errors import DownloadError
from bench.progress import Display

TIMEOUT = 30.0  # seconds without a byte
RETRIES = 5  # in a row without progress
LONGEST_PAUSE = 120.0  # seconds, whatever a server asks for
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be another one a moment later
USER_AGENT = f"antispoof-bench/{metadata.version('antispoof-bench')}"

T = TypeVar("T")


class Passing(Exception):
    """A fault that may be over when asked again, after `after` seconds if the server says so."""

    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


def ask(url: str, token: str | None, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """The open answer to a GET: 200, or 206 where the headers ask for a range. The token is for this server alone.

    Raises:
        Passing: no answer, or an error status that may pass.
        DownloadError: an error status that stays, a certificate that is not valid, a redirect away from https.
    """
    standing = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**standing, **headers})  # noqa: S310, the opener knows no other scheme
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        answer: http.client.HTTPResponse = _OPENER.open(request, timeout=TIMEOUT)
        return answer
    except urllib.error.HTTPError as error:
        with closing(error):
            raise _refusal(url, error) from None
    except urllib.error.URLError as error:
        raise _fault(url, error.reason) from None
    except (http.client.HTTPException, OSError) as error:
        raise _fault(url, error) from None
    except ValueError as error:  # an address that is none, on the card or in a redirect
        raise DownloadError(f"not a web address: {error}", where=url, remedy="correct the card") from None


def read(answer: http.client.HTTPResponse, size: int) -> bytes:
    """The next bytes of an answer, at most `size`; none at its end.

    Raises:
        Passing: the connection broke.
    """
    try:
        return answer.read1(size)
    except (http.client.HTTPException, OSError) as error:
        raise _fault(answer.url, error) from None


def patiently(
    what: str, where: str, attempt: Callable[[], T], display: Display, progress: Callable[[], int] = lambda: 0
) -> T:
    """What `attempt` returns, tried again after each `Passing` fault, with growing pauses, as long as there is hope.

    Raises:
        DownloadError: `RETRIES` attempts in a row failed without progress.
    """
    failures = 0
    while True:
        before = progress()
        try:
            return attempt()
        except Passing as fault:
            failures = 1 if progress() > before else failures + 1
            if failures > RETRIES:
                raise DownloadError(
                    f"{what}: {fault}, {failures} times",
                    where=where,
                    remedy="run the same command again when the network or the server is back; it goes on where it was",
                ) from None
            pause = min(max(fault.after, 2.0 ** (failures - 1)), LONGEST_PAUSE)
            display.note(f"{what}: {fault}; again in {pause:.0f} s")
            time.sleep(pause)


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    """What an error status means."""
    status, wait = error.code, error.headers.get("Retry-After", "")
    said = f"{status} {http.client.responses.get(status, '')}".strip()
    if status in PASSING:
        return Passing(f"the server says {said}", float(wait) if re.fullmatch(r"\d{1,6}", wait) else 0.0)
    gone = status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
    return DownloadError(
        f"the server {'has no such file' if gone else 'refuses the file'} ({said})",
        where=url,
        remedy="look for the file on the publisher's page, and correct the card",
        status=status,
        code=error.headers.get("X-Error-Code", ""),
    )


def _fault(url: str, error: object) -> Exception:
    """What a broken connection means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DownloadError(
            f"the certificate of the server is not valid: {error.verify_message}",
            where=url,
            remedy="check the clock; behind a company's proxy, name its certificates with SSL_CERT_FILE",
        )
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        remedy = "check the network, and HTTPS_PROXY where there is a proxy"
        return DownloadError("the server cannot be found", where=url, remedy=remedy)
    if isinstance(error, str):  # urllib: of a scheme that is not http
        return DownloadError(f"not a web address ({error})", where=url, remedy="correct the card")
    if isinstance(error, TimeoutError):
        return Passing(f"no answer for {TIMEOUT:.0f} s")
    said = getattr(error, "strerror", None) or type(error).__name__
    return Passing(f"the connection failed ({said})")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never from https to http, and leaves the token behind where they lead to another server."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()  # its text, of whatever length, is not read
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != "https" and (old.scheme, new.scheme) != ("http", "http"):
            raise DownloadError(
                "the server leads to an address that is not https",
                where=req.full_url,
                remedy="look for the file on the publisher's page, and correct the card",
            )
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            following.remove_header("Authorization")
        return following


def _opener() -> urllib.request.OpenerDirector:
    """Http and https, through the user's proxy, and nothing else: no files, no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()
