"""What a search finds by words alone: the words of files, and the words in pictures. Blocks; any thread may call."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from memewatchd.errors import MemewatchError
from memewatchd.search import ranking
from memewatchd.search.input_method import words_for_pinyin
from memewatchd.search.texts import Texts, is_whole, nearness
from memewatchd.words import BETWEEN, is_literal, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from memewatchd.meme import Digest, FileRow, WordsHit
    from memewatchd.search.query import Query
    from memewatchd.search.ranking import Match

# Of what Milvus ranks by its words.
MOST_RANKED = 20


class Names(Protocol):
    """What this needs of the catalog."""

    @property
    def generation(self) -> int:
        """Another number after each change of what :meth:`named` gives."""

    @property
    def words_generation(self) -> int:
        """Another number after each change of what :meth:`words` gives."""

    def named(self, matches: Callable[[str], bool]) -> list[FileRow]: ...
    def words(self) -> Mapping[Digest, str]: ...
    def words_of(self, digest: Digest) -> str | None: ...
    def paths_of(self, digest: Digest) -> list[bytes]: ...
    def get(self, path: bytes) -> FileRow | None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """Path → how it matches; ``literal``: whether any does word for word."""

    matches: dict[bytes, Match]
    literal: bool


class WordLegs:
    """Files whose words fit a query: those of their name, folder and tags, and those that are read in the picture."""

    def __init__(self, names: Names, by_rank: Callable[[str, int], list[WordsHit]] = lambda _text, _limit: []) -> None:
        """``by_rank``: the pictures whose words go best with a text, by BM25."""
        self._names = names
        self._by_rank = by_rank
        self._lock = threading.Lock()
        self._of_files, self._in_pictures = Texts(), Texts()
        self._folded: dict[Digest, tuple[str, str]] = {}
        self._digests: dict[str, list[Digest]] = {}
        self._generations = (-1, -1)

    def find(self, query: Query, passes: Callable[[FileRow], bool]) -> Found:
        """``passes``: the query's filters, of one file."""
        if not query.words:
            return Found({}, literal=False)
        self._look_at_names()
        by_name = _strengths(self._of_files, query)
        by_words = self._ranked(query) | _strengths(self._in_pictures, query)
        matches: dict[bytes, Match] = {}
        if by_name:
            for row in self._names.named(by_name.__contains__):
                if passes(row):
                    matches[row.path] = ranking.Match(name=by_name[row.text], whole=is_whole(query.words, row.text))
        for text, strength in by_words.items():
            for path in self._paths_of(self._digests.get(text, ())):
                file = self._names.get(path)
                if file is not None and passes(file):
                    match = matches.get(path, ranking.Match())
                    whole = match.whole or is_whole(query.words, text)
                    matches[path] = replace(match, words=strength, whole=whole)
        return Found(matches, any(match.strength >= ranking.LITERAL_SCORE for match in matches.values()))

    def meant(self, query: Query) -> str:
        """The Chinese words that were typed in pinyin, "" where none were."""
        return next(iter(words_for_pinyin(query.text, limit=1)), "")

    def with_words(self, row: FileRow) -> FileRow:
        """``row``, its text with the words in its picture, for filters that ask for words."""
        raw = self._names.words_of(row.digest)
        return replace(row, text=f"{row.text} {BETWEEN} {' '.join(words_of(raw))}") if raw else row

    def warm(self) -> None:
        """Read the dictionary now, so that no query waits for it."""
        words_for_pinyin("nihao", limit=1)

    def _ranked(self, query: Query) -> dict[str, float]:
        """Texts that Milvus ranks first and that are near enough: it knows words that no piece of the query is in."""
        if not self._folded:
            return {}
        try:
            hits = self._by_rank(query.text, MOST_RANKED)
        except MemewatchError:
            return {}  # the search of pictures meets it too, and tells
        texts = {self._folded[hit.digest][1] for hit in hits if hit.digest in self._folded}
        near = {text: nearness(query.words, text) for text in texts}
        return {text: ranking.nearly(score) for text, score in near.items() if score >= ranking.NEAR_FROM}

    def _paths_of(self, digests: Iterable[Digest]) -> Iterable[bytes]:
        for digest in digests:
            yield from self._names.paths_of(digest)

    def _look_at_names(self) -> None:
        with self._lock:
            generations = (self._names.generation, self._names.words_generation)
            if generations[0] != self._generations[0]:
                self._of_files.use({row.text for row in self._names.named(lambda _: True)})
            if generations[1] != self._generations[1]:
                self._look_at_words()
            self._generations = generations

    def _look_at_words(self) -> None:
        folded: dict[Digest, tuple[str, str]] = {}
        digests: dict[str, list[Digest]] = defaultdict(list)
        for digest, raw in self._names.words().items():
            known = self._folded.get(digest)
            text = known[1] if known is not None and known[0] == raw else " ".join(words_of(raw))
            folded[digest] = (raw, text)
            digests[text].append(digest)
        self._folded, self._digests = folded, dict(digests)
        self._in_pictures.use(digests.keys())


def _strengths(texts: Texts, query: Query) -> dict[str, float]:
    """Text → how strong a match it is (see :mod:`~memewatchd.search.ranking`)."""
    strengths = {
        text: ranking.nearly(nearness)
        for text, nearness in texts.alike(query.words).items()
        if nearness >= ranking.NEAR_FROM
    }
    strengths |= {text: ranking.read(score) for text, score in texts.read_like(query.words).items()}
    return strengths | dict.fromkeys(texts.literal(query.words), ranking.LITERAL_SCORE)


def excludes(query: Query) -> Callable[[FileRow], bool]:
    """Whether a file's words are among those that the query is not meant to find."""
    unwanted = [words for words in map(words_of, query.minus) if words]
    return lambda row: any(is_literal(words, row.text) for words in unwanted)
