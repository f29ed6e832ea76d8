"""The model that ships with memewatchd, so that a fresh clone works without a model hub.

The weights, the tokenizer and what they were made from lie beside this file; MODEL_CARD.md says what
the model knows and what it doesn't. Importing this imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""The model's folder in the hub's format."""

FAMILY = "memewatchd-bundled"
"""The ``model_type`` in its config.json."""


def register() -> None:
    """Make transformers' Auto classes know this family (imports torch and transformers). Doing it twice is fine."""
    from transformers import AutoConfig, AutoModel

    from memewatchd.encoders.bundled.configuration import BundledConfig
    from memewatchd.encoders.bundled.modeling import BundledModel

    AutoConfig.register(BundledConfig.model_type, BundledConfig, exist_ok=True)
    AutoModel.register(BundledConfig, BundledModel, exist_ok=True)
