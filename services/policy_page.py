"""The published policy as plain pages: no JavaScript, nothing fetched, readable by a screen reader. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import orjson

from schemas.timestamps import format_time
from services.published import Version

STYLE = """
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-inline-size:60rem;margin-inline:auto;padding:1rem}
table{border-collapse:collapse;inline-size:100%;margin-block:1rem}
caption{text-align:start;font-weight:bold;padding-block:.5rem}
th,td{border:1px solid;padding:.4rem .6rem;text-align:start;vertical-align:top}
code{overflow-wrap:anywhere;unicode-bidi:isolate}
a:focus-visible{outline:3px solid}
"""
CHECK = (
    "The signature is Ed25519, of the bytes that the version's address gives to whoever asks for application/json."
)


def versions_page(versions: Sequence[Version]) -> str:
    """All versions, newest first."""
    rows = [
        (
            f'<a href="/transparency/policy/{v.version}">Version {v.version}</a>',
            _time(v.since_ms),
            _code(v.hash),
            _code(v.signature),
            _code(v.key),
        )
        for v in versions
    ]
    table = _table("Versions, newest first", ("Version", "In force since", "Hash", "Signature", "Key"), rows)
    return _page("The sharing policy", f"<h1>The sharing policy</h1><p>{escape(CHECK)}</p>{table}")


def version_page(version: Version) -> str:
    """One version: what it says, and how to check it."""
    document: Mapping[str, Any] = orjson.loads(version.document)
    policy: Mapping[str, Any] = document["policy"]
    title = f"The sharing policy, version {version.version}"
    facts = [
        ("In force since", _time(version.since_ms)),
        ("Hash of policy and agreements", _code(version.hash)),
        ("Hash of the version before", _code(document["previous"]) if document["previous"] else "none"),
        ("Agreements", escape(str(document["agreements"]))),
        ("Signature", _code(version.signature)),
        ("Key", _code(version.key)),
    ]
    rules = [(escape(name), f'<span dir="auto">{escape(text)}</span>') for name, text in document["rules"].items()]
    keys = [(_code(key), _value(value)) for key, value in policy.items()]
    return _page(
        title,
        f'<nav><a href="/transparency/policy">All versions</a></nav><h1>{escape(title)}</h1>'
        + _table("This version", ("What", "Value"), facts)
        + f"<p>{escape(CHECK)}</p><h2>What each rule forbids</h2>"
        + _table("Rules", ("Rule", "It forbids"), rules)
        + "<h2>What is no single partner’s</h2>"
        + _table("Policy", ("Key", "Value"), keys),
    )


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en" dir="ltr"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{content}</main></body></html>"
    )


def _table(caption: str, heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells of `rows` are HTML; the first of each row is its heading."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "<br>".join(f"{_code(key)}: {_code(word)}" for key, word in value.items()) or "none"
    if isinstance(value, list):
        words = ["–".join(map(str, each)) if isinstance(each, list) else str(each) for each in value]
        return f'<span dir="auto">{escape(", ".join(words))}</span>' if words else "none"
    return _code(value)


def _code(text: object) -> str:
    return f"<code>{escape(str(text))}</code>"


def _time(ms: int) -> str:
    text = format_time(ms)
    return f'<time datetime="{text}">{text[:16].replace("T", " ")} UTC</time>'
