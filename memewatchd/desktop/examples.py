"""Pictures that are searched with: their bytes go along, for the daemon may not be able to open them."""

from __future__ import annotations

import base64
import os

from memewatchd.desktop.arguments import UsageError
from memewatchd.ops import MAX_EXAMPLES
from memewatchd.protocol import LIKE_LINE_BYTES, path_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Base64 takes four bytes for three, and the rest of the request wants some too.
MOST_BYTES = LIKE_LINE_BYTES * 3 // 4 - 256 * 1024


def read(files: Sequence[str]) -> list[dict[str, Any]]:
    """The value of ``like``. Raises :class:`UsageError`, which names the file."""
    if len(files) > MAX_EXAMPLES:
        raise UsageError(f"--like takes {MAX_EXAMPLES} pictures at most, not {len(files)}")
    examples = []
    left = MOST_BYTES
    for file in files:
        try:
            with open(file, "rb") as opened:  # noqa: PTH123 - pathlib takes a while to import
                data = opened.read(left + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"--like {file}: {reason}") from None
        if not data:
            raise UsageError(f"--like {file}: the file is empty")
        left -= len(data)
        if left < 0:
            raise UsageError(f"--like {file}: more than {MOST_BYTES >> 20} MiB of pictures; ask with a smaller one")
        path = os.fsencode(os.path.abspath(file))
        examples.append({**path_fields(path), "data_b64": base64.b64encode(data).decode()})
    return examples
