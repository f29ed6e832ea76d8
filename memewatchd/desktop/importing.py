"""`memewatch import`: the labels of a tutorial's ``meme_images.csv`` become tags on the files.

Its columns are ``id,path,label``, as in Towhee's reverse image search; the ids were another database's and are passed
over. The daemon isn't asked: it sees the tags by itself.
"""

from __future__ import annotations

import csv
import io
import os
import re

from memewatchd.desktop import tagging
from memewatchd.desktop.arguments import UsageError
from memewatchd.protocol import EXIT_NOTHING, EXIT_OK, EXIT_REFUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from memewatchd.desktop.output import Output

COLUMNS = ("id", "path", "label")
_MOST_BYTES = 256 * 1024 * 1024
# A label of several words, and several labels in one cell; a comma can't stand in a tag.
_PARTS = re.compile(r"[,，、;；|]")


def run(words: Sequence[str], base: str | None, out: Output, complain: Callable[[str], None]) -> int:
    """Tags every file that the list names, and prints each path that got one. ``base``: where relative paths begin,
    None for the list's own folder.

    Returns 0 where all was done, 1 where files are missing (each is complained about), 2 where one couldn't be tagged.
    Raises UsageError.
    """
    if len(words) != 1:
        raise UsageError("import which list? memewatch import meme_images.csv [--base DIR]")
    if base is not None and not os.path.isdir(os.path.expanduser(base)):
        raise UsageError(f"--base {base}: there is no such folder")
    folder = os.path.abspath(os.path.expanduser(base) if base is not None else os.path.dirname(words[0]) or ".")
    code = EXIT_OK
    tagged = missing = 0
    # All is read first: of a list that is wrong somewhere nothing is done.
    for path, label in list(rows(_text(words[0]))):
        whole = os.path.join(folder, path)
        if not os.path.exists(whole):
            complain(f"missing: {whole}")
            missing += 1
            code = max(code, EXIT_NOTHING)
            continue
        changes = [(True, tag) for tag in tags_of(label)]
        try:
            tagging.tag(os.fsencode(whole), changes)
        except tagging.CannotTagError as error:
            complain(f"{whole}: {error}")
            code = EXIT_REFUSED
            continue
        if changes:
            tagged += 1
            out.write(os.fsencode(whole) + b"\n")
    out.flush()
    complain(f"{tagged} tagged, {missing} missing")
    return code


def rows(text: str) -> Iterator[tuple[str, str]]:
    """Path and label of each line. Raises UsageError where the columns are others, or it is no CSV."""
    try:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        head = [name.strip().lower() for name in next(lines, [])]
        if "path" not in head or "label" not in head:
            raise UsageError(
                f"the first line must name the columns {', '.join(COLUMNS)}, and is {','.join(head)[:80]!r}"
            )
        path_at, label_at = head.index("path"), head.index("label")
        for line in lines:
            if not any(cell.strip() for cell in line):
                continue
            if len(line) <= max(path_at, label_at):
                raise UsageError(f"line {lines.line_num} has {len(line)} columns, and the first has {len(head)}")
            path = line[path_at].strip()
            if not path or "\0" in path:
                raise UsageError(f"line {lines.line_num} names no path")
            yield path, line[label_at]
    except csv.Error as error:
        raise UsageError(f"this is no CSV: line {lines.line_num}: {error}") from None


def tags_of(label: str) -> list[str]:
    """A label as tags: ``brain_coral`` is two words of one tag, and ``cat; angry`` two tags."""
    parts = (" ".join(part.replace("_", " ").split()) for part in _PARTS.split(label))
    clean = ("".join(char for char in part if char.isprintable())[: tagging.MAX_TAG_CHARS] for part in parts)
    return list(dict.fromkeys(part for part in clean if part))


def _text(file: str) -> str:
    try:
        if os.path.getsize(file) > _MOST_BYTES:
            raise UsageError(f"{file} is too large for a list of pictures")
        with open(file, "rb") as stream:  # noqa: PTH123 - pathlib is slow to import
            raw = stream.read()
    except OSError as error:
        raise UsageError(f"{file}: can't be read: {error.strerror}") from None
    for encoding in ("utf-8-sig", "gb18030"):  # the second is what a Chinese spreadsheet writes
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UsageError(f"{file}: is neither UTF-8 nor GB 18030")
