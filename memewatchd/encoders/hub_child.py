"""The process that downloads one model: `python -m memewatchd.encoders.hub_child REPO CACHE_DIR`.

A process of its own because the hub's library reads its settings when it is first imported, and the
daemon has it offline. It says what it does in JSON lines on stdout, one object each:
``{"plan": {"commit", "files": [[name, bytes], …], "left": bytes}}``; then, once it has read a line from
stdin, ``{"got": bytes of the plan's ``left`` so far}`` a few times a second while bytes come in or
are checked; at the end ``{"done": folder}``, or ``{"error": why, "unreachable": bool}``.
It dies when its stdin closes, so it never outlives the daemon.

The bytes are fetched here, over plain HTTP, and not by ``hf_hub_download``: that (2.4) writes to a file
with a random name and removes it when interrupted, so it starts over, and its Xet transfers ignore the
endpoint. They are put where the library keeps them, so other programs find them too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memewatchd.encoders.hub_files import lacking, needed

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 1 << 18
SYNC_EACH = 64 << 20
"""Bytes to hand to the disk at a time: all at the end would look like a stall on a slow one."""
REPORT_S = 0.2
ATTEMPTS = 5
"""Tries in a row that bring no byte."""
PAUSE_S = 1.0
TIMEOUT_S = 10.0
"""Without a byte for so long, a connection is given up and the rest asked for on a new one."""


_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class HubError(Exception):
    """Why there is no model. ``unreachable``: by the network, so settings or a copied folder may help."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the hub. ``digest``: what its bytes are kept by; "" and maybe no size where that isn't known."""

    name: str
    size: int
    digest: str


class Download:
    """One repository into the hub's cache. ``out``: where the JSON lines go."""

    def __init__(self, repo: str, cache: Path, out: IO[str]) -> None:
        from huggingface_hub import HfApi

        self._repo = repo
        self._cache = cache
        self._folder = cache / f"models--{repo.replace('/', '--')}"
        self._out = out
        self._got = 0
        self._told = 0.0
        self._info = HfApi().model_info(repo, files_metadata=True, timeout=TIMEOUT_S)
        if self._info.sha is None:
            raise HubError("the hub doesn't say which version of the model it has")
        self._commit: str = self._info.sha
        siblings = {one.rfilename: one for one in self._info.siblings or ()}
        if lacks := lacking(siblings):
            raise HubError(f"{repo} is not a model that memewatchd can use: it has no {', no '.join(lacks)}")
        self._files = {name: self._remote(siblings[name]) for name in needed(siblings)}

    def plan(self) -> None:
        """Say what is to be done."""
        left = sum(one.size - self._on_disk(one) for one in self._files.values())
        files = [[one.name, one.size] for one in self._files.values()]
        self._say({"plan": {"commit": self._commit, "files": files, "left": left}})

    def run(self) -> Path:
        """Fetch what is missing; the snapshot's folder. Raises HubError, or what the libraries raise."""
        from huggingface_hub import hf_hub_download

        for name, one in self._files.items():
            pointer = self._folder / "snapshots" / self._commit / name
            if pointer.exists():
                continue
            if one.digest:
                self._fetch(one)
                _link(self._folder / "blobs" / one.digest, pointer)
            else:
                hf_hub_download(self._repo, name, revision=self._commit, cache_dir=self._cache)
        ref = self._folder / "refs" / "main"
        ref.parent.mkdir(parents=True, exist_ok=True)
        beside = ref.with_name(f"main.{os.getpid()}")
        beside.write_text(self._commit, encoding="ascii")
        beside.replace(ref)
        return self._folder / "snapshots" / self._commit

    def _remote(self, one: Any) -> Remote:
        """A file of the listing; a mirror's listing may say no sizes, but then the file's own address does."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        size, digest = one.size, one.lfs.sha256 if one.lfs is not None else one.blob_id
        if size is None or not digest:
            url = hf_hub_url(self._repo, one.rfilename, revision=self._commit)
            told = get_hf_file_metadata(url, timeout=TIMEOUT_S)
            size, digest = told.size, told.etag
        known = size is not None and _DIGEST.fullmatch(digest or "")
        return Remote(one.rfilename, size or 0, digest if known else "")

    def _on_disk(self, one: Remote) -> int:
        """Bytes of a file that needn't be fetched."""
        if (self._folder / "snapshots" / self._commit / one.name).exists():
            return one.size
        for path in (self._blob(one), self._part(one)) if one.digest else ():
            with contextlib.suppress(OSError):
                return min(path.stat().st_size, one.size)
        return 0

    def _blob(self, one: Remote) -> Path:
        return self._folder / "blobs" / one.digest

    def _part(self, one: Remote) -> Path:
        # The library's own temporary files have a random word in the middle: these are ours alone.
        return self._folder / "blobs" / f"{one.digest}.incomplete"

    def _fetch(self, one: Remote) -> None:
        blob, part = self._blob(one), self._part(one)
        if blob.exists():
            return
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HubError(f"another program is downloading {self._repo} already") from None
            if blob.exists():
                return  # renamed by another one while we opened it
            if os.fstat(file.fileno()).st_size > one.size:
                file.truncate(0)
            self._transfer(one, file)
            if self._digest(file, one) != one.digest:
                part.unlink()
                raise HubError(f"{one.name} arrived damaged; try again")
            os.fsync(file.fileno())
            part.rename(blob)

    def _transfer(self, one: Remote, file: IO[bytes]) -> None:
        """Append what is missing, over as many connections as it takes."""
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self._repo, one.name, revision=self._commit)
        failed = 0
        while (start := file.seek(0, os.SEEK_END)) < one.size:
            try:
                self._one_connection(url, start, one.size, file)
                why = "the connection ended early"
            except Exception as error:
                if not _passing(error):
                    raise
                why = _first_line(error)
            file.flush()
            failed = 0 if os.fstat(file.fileno()).st_size > start else failed + 1
            if failed >= ATTEMPTS:
                raise HubError(f"{one.name} can't be fetched: {why}", unreachable=True)
            time.sleep(PAUSE_S if failed else 0)

    def _one_connection(self, url: str, start: int, size: int, file: IO[bytes]) -> None:
        from huggingface_hub import get_session

        # Both are documented there, but not marked so for mypy.
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        # The token, where there is one, stays behind when the hub sends us on to another host.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True) as answer:
            if answer.status_code == 416:
                self._forget(start, file)  # what lies there isn't a beginning of this file
                return
            hf_raise_for_status(answer)
            if start and answer.status_code != 206:
                self._forget(start, file)
                start = 0
            for block in answer.iter_bytes():
                start += len(block)
                if start > size:
                    file.truncate(0)
                    raise HubError("the server sent more than the hub says the file has")
                file.write(block)
                self._got += len(block)
                if start // SYNC_EACH > (start - len(block)) // SYNC_EACH:
                    os.fdatasync(file.fileno())
                self._tell()

    def _forget(self, start: int, file: IO[bytes]) -> None:
        file.truncate(0)
        self._got -= start

    def _digest(self, file: IO[bytes], one: Remote) -> str:
        """Of the whole file, of the kind that the hub named it by: SHA-256, or git's for a small file."""
        git = len(one.digest) == 40
        total = hashlib.sha1(b"blob %d\0" % one.size, usedforsecurity=False) if git else hashlib.sha256()
        file.seek(0)
        while block := file.read(BLOCK):
            total.update(block)
            self._tell()
        return total.hexdigest()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= REPORT_S:
            self._told = now
            self._say({"got": self._got})

    def _say(self, message: Mapping[str, Any]) -> None:
        _send(self._out, message)


def _link(blob: Path, pointer: Path) -> None:
    pointer.parent.mkdir(parents=True, exist_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except FileExistsError:
        pass
    except OSError:
        blob.replace(pointer)  # a file system without links, as the library does it


def _send(out: IO[str], message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _passing(error: Exception) -> bool:
    """Whether another try may help: the network's errors, and what a server says when it is busy."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return _of_network(error)


def _of_network(error: Exception) -> bool:
    # The hub's library changed its HTTP library between versions, which is why it isn't imported here.
    return type(error).__module__.split(".")[0].startswith("httpx") or isinstance(error, ConnectionError)


def _explain(error: Exception, repo: str) -> HubError | None:
    """What the libraries raised, in words for people; None for what nobody expects."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, HubError):
        return error
    if isinstance(error, GatedRepoError):
        return HubError(f"{repo} asks you to accept its terms on its page first, and then for a token (HF_TOKEN)")
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if isinstance(error, RepositoryNotFoundError) or status in (401, 403, 404):
            return HubError(f"the hub has no model {repo} (or it is private, and needs a token in HF_TOKEN)")
        return HubError(f"the hub answered {status}", unreachable=True)
    if isinstance(error, ImportError):
        # The HTTP library's own words: they name the package that a socks:// proxy needs.
        return HubError(f"{_first_line(error)} (an http:// proxy needs nothing more)")
    if isinstance(error, json.JSONDecodeError):
        return HubError("what answered there is not a model hub", unreachable=True)
    if _of_network(error):
        return HubError(f"the hub can't be reached: {_first_line(error)}", unreachable=True)
    if isinstance(error, OSError):
        return HubError(f"the model can't be written: {error}")
    return None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _obey(go: threading.Event) -> None:
    """The parent's word on stdin, a line, is to go on. Its end is the parent's end, and ours."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            go.set()
    os._exit(1)


def main(repo: str, cache: str) -> int:
    go = threading.Event()
    threading.Thread(target=_obey, args=(go,), daemon=True).start()
    try:
        download = Download(repo, Path(cache), sys.stdout)
        download.plan()
        go.wait()
        _send(sys.stdout, {"done": str(download.run())})
    except Exception as error:
        told = _explain(error, repo)
        if told is None:
            raise
        _send(sys.stdout, {"error": str(told), "unreachable": told.unreachable})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
