"""Makes the tokenizer: one set of rules that transformers' own tokenizer class carries out."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.wordlists import read_cedict, traditional_to_simplified

if TYPE_CHECKING:
    from collections.abc import Iterable

VOCABULARY = 18_000
ALPHABET = 8_500
PAD, UNKNOWN = "[PAD]", "[UNK]"
LONGEST = 128


def character_map() -> bytes:
    """Traditional → simplified as a "precompiled" normaliser, the only compact form that tokenizers has for a map.

    sentencepiece compiles it when it trains a model; the model itself is thrown away.
    """
    mapping = traditional_to_simplified(read_cedict())
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as temporary:
        rules = Path(temporary) / "rules.tsv"
        rules.write_text("".join(f"{ord(old):X}\t{ord(new):X}\n" for old, new in mapping.items()))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c", "abc", "cba"]),
            model_writer=model,
            model_type="char",
            vocab_size=8,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(rules),
            minloglevel=2,
        )
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model.getvalue())
    compiled: bytes = proto.normalizer_spec.precompiled_charsmap
    return compiled


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """NFKC, simplified characters, no accents, lower case; each Han character and each emoji alone; else WordPiece."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Precompiled(character_map()),
            normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True),
        ]
    )
    # Each emoji is a word of its own, however many stand together.
    emoji = pre_tokenizers.Split(Regex(r"\p{So}|\p{Sk}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([emoji, pre_tokenizers.BertPreTokenizer()])
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        limit_alphabet=ALPHABET,
        special_tokens=[PAD, UNKNOWN],
        min_frequency=1,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=LONGEST,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
