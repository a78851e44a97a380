"""What is contradictory or risky in agreements and policy that can be read. Pure.

An *error* is a contradiction: no hub takes it. A *warning* is a trap: it is taken, and means what it says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Literal, NamedTuple

from schemas.agreement import POLICY, Agreement, Contributes, Partner, Policy, Receives, Rulebook
from schemas.errors import clip
from schemas.markings import PREFIX, pinned
from schemas.stix_types import TYPES


class Finding(NamedTuple):
    """`name` is a partner's id or POLICY; `path` are the steps to the key in its file; `hint` says what to do."""

    level: Literal["error", "warning"]
    name: str
    path: tuple[str, ...]
    what: str
    hint: str


def findings(rules: Rulebook, day: date | None = None) -> tuple[Finding, ...]:
    """All of them, partner by partner, the policy last; with `day`, agreements that have ended by then too."""
    found: list[Finding] = []
    for agreement in rules.agreements.values():
        found += _of_agreement(agreement, day)
    found += _of_names(rules)
    found += _of_policy(rules.policy)
    return tuple(found)


def _of_agreement(agreement: Agreement, day: date | None) -> Iterator[Finding]:
    name = agreement.id
    yield from _of_partner(agreement.partner, day)
    if agreement.receives is None and agreement.contributes is None:
        yield Finding(
            "error",
            name,
            ("partner",),
            "it neither receives nor contributes",
            "add [receives] or [contributes], or remove the file",
        )
    if agreement.receives:
        yield from _of_receives(name, agreement.receives)
    if agreement.contributes:
        yield from _of_contributes(name, agreement.contributes)
    respond = agreement.respond
    if respond and respond.act_hours < respond.ack_hours:
        yield Finding(
            "error",
            name,
            ("respond", "act_hours"),
            f"it acts within {respond.act_hours} hours, and acknowledges only within {respond.ack_hours}",
            "let `act_hours` be at least `ack_hours`",
        )


def _of_partner(partner: Partner, day: date | None) -> Iterator[Finding]:
    if day is not None and partner.ends <= day:
        what = f"this agreement ended on {partner.ends}: everything is denied"
        yield Finding("warning", partner.id, ("partner", "ends"), what, "renew it, or remove the file")
    path = ("partner", "controlled_by")
    if partner.kind == "cert" and not partner.controlled_by:
        what = "no state controls this CERT: a national CERT is controlled by its state"
        yield Finding("warning", partner.id, path, what, f'if it is one, write ["{partner.jurisdiction}"]')
    others = [state for state in partner.controlled_by if state != partner.jurisdiction]
    if partner.kind == "government" and others:
        what = f"a government of {partner.jurisdiction} is controlled by {', '.join(others)}"
        yield Finding(
            "warning", partner.id, path, what, "a government is controlled by its own state: is it right?"
        )


def _of_receives(name: str, receives: Receives) -> Iterator[Finding]:
    if receives.tlp in ("red", "amber+strict") and receives.onward != "none":
        what = f"TLP:{receives.tlp.upper()} goes only to those that pass nothing on, and this passes on to"
        level: Literal["error", "warning"] = "error" if receives.tlp == "red" else "warning"
        lower = "amber" if receives.onward == "clients" else "green"
        yield Finding(
            level,
            name,
            ("receives", "onward"),
            f"{what} {receives.onward}",
            f'let `onward` be "none", or `tlp` "{lower}"',
        )
    for key in ("purposes", "categories", "types"):
        if not getattr(receives, key):
            what, hint = f"an empty `{key}` permits nothing", "name some, or leave [receives] out"
            yield Finding("warning", name, ("receives", key), what, hint)
    for type_ in receives.types:
        if type_ != "*" and type_ not in TYPES:
            what = f"STIX has no type {clip(type_)!r}"
            yield Finding("error", name, ("receives", "types"), what, 'mend its spelling; ["*"] is all types')


def _of_contributes(name: str, contributes: Contributes) -> Iterator[Finding]:
    if contributes.defaults.published:
        what = "`published = true` lets its items go to governments"
        hint = "keep it only for a feed that anyone can download"
        yield Finding("warning", name, ("contributes", "defaults"), what, hint)


def _of_names(rules: Rulebook) -> Iterator[Finding]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for id_, agreement in rules.agreements.items():
        by_name[" ".join(agreement.partner.name.casefold().split())].append(id_)
    for ids in by_name.values():
        for id_ in ids[1:]:
            what, hint = f"is called like {ids[0]}", "one organisation has one agreement: are they two?"
            yield Finding("warning", id_, ("partner", "name"), what, hint)


def _of_policy(policy: Policy) -> Iterator[Finding]:
    for one, other in policy.pacts:
        if one == other:
            what = f"a pact of {one} with itself"
            yield Finding("error", POLICY, ("pacts",), what, "name two states, or remove the pair")
    for id_ in policy.markings:
        if pinned(PREFIX + id_.removeprefix(PREFIX)):
            what = f"the marking {clip(id_)} is one of TLP or PAP, whose meaning is fixed"
            yield Finding("error", POLICY, ("markings", id_), what, "remove it: it means what it always means")
    if policy.confirmations == 0:
        what = "whoever writes a file can give anything to anybody: what widens is confirmed by nobody"
        yield Finding("warning", POLICY, ("confirmations",), what, "let one member of staff confirm it, or two")
