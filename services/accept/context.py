"""What else a bundle says of its indicators: the names of the malware, tools and techniques that they indicate.

Indicators of real feeds seldom name a family themselves; a relationship beside them does. Its name counts as a word
of the indicator's for enrichment only where relationship and named object stand under exactly the terms of the
indicator: else who may have the indicator would learn of what is not for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from services.accept.reading import Draft, Item

NAMED = frozenset(("malware", "tool", "attack-pattern", "intrusion-set", "threat-actor", "campaign"))
SAYING = frozenset(("indicates", "related-to", "uses", "attributed-to"))
MAX_NAMES = 10
MAX_CHARS = 200


def with_context(items: Sequence[Item]) -> list[Item]:
    """The items, each indicator with what relationships beside it say that it indicates. Linear."""
    drafts = [item for item in items if isinstance(item, Draft)]
    named = {draft.id: draft for draft in drafts if draft.type in NAMED and draft.id and not draft.revoked}
    if not named:
        return list(items)
    said: dict[str, list[Draft]] = defaultdict(list)
    for link in drafts:
        if link.type == "relationship" and link.object.get("relationship_type") in SAYING and not link.revoked:
            ends = dict(link.references)
            other = named.get(ends.get("target_ref", ""))
            if other is not None and _terms(other) == _terms(link):
                said[ends.get("source_ref", "")].append(other)
    return [
        item._replace(context=_names(item, said[item.id]))
        if isinstance(item, Draft) and item.type == "indicator" and item.id in said
        else item
        for item in items
    ]


def _names(indicator: Draft, others: Iterable[Draft]) -> tuple[str, ...]:
    texts = (text for other in others if _terms(other) == _terms(indicator) for text in _texts(other.object))
    return tuple(dict.fromkeys(texts))[:MAX_NAMES]


def _texts(body: Mapping[str, object]) -> Iterable[str]:
    aliases = body.get("aliases")
    for text in (body.get("name"), *(aliases if isinstance(aliases, list) else ())):
        if isinstance(text, str):
            yield text[:MAX_CHARS]


def _terms(draft: Draft) -> tuple[object, ...]:
    return frozenset(draft.markings), draft.granular, draft.handling
