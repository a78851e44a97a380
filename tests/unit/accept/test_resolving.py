"""What objects refer to, as far as no database is needed to know it."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from schemas.errors import BodyRefused
from schemas.fingerprint import Ioc, fingerprint, named_fingerprint
from services.accept import formats, resolving
from services.accept.names import NOTHING, Alias, Gone, Known, Origin, alias_of, identity_of, key_of, name_of
from services.accept.reading import Aside, Refusal
from services.accept.resolving import Resolved, Settled, Waits, resolve
from tests.fakes import NOW_MS, SECRET, source_agreement

ORIGIN = Origin("11111111-2222-4333-8444-555555555555", "alpha", NOW_MS)
AT = "2026-01-01T00:00:00.000Z"
AT_MS = 1_767_225_600_000
DAY_2 = "2026-01-02T00:00:00.000Z"


def id_of(type_: str, number: int) -> str:
    return f"{type_}--00000000-0000-4000-8000-{number:012}"


def thing(type_: str, number: int, **more: Any) -> dict[str, Any]:
    return {"type": type_, "spec_version": "2.1", "id": id_of(type_, number), "created": AT, "modified": AT, **more}


def indicator(number: int, pattern: str, **more: Any) -> dict[str, Any]:
    return thing("indicator", number, pattern=pattern, pattern_type="stix", valid_from=AT, **more)


def host(name: str) -> bytes:
    return fingerprint(SECRET, Ioc("domain", name))


def resolved(*objects: Any, known: Known = NOTHING) -> Resolved:
    return read({"type": "bundle", "id": id_of("bundle", 0), "objects": list(objects)}, known)


def read(document: Any, known: Known = NOTHING) -> Resolved:
    reading = formats.read(orjson.dumps(document), "", "", source_agreement(), NOW_MS, 1 << 24)
    found = resolve(reading.items, ORIGIN, SECRET, known)
    return found._replace(items=list(found.items))  # type: ignore[arg-type]


def outcomes(found: Resolved) -> list[str]:
    names: dict[type, str] = {Settled: "goes", Waits: "waits", Refusal: "refused", Aside: "aside"}
    return [names[type(item)] for item in found.items]


def settled(found: Resolved) -> list[Settled]:
    return [item for item in found.items if isinstance(item, Settled)]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([thing("opinion", 1, opinion="agree", object_refs=[id_of("opinion", 1)])], ["goes"]),
        ([thing("note", 1, content="x", object_refs=[id_of("note", 2)]),
          thing("note", 2, content="x", object_refs=[id_of("note", 1)])], ["goes", "goes"]),
        ([thing("note", 1, content="x", object_refs=[id_of("marking-definition", 1)])], ["refused"]),
        ([thing("language-content", 1, contents={"de": {"name": "x"}}, object_ref=id_of("tool", 1))], ["waits"]),
        ([thing("relationship", 1, relationship_type="uses", source_ref=id_of("tool", 1),
                target_ref=id_of("tool", 1)), thing("tool", 1, name="x")], ["goes", "goes"]),
        ([thing("sighting", 1, sighting_of_ref=id_of("note", 1)),
          thing("note", 1, content="x", object_refs=[id_of("tool", 1)])], ["goes", "waits"]),
        ([indicator(1, "[domain-name:value = 'a.example']"),
          indicator(1, "[domain-name:value = 'b.example']", modified="2026-01-02T00:00:00.000Z")],
         ["aside", "goes"]),
        ([indicator(1, "[domain-name:value = 'a.example']"),
          indicator(1, "[domain-name:value = 'a.example']", modified="2026-01-02T00:00:00.000Z")],
         ["goes", "goes"]),
        ([thing("relationship", 1, relationship_type="uses", source_ref=id_of("tool", 8), revoked=True,
                target_ref=id_of("tool", 9), modified="2026-01-02T00:00:00.000Z"),
          thing("relationship", 1, relationship_type="uses", source_ref=id_of("tool", 1),
                target_ref=id_of("tool", 1)), thing("tool", 1, name="x")], ["goes", "aside", "goes"]),
    ],
    ids=["of itself", "in a circle", "of markings only", "language content", "with itself", "of what waits",
         "two versions", "two versions of the same", "revoked"],
)  # fmt: skip
def test_what_becomes_of_it(objects: list[Any], expected: list[str]) -> None:
    assert outcomes(resolved(*objects)) == expected


def test_names() -> None:
    one, other = b"\1" * 16, b"\2" * 16
    assert (key_of(one), identity_of(one), name_of(one, one)) == (one, one, one)
    assert (key_of(name_of(one, other)), identity_of(name_of(one, other))) == (one, other)


def test_an_opinion_of_several_indicators_is_one_for_each() -> None:
    found = settled(
        resolved(
            indicator(1, "[domain-name:value = 'a.example' OR domain-name:value = 'b.example']"),
            thing("opinion", 1, opinion="agree", object_refs=[id_of("indicator", 1), id_of("tool", 1)]),
            thing("tool", 1, name="x"),
        )
    )
    opinions = [item for item in found if item.draft.type == "opinion"]
    tool = named_fingerprint(SECRET, "stix:tool", "name", "x").hex()
    assert [key_of(item.name) for item in opinions] == [host("a.example"), host("b.example")]
    assert len({identity_of(item.name) for item in opinions}) == 2
    assert [item.references for item in opinions] == [
        (("object_refs", host(name).hex()), ("object_refs", tool)) for name in ("a.example", "b.example")
    ]


def test_references_of_one_object_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "MAX_REFERENCES", 3)
    tools = [thing("tool", n, name=f"t{n}") for n in range(5)]
    report = thing("report", 1, name="x", published=AT, object_refs=[tool["id"] for tool in tools])
    [*_, last] = settled(resolved(*tools, report))
    assert len(last.references) == 3
    assert "references-left-out" in last.draft.notes[-1]


def test_hostile_references_take_no_time() -> None:
    """Very many objects that all refer to items of very many names."""
    many = " OR ".join(f"domain-name:value = 'h{n}.example'" for n in range(1_500))
    indicators = [indicator(n, f"[{many}]") for n in range(10)]
    refs = [each["id"] for each in indicators]
    notes = [thing("note", n, content="x", object_refs=refs) for n in range(5_000)]
    reports = [thing("report", n, name="x", published=AT, object_refs=refs) for n in range(300)]
    began = time.perf_counter()
    found = outcomes(resolved(*indicators, *notes, *reports))
    assert time.perf_counter() - began < 20
    assert (found.count("refused"), found.count("goes")) == (5_000, 10 * 1_500 + 300)


@pytest.mark.parametrize("revoked", [True, False])
def test_very_many_versions_take_no_time(revoked: bool) -> None:
    pattern = "[domain-name:value = 'withdrawn.invalid']"
    versions = [
        indicator(1, pattern, revoked=revoked, modified=f"2026-01-01T00:00:00.{n:06}Z") for n in range(20_000)
    ]
    began = time.perf_counter()
    found = outcomes(resolved(*versions))
    assert time.perf_counter() - began < 15
    assert found == (["aside"] * 19_000 + ["refused"] * 1_000 if revoked else ["goes"] * 20_000)


def test_very_many_ids_of_one_item_take_no_time() -> None:
    moved = [indicator(n, "[domain-name:value = 'b.example']", modified=DAY_2) for n in range(20_000)]
    before = {each["id"]: Alias((host("a.example"),), "indicator", AT_MS) for each in moved}
    others = {host("a.example"): [alias_of(SECRET, "alpha", id_) for id_ in before]}
    began = time.perf_counter()
    found = resolved(*moved, known=Known(aliases=before, others=others)).changes(())
    assert time.perf_counter() - began < 10
    assert (found.gone, found.moved) == ([Gone(host("a.example"), "indicator")], 20_000)


def test_pairs_of_a_submission_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "MAX_ITEMS", 20)
    many = " OR ".join(f"domain-name:value = 'h{n}.example'" for n in range(5))
    link = {"relationship_type": "related-to", "source_ref": id_of("indicator", 1)}
    with pytest.raises(BodyRefused, match="more than 20 items"):
        resolved(indicator(1, f"[{many}]"), thing("relationship", 1, **link, target_ref=id_of("indicator", 1)))


def test_an_alias_is_written_where_something_changed() -> None:
    body = indicator(1, "[domain-name:value = 'a.example']")
    alias = Alias((host("a.example"),), "indicator", AT_MS)
    assert resolved(body).changes(()).aliases == [(alias_of(SECRET, "alpha", body["id"]), alias)]
    assert resolved(body, known=Known(aliases={body["id"]: alias})).changes(()).aliases == []
    before = alias._replace(names=(host("b.example"),))
    found = resolved(body, known=Known(aliases={body["id"]: before})).changes(())
    assert [name for _, (name, *_) in found.aliases] == [(host("a.example"),)]
    assert found.gone == [Gone(host("b.example"), "indicator")]


def test_a_date_ahead_does_not_keep_later_versions_out() -> None:
    body = indicator(1, "[domain-name:value = 'a.example']", modified="2099-01-01T00:00:00.000Z")
    [(_, alias)] = resolved(body).changes(()).aliases
    assert alias.modified_ms == NOW_MS


# --- what joins items ---------------------------------------------------------------------------------------------

CERTIFICATE = "aa" * 20
EVENT = "5a3c6e0a-0000-4000-8000-000000000001"
X509 = "x509-certificate:hashes.'SHA-1'"
BOTH = [("certificate", CERTIFICATE)]


def misp(**event: Any) -> dict[str, Any]:
    return {"Event": {"info": "made up", **event}}


def test_attributes_of_an_event_belong_together() -> None:
    attribute = {"type": "domain", "value": "a.example"}
    key = named_fingerprint(SECRET, "event", "alpha", EVENT).hex()
    [with_id] = settled(read(misp(uuid=EVENT.upper(), Attribute=[attribute])))
    assert with_id.joins == (("report", key),)
    assert EVENT not in str(with_id.joins)
    [without] = settled(read(misp(Attribute=[attribute])))
    assert without.joins == ()


def test_what_stands_in_an_object_with_a_certificate_is_joined_by_it() -> None:
    shared = {"type": "x509-fingerprint-sha1", "value": "AA:" * 19 + "AA"}
    deleted = {"type": "x509-fingerprint-sha1", "value": "bb" * 20, "deleted": True}
    host_ = {"type": "ip-dst", "value": "192.0.2.1"}
    found = settled(read(misp(Attribute=[host_], Object=[{"Attribute": [host_, shared, deleted]}])))
    assert [list(item.joins) for item in found] == [[], BOTH, BOTH]


@pytest.mark.parametrize(
    ("pattern", "joins"),
    [
        (f"[{X509} = '{CERTIFICATE}' AND ipv4-addr:value = '192.0.2.1']", BOTH),
        (f"[{X509} = 'AA:{'aa:' * 18}AA' AND ipv4-addr:value = '192.0.2.1']", BOTH),
        (f"[{X509} = '{CERTIFICATE}'] AND [ipv4-addr:value = '192.0.2.1']", BOTH),
        (f"[{X509} = '{CERTIFICATE}']", []),
        (f"[{X509} = '{CERTIFICATE}'] FOLLOWEDBY [ipv4-addr:value = '192.0.2.1']", []),
        (f"[{X509} != '{CERTIFICATE}' AND ipv4-addr:value = '192.0.2.1']", []),
        (f"[file:name = 'x509-certificate:hashes.SHA1 = \\'{CERTIFICATE}\\'' AND file:size = 1]", []),
        (f"[file:name = ' AND ' AND {X509} = '{CERTIFICATE}']", BOTH),
        (f"[file:name LIKE ' AND ' OR {X509} = '{CERTIFICATE}']", []),
    ],
)  # fmt: skip
def test_a_pattern_with_a_certificate(pattern: str, joins: list[Any]) -> None:
    [item] = settled(resolved(indicator(1, pattern)))
    assert list(item.joins) == joins
