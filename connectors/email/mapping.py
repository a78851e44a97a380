"""From rows of a feed to the words of a digest: plain text, and HTML without anything to load. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

import orjson

from connectors.email.texts import Texts
from schemas.errors import clip
from schemas.feed import FeedRow

MAX_VALUE_CHARS = 500
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:44em;margin:1em auto;padding:0 1em;color:#1a1a1a;background:#fff}"
    "code{font:14px/1.4 monospace;overflow-wrap:anywhere}"
    "table{border-collapse:collapse}th,td{text-align:start;padding:.1em 1em .1em 0;font-weight:normal}"
    "td{font-variant-numeric:tabular-nums}"
    "ul{list-style:none;padding:0}li{margin:.8em 0;padding-inline-start:.8em;border-inline-start:3px solid #888}"
    ".at-once li{border-color:#a40000}.at-once h2{color:#a40000}small{color:#4a4a4a}"
)


class Digest(NamedTuple):
    """`text` and `html` say the same."""

    subject: str
    text: str
    html: str


class Item(NamedTuple):
    """One row as it is shown; `facts` are label and value, none of them empty."""

    value: str
    facts: Sequence[tuple[str, str]]


class Section(NamedTuple):
    heading: str
    items: Sequence[Item]
    at_once: bool = False


def goes_at_once(row: FeedRow) -> bool:
    """What is urgent; and what is withdrawn, since whoever blocks it may be blocking the wrong one."""
    return row.urgent or not row.live


def defanged(value: str) -> str:
    """A value that no program takes for an address, in the usual spelling (`hxxps[://]bad[.]example`). What can't
    be seen in it is written out, since it might change how the rest of the line reads."""
    safe = clip(value, MAX_VALUE_CHARS)
    if safe[:4].lower() == "http":
        safe = f"{safe[0]}xx{safe[3:]}"
    for mark in ("://", ".", "@"):
        safe = safe.replace(mark, f"[{mark}]")
    return safe


def counted(rows: Sequence[FeedRow], texts: Texts) -> Digest:
    """A digest of numbers alone: no values, no ids."""
    return _digest(texts, texts.counted, rows, (), ())


def listed(rows: Sequence[FeedRow], texts: Texts, at_most: int) -> Digest:
    """A digest with contents, of at most `at_most` items, the urgent and the withdrawn first."""
    ordered = sorted(rows, key=lambda row: (not (row.live and row.urgent), row.live))
    shown, left = ordered[:at_most], len(ordered[at_most:])
    urgent = [_item(row, texts) for row in shown if row.live and row.urgent]
    withdrawn = [_item(row, texts) for row in shown if not row.live]
    new = [_item(row, texts) for row in shown if row.live and not row.urgent]
    sections = (
        Section(texts.at_once, urgent, at_once=True),
        Section(texts.stop, withdrawn, at_once=True),
        Section(texts.new, new),
    )
    notes = [f"{texts.not_listed}: {left}"] if left else []
    return _digest(texts, texts.listed, rows, [s for s in sections if s.items], [*notes, texts.handling])


def _item(row: FeedRow, texts: Texts) -> Item:
    if not row.live:
        return Item(row.stix_id, ())
    first, last = row.first_seen[:10], row.last_seen[:10]
    facts = (
        ("TLP", row.tlp.upper()),
        (texts.category, texts.categories.get(row.category, row.category)),
        (texts.confidence, "" if row.confidence is None else str(row.confidence)),
        (texts.seen, first if first == last else f"{first} – {last}"),
        (texts.id, row.stix_id),
    )
    return Item(_headline(row), [(label, said) for label, said in facts if said.strip("– ")])


def _headline(row: FeedRow) -> str:
    """An indicator's kind and value; of what is none, the type and the name if it has one."""
    if row.value:
        return f"{row.kind}: {defanged(row.value)}"
    name = orjson.loads(row.body).get("name", "")
    return f"{row.type}: {defanged(name)}" if name else row.type


def _digest(
    texts: Texts, said: str, rows: Sequence[FeedRow], sections: Sequence[Section], notes: Sequence[str]
) -> Digest:
    totals, categories = _totals(rows, texts), _categories(rows, texts)
    closing = [*notes, texts.automatic]
    text = "\n".join(_text(texts, said, totals, categories, sections, closing)) + "\n"
    return Digest(texts.subject, text, "\n".join(_html(texts, said, totals, categories, sections, closing)) + "\n")


def _totals(rows: Iterable[FeedRow], texts: Texts) -> Mapping[str, int]:
    count = Counter((row.live, row.urgent) for row in rows)
    new = count[True, True] + count[True, False]
    withdrawn = count[False, True] + count[False, False]
    urgent = count[True, True] + count[False, True]
    return {texts.new: new, texts.withdrawn: withdrawn, texts.urgent: urgent}


def _categories(rows: Iterable[FeedRow], texts: Texts) -> Mapping[str, int]:
    """Of what is live: a withdrawal has none."""
    count = Counter(row.category for row in rows if row.live)
    return {name: count[category] for category, name in texts.categories.items() if count[category]}


def _text(
    texts: Texts,
    said: str,
    totals: Mapping[str, int],
    categories: Mapping[str, int],
    sections: Iterable[Section],
    closing: Iterable[str],
) -> Iterator[str]:
    yield from (texts.title, "", said, "")
    yield from (f"{label}: {number}" for label, number in totals.items())
    if categories:
        yield from ("", f"{texts.by_category}:")
        yield from (f"  {label}: {number}" for label, number in categories.items())
    yield ""
    for heading, items, _ in sections:
        yield from (heading, "")
        for value, facts in items:
            # each by itself on its line, which so takes its direction from its own letters
            yield value
            yield from (f"  {label}: {fact}" for label, fact in facts)
            yield ""
    yield from closing


def _html(
    texts: Texts,
    said: str,
    totals: Mapping[str, int],
    categories: Mapping[str, int],
    sections: Iterable[Section],
    closing: Iterable[str],
) -> Iterator[str]:
    yield "<!DOCTYPE html>"
    yield f'<html lang="{texts.language}" dir="{texts.direction}"><head><meta charset="utf-8">'
    yield f"<title>{escape(texts.subject)}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(texts.title)}</h1><p>{escape(said)}</p>"
    yield _table(totals)
    if categories:
        yield f"<h2>{escape(texts.by_category)}</h2>{_table(categories)}"
    for heading, items, at_once in sections:
        yield f"<section{' class=at-once' if at_once else ''}><h2>{escape(heading)}</h2><ul>"
        for value, facts in items:
            rest = " · ".join(f"{escape(label)}: <bdi>{escape(fact)}</bdi>" for label, fact in facts)
            small = f"<br><small>{rest}</small>" if rest else ""
            yield f'<li><code dir="ltr">{escape(value)}</code>{small}</li>'
        yield "</ul></section>"
    yield from (f"<p><small>{escape(note)}</small></p>" for note in closing)
    yield "</body></html>"


def _table(numbers: Mapping[str, int]) -> str:
    lines = (f"<tr><th>{escape(label)}</th><td>{number}</td></tr>" for label, number in numbers.items())
    return f"<table>{''.join(lines)}</table>"
