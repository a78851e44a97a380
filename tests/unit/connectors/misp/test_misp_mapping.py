"""Attributes and events of MISP: to the last byte, in PyMISP, and read again by another hub."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pymisp import MISPEvent

from connectors.misp.mapping import FORMATS, attribute, day, event, event_uuid
from schemas.feed import FeedRow
from schemas.fingerprint import Ioc
from schemas.markings import Pap, Tlp
from services.accept.formats import read
from tests.fakes import NOW_MS, source_agreement
from tests.unit.connectors.rows import HEAD, indicator, other, stix_id, tombstone, written

MISP = FORMATS["misp"]
KINDS: dict[str, tuple[str, str, str]] = {
    "domain": ("evil.example", "domain", "evil.example"),
    "ipv4": ("203.0.113.7", "ip-dst", "203.0.113.7"),
    "ipv6": ("2001:db8::1", "ip-dst", "2001:db8::1"),
    "cidr": ("198.51.100.0/24", "ip-dst", "198.51.100.0/24"),
    "url": ("https://evil.example/a", "url", "https://evil.example/a"),
    "asn": ("64500", "AS", "64500"),
    "email": ("a@evil.example", "email", "a@evil.example"),
    "email-subject": ("Look at this", "email-subject", "Look at this"),
    "md5": ("a" * 32, "md5", "a" * 32),
    "sha1": ("b" * 40, "sha1", "b" * 40),
    "sha256": ("c" * 64, "sha256", "c" * 64),
    "sha512": ("d" * 128, "sha512", "d" * 128),
    "cert-md5": ("a" * 32, "x509-fingerprint-md5", "a" * 32),
    "cert-sha1": ("e" * 40, "x509-fingerprint-sha1", "e" * 40),
    "cert-sha256": ("f" * 64, "x509-fingerprint-sha256", "f" * 64),
    "cert-sha512": ("f" * 128, "stix2-pattern", f"[x509-certificate:hashes.'SHA-512' = '{'f' * 128}']"),
    "file-name": ("evil.apk", "filename", "evil.apk"),
    "file-path": ("/tmp/evil", "filename", "/tmp/evil"),
    "registry-key": ("hkey_local_machine\\x", "regkey", "hkey_local_machine\\x"),
    "app-id": ("com.evil", "mobile-application-id", "com.evil"),
    "phone-number": ("+88312345678", "phone-number", "+88312345678"),
    "ja3": ("a" * 32, "ja3-fingerprint-md5", "a" * 32),
    "ja4": (
        "t13d1516h2_8daaf6152771_e5627efa2ab1",
        "stix2-pattern",
        "[network-traffic:extensions.'tls-ext'.ja4 = 't13d1516h2_8daaf6152771_e5627efa2ab1']",
    ),
    "mac": ("00:00:5e:00:53:01", "mac-address", "00:00:5e:00:53:01"),
    "social-account": ("github/evil", "github-username", "evil"),
    "crypto-address": ("btc/1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "btc", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"),
    "process-name": ("bh", "stix2-pattern", "[process:name = 'bh']"),
    "pattern:yara": ("rule x { condition: true }", "yara", "rule x { condition: true }"),
    "pattern:sigma": ("title: x", "sigma", "title: x"),
    "pattern:snort": ("alert tcp any any", "snort", "alert tcp any any"),
    "pattern:suricata": ("alert ip any any", "suricata", "alert ip any any"),
    "pattern:eql": ("process where true", "other", "process where true"),
}
MORE_ACCOUNTS = [
    ("twitter/evil", "twitter-id", "evil"),
    ("telegram/evil", "stix2-pattern", indicator("telegram/evil", "social-account")),
    ("xmpp/a@evil.example", "jabber-id", "a@evil.example"),
]
NOT_READ_AGAIN = {"asn", "email-subject"}
"""Kinds that the door does not take from MISP's own types."""


def loaded(*rows: FeedRow) -> MISPEvent:
    [found] = orjson.loads(written(MISP, rows))["response"]
    made = MISPEvent(strict_validation=True)
    made.load(found)
    return made


def test_to_the_last_byte() -> None:
    row = indicator(
        "evil.example", tlp=Tlp.AMBER_STRICT, body={"name": "Fake login"}, enrichment={"families": ['A "B"']}
    )
    attributes = (
        b'{"uuid":"%b","type":"domain","category":"Network activity","value":"evil.example","to_ids":true,'
        b'"comment":"Fake login","timestamp":"1793577600","deleted":false,"disable_correlation":false,'
        b'"first_seen":"2026-10-01T00:00:00.000Z","last_seen":"2026-11-01T00:00:00.000Z",'
        b'"Tag":[{"name":"tlp:amber+strict"},{"name":"PAP:GREEN"},{"name":"tocsin:category=\\"phishing\\""},'
        b'{"name":"tocsin:family=\\"A \'B\'\\""}]},\n'
        b'{"uuid":"%b","type":"comment","category":"Other","value":"withdrawn %b","to_ids":false,"comment":"",'
        b'"timestamp":"1793577601","deleted":true,"disable_correlation":true,"Tag":[]}'
    ) % (
        row.stix_id[11:].encode(),
        stix_id("gone.example")[11:].encode(),
        stix_id("gone.example")[11:].encode(),
    )
    start = (
        b'{"response":[{"Event":{"uuid":"%b","info":"Tocsin","date":"2026-11-18","threat_level_id":"4",'
        b'"analysis":"2","distribution":"0","published":true,"timestamp":"1795000000",'
        b'"publish_timestamp":"1795000000","extends_uuid":"","Orgc":{"name":"Tocsin",'
        b'"uuid":"b4bb0ea4-6b60-5ae2-9b4e-8f3bb2a1a4d6"},"Tag":[],"Attribute":[\n'
    ) % event_uuid("meadow", "").encode()
    rows = [row, other("malware", "m", name="m"), tombstone("gone.example")]
    assert written(MISP, rows) == start + attributes + b"\n]}}]}\n"
    assert written(MISP, rows[1:2], rows[:1], rows[1:2], [], rows[2:]) == written(MISP, rows)
    assert written(MISP, []) == start + b"\n]}}]}\n"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str) -> None:
    value, type_, shown = KINDS[kind]
    [found] = loaded(indicator(value, kind)).attributes
    assert (found.type, found.value) == (type_, shown)


@pytest.mark.parametrize("kind", KINDS)
def test_misp_has_the_type_in_the_category(kind: str) -> None:
    made = attribute(indicator(KINDS[kind][0], kind))
    assert made is not None
    describes: Any = MISPEvent().describe_types
    assert made["type"] in describes["category_type_mappings"][made["category"]]


@pytest.mark.parametrize(("value", "type_", "shown"), MORE_ACCOUNTS)
def test_accounts(value: str, type_: str, shown: str | FeedRow) -> None:
    made = attribute(indicator(value, "social-account"))
    pattern = orjson.loads(shown.body)["pattern"] if isinstance(shown, FeedRow) else shown
    assert made is not None and (made["type"], made["value"]) == (type_, pattern)


def test_a_long_mac_address() -> None:
    made = attribute(indicator("00:00:5e:ef:10:00:00:00", "mac"))
    assert made is not None and made["type"] == "mac-eui-64"


@pytest.mark.parametrize("kind", [k for k, (_, t, _) in KINDS.items() if t not in ("stix2-pattern", "other")])
def test_another_hub_reads_the_same(kind: str) -> None:
    value = KINDS[kind][0]
    content = written(MISP, [indicator(value, kind, tlp=Tlp.AMBER)])
    reading = read(content, "application/json", "feed.json", source_agreement(), NOW_MS, 1 << 20)
    assert not reading.refusals
    if kind in NOT_READ_AGAIN or kind.startswith("pattern:"):
        return
    [draft] = reading.drafts
    assert Ioc(draft.kind, draft.value) == Ioc(kind, value)
    assert "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421" in draft.markings  # and not by distribution
    assert draft.object["id"] == stix_id(value)


TO_IDS = [
    (indicator("a.example"), True),
    (indicator("a.example", pap=None), False),
    (indicator("a.example", pap=Pap.AMBER), False),
    (indicator("a.example", enrichment={"do_not_block": True}), False),
    (indicator("a.example", purposes=["detect"]), False),
]


@pytest.mark.parametrize(("row", "to_ids"), TO_IDS)
def test_machines_are_asked_to_act_only_where_that_is_permitted(row: FeedRow, to_ids: bool) -> None:
    [found] = loaded(row).attributes
    assert found.to_ids is to_ids


def test_a_withdrawal_overtakes_what_it_withdraws() -> None:
    live, gone = indicator("a.example"), tombstone("a.example", modified="2026-11-02T00:00:00.001Z")
    before, after = attribute(live), attribute(gone)
    assert before is not None and after is not None and before["uuid"] == after["uuid"]
    assert int(after["timestamp"]) > int(before["timestamp"]) and after["deleted"] is True
    assert day(live) == day(gone) == "2026-11-01"
    assert "a.example" not in orjson.dumps(after).decode()


def test_events_keep_their_uuids() -> None:
    assert event_uuid("meadow", "2026-11-01") == "df666077-eb11-5ead-a43e-923e878e2f55"
    uuids = {event_uuid(partner, name) for partner in ("meadow", "horizon") for name in ("", "2026-11-01")}
    assert len(uuids) == 4
    assert event("meadow", "2026-11-01", "2026-11-01", 7, Tlp.RED)["Tag"] == [{"name": "tlp:red"}]


def test_an_empty_feed_is_an_event_without_attributes() -> None:
    assert loaded().attributes == [] and loaded().uuid == event_uuid(HEAD.partner, "")


def test_deleted_ones_are_deleted_in_pymisp() -> None:
    found = loaded(indicator("a.example"), tombstone("b.example"))
    assert [a.deleted for a in found.attributes] == [False, True]


def test_text_is_bounded() -> None:
    made = attribute(indicator("a.example", body={"name": "x" * 5_000, "description": "y"}))
    assert made is not None and len(made["comment"]) == 2_000


def test_what_it_may_be_used_for_is_said_where_that_is_limited() -> None:
    def purposes(row: FeedRow) -> list[str]:
        return [tag["name"] for tag in (attribute(row) or {})["Tag"] if "purpose" in tag["name"]]

    assert purposes(indicator("a.example")) == []
    limited = indicator("a.example", purposes=["respond", "assist"])
    assert purposes(limited) == ['tocsin:purpose="assist"', 'tocsin:purpose="respond"']
