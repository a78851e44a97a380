"""What leaves the core of random objects that refer to each other: nothing that is withheld, nothing that dangles,
nothing that two recipients could join, whatever the order; and less with each step that narrows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.bits import from_hex
from schemas.cleared import Cleared
from schemas.known import Known
from schemas.markings import PINNED, PREFIX, Tlp, marking_id
from services.govern.askers import is_page
from services.govern.references import leaving
from tests.unit.core_world import WINDOW_MS, Core, key
from tests.unit.govern import random_graphs as graphs
from tests.unit.govern.random_graphs import NOTHING_ID, Spec, find_ids, find_words
from tests.unit.govern.world import DAY_MS, NOW_MS, agreement, world

SEEDS = st.integers(0, 2**32 - 1)
_OPTIONAL = ("created_by_ref", "where_sighted_refs")


def some_world(seed: int) -> tuple[Random, Any, list[str], list[Spec]]:
    r = Random(seed)
    compiled = graphs.recipients(r)
    partners = graphs.names_of(compiled)
    return r, compiled, partners, graphs.graph(r, partners)


# --- what is withheld ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_no_word_leaves_that_is_withheld(seed: int) -> None:
    _, compiled, partners, specs = some_world(seed)
    core = graphs.heard(compiled, specs)
    for partner in partners:
        assert graphs.words_seen(core, partner) <= graphs.may_have(core, specs, partner), partner
    everything = {word for spec in specs for word in find_words(orjson.dumps(spec.body).decode())}
    for raw in core.decisions.values():
        assert not everything.intersection(find_words(raw.decode())), "decisions have no contents in clear"
    assert not any(b'errors":["' in raw for raw in core.decisions.values())


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_no_reference_dangles_and_no_id_is_of_what_is_withheld(seed: int) -> None:
    _, compiled, partners, specs = some_world(seed)
    core = graphs.heard(compiled, specs)
    for partner in partners:
        live = core.holds(partner)
        may = live.keys() | core.holds(partner, withdrawn=True).keys() | {NOTHING_ID} | PINNED.keys()
        for body in live.values():
            refs = [body[name] for name in leaving(body["type"]) if name in body]
            flat = [end for ref in refs for end in (ref if isinstance(ref, list) else [ref])]
            assert set(flat) <= live.keys(), "no reference dangles"
            mentioned = {id_ for id_ in find_ids(orjson.dumps(body).decode()) if not _is_of_ours(id_)}
            assert mentioned <= may
            assert not any(name.endswith(("_ref", "_refs")) for name in body if name not in _LEAVING)


_LEAVING = {
    "object_marking_refs",
    *(name for stix_type in graphs.TEXTS for name in leaving(stix_type)),
    "object_refs",
}


def _is_of_ours(id_: str) -> bool:
    return id_.startswith(("extension-definition--", PREFIX))


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_two_can_not_join_what_each_has_redacted(seed: int) -> None:
    """Of a copy with an id of its own nothing that the hub makes is held by two: no id, no time, and no reference
    but to what both hold under one id."""
    _, compiled, partners, specs = some_world(seed)
    core = graphs.heard(compiled, specs)
    holders: dict[str, set[str]] = {}
    for partner in partners:
        for id_ in core.holds(partner):
            holders.setdefault(id_, set()).add(partner)
    shared = {_shared(spec.type, spec.name) for spec in specs}
    times: dict[tuple[str, str, str], str] = {}
    for partner in partners:
        for item, body in graphs.held(core, partner).items():
            if body["id"] in shared or body["type"] == "grouping":
                continue
            assert holders[body["id"]] == {partner}
            for name in ("created", "modified"):
                other = times.setdefault((item, name, body[name]), partner)
                assert other == partner, f"{name} is held by two"
            ends = [body[name] for name in leaving(body["type"]) if name in body]
            for end in (one for ref in ends for one in (ref if isinstance(ref, list) else [ref])):
                assert holders[end] == {partner} or end in shared


def _shared(stix_type: str, name: str) -> str:
    return next(id_ for id_, item in graphs.all_ids(Core, [Spec(name, "", stix_type, {})]).items() if item == name)  # type: ignore[arg-type]


# --- order and repetition -----------------------------------------------------------------------------------------


def shown(core: Core, partner: str, left_out: Iterable[str] = ()) -> list[str]:
    """What a partner holds, but for some items, the times that depend on when it was released, and optional
    references.

    Whether ids are one's own is fixed at the first sending, and so depends on the order; with that, whether whole
    copies refer to them (see `test_a_copy_that_becomes_redacted_refers_to_nothing_more`).
    """
    undated = []
    for text in core.view(partner):
        body = orjson.loads(text)
        if not body.get("revoked") and body["id"] not in left_out:
            varying = ("created", "modified", *_OPTIONAL)
            undated.append({name: value for name, value in body.items() if name not in varying})
    return sorted(orjson.dumps(body).decode() for body in undated)


def taken(core: Core, partner: str) -> set[str]:
    """The items that it was sent and that were taken from it in silence: whoever never held them has no secret to
    be kept, see `test_left_in_silence`."""
    bit = core.compiled.number[partner]
    return {
        fingerprint.hex()
        for state in core.state
        for fingerprint, raw in state.items()
        if not is_page(raw)
        for held in Known.from_bytes(raw).sent.gone
        if from_hex(held.to) & bit
    }


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_order_of_reports_makes_no_difference(seed: int) -> None:
    r, compiled, partners, specs = some_world(seed)
    whole = graphs.heard(compiled, specs)
    other = graphs.heard(compiled, r.sample(specs, len(specs)), together=False)
    backwards = graphs.heard(compiled, specs[::-1])
    for partner in partners:
        left_out = set().union(*(taken(core, partner) for core in (whole, other, backwards)))
        once, again, last = (shown(core, partner, left_out) for core in (whole, other, backwards))
        assert once == again == last, partner


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_what_was_heard_before_changes_nothing(seed: int) -> None:
    _, compiled, partners, specs = some_world(seed)
    core = graphs.heard(compiled, specs)
    before = {partner: core.view(partner) for partner in partners}
    versions, decisions = core.versions, dict(core.decisions)
    core.hear(*(spec.spoken(seq) for seq, spec in enumerate(specs, 1)))
    core.pass_time(2 * WINDOW_MS)
    assert {partner: core.view(partner) for partner in partners} == before
    assert (core.versions, core.decisions) == (versions, decisions)


# --- withdrawal ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans())
def test_exactly_those_that_were_sent_it_are_told_once(seed: int, by_consent: bool) -> None:
    r, compiled, partners, specs = some_world(seed)
    core = graphs.heard(compiled, specs)
    sent = {partner: _all_ids(core, partner) for partner in partners}
    seq = len(specs)
    for spec in r.sample(specs, len(specs)):
        seq += 1
        ended = (
            replace(spec, handling={**spec.handling, "consent": {"status": "withdrawn"}})
            if by_consent
            else replace(spec, revoked=True)
        )
        core.hear(ended.spoken(seq, NOW_MS - DAY_MS + seq))
        for partner in partners:
            sent[partner] |= _all_ids(core, partner)
    core.pass_time(2 * WINDOW_MS)
    for partner in partners:
        told = [body["id"] for body in _tombstones(core, partner)]
        assert len(told) == len(set(told)), "each once"
        assert not [body for body in core.holds(partner).values() if body["type"] != "grouping"]
        assert {id_ for id_ in told if not id_.startswith("grouping")} == {
            id_ for id_ in sent[partner] if not id_.startswith("grouping")
        }


def _all_ids(core: Core, partner: str) -> set[str]:
    return {*core.holds(partner), *core.holds(partner, withdrawn=True)}


def _tombstones(core: Core, partner: str) -> Iterator[dict[str, Any]]:
    bit = core.compiled.number[partner]
    for raw in core.cleared.values():
        for copy in Cleared.from_bytes(raw).copies:
            if not copy.live and from_hex(copy.to) & bit:
                yield copy.body


# --- what never widens --------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_no_step_that_narrows_gives_anybody_more(seed: int) -> None:
    """No item, no word and no reference that was not there. Each item has one source here: where a recipient loses
    the better of two words, the other, which it could have before, takes its place."""
    r, compiled, partners, specs = some_world(seed)
    specs = [spec for spec in specs if spec.source == "alpha"]
    place = r.randrange(len(specs))
    which, narrower = graphs.narrowed(r, specs[place], partners)
    before, after = (
        graphs.heard(compiled, specs),
        graphs.heard(compiled, [*specs[:place], narrower, *specs[place + 1 :]]),
    )
    for partner in partners:
        assert _items(after, partner) <= _items(before, partner), (which, partner)
        assert graphs.words_seen(after, partner) <= graphs.words_seen(before, partner), (which, partner)
        more = graphs.references_seen(after, partner) - graphs.references_seen(before, partner)
        assert not more, (which, partner)


def test_a_copy_that_becomes_redacted_refers_to_nothing_more() -> None:
    compiled = world(
        agreement("one", kind="platform"),
        agreement("alpha", receives=False, contributes={"defaults": {"consent": "not-required"}}),
    )
    terms: dict[str, Any] = {"category": "phishing", "suspects": {}}
    author = _spec("zqa0000001", "identity", {**terms, "personal": {"description": "drop"}})
    whole = replace(_spec("zqc0000001", "indicator", terms), references=(("created_by_ref", author.name),))
    redacted = replace(whole, handling=author.handling)
    before, after = graphs.heard(compiled, [author, whole]), graphs.heard(compiled, [author, redacted])
    assert graphs.references_seen(after, "one") <= graphs.references_seen(before, "one")


def _spec(name: str, stix_type: str, handling: dict[str, Any]) -> Spec:
    body = {"name": "A", "description": "B", "labels": [], "confidence": 50, **graphs.FIXED.get(stix_type, {})}
    return Spec(name, "alpha", stix_type, body, markings=(marking_id(Tlp.GREEN),), handling=handling)


def _items(core: Core, partner: str) -> set[str]:
    return {item for item, body in graphs.held(core, partner).items() if body["type"] != "grouping"}


def test_every_step_is_taken() -> None:
    taken = set()
    for seed in range(400):
        r, _, partners, specs = some_world(seed)
        taken.add(graphs.narrowed(r, r.choice(specs), partners)[0])
    assert taken == set(graphs.STEPS)


@pytest.mark.parametrize("seed", range(3))
def test_the_random_worlds_hold_what_the_properties_are_about(seed: int) -> None:
    """Redacted and whole copies, references, words that are withheld: else a property would hold of nothing."""
    core_count = {"own": 0, "shared": 0, "references": 0, "words withheld": 0}
    for n in range(30):
        _, compiled, partners, specs = some_world(1000 * seed + n)
        core = graphs.heard(compiled, specs)
        ids = {_shared(spec.type, spec.name) for spec in specs}
        words = {word for spec in specs for word in find_words(orjson.dumps(spec.body).decode())}
        for partner in partners:
            bodies = graphs.held(core, partner).values()
            core_count["own"] += sum(body["id"] not in ids for body in bodies)
            core_count["shared"] += sum(body["id"] in ids for body in bodies)
            core_count["references"] += len(graphs.references_seen(core, partner))
            core_count["words withheld"] += len(words - graphs.words_seen(core, partner))
    assert min(core_count.values()) > 50, core_count
    assert key("zqc0000001") != key("zqc0000002")


@pytest.mark.parametrize("seed", [6176, 35231])
def test_what_items_tell_each_other_comes_to_rest(seed: int) -> None:
    """Here who holds the malware is denied the report for another reason: it must not take back what it told."""
    _, compiled, _, specs = some_world(seed)
    assert graphs.heard(compiled, specs).letters
