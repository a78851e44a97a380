"""What enrichment adds to an item for one recipient: from what local data say of its value, and from the words
of the sources that this recipient may see, and of no others.

So a score, a count, a label or a date tells nothing of what is withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from schemas.known import Contribution, Feedback
from schemas.timestamps import parse_time
from services.enrich.activity import active_until_ms
from services.enrich.category import category_of
from services.enrich.context import Context
from services.enrich.families import Families
from services.enrich.score import Feedback as Bearing
from services.enrich.score import Score, Word, next_step_ms, score

MAX_TEXTS = 100

Named = Callable[[tuple[str, ...]], Families]
"""What the families, vendors and techniques are that texts name."""


class Heard(NamedTuple):
    """One contribution, or sighting or opinion, beside how reliable its source is (Admiralty A to F)."""

    source: str
    reliability: str
    confidence: int | None
    word: Contribution


class View(NamedTuple):
    """What enrichment adds. `next_ms` is when time alone changes some of it."""

    score: Score
    families: Families
    category: str
    active_until_ms: int | None
    next_ms: int | None


def view(
    kind: str,
    stated: str,
    heard: Sequence[Heard],
    feedback: Iterable[tuple[Feedback, str]],
    context: Context,
    named: Named,
    now_ms: int,
) -> View:
    """Of an indicator. `stated` is the category that its sources state ("": none); `feedback` comes with the
    reliability of its source; `named` says what texts name. Times are ms since 1970."""
    # how often a source said it is counted without a decision, so a score must not show it
    words = [
        Word(h.source, h.reliability, h.confidence, h.word.first_seen_ms, h.word.last_seen_ms, 1) for h in heard
    ]
    bearings = [
        Bearing(f.source, reliability, f.kind, f.value, f.at_ms)
        for f, reliability in feedback
        if f.from_ms <= now_ms
    ]
    warnings = {warning.kind for warning in context.warnings}
    families = named(tuple(dict.fromkeys(text for h in heard for text in texts_of(h.word))))
    category = stated or category_of((label for h in heard for label in h.word.labels), families)
    ends_ms = [_end_ms(h.word) for h in heard]
    last_seen_ms = max(h.word.last_seen_ms for h in heard)
    return View(
        score=score(words, bearings, kind, warnings, now_ms),
        families=families,
        category=category,
        active_until_ms=active_until_ms(kind, category, last_seen_ms, ends_ms),
        next_ms=next_step_ms(words, bearings, kind, warnings, now_ms),
    )


def texts_of(word: Contribution) -> tuple[str, ...]:
    """The texts in which a source names what it speaks of."""
    body = word.object
    aliases = body.get("aliases")  # on a type that has none it is a custom property of any kind
    others = aliases if isinstance(aliases, list) else ()
    named_in = (body.get("name"), *others, *word.labels, *word.context, body.get("description"))
    return tuple(text for text in named_in if isinstance(text, str))[:MAX_TEXTS]


def _end_ms(word: Contribution) -> int | None:
    end = word.object.get("valid_until")
    return parse_time(end) if isinstance(end, str) else None
