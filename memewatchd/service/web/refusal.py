"""What the wall answers where it can't do what was asked: a status, a word for programs, a sentence for people."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from memewatchd.errors import RequestError

OPEN_IT = "packaging/systemd/wall.conf opens it (docs/wall.md says how)"

# What the door's error codes are in HTTP.
_STATUSES = {
    "bad_request": 400,
    "unknown_op": 400,
    "too_large": 413,
    "paused": 409,
    "not_ready": 503,
    "degraded": 503,
    "busy": 503,
    "timeout": 504,
}


class Refusal(Exception):
    """``status``: HTTP's; ``code``: a word that the page may translate; the message is for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def response(error: Refusal | RequestError) -> JSONResponse:
    """``{"error": …, "code": …}``."""
    status = error.status if isinstance(error, Refusal) else _STATUSES.get(error.code, 500)
    return JSONResponse({"error": str(error), "code": error.code}, status)


def internal(_: Exception) -> JSONResponse:
    """For a bug, whose message may quote what was asked."""
    return JSONResponse({"error": "an internal error; the daemon's log has more", "code": "internal"}, 500)


def of_disk(error: OSError, what: str, folder: bytes) -> Refusal:
    """Why the disk didn't let us: ``what`` says what was tried, ``folder`` where."""
    where = os.fsdecode(folder)
    if error.errno == errno.EROFS:
        return Refusal(403, "read_only", f"{what}: {where} is read-only to this service; {OPEN_IT}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refusal(403, "not_allowed", f"{what}: the system doesn't allow it in {where}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal(507, "full", f"{what}: the disk of {where} is full")
    if error.errno in (errno.ENOTSUP, errno.ENOSYS):
        return Refusal(409, "unsupported", f"{what}: the file system of {where} can't do that")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return Refusal(404, "gone", f"{what}: it isn't there any more")
    return Refusal(500, "disk", f"{what}: {error.strerror}")
