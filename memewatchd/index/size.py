"""How many memes the embedded engine serves well, and what to say to those who have more."""

from __future__ import annotations

from typing import Final, Literal

SERVES_WELL: Final = 100_000
"""It compares every vector there is: p95 of a search is some 42 ms here, and 87 ms at 150,000
(docs/decisions/milvus-engine.md)."""
SEARCH_MS: Final = 50


def beyond(engine: Literal["lite", "server"], memes: int) -> str:
    """A sentence with the remedy where the embedded engine holds more than it serves well, else ""."""
    if engine != "lite" or memes <= SERVES_WELL:
        return ""
    return (
        f"{memes:,} memes are more than the embedded Milvus serves well (beyond {SERVES_WELL:,}, one search in twenty "
        f"takes it over {SEARCH_MS} ms); to move to a server, where nothing is encoded again: "
        "memewatch reindex --milvus http://HOST:19530"
    )
