"""Sightings and opinions that bear on the score of what they speak of.

They are contributions like any other, under their own terms; to whom those let them go, the score of the item
shows them. STIX 2.1, sections 4.14 (opinion) and 5.2 (sighting).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from schemas.bits import Bits, from_hex, to_hex
from schemas.known import Contribution, Feedback, Known

TYPES = frozenset({"sighting", "opinion"})
MAX_KEPT = 16
NEGATIVE_OPINION = 2

_OPINIONS = ("strongly-disagree", "disagree", "neutral", "agree", "strongly-agree")


def bears(known: Known, may_see: Mapping[str, Bits], from_ms: Callable[[], int]) -> Feedback | None:
    """What a sighting or opinion bears on its item's score; None where it says nothing, or nobody may see it.

    `may_see` are by source those to whom its terms let it go. That it is a false positive counts at once, all
    else from the next window (`from_ms`) on.
    """
    for source, word in sorted(known.contributions.items()):
        kind: Literal["sighting", "opinion"] = "sighting" if known.type == "sighting" else "opinion"
        value = _value(word)
        if value is not None and (to := may_see.get(source)):
            negative = value == 0 if kind == "sighting" else value <= NEGATIVE_OPINION
            return Feedback(
                source=source,
                kind=kind,
                value=value,
                at_ms=word.last_seen_ms,
                from_ms=0 if negative else from_ms(),
                to=to_hex(to),
            )
    return None


def heard(item: Known, key: str, feedback: Feedback | None) -> Known:
    """The item with what a sighting or opinion (by its fingerprint in hex) bears on its score now.

    Of each source and audience `MAX_KEPT` are kept, the oldest sightings go first, and opinions last: nobody crowds
    out what others say.
    """
    others = {name: one for name, one in item.feedback.items() if name != key}
    if feedback is None:
        return item.model_copy(update={"feedback": others}) if len(others) < len(item.feedback) else item
    before = item.feedback.get(key)
    if before is not None and feedback.from_ms and not from_hex(feedback.to) & ~from_hex(before.to):
        feedback = feedback.model_copy(update={"from_ms": before.from_ms})
    if before == feedback:
        return item
    kept = {**others, key: feedback}
    alike = [name for name, one in kept.items() if (one.source, one.to) == (feedback.source, feedback.to)]
    if len(alike) > MAX_KEPT:
        del kept[min(alike, key=lambda name: (kept[name].kind == "opinion", kept[name].at_ms, name))]
    return item.model_copy(update={"feedback": kept})


def _value(word: Contribution) -> int | None:
    if "opinion" in word.object:
        opinion = word.object["opinion"]
        return _OPINIONS.index(opinion) + 1 if opinion in _OPINIONS else None
    count = word.object.get("count", 1)
    return count if isinstance(count, int) and count >= 0 else None
