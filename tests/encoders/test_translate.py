"""Chinese in English: the dictionary's choice of words, who is asked when, and which models need it."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.encoders import bundled, glossary
from memewatchd.encoders.glossary import in_english, own_words, shorten
from memewatchd.encoders.translate import Translation, Translator
from memewatchd.errors import EncoderError
from memewatchd.words import HAN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# ---- the dictionary


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("生气的 cat", "angry cat"),
        ("生气的猫", "angry cat"),
        ("生氣的貓", "angry cat"),
        ("憤怒的小鳥", "angry birds"),
        ("猫", "cat"),
        ("自行车", "bicycle"),
        ("长颈鹿和大猩猩", "giraffe and gorilla"),
        ("猫在开车", "cat driving a car"),
        ("打喷嚏", "sneezing"),
        ("戴墨镜的狗", "dog wearing sunglasses"),
        ("一只戴帽子的猫在睡觉", "a cat wearing a hat sleeping"),
        ("在看手机的人", "person looking at a phone"),
        ("周一不想上班", "Monday don't want to go to work"),
        ("哈哈", "laughing"),
        ("哈哈哈哈哈哈哈哈哈哈哈哈", "laughing out loud"),
        ("我裂开了", "i cracking up, falling apart"),
        ("表情包", "meme"),
        ("666", "awesome"),
        ("YYDS", "greatest of all time"),
        ("猫 yyds", "cat greatest of all time"),
        ("哆啦A梦", "doraemon"),
        ("哆啦a夢在睡覺", "doraemon sleeping"),
        ("猫说：你好，世界！", "cat saying: hello, world!"),
        ("doge狗头doge", "doge smirking dog face doge"),
        ("Windows 电脑 blue screen", "Windows computer blue screen"),
    ],
)
def test_words_by_the_dictionary(chinese: str, english: str) -> None:
    assert in_english(chinese) == english


@pytest.mark.parametrize(
    "text", ["", "   ", "angry cat", "cat yyds", "666 dollars", "🐱", "ねこ", "ÄÖ", "的", "的了吗", "龘", "!?"]
)
def test_what_has_nothing_to_translate_is_left_alone(text: str) -> None:
    assert in_english(text) == ""


def test_what_is_too_long_is_translated_at_its_beginning_only() -> None:
    text = "生气的猫，" * 5_000
    english = in_english(text)
    assert english.startswith("angry cat, angry cat,")
    assert english.endswith(text[glossary.LONGEST_TEXT :])


@pytest.mark.parametrize(
    ("sense", "gist"),
    [
        ("cat", "cat"),
        ("to get angry", "angry"),
        ("to feel happy", "happy"),
        ("to be afraid", "afraid"),
        ("to run away", "running away"),
        ("to wear a hat", "wearing a hat"),
        ("to hit", "hitting"),
        ("to lie (on one's back)", "lying"),
        ("to see", "seeing"),
        ("to drive", "driving"),
        ("to visit", "visiting"),
        ("a man", "man"),
        ("Good night!", "Good night"),
        ("husky (sled dog)", "husky"),
        ("to give sb a hand", "giving a hand"),
        ("question mark (punct.)", "question mark"),
        ("doctor of 大學|大学[da4 xue2]", ""),
        ("a long explanation which is not a word at all", ""),
        ("(indicates passive-voice clauses)", ""),
    ],
)
def test_the_gist_of_a_sense(sense: str, gist: str) -> None:
    assert shorten(sense) == gist


def test_no_gloss_is_a_note_about_the_word() -> None:
    known = glossary.glossary()
    lines = known.blob.decode().splitlines()
    assert len(lines) == len(known.starts) > 90_000
    assert lines == sorted(lines, key=lambda line: line.split("\t")[0].encode())
    glosses = [line.split("\t")[1] for line in lines]
    for note in ("CL:", "variant of", "surname", "abbr.", "classifier for", "(", ")", "[", "|"):
        assert [gloss for gloss in glosses if note in gloss] == []
    assert not any(re.search(f"[{HAN}]", gloss) for gloss in glosses)


def test_our_own_list_is_in_order() -> None:
    lines = glossary._OWN_WORDS.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if not line.startswith("#")]
    assert {len(pair) for pair in pairs} == {2}
    words = own_words()
    assert len(words) == len(pairs), "a word stands there twice, or in both scripts"
    assert sum(bool(english) for english in words.values()) > 500
    wanted = "表情包 哈哈 无语 破防 摸鱼 躺平 内卷 加油 晚安 打工人 笑死 裂开 社死 666 yyds"
    assert all(words[word] for word in wanted.split())
    assert all(english == english.strip() and english.isascii() for english in words.values())


# ---- who is asked


class Service:
    def __init__(self, answer: str = "cat") -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.problem = ""

    def translate(self, text: str) -> str:
        self.asked.append(text)
        if self.problem:
            raise EncoderError(self.problem)
        return self.answer

    def close(self) -> None:
        self.asked.append("closed")


def needed() -> bool:
    return True


def test_the_dictionary_is_the_default() -> None:
    translator = Translator(needed)
    assert translator.translate("生气的猫") == Translation("angry cat", "dictionary")
    assert translator.translate("angry cat") == Translation("angry cat")
    assert translator.translate("龘") == Translation("龘")
    assert translator.description == "dictionary (CC-CEDICT, offline)"


@pytest.mark.parametrize("need", [False, None])
def test_a_model_that_reads_chinese_gets_it_as_it_is(need: bool | None) -> None:
    service = Service()
    translator = Translator(lambda: need, remote=service)
    assert translator.translate("生气的猫") == Translation("生气的猫")
    assert service.asked == []
    assert ("not needed" in translator.description) == (need is False)


def test_off_translates_nothing() -> None:
    translator = Translator(needed, enabled=False)
    translator.warm()
    assert translator.translate("生气的猫") == Translation("生气的猫")
    assert translator.description == "off"


def test_the_service_is_asked_first_in_simplified_script() -> None:
    service = Service("an angry cat")
    translator = Translator(needed, remote=service)
    assert translator.translate("生氣的貓") == Translation("an angry cat", "tencent")
    assert service.asked == ["生气的猫"]
    assert translator.description == "tencent (queries are sent to Tencent Cloud)"
    translator.close()
    assert service.asked[-1] == "closed"


def test_the_service_is_never_asked_for_half_typed_words_nor_without_chinese() -> None:
    service = Service()
    translator = Translator(needed, remote=service)
    assert translator.translate("生气的猫", partial=True) == Translation("angry cat", "dictionary")
    assert translator.translate("angry cat") == Translation("angry cat")
    assert translator.translate("yyds") == Translation("greatest of all time", "dictionary")
    assert service.asked == []


def test_a_failing_service_falls_back_to_the_dictionary_and_at_last_to_what_was_typed() -> None:
    service = Service()
    service.problem = "no answer within 3 s"
    translator = Translator(needed, remote=service)
    assert translator.translate("生气的猫") == Translation("angry cat", "dictionary")
    assert translator.translate("龘") == Translation("龘")
    assert translator.description == (
        "tencent (queries are sent to Tencent Cloud); now dictionary: no answer within 3 s"
    )


def test_without_the_dictionary_the_query_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise FileNotFoundError("CC-CEDICT is not installed")

    monkeypatch.setattr(glossary, "glossary", missing)
    translator = Translator(needed)
    assert translator.translate("生气的猫") == Translation("生气的猫")
    assert translator.description == "none: CC-CEDICT is not installed"


def test_many_ask_at_once() -> None:
    translator = Translator(needed)
    answers: list[Translation] = []

    def ask() -> None:
        answers.extend(translator.translate("生气的猫") for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [Translation("angry cat", "dictionary")] * 200


# ---- which models need it


def test_which_families_read_english_only(tiny: Callable[[str], Path]) -> None:
    from memewatchd.encoders.clip import ClipEncoder

    assert ClipEncoder.load(tiny("clip"), "clip").is_english_only
    assert not ClipEncoder.load(tiny("chinese-clip"), "chinese-clip").is_english_only
    bundled.register()
    assert not ClipEncoder.load(bundled.FOLDER, "bundled").is_english_only


def test_a_vocabulary_tells_whether_its_model_reads_chinese() -> None:
    import tokenizers
    from tokenizers.models import BPE, Unigram, WordLevel
    from transformers import PreTrainedTokenizerFast

    from memewatchd.encoders.clip import _HAN_SAMPLE, knows_han

    def of(model: Any, split: Any, **more: Any) -> Any:
        backend = tokenizers.Tokenizer(model)
        backend.pre_tokenizer = split
        return PreTrainedTokenizerFast(tokenizer_object=backend, **more)

    characters = tokenizers.pre_tokenizers.Split("", "isolated")
    words = {"[UNK]": 0} | {each: n for n, each in enumerate(_HAN_SAMPLE, 1)}
    assert knows_han(of(WordLevel(words, "[UNK]"), characters, unk_token="[UNK]"))
    some = {each: n for each, n in words.items() if n < len(words) // 2}
    assert not knows_han(of(WordLevel(some, "[UNK]"), characters, unk_token="[UNK]"))
    # Bytes alone, as openai's CLIP has them for Chinese.
    letters = {each: n for n, each in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}
    assert not knows_han(of(BPE(letters, []), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)))
    # SentencePiece, with a space before each, and without any Chinese.
    pieces = [("<unk>", 0.0), ("▁", -1.0), *((each, -2.0) for each in _HAN_SAMPLE)]
    space = tokenizers.pre_tokenizers.Metaspace()
    assert knows_han(of(Unigram(pieces, 0), space, unk_token="<unk>"))
    assert not knows_han(of(Unigram([*pieces[:2], ("cat", -2.0)], 0), space, unk_token="<unk>"))
