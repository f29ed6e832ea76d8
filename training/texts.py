"""The short texts that the words' tower learns from, each with the English text that the teacher reads for it."""

from __future__ import annotations

import re

from training.clipart import read_clipart
from training.concepts import load_concepts
from training.phrases import composed
from training.sayings import LANGUAGES, read_sayings
from training.wordlists import read_cedict, read_classes, read_wordnet


def gather() -> list[tuple[str, str, float]]:
    """(student text, teacher text, weight), without repetition. Short everyday texts weigh more."""
    pairs: dict[tuple[str, str], float] = {}

    def add(student: str, teacher: str, weight: float = 1.0) -> None:
        student, teacher = student.strip()[:120], teacher.strip()[:160]
        if student and teacher:
            pairs[student, teacher] = max(weight, pairs.get((student, teacher), 0.0))

    for synset in read_wordnet().values():
        for word in synset.words:
            add(word, word)
        add(synset.gloss, synset.gloss)
        for example in synset.examples:
            add(example, example)
    for entry in read_cedict():
        if entry.senses and len(entry.simplified) <= 8:
            add(entry.simplified, ", ".join(entry.senses[:3]), 2.0 if len(entry.simplified) <= 2 else 1.0)
    concepts = load_concepts()
    for concept in concepts.values():
        add(concept.en, concept.en, 4.0)
        add(concept.zh, concept.en, 4.0)
        add(concept.emoji, concept.en, 2.0)
        for tag in concept.en_tags:
            add(tag, tag, 2.0)
        add(", ".join(concept.en_tags[:6]), ", ".join(concept.en_tags[:6]))
        for tag in concept.zh_tags:
            add(tag, f"{concept.en}, {', '.join(concept.en_tags[:3])}", 0.5)
    for saying in read_sayings("en"):
        add(saying.text, saying.text)
    for language in LANGUAGES:
        for saying in read_sayings(language):
            # What is said is to mean what it is said with: the teacher by itself takes it at its word.
            fitting = [concepts[key] for key in saying.keys[:2] if key in concepts]
            if fitting:
                add(saying.text, ", ".join([*(concept.en for concept in fitting), *fitting[0].en_tags[:2]]), 3.0)
    for drawing in read_clipart():
        add(drawing.name, drawing.name, 2.0)
    for names in read_classes():
        for name in names:
            plain = re.sub(r"\s*\(.*\)", "", name)
            add(name, name, 4.0)
            add(plain, plain, 4.0)
            add(f"a photo of a {plain}", plain, 1.0)
            add(f"{plain}的照片", plain, 0.5)
    for students, teacher in composed():
        for student in students:
            add(student, teacher, 4.0)
    return [(student, teacher, weight) for (student, teacher), weight in sorted(pairs.items())]
