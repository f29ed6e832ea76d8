"""Writes a run's figures down: each kind, each leg alone and all together, and what is promised of them. Pure.

Only the test half is reported; constants are chosen on the other one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.search import fusion
from benchmarks.search.figures import Asked, Figures, by_leg, emptiness, measure, rank_of
from benchmarks.search.queries import LOOK, NOTHING, TEST, TUNE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.search.figures import Emptiness, Run

LANGUAGES = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class Promise:
    """What the search has to show, and what it did. ``kept`` is None where this run can't say."""

    text: str
    found: str
    kept: bool | None


def half(run: Run, which: str) -> list[Asked]:
    return [each for each in run.asked if each.half == which]


def groups(asked: Sequence[Asked]) -> dict[tuple[str, str], list[Asked]]:
    """By kind and language, in the order of the kinds."""
    found = defaultdict(list)
    for each in asked:
        found[each.kind, each.language].append(each)
    return dict(sorted(found.items()))


def _together(asked: Sequence[Asked]) -> Figures:
    """The one ranking, with nothing left out."""
    return measure(asked, lambda each: each.raw_order)


def _shown(asked: Sequence[Asked]) -> Figures:
    """What a person sees: after the least fitting are left out."""
    return measure(asked, lambda each: each.order)


def _cell(figures: Figures, nothing: str = "–") -> str:
    if figures.mrr == 0:
        return nothing
    return f"{figures.at_1:.2f} / {figures.at_5:.2f} / {figures.mrr:.2f}"


def markdown(run: Run, swept: str = "") -> str:
    """The whole page."""
    about, test = run.about, half(run, TEST)
    answerable = [each for each in test if each.right]
    weights = f" (`model.safetensors` `{about['weights']}`)" if about["weights"] else ""
    lines = [
        "# What the search finds",
        "",
        (
            f"Written by `make eval-search` on {about['day']} at commit {about['commit']}: model {about['model']}"
            f"{weights}, engine {about['engine']}, {about['machine']}."
        ),
        "",
        (
            f"{len(run.files)} pictures, {len(run.asked)} queries; the figures are of the {len(test)} queries on which "
            "nothing was chosen. What the kinds are, and which pictures count as right: `queries.py` beside this file. "
            "The drawings are of a set that the bundled model never learned from; their names, being ordinary words, "
            "it knows."
        ),
    ]
    if not about["words"]:
        lines += ["", "**Without the words in the pictures**: this run's daemon didn't read them."]
    if not about["tags"]:
        lines += ["", "**Without tags**: this file system keeps no attributes of users."]
    if about["merged"]:
        lines += ["", f"**{about['merged']} pictures were shown as copies of others**, which none of them is."]
    lines += [
        "",
        "## By kind",
        "",
        (
            "R@1 / R@5 / MRR, of twenty hits. Each leg alone is ranked by its own score; together is the one ranking "
            "with nothing left out, shown is what is left of it to see."
        ),
        "",
        "| what is asked | language | queries | picture alone | words alone | names alone | together | shown |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (kind, language), asked in groups(answerable).items():
        legs = " | ".join(_cell(each) for each in by_leg(asked).values())
        together, shown = _cell(_together(asked), "0"), _cell(_shown(asked), "0")
        lines.append(f"| {kind} | {LANGUAGES[language]} | {len(asked)} | {legs} | **{together}** | {shown} |")
    lines += [
        "",
        "## What isn't there",
        "",
        "| what is asked | language | queries | finds nothing |",
        "| --- | --- | --- | --- |",
    ]
    for (kind, language), asked in groups([each for each in test if not each.right]).items():
        share = _emptiness(asked).nothing
        lines.append(f"| {kind.removeprefix(NOTHING)} | {LANGUAGES[language]} | {len(asked)} | {share:.0%} |")
    for language, name in LANGUAGES.items():
        found = _emptiness([each for each in test if each.language == language])
        lines.append(f"| all | {name} | {found.unanswerable} | **{found.nothing:.0%}** |")
    lines += [
        "",
        "What that costs: answerable queries that find nothing, or lose a right hit among the first five.",
        "",
    ]
    for language, name in LANGUAGES.items():
        mine = [each for each in test if each.language == language]
        found, looks = _emptiness(mine), _emptiness([each for each in mine if each.kind == LOOK])
        lines.append(
            f"- {name}: **{found.lost:.1%}** of {found.answerable}; of the {looks.answerable} by look {looks.lost:.1%}."
        )
    lines += ["", "## What is promised", "", "| promise | found | |", "| --- | --- | --- |"]
    for promise in promises(test, with_words=about["words"]):
        mark = {True: "kept", False: "**not kept**", None: "not measured"}[promise.kept]
        lines.append(f"| {promise.text} | {promise.found} | {mark} |")
    return "\n".join([*lines, *([""] if swept else []), swept]).rstrip() + "\n"


def _emptiness(asked: Sequence[Asked]) -> Emptiness:
    return emptiness(asked, lambda each: each.order)


def promises(test: Sequence[Asked], *, with_words: bool = True) -> list[Promise]:
    """Each for the language that is worse. Without words in the pictures, what hangs on them is open."""
    answerable = {
        key: asked
        for key, asked in groups([each for each in test if each.right]).items()
        if with_words or not (key[0].startswith("quote") or key[0].endswith("of words"))
    }

    def worst(figure: str, least: float, fits: Callable[[str], bool]) -> tuple[str, bool | None]:
        """Of the languages, each with all of its kinds that fit; the worst kind is named with it."""
        found: dict[str, float] = {}
        for language, name in LANGUAGES.items():
            kinds = {kind: asked for (kind, its), asked in answerable.items() if its == language and fits(kind)}
            if kinds:
                figures = {kind: float(getattr(_shown(asked), figure)) for kind, asked in kinds.items()}
                low = min(figures, key=lambda kind: figures[kind])
                share = getattr(_shown([each for asked in kinds.values() for each in asked]), figure)
                found[f"{share:.3f} ({name}; {low}: {figures[low]:.3f} of {len(kinds[low])})"] = share
        if not found:
            return "–", None
        return ", ".join(found), min(found.values()) >= least

    def is_misremembered(kind: str) -> bool:
        return any(slip in kind for slip in ("wrong", "missing", "swapped", "slip"))

    kept = [
        Promise(
            "quotes: R@1 at least 0.95",
            *worst("at_1", 0.95, lambda kind: kind.startswith("quote") and not is_misremembered(kind)),
        ),
        Promise("misremembered quotes: R@5 at least 0.90", *worst("at_5", 0.90, is_misremembered)),
        Promise("names: R@1 at least 0.95", *worst("at_1", 0.95, lambda kind: kind.startswith("name"))),
        Promise(
            "pinyin: R@1 at least 0.95", *worst("at_1", 0.95, lambda kind: kind.startswith(("pinyin", "initials")))
        ),
        Promise("tags: R@1 at least 0.95", *worst("at_1", 0.95, lambda kind: kind == "tag")),
    ]
    looks = [each for (kind, _), asked in answerable.items() if kind == LOOK for each in asked]
    if looks:
        alone, together = by_leg(looks)["image"], _together(looks)
        kept.append(
            Promise(
                "by look, before anything is left out: no worse than the picture alone",
                f"R@1 {together.at_1:.3f} and {alone.at_1:.3f}, MRR {together.mrr:.3f} and {alone.mrr:.3f}",
                together.at_1 >= alone.at_1 and together.mrr >= alone.mrr,
            )
        )
    behind = {
        f"{kind}, {LANGUAGES[language]}": max(each.at_1 for each in by_leg(asked).values()) - _together(asked).at_1
        for (kind, language), asked in answerable.items()
    }
    if behind:
        name = max(behind, key=lambda each: behind[each])
        kept.append(
            Promise(
                "together is the best, or within 0.01 (R@1) of the best leg, on every kind",
                f"{behind[name]:.3f} behind at most ({name})",
                behind[name] <= 0.01 + 1e-9,
            )
        )
    empty = _emptiness(test)
    kept.append(
        Promise(
            "of the unanswerable at least 80 % find nothing, at a cost of at most 5 % of the answerable",
            f"{empty.nothing:.1%} of {empty.unanswerable}, at {empty.lost:.1%} of {empty.answerable}",
            empty.nothing >= 0.8 and empty.lost <= 0.05,
        )
    )
    return kept


def misses(run: Run, kind: str) -> str:
    """The queries of a kind that don't show a right one first, of the half that constants may be chosen on."""
    lines = []
    for each in half(run, TUNE):
        if not each.kind.startswith(kind):
            continue
        right = ", ".join(run.files[number] for number in each.right[:3])
        if not each.right and each.order:
            lines.append(f"{each.kind}\t{each.text}\tfound {run.files[each.order[0]]}")
        elif each.right and (place := rank_of(each.order, each.right)) > 1:
            lines.append(f"{each.kind}\t{each.text}\tat {place:g} of {len(each.order)}\t{right}")
    return "\n".join(lines)


def sweep(run: Run) -> str:
    """The best constants, chosen on one half and shown on the other."""
    tune, test = half(run, TUNE), half(run, TEST)
    lines = [
        "## Other constants",
        "",
        (
            "Chosen on the half that is not reported above: image + words' weight · words ^ power + name's weight · "
            "name ^ power. Behind: how far, in R@1, behind the best leg on the worst kind (0 where within 0.01)."
        ),
        "",
        "| words | power | name | power | behind | mean MRR | mean MRR on the other half |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for constants, behind, mean in fusion.sweep(tune):
        figures = fusion.figures_of(test, constants).values()
        other = sum(each.mrr for each in figures) / max(1, len(figures))
        lines.append(
            f"| {constants.words:g} | {constants.words_power:g} | {constants.name:g} | {constants.name_power:g} "
            f"| {behind:.3f} | {mean:.4f} | {other:.4f} |"
        )
    lines += [
        "",
        (
            "Floors: a hit is shown if one leg reaches its own. The picture's as it is, or in standard deviations "
            "above the mean of the query's similarities."
        ),
        "",
        "| the picture's floor is | picture | words | name | nothing / lost | on the other half | lost by look |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for stands_out, what in ((False, "a similarity"), (True, "in deviations")):
        floors, found = fusion.sweep_floors(tune, stands_out)
        other_half = fusion.emptied(test, floors)
        looks = fusion.emptied([each for each in test if each.kind == LOOK], floors)
        lines.append(
            f"| {what} | {floors.image:g} | {floors.words:g} | {floors.name:g} | {found.nothing:.0%} / "
            f"{found.lost:.1%} | {other_half.nothing:.0%} / {other_half.lost:.1%} "
            f"| {looks.lost:.1%} |"
        )
    return "\n".join(lines) + "\n"
