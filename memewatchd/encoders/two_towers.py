"""What every model is here, once its parts are loaded: pictures and words into one space.

Importing this module imports torch, which takes a second: only the thread that loads a model does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from memewatchd.encoders import resting, torch_library
from memewatchd.encoders.checkpoint import Checkpoint, read_checkpoint
from memewatchd.encoders.cpu import physical_cores
from memewatchd.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from memewatchd.encoders.pixels import Pixels
    from memewatchd.meme import FrameSpec

log = logging.getLogger(__name__)

FAMILIES = "CLIP, Chinese-CLIP, SigLIP and SigLIP 2 (for example --model siglip2)"

MAX_TOKENS = 512
"""Where neither tokenizer nor model say how long a text may be."""

_VOLATILE_CONFIG = frozenset({"transformers_version", "_name_or_path", "torch_dtype", "dtype"})
"""Entries of config.json that say nothing of how vectors come about."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is read from a checkpoint.

    ``model``: has ``get_image_features(pixel_values=…)`` and ``get_text_features(**tokens)``. ``tokens``: a text, cut
    where it is longer than the model reads → what the latter takes. ``text_settings``: how it is asked, for the
    fingerprint. ``is_english_only``: whether it wasn't made to read Chinese.
    """

    model: Any
    spec: FrameSpec
    pixels: Pixels
    tokens: Callable[[str], dict[str, torch.Tensor]]
    text_settings: dict[str, Any]
    is_english_only: bool


class TwoTowers:
    """A loaded model. Picture and text calls may come from different threads at once.

    ``name``: what people call it. ``fingerprint``: 16 hex digits; vectors of the same fingerprint
    are comparable. ``dim``: the vectors' length. ``spec``: how frames must be prepared. ``is_english_only``:
    whether it wasn't made to read Chinese.
    """

    TEXT_THREADS: int | None = None
    """For the text tower on a CPU, where it is too small to be shared by as many as the picture tower."""

    def __init__(self, name: str, checkpoint: Checkpoint, device: torch.device, threads: int = 1) -> None:
        self.name = name
        self._device = device
        self._threads = threads
        self._of_thread = threading.local()
        self._weights = checkpoint.weights
        folder = checkpoint.folder
        parts = self.read(checkpoint)
        self._model = parts.model.to(device)
        self._pixels, self._tokens = parts.pixels, parts.tokens
        self.spec, self.is_english_only = parts.spec, parts.is_english_only
        # One picture and one text through both towers: what can't work is found now, not in the first batch.
        grey = np.full((self.spec.crop, self.spec.crop, 3), 127, dtype=np.uint8)
        try:
            image_dim, text_dim = self.encode_images([grey]).shape[1], self.encode_text("a").shape[0]
        except Exception as error:
            raise EncoderError(f"the model in {folder} loads, but can't be run: {brief(error)}") from error
        if image_dim != text_dim:
            raise EncoderError(
                f"the model in {folder} gives pictures {image_dim} dimensions and texts {text_dim}: "
                f"it isn't a model of the CLIP family. memewatchd uses {FAMILIES}."
            )
        self.dim = image_dim
        self.fingerprint = self._fingerprint(checkpoint, parts)

    @staticmethod
    def read(checkpoint: Checkpoint) -> Parts:
        """Each family's own. Raises EncoderError, which says what is missing or wrong, and what to do."""
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path, name: str, device: str = "auto", threads: int | None = None) -> Self:
        """Load the model in ``folder``, which is in the hub's format.

        ``device``: "auto" is CUDA where there is one, else the CPU. ``threads``: for the CPU; None
        is one for each physical core that this process may use.
        Raises EncoderError, which says what is missing or wrong, and what to do.
        """
        checkpoint = read_checkpoint(folder)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            encoder = cls(name, checkpoint, torch.device(device), threads or physical_cores())
        except EncoderError:
            raise
        except torch.OutOfMemoryError as error:
            raise EncoderError(f"{name} needs more memory than the graphics card has free") from error
        encoder.pause()  # what loading took was for a moment
        log.info("loaded %s (%s, %d dimensions) on %s", name, checkpoint.model_type, encoder.dim, device)
        return encoder

    def encode_images(self, frames: Sequence[NDArray[np.uint8]], share: int = 1) -> NDArray[np.float32]:
        """Frames as ``spec`` says, uint8 (crop, crop, 3) each → unit-length float32 (n, dim).

        ``share``: among how many calls at once, this one included, the CPU's cores are shared.
        """
        with self._threads_for_call(max(1, self._threads // share), keep=share > 1):
            values = self._pixels.values(frames).to(self._device)
            return _unit(self._model.get_image_features(pixel_values=values))

    def encode_text(self, text: str) -> NDArray[np.float32]:
        """One text, cut where it is longer than the model reads → unit-length float32 (dim,)."""
        with self._threads_for_call(self.TEXT_THREADS or self._threads):
            tokens = {key: value.to(self._device) for key, value in self._tokens(text).items()}
            vector: NDArray[np.float32] = _unit(self._model.get_text_features(**tokens))[0]
        return vector

    def pause(self) -> None:
        """Nothing is expected for some seconds: give back what the last pictures left on the heap, and the calling
        thread's helpers."""
        resting.trim()
        torch_library.dismiss_helpers()

    def rest_pictures(self) -> int:
        """No picture is expected soon: give the picture tower's memory back, and take it again at the next need.

        Returns the bytes given back; 0 where that wouldn't be worth it. Costs a millisecond; any thread may call it.
        """
        self.pause()
        if self._device.type != "cpu":
            return 0
        return resting.give_back(resting.picture_weights(self._model), self._weights)

    @contextlib.contextmanager
    def _threads_for_call(self, count: int, *, keep: bool = False) -> Iterator[None]:
        """torch's threads for what the calling thread does here: OpenMP counts them for each caller.

        ``keep``: another call like this comes soon, and the threads of all that keep some aren't more than cores.
        """
        on_cpu = self._device.type == "cpu"
        if on_cpu and getattr(self._of_thread, "count", 0) != count:
            torch.set_num_threads(count)
            self._of_thread.count = count
        with torch.inference_mode():
            yield
        if on_cpu and count > 1 and not keep:
            torch_library.dismiss_helpers()

    def _fingerprint(self, checkpoint: Checkpoint, parts: Parts) -> str:
        """A hash over all that makes this model's vectors what they are, wherever its files lie."""
        hashed = {
            "config": {key: value for key, value in checkpoint.config.items() if key not in _VOLATILE_CONFIG},
            "weights": checkpoint.weights_hash(),
            "frames": [self.spec.mode, self.spec.resize, self.spec.crop, self.spec.resample],
            "pixels": dataclasses.asdict(parts.pixels),
            "text": parts.text_settings,
            "dim": self.dim,
        }
        text = json.dumps(hashed, sort_keys=True, default=list)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _unit(features: Any) -> NDArray[np.float32]:
    """Unit-length rows of what ``get_…_features`` gave: a tensor, or an output with it as its pooler's."""
    tensor: torch.Tensor = getattr(features, "pooler_output", features)
    vectors: NDArray[np.float32] = torch.nn.functional.normalize(tensor.float(), dim=-1).cpu().numpy()
    return vectors


def brief(error: Exception) -> str:
    """The first sentence of what a library said."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0][:300].rstrip(".!") if lines else type(error).__name__
