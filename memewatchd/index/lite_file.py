"""The embedded engine's ``.db`` file, looked at while no engine runs: whose it is, and whether it is whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from memewatchd.errors import StoreDamaged, StoreError

if TYPE_CHECKING:
    from pathlib import Path


def set_aside(file: Path) -> Path:
    """Rename the file, so that the next start begins a new one; returns its new name. Raises StoreError.

    Its journal goes with it: played back into the new file, it would ruin that too.
    """
    aside = file.with_name(f"{file.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}x")
    try:
        for suffix in ("-journal", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{file}{suffix}", f"{aside}{suffix}")
        os.rename(file, aside)
    except OSError as error:
        raise StoreError(f"{file} is damaged and can't be renamed ({error.strerror}); move it away") from error
    return aside


def refuse_foreign(file: Path) -> None:
    """Raise unless ``file`` is absent, empty or Milvus Lite's.

    Milvus Lite would add its tables to any SQLite file, another program's too.
    """
    if file.is_dir():
        raise StoreError(
            f"{file} is a folder, as Milvus Lite 3 writes; this program uses Milvus Lite 2.5. "
            "Choose another file with --milvus, or move it away: the index is built anew from the pictures"
        )
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}; choose another file with --milvus") from error
    if not os.access(file, os.W_OK):
        # Milvus Lite would take rows, and lose them.
        raise StoreError(f"{file} is read-only; make it writable, or choose another file with --milvus")
    if not head:
        return
    if head != b"SQLite format 3\0":
        raise damaged(file)
    try:
        # immutable: look without locks, and without replaying the journal of a child that was killed.
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error:
        return  # what is wrong shows when the journal has been replayed
    if tables and "collection_meta" not in tables:
        raise StoreError(f"{file} is not a Milvus Lite database. Choose another file with --milvus, or move it away")


def refuse_damaged(file: Path) -> None:
    """Raise unless ``file`` is whole. Milvus Lite itself would leave out what it can't read, and say nothing.

    SQLite plays back the journal of a child that was killed: no child runs now, for we hold its lock.
    """
    if not file.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if error.sqlite_errorname.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise damaged(file) from error
        return  # read-only, or a full disk: the child says so
    if found != ("ok",):
        raise damaged(file)


def damaged(file: Path) -> StoreDamaged:
    return StoreDamaged(
        f"{file} is not a Milvus Lite database, or is damaged. Choose another file with --milvus, "
        "or move it away: the index is built anew from the pictures"
    )
