"""Pictures as a query: "more like this". Blocks; any thread may call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np

from memewatchd.errors import BadRequest, PictureError
from memewatchd.meme import MAX_FRAMES, Digest, new_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from memewatchd.meme import Decoded, FileRow, FrameSpec
    from memewatchd.ops import Example

_SECONDS = 60.0


class Decoder(Protocol):
    """What this needs of the decode children."""

    def submit(self, fd: int, spec: FrameSpec, max_frames: int = 1) -> Future[Decoded]: ...


class ImageEncoder(Protocol):
    """What this needs of the encoders."""

    def encode_images(self, frames: list[NDArray[np.uint8]]) -> Future[NDArray[np.float32]]: ...


class VectorIndex(Protocol):
    """What this needs of the index."""

    def vectors(self, digests: Collection[Digest]) -> dict[Digest, NDArray[np.float32]]: ...


class Files(Protocol):
    """What this needs of the catalog."""

    def get(self, path: bytes) -> FileRow | None: ...


class Examples:
    """The vectors of example pictures: from the index where they are in it, else decoded and encoded now.

    ``spec``: how the model in use wants its frames.
    """

    def __init__(
        self, decoder: Decoder, encoder: ImageEncoder, index: VectorIndex, files: Files, spec: Callable[[], FrameSpec]
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._index = index
        self._files = files
        self._spec = spec

    def vectors(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """One unit-length vector (dim,) of each. Raises BadRequest, which names the picture that can't be read."""
        return [self._vector(number, example) for number, example in enumerate(examples, 1)]

    def _vector(self, number: int, example: Example) -> NDArray[np.float32]:
        name = os.fsdecode(example.path) if example.path else f"picture {number}"
        row = self._files.get(example.path) if example.path else None
        if row is not None and not row.error:
            digest = row.digest
        elif example.data:
            hasher = new_digest()
            hasher.update(example.data)
            digest = Digest(hasher.hexdigest())
        else:
            raise BadRequest(f"like: {name} is not among the indexed files; send its bytes as data_b64")
        frames = self._index.vectors([digest]).get(digest)
        if frames is None:
            frames = self._encode(name, example)
        mean = frames.mean(0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)

    def _encode(self, name: str, example: Example) -> NDArray[np.float32]:
        try:
            fd = os.memfd_create("example", os.MFD_CLOEXEC) if example.data else os.open(example.path, os.O_RDONLY)
        except OSError as error:
            raise BadRequest(f"like: {name}: {error.strerror}") from None
        try:
            if example.data:
                with open(fd, "wb", closefd=False) as file:
                    file.write(example.data)
            decoded = self._decoder.submit(fd, self._spec(), MAX_FRAMES).result(_SECONDS)
        except PictureError as error:
            raise BadRequest(f"like: {name}: {error}") from None
        finally:
            os.close(fd)
        return self._encoder.encode_images(decoded.frames).result(_SECONDS)
