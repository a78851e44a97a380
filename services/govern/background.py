"""What staff are shown beside a decision: who said it, what enrichment found, and what the score is made of.

Of all contributions, and so for no partner. It holds ids, dates, counts and names of lists, and no text of sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.agreement import Contributes
from schemas.known import Known
from services.enrich.joins import Join
from services.enrich.view import Heard, View, texts_of, view
from services.govern.compile import Compiled
from services.govern.obligations import Local

UNJUDGED = "F"


def reliability_of(source: str, compiled: Compiled) -> str:
    """Admiralty A to F; F, which can't be judged, where there is no agreement."""
    terms: Contributes | None = compiled.sources.get(source)
    return terms.reliability if terms else UNJUDGED


def background(
    known: Known,
    whole: View | None,
    joins: Iterable[Join],
    compiled: Compiled,
    data_version: str,
    local: Local,
) -> dict[str, Any]:
    """JSON: `contributions`, `feedback`, `enrichment` with its `data_version`, the `score` with its parts, and
    `joins`, by which the item belongs to campaigns.

    `whole` is what enrichment adds for who may see everything, where there is such a recipient. Times are ms since
    1970.
    """
    heard = [
        Heard(source, reliability_of(source, compiled), confidence_of(word.object, source, compiled), word)
        for source, word in sorted(known.contributions.items())
    ]
    context = local.context
    found: dict[str, Any] = {
        "contributions": [
            {
                "source": one.source,
                "reliability": one.reliability,
                "count": one.word.count,
                "first_seen_ms": one.word.first_seen_ms,
                "last_seen_ms": one.word.last_seen_ms,
                "confidence": one.confidence,
                "labels": list(one.word.labels),
                "revoked": one.word.revoked,
                "gone": one.word.gone,
            }
            for one in heard
        ],
        "feedback": [
            {"source": one.source, "kind": one.kind, "value": one.value, "at_ms": one.at_ms}
            for _, one in sorted(known.feedback.items())
        ],
    }
    if known.type != "indicator":
        return found
    found["joins"] = [list(join) for join in joins]
    seen = whole or _view(known, [one for one in heard if not (one.word.revoked or one.word.gone)], compiled, local)
    families = (
        seen.families if seen else local.named(tuple(dict.fromkeys(t for h in heard for t in texts_of(h.word))))
    )
    found["enrichment"] = {
        "data_version": data_version,
        **context._asdict(),
        "lookalikes": [like._asdict() for like in context.lookalikes],
        "warnings": [warning._asdict() for warning in context.warnings],
        **families._asdict(),
    }
    if seen:
        found["score"] = {"value": seen.score.value, "parts": dict(seen.score.parts)}
        found["active_until_ms"] = seen.active_until_ms
    return found


def _view(known: Known, heard: list[Heard], compiled: Compiled, local: Local) -> View | None:
    if not heard:
        return None
    feedback = [(one, reliability_of(one.source, compiled)) for _, one in sorted(known.feedback.items())]
    return view(known.kind, "", heard, feedback, local.context, local.named, local.now_ms)


def confidence_of(body: dict[str, Any], source: str, compiled: Compiled) -> int | None:
    """What the object states, else its source's default."""
    stated = body.get("confidence")
    terms = compiled.sources.get(source)
    return stated if isinstance(stated, int) else terms.defaults.confidence if terms else None
