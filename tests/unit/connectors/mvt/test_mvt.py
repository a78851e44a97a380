"""The file for the Mobile Verification Toolkit, to the last byte and in the toolkit itself."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mvt.common.indicators import Indicators

from connectors.base import Tools
from connectors.http import Http
from connectors.mvt import MANIFEST
from connectors.mvt.mapping import FORMATS, PATHS, pattern
from schemas.feed import FeedRow
from schemas.markings import Pap
from schemas.patterns import parse
from tests.unit.connectors.rows import FEED_ID, HEAD, indicator, other, paged, stix_id, tombstone, written

MVT = FORMATS["mvt"]
SAMPLES = {
    "domain": ("evil.example", "domains"),
    "ipv4": ("203.0.113.7", "domains"),
    "url": ("https://evil.example/lure", "urls"),
    "email": ("someone@evil.example", "emails"),
    "process-name": ("bh", "processes"),
    "file-name": ("roleaboutd.plist", "file_names"),
    "file-path": ("/private/var/db/com.apple.xpc.roleaccountd", "file_paths"),
    "md5": ("a" * 32, "files_md5"),
    "sha1": ("b" * 40, "files_sha1"),
    "sha256": ("c" * 64, "files_sha256"),
    "cert-md5": ("d" * 32, "app_cert_hashes"),
    "cert-sha1": ("e" * 40, "app_cert_hashes"),
    "cert-sha256": ("f" * 64, "app_cert_hashes"),
    "app-id": ("com.network.android", "app_ids"),
    "ios-profile-id": ("com.evil.profile", "ios_profile_ids"),
    "android-property": ("persist.evil", "android_property_names"),
}
LISTS = frozenset(name for _, name in SAMPLES.values())


def loaded(content: bytes, folder: Path) -> dict[str, dict[str, list[str]]]:
    """What MVT has of a file: by the collection's name, the lists that are not empty."""
    file = folder / "feed.stix2"
    file.write_bytes(content)
    indicators = Indicators()
    indicators.parse_stix2(str(file))
    return {
        found["name"]: {name: found[name] for name in sorted(LISTS) if found[name]}
        for found in indicators.ioc_collections
    }


def values(found: dict[str, dict[str, list[str]]]) -> set[str]:
    return {value for lists in found.values() for entries in lists.values() for value in entries}


def test_to_the_last_byte() -> None:
    row = indicator("evil.example")
    name = stix_id("evil.example").encode()
    assert written(MVT, [row]) == (
        b'{"type":"bundle","id":"bundle--%b","objects":[\n'
        b'{"type":"identity","spec_version":"2.1","id":"identity--b4bb0ea4-6b60-5ae2-9b4e-8f3bb2a1a4d6",'
        b'"created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","name":"Tocsin",'
        b'"identity_class":"system"},\n'
        b'{"type":"indicator","spec_version":"2.1","id":"%b","created":"2026-11-01T00:00:00.000Z",'
        b'"modified":"2026-11-02T00:00:00.000Z","pattern":"[domain-name:value=\'evil.example\']",'
        b'"pattern_type":"stix","valid_from":"2026-11-01T00:00:00.000Z","object_marking_refs":['
        b'"marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",'
        b'"marking-definition--66ee1b7d-0097-4e5d-a561-22ee53b9c77f"]}\n]}\n' % (FEED_ID.encode(), name)
    )
    assert orjson.loads(written(MVT, [], []))["objects"][0]["type"] == "identity"


def test_every_kind_has_a_sample() -> None:
    assert SAMPLES.keys() == PATHS.keys()


@pytest.mark.parametrize("kind", PATHS)
def test_every_kind_is_counted(kind: str, tmp_path: Path) -> None:
    value, name = SAMPLES[kind]
    assert loaded(written(MVT, [indicator(value, kind)]), tmp_path) == {"Default collection": {name: [value]}}


@pytest.mark.parametrize("kind", PATHS)
def test_another_hub_reads_the_same(kind: str) -> None:
    [ioc] = parse(pattern(indicator(SAMPLES[kind][0], kind)) or "").iocs
    assert ioc == (kind, SAMPLES[kind][0])


def everything() -> list[FeedRow]:
    return [indicator(value, kind) for kind, (value, _) in SAMPLES.items()]


def relationship(source: str, target: str, kind: str = "indicates") -> FeedRow:
    ends = {"source_ref": stix_id(source), "target_ref": stix_id(target, "malware")}
    return other("relationship", source + target, relationship_type=kind, **ends)


def test_all_at_once_and_what_they_indicate(tmp_path: Path) -> None:
    rows = [
        relationship("evil.example", "Lynx"),
        *everything(),
        other("malware", "Lynx", name="Lynx", is_family=True),
        other("malware", "nameless", is_family=True),
        other("report", "all", name="All of it", object_refs=[stix_id("evil.example")]),
    ]
    found = loaded(written(MVT, rows[:3], rows[3:]), tmp_path)
    assert found["Lynx"] == {"domains": ["evil.example"]}
    assert values(found) == {value for value, _ in SAMPLES.values()} and found.keys() == {
        "Lynx",
        "Default collection",
    }


LEFT_OUT: dict[str, FeedRow] = {
    "two equals signs": indicator("https://evil.example/?a=1", "url"),
    "a quote": indicator("it's", "file-name"),
    "a backslash": indicator("C:\\evil", "file-path"),
    "the root": indicator("//", "file-path"),
    "a blank at its end": indicator("x.example")._replace(kind="app-id", value="com.x "),
    "a line's end": indicator("x.example")._replace(kind="app-id", value="com.x\ncom.y"),
    "nothing": indicator("x.example")._replace(value=""),
    "a kind that it does not know": indicator("2001:db8::1", "ipv6"),
    "a pattern": indicator("x.example")._replace(kind="complex", value="[a:b = '1' AND a:c = '2']"),
    "a rule": indicator("rule x {}", "pattern:yara"),
    "withdrawn": tombstone("evil.example", kind="domain", value="evil.example"),
    "expired": indicator("evil.example", active_until="2026-11-18T11:06:40.000Z"),
    "not for detection": indicator("evil.example", purposes=["protect"]),
    "withdrawn malware": tombstone("Lynx", "malware"),
    "a relationship of another sort": other(
        "relationship", "r", relationship_type="uses", source_ref="malware--x", target_ref="tool--y"
    ),
}


@pytest.mark.parametrize("row", LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_what_is_left_out(row: FeedRow, tmp_path: Path) -> None:
    assert values(loaded(written(MVT, [row, indicator("next.example")]), tmp_path)) == {"next.example"}


@pytest.mark.parametrize("pap", [*Pap, None])
def test_every_pap_permits_to_look_at_a_copy(pap: Pap | None, tmp_path: Path) -> None:
    assert values(loaded(written(MVT, [indicator("a.example", pap=pap)]), tmp_path)) == {"a.example"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(PATHS)), st.text(string.printable, max_size=12)), max_size=6))
def test_nothing_makes_it_fail_or_misread(
    tmp_path_factory: pytest.TempPathFactory, given_: list[tuple[str, str]]
) -> None:
    rows = [indicator("x.example")._replace(kind=kind, value=value) for kind, value in given_]
    found = values(loaded(written(MVT, rows), tmp_path_factory.getbasetemp()))
    lower = {"domain", "email"}
    assert found <= {value.lower() if kind in lower else value for kind, value in given_}


async def test_it_is_published(tmp_path: Path) -> None:
    assert MANIFEST.publish
    settings_: Any = MANIFEST.settings.model_validate({"folder": tmp_path})
    publisher = await MANIFEST.publish(settings_, Tools(Http(()), lambda _: b"", lambda: 0, "meadow"))
    await publisher.publish(HEAD, paged([everything()]))
    await publisher.close()
    assert (tmp_path / "tocsin.stix2").read_bytes() == written(MVT, everything())
