"""What the wall does to the folder: add, delete, take that back, tags. The mirror sees to the rest."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING

from memewatchd.service.web import tags, trash
from memewatchd.service.web.refusal import Refusal, of_disk
from memewatchd.service.web.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.datastructures import UploadFile

    from memewatchd.service.web.inside import Memes

_MOST_UNDO = 200


class Changes:
    """Main thread; the disk is touched in others. ``environ``: where the desktop's trash is."""

    def __init__(self, memes: Memes, environ: Mapping[str, str]) -> None:
        inside = memes.inside
        self._memes = memes
        self._environ = environ
        self._folder = inside.folders[0]
        self._uploads = Uploads(self._folder, inside.sniff, inside.known.all_paths_of)
        # One at a time: of two equal pictures that come together the second is to find the first.
        self._adding = asyncio.Lock()
        self._undo: dict[str, trash.Trashed] = {}

    def is_writable(self) -> bool:
        """Whether new files could be put into the first folder. Reads the disk."""
        return os.access(self._folder, os.W_OK | os.X_OK)

    async def add(self, file: UploadFile) -> bytes:
        """Keep an upload; its path. Raises Refusal."""
        async with self._adding:
            return await asyncio.to_thread(self._uploads.save, file.file, file.filename or "", file.size or 0)

    def check(self, path: bytes) -> None:
        """That a file is there and ours to delete. Reads the disk. Raises Refusal."""
        self._memes.check_place(path, follow=False)
        if not os.path.lexists(path):
            raise Refusal(404, "gone", "it isn't there any more")

    async def delete(self, path: bytes) -> str:
        """Move into the trash; a word that :meth:`undo` takes. Raises Refusal."""
        entry = await asyncio.to_thread(self._delete, path)
        word = secrets.token_urlsafe(12)
        self._undo[word] = entry
        while len(self._undo) > _MOST_UNDO:
            self._undo.pop(next(iter(self._undo)))
        return word

    def _delete(self, path: bytes) -> trash.Trashed:
        self.check(path)
        try:
            return trash.trash(path, self._environ)
        except OSError as error:
            raise of_disk(error, "not deleted", os.path.dirname(path)) from error

    async def undo(self, word: str) -> bytes:
        """Take a deletion back; the path. Raises Refusal."""
        entry = self._undo.pop(word, None)
        if entry is None:
            raise Refusal(404, "no_undo", "this can't be taken back from here any more; look into the desktop's trash")
        try:
            await asyncio.to_thread(trash.restore, entry)
        except FileExistsError as error:
            self._undo[word] = entry
            raise Refusal(409, "exists", "another file has its name now; it stays in the trash") from error
        except OSError as error:
            self._undo[word] = entry
            raise of_disk(error, "not brought back", os.path.dirname(entry.original)) from error
        return entry.original

    async def set_tags(self, path: bytes, words: Iterable[str]) -> list[str]:
        """Put these in the place of a file's tags; what it has now. Raises Refusal."""
        return await asyncio.to_thread(self._set_tags, path, list(words))

    def _set_tags(self, path: bytes, words: list[str]) -> list[str]:
        self._memes.check_place(path, follow=True)
        try:
            tags.write(path, words)
        except OSError as error:
            raise of_disk(error, "tags not kept", os.path.dirname(path)) from error
        return tags.read(path)
