"""What the Hugging Face hub, or a server that speaks its protocol (HF_ENDPOINT), tells of a repository.

A branch or tag is made the commit it is at this moment, and the files are those of the commit: what is downloaded twice
is the same twice. The hub publishes the sha256 of its large files, which is what has to arrive.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from http import HTTPStatus
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from bench.cards import Hub
from bench.errors import DownloadError
from bench.fetch.download import Remote
from bench.fetch.transport import PASSING, TIMEOUT, Passing, patiently
from bench.progress import Display
from bench.weights import SETTINGS

# What a model of the transformers library is loaded from; nothing that runs.
SAFETENSORS = re.compile(r"[\w.-]+\.safetensors|model\.safetensors\.index\.json")
PICKLE = "pytorch_model.bin"


class Repository(NamedTuple):
    """A repository at one commit: its page, and its files by path, or the one that was asked for."""

    commit: str
    page: str
    files: dict[str, Remote]


def look_up(hub: Hub, display: Display) -> Repository:
    """The repository that a card names, at the commit that its revision is now.

    Raises:
        DownloadError: it is not there, refused to this user, or the hub is out of reach.
    """
    api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    token = huggingface_hub.get_token()
    info = patiently(hub.repo, page(hub), lambda: _info(api, hub), display)
    if not re.fullmatch("[0-9a-f]{40}", str(info.sha)):
        raise DownloadError("the hub tells no commit", where=page(hub), remedy="check HF_ENDPOINT")
    files = {}
    for file in info.siblings or ():
        if not isinstance(file.rfilename, str) or hub.path not in ("", file.rfilename):
            continue
        url = huggingface_hub.hf_hub_url(
            hub.repo, file.rfilename, repo_type=hub.kind, revision=info.sha, endpoint=api.endpoint
        )
        sha256 = file.lfs.sha256 if file.lfs and re.fullmatch("[0-9a-f]{64}", str(file.lfs.sha256)) else None
        size = file.size if isinstance(file.size, int) and file.size >= 0 else None
        files[file.rfilename] = Remote(url, bytes=size, sha256=sha256, token=token)
    if hub.path and hub.path not in files:
        raise refusal(hub, HTTPStatus.NOT_FOUND.value, "EntryNotFound")
    return Repository(str(info.sha), page(hub), files)


def _info(api: huggingface_hub.HfApi, hub: Hub) -> huggingface_hub.ModelInfo | huggingface_hub.DatasetInfo:
    try:
        ask = api.model_info if hub.kind == "model" else api.dataset_info
        return ask(hub.repo, revision=hub.revision, files_metadata=True, timeout=TIMEOUT)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in PASSING:
            raise Passing(f"the hub says {status}") from None
        raise refusal(hub, status, error.response.headers.get("X-Error-Code", "")) from None
    except HFValidationError as error:
        raise DownloadError(f"not a name of a repository: {error}", where=hub.repo, remedy="correct the card") from None
    except OfflineModeIsEnabled:
        remedy = "unset HF_HUB_OFFLINE to download"
        raise DownloadError("the hub is switched off here", where=page(hub), remedy=remedy) from None
    except (TypeError, AttributeError, NameError, LookupError):  # a defect is no network
        raise
    except Exception as error:  # the errors of the http library below, another one in each release of the hub's
        raise Passing(f"the hub cannot be reached ({type(error).__name__})") from None


def of_a_model(names: Collection[str]) -> list[str]:
    """The files among those of a repository that a model is loaded from: configuration and weights, no program.

    Weights are safetensors where there are any, else the one pickle, which is read as plain tensors.
    """
    weights = sorted(name for name in names if SAFETENSORS.fullmatch(name))
    return [name for name in (*SETTINGS, *(weights or [PICKLE])) if name in names]


def page(hub: Hub) -> str:
    """Where a reader finds the repository."""
    return f"{_endpoint()}/{'datasets/' if hub.kind == 'dataset' else ''}{hub.repo}"


def refusal(hub: Hub, status: int | None, code: str) -> DownloadError:
    """What an error status of the hub means for this repository."""
    log_in = f"run `hf auth login`, or set HF_TOKEN to a token from {_endpoint()}/settings/tokens"
    again = "then run the same command again"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        here = huggingface_hub.get_token() is not None
        if code == "GatedRepo" or hub.gated:
            who = "the account of your token is not among them yet" if here else "you are not logged in"
            what = f"{hub.repo} is gated: its files are for accounts that accepted its terms, and {who}"
            remedy = f"1. open {page(hub)}, log in and accept the terms; 2. {log_in}, of that account; 3. {again}"
        else:
            what = f"the hub refuses {hub.repo} ({status}): it is private, or absent, or your token is not valid"
            remedy = f"1. look at {page(hub)}; 2. if it is there for your account, {log_in}; 3. {again}"
        return DownloadError(what, where=page(hub), remedy=remedy, status=status, code=code)
    repository = f"the {hub.kind} repository {hub.repo}"
    if code == "RevisionNotFound":
        what = f"{repository} has no revision {hub.revision} ({status})"
    elif code == "EntryNotFound":
        what = f"{repository} has no file {hub.path} at revision {hub.revision} ({status})"
    elif status == HTTPStatus.NOT_FOUND:
        what = f"the hub does not have {repository} (asked for revision {hub.revision}; {status})"
    else:
        what = f"the hub does not give {repository} at revision {hub.revision} ({status})"
    return DownloadError(
        what,
        where=page(hub),
        remedy=f"look at {page(hub)}, and correct `hub` on the card",
        status=status,
        code=code,
    )


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
