"""How a person is told of an item's journey and of a hub's state: the hub's JSON answers as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.enrichment import ENRICHMENT_ID
from schemas.errors import clip
from schemas.markings import PINNED
from schemas.timestamps import format_time

MAX_SHOWN = 8


def journey(answer: Mapping[str, Any], rules: Mapping[str, str]) -> str:
    """The answer of `GET /api/v1/explain` for a person; `rules` says what each rule forbids."""
    return "\n\n".join(_item(item, rules) for item in answer["items"])


def _item(item: Mapping[str, Any], rules: Mapping[str, str]) -> str:
    copies = [copy for row in item["partners"] for copy in row["feed"]]
    known_as = _known_as(item["id"], [copy["object"]["id"] for copy in copies])
    lines = [f"{item['kind']} {item['value'] or '(withdrawn)'}  ({known_as})", *_known(item)]
    if item.get("policy"):
        lines.append(f"  decided   under policy {item['policy'][:16]}")
    used: set[str] = set()
    for row in item["partners"]:
        copies = row["feed"]
        live = [copy["object"] for copy in copies if copy["live"]]
        if live:
            under = "" if live[0]["id"] == known_as else f", as {live[0]['id']}"
            lines.append(f"  + {row['partner']:<16} got {_form(live[0])}{under}")
            if row.get("obligations"):
                lines.append(f"      without: {_obligations(row['obligations'])}  ({', '.join(row['rules'])})")
                used |= set(row["rules"])
        elif copies:
            ids = [id_ for copy in copies if (id_ := copy["object"]["id"]) != known_as]
            under = f", as {', '.join(ids[:MAX_SHOWN])}" if ids else ""
            lines.append(f"  x {row['partner']:<16} was told that it is withdrawn{under}")
        else:
            lines.append(f"  - {row['partner']:<16} {row['outcome']}: {', '.join(row['rules'])}")
            used |= set(row["rules"])
    lines += [f"      {rule}: {rules.get(rule, '')}" for rule in sorted(used)]
    return "\n".join(lines)


def _known_as(next_id: str, held: list[str]) -> str:
    """An id that somebody has: the decision's is that of the next sending, where all that was sent is withdrawn."""
    return next_id if next_id in held or not held else held[0]


def _obligations(obligations: Mapping[str, str]) -> str:
    shown = [f"{clip(selector)} ({technique})" for selector, technique in sorted(obligations.items())]
    more = [f"and {len(shown) - MAX_SHOWN} more"] if len(shown) > MAX_SHOWN else []
    return ", ".join([*shown[:MAX_SHOWN], *more])


def _form(body: Mapping[str, Any]) -> str:
    """What a copy looks like, in a few words."""
    marks = [PINNED[ref] for ref in body.get("object_marking_refs", ()) if ref in PINNED]
    shown = [f"{type(mark).__name__.upper()}:{mark.label.upper()}" for mark in marks]
    name = f"“{body['name']}”" if "name" in body else "no name"
    score = body.get("extensions", {}).get(ENRICHMENT_ID, {}).get("score")
    scored = [] if score is None else [f"score {score}"]
    return ", ".join([f"STIX {body['type']}", *shown, name, f"created {body['created'][:10]}", *scored])


def _known(item: Mapping[str, Any]) -> Iterator[str]:
    """What staff are shown of all that is known: who said it, what enrichment found, and the score."""
    words = item.get("contributions", ())
    for word in words[:MAX_SHOWN]:
        yield f"  said by   {_word(word)}"
        yield from _terms(item.get("facts", {}).get(word["source"], {}))
    if len(words) > MAX_SHOWN:
        yield f"            and {len(words) - MAX_SHOWN} more"
    for one in item.get("feedback", ())[:MAX_SHOWN]:
        yield f"  {one['kind']:<9} {one['source']}: {one['value']}, {_day(one['at_ms'])}"
    if found := item.get("enrichment"):
        facts = list(_facts(found))
        yield f"  found     {' · '.join(facts) or 'nothing'}  (data {found['data_version'][:12]})"
    if joins := item.get("joins"):
        yield f"  joined by {', '.join(f'{kind} {clip(value)}' for kind, value in joins[:MAX_SHOWN])}"
    if score := item.get("score"):
        parts = ", ".join(f"{name} {points:+d}" for name, points in score["parts"].items())
        until_ms = item.get("active_until_ms")
        until = "" if until_ms is None else f"; active until {_day(until_ms)}"
        yield f"  score     {score['value']} of 100: {parts}{until}"


def _day(ms: int) -> str:
    return format_time(ms)[:10]


def _word(word: Mapping[str, Any]) -> str:
    days = " to ".join(dict.fromkeys(map(_day, (word["first_seen_ms"], word["last_seen_ms"]))))
    parts = [
        f"{word['source']} ({word['reliability']})",
        "once" if word["count"] == 1 else f"{word['count']} times",
        days,
        *([] if word["confidence"] is None else [f"confidence {word['confidence']}"]),
        *(["labels " + ", ".join(clip(label) for label in word["labels"][:MAX_SHOWN])] if word["labels"] else []),
        *(state for state in ("revoked", "gone") if word[state]),
    ]
    return ", ".join(parts)


def _terms(facts: Mapping[str, Any]) -> Iterator[str]:
    """What the rules go by, each with where it comes from."""
    stated = [
        f"{name.replace('_', ' ')} {_plain(value)} ({origin})"
        for name, (value, origin) in facts.items()
        if origin != "absent" and value not in (None, [], {}, False)
    ]
    if stated:
        yield f"            {'; '.join(stated)}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{clip(str(name))}: {_plain(part)}" for name, part in list(value.items())[:MAX_SHOWN])
    if isinstance(value, list):
        return " ".join(map(_plain, value[:MAX_SHOWN]))
    return "yes" if value is True else clip(str(value))


def _facts(found: Mapping[str, Any]) -> Iterator[str]:
    if found["registrable_domain"]:
        yield f"registrable domain {found['registrable_domain']}"
    for like in found["lookalikes"][:MAX_SHOWN]:
        yield f"looks like {like['of']} ({like['how']}, distance {like['distance']})"
    if found["asn"] is not None:
        yield f"AS{found['asn']} {found['as_name']}".rstrip()
    if found["country"]:
        yield f"country {found['country']}"
    if found["warnings"]:
        lists = ", ".join(clip(warning["list"]) for warning in found["warnings"][:MAX_SHOWN])
        yield f"on warning lists: {lists}"
    for flag, words in (("do_not_block", "do not block"), ("protected", "protected: never shared")):
        if found[flag]:
            yield words
    for name in ("families", "vendors", "techniques"):
        if found[name]:
            yield f"{name} {', '.join(found[name][:MAX_SHOWN])}"
    if found["states"]:
        yield f"context {', '.join(found['states'])} (of the vendor or group; nobody is suspected by this)"


def _policy(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"policy                  {answer['policy'][:16]}, version {answer['policy_version']}"
    if problem := answer["policy_problem"]:
        yield f"  files NOT TAKEN: {problem['where']}: {problem['what']} ({problem['hint']})"
    if names := answer["policy_waits"]:
        yield f"  waits for confirmation: {', '.join(names)}  <- `tocsin policy accept {' '.join(names)}`"


def overview(answer: Mapping[str, Any]) -> str:
    """The answer of `GET /api/v1/status` for a person: whether all is well, and what to do if not."""
    counts = answer["counts"]
    waiting, kept = answer["outbox"], answer["rejected"]
    lines = [
        f"waiting for the broker  {waiting:,} submissions" + ("  <- is the broker up?" if waiting > 100 else ""),
        f"rejected                {kept:,}" + ("  <- `tocsin rejected list`" if kept else ""),
        f"decided                 {counts.get('versions', 0):,} item versions",
        f"errors in rules         {counts.get('errors', 0):,}"
        + ("  <- `tocsin explain ITEM --json` names them" if counts.get("errors") else ""),
        *_policy(answer),
        *(["connectors", *(f"  {line}" for line in said)] if (said := connectors(answer["connectors"])) else []),
        "partners",
    ]
    for row in answer["partners"]:
        state = "suspended" if row["suspended"] else "receives" if row["receives"] else "receives nothing"
        lines.append(f"  {row['id']:<20} {'; '.join([state, *_owed(row['owes'])])}")
    return "\n".join(lines)


def connectors(answer: Mapping[str, Any]) -> list[str]:
    """The answer of `GET /api/v1/connectors` for a person."""
    said = []
    if problem := answer["problem"]:
        said.append(
            f"file NOT TAKEN, the old one goes on: {problem['where']}: {problem['what']} ({problem['hint']})"
        )
    for one in answer["connectors"]:
        verb = {"push": "delivered", "publish": "written", "pull": "taken"}[one["does"]]
        counted = [f"{one['went']:,} {verb}"] if one["does"] != "publish" else []
        counted += [f"{one['refused']:,} refused"] if one["refused"] else []
        counted += [f"{one['pending']:,} to be tried again"] if one["pending"] else []
        last = f"last {moment(one['done_ms'])}" if one["done_ms"] else "never yet"
        said.append(
            f"{one['name']:<20} {one['health']:<8} {one['connector']} {one['does']}, {one['partner']}: "
            + ", ".join([*counted, last])
        )
        if one["health"] == "waits":
            said.append(f"  <- it sends nothing until `tocsin connector accept {one['name']}`")
        if problem := one["problem"]:
            where = f"{problem['where']}: " if problem["where"] else ""
            hint = f" ({problem['hint']})" if problem["hint"] else ""
            said.append(
                f"  {one['failures']} failures since {moment(one['since_ms'])}: {where}{problem['what']}{hint}; "
                f"next try {moment(one['next_ms'])}"
            )
        if one["dead"]:
            said.append(f"  {one['dead']:,} given up  <- `tocsin connector retry {one['name']}`")
    return said


def moment(ms: int) -> str:
    return format_time(ms)[:19].replace("T", " ")


def _owed(owes: Mapping[str, Any]) -> Iterator[str]:
    """What a partner is waited for."""

    def number(name: str) -> str:
        return f"{owes[name]:,}{'+' if name in owes['more'] else ''}"

    if owes["withdrawals"]:
        reminded = (
            f" ({owes['reminders']:,} reminder{'' if owes['reminders'] == 1 else 's'} so far)"
            if owes["reminders"]
            else ""
        )
        yield f"withdrawals not acknowledged {number('withdrawals')}, since {owes['oldest_hours']} h{reminded}"
    if owes["acknowledge"]:
        yield f"overdue to acknowledge {number('acknowledge')}"
    if owes["act"]:
        yield f"overdue to act on {number('act')}"
