"""One error tree. Errors travel typed and are translated once: at the door, or by a program's ``main``.

MemewatchError
├── ConfigError          a setting is wrong; exit 78; names the key and the remedy
├── AlreadyRunning       another daemon holds the state or the socket; exit 75
├── RequestError         what the door answers as {"ok": false, "error": {"code", "message"}}
│   ├── BadRequest       bad_request
│   ├── UnknownOp        unknown_op
│   ├── TooLarge         too_large
│   ├── NotReady         not_ready
│   ├── Degraded         degraded
│   ├── Paused           paused
│   ├── TimedOut         timeout
│   ├── Busy             busy
│   └── Internal         internal
├── PictureError         one picture can't be read; its message goes into `memewatch failed`
├── EncoderError         a model can't be found, loaded or run
└── StoreError           Milvus failed
    ├── StoreUnavailable Milvus can't be reached (worth another try later)
    └── StoreDamaged     the embedded engine's file isn't to be trusted
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs the client an import
if TYPE_CHECKING:
    from typing import ClassVar


class MemewatchError(Exception):
    """The root of every error that memewatchd raises on purpose."""


class ConfigError(MemewatchError):
    """A setting is wrong. The message names the key, where it came from, and the remedy."""


class AlreadyRunning(MemewatchError):
    """Another daemon holds the state folder's or the socket's lock."""


class RequestError(MemewatchError):
    """What a client asked for was wrong, or can't be done now."""

    code: ClassVar[str] = "internal"


class BadRequest(RequestError):
    """The request is malformed, or names something that isn't there."""

    code = "bad_request"


class UnknownOp(RequestError):
    """No such op."""

    code = "unknown_op"


class TooLarge(RequestError):
    """The line is longer than the protocol allows."""

    code = "too_large"


class NotReady(RequestError):
    """The daemon has not come far enough to answer this yet."""

    code = "not_ready"


class Degraded(RequestError):
    """Something that the answer needs has failed; the message names the remedy."""

    code = "degraded"


class Paused(RequestError):
    """Indexing is paused, so this would never end."""

    code = "paused"


class TimedOut(RequestError):
    """It took longer than the request allowed."""

    code = "timeout"


class Busy(RequestError):
    """Too much is asked at once; try again."""

    code = "busy"


class Internal(RequestError):
    """A bug. The log has the traceback."""

    code = "internal"


class PictureError(MemewatchError):
    """One picture can't be read. The message is shown to people by ``memewatch failed``."""


class EncoderError(MemewatchError):
    """A model can't be found, loaded or run."""


class StoreError(MemewatchError):
    """Milvus refused or failed a call."""


class StoreUnavailable(StoreError):
    """Milvus can't be reached; worth another try later."""


class StoreDamaged(StoreError):
    """The embedded engine's file is no database, or one that is damaged: set it aside, and build the index anew."""
