"""Everything that is said of one item, and what is protected."""

from __future__ import annotations

import time

import pytest

from schemas.fingerprint import Ioc, fingerprint
from services.enrich.assets import owners, protection
from services.enrich.context import Context, Place, look
from services.enrich.lookalikes import Name, protect
from services.enrich.warninglists import index, read_list
from tests.unit.enrich.made_up import data

SECRET = b"made up, and thirty-two bytes long"
PROTECTED = (
    Ioc("domain", "press.example"),
    Ioc("domain", "blog.shared.example"),
    Ioc("url", "https://social.example/@writer"),
    Ioc("email", "writer@mail.example"),
    Ioc("ipv4", "203.0.113.5"),
    Ioc("user-account", "writer"),
)
PROTECTS = protection(SECRET, frozenset(fingerprint(SECRET, ioc) for ioc in PROTECTED))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("domain", "press.example", True),
        ("domain", "www.a.press.example", True),
        ("domain", "xpress.example", False),
        ("domain", "example", False),
        ("url", "https://press.example/a?b", True),
        ("url", "http://user@www.press.example:8080/", True),
        ("email", "anyone@press.example", True),
        ("email", "anyone@mail.press.example", True),
        ("domain", "blog.shared.example", True),
        ("domain", "shared.example", False),
        ("url", "https://social.example/@writer", True),
        ("url", "https://social.example/@writer/", True),
        ("url", "https://social.example/@writer/posts/1?x=1", True),
        ("url", "https://social.example/@writers", False),
        ("url", "https://social.example/", False),
        ("email", "writer@mail.example", True),
        ("email", "other@mail.example", False),
        ("ipv4", "203.0.113.5", True),
        ("url", "https://203.0.113.5/x", True),
        ("ipv4", "203.0.113.6", False),
        ("user-account", "writer", True),
        ("file-name", "writer", False),
        ("domain", ".".join(["a"] * 100) + ".press.example", True),
    ],
)
def test_what_is_protected(kind: str, value: str, expected: bool) -> None:
    assert look(data(protects=PROTECTS), kind, value).protected is expected


def test_another_secret_protects_nothing() -> None:
    hashes = frozenset(fingerprint(SECRET, ioc) for ioc in PROTECTED)
    assert not protection(b"another" * 8, hashes)(Ioc("domain", "press.example"))


def test_owners_of_a_hostile_url_are_few() -> None:
    assert len(list(owners(Ioc("url", f"https://{'a.' * 126}example/{'b/' * 1000}")))) < 40


def place(address: str) -> Place:
    return {"203.0.113.7": Place("XA", 64496, "Made-up Net"), "2001:db8::1": Place("XB")}.get(address, Place())


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("ipv4", "203.0.113.7", ("XA", 64496, "Made-up Net")),
        ("ipv6", "2001:db8::1", ("XB", None, "")),
        ("url", "https://203.0.113.7:8443/a", ("XA", 64496, "Made-up Net")),
        ("url", "https://[2001:db8::1]:8443/a", ("XB", None, "")),
        ("cidr", "203.0.113.7/32", ("XA", 64496, "Made-up Net")),
        ("ipv4", "203.0.113.8", ("", None, "")),
        ("domain", "lure.example", ("", None, "")),
        ("asn", "64500", ("", 64500, "")),
        ("asn", "AS64500", ("", 64500, "")),
    ],
)
def test_where_an_address_is(kind: str, value: str, expected: tuple[str, int | None, str]) -> None:
    found = look(data(locate=place), kind, value)
    assert (found.country, found.asn, found.as_name) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("ipv4", "no address"),
        ("cidr", "203.0.113.0/99"),
        ("url", "nonsense"),
        ("url", "https://[oops/"),
        ("url", "mailto:a@b.example"),
        ("email", "nobody"),
        ("asn", "²"),
        ("domain", "..."),
        ("domain", "xn--.xn--a.example"),
        ("complex", "[" * 5000),
        ("other:x:y", "\ud800"),
        ("domain", "a." * 32_000 + "example"),
        ("url", f"https://{'a.' * 32_000}example/"),
    ],
)
def test_of_what_is_malformed_nothing_is_said(kind: str, value: str) -> None:
    found = look(data(locate=place), kind, value)
    assert found._replace(registrable_domain="") == Context()


@pytest.mark.parametrize(
    ("kind", "value", "do_not_block", "warnings"),
    [
        ("domain", "lantern.example", True, 1),
        ("domain", "www.lantern.example", True, 1),
        ("url", "https://www.lantern.example/", True, 1),
        ("url", "https://www.lantern.example/page", False, 1),
        ("email", "a@lantern.example", False, 0),
        ("domain", "lantern.test", False, 0),
    ],
)
def test_a_protected_name_itself_must_not_be_blocked(
    kind: str, value: str, do_not_block: bool, warnings: int
) -> None:
    names = protect([Name("lantern", "lantern.example", False)], {})
    found = look(data(protected=names), kind, value)
    assert (found.do_not_block, len(found.warnings)) == (do_not_block, warnings)


def test_what_is_known_as_benign_has_no_lookalikes() -> None:
    names = protect([Name("lantern", "lantern.example", False)], {})
    listed = {"name": "known good", "type": "string", "list": ["lantern.test"]}
    assert look(data(protected=names), "domain", "lantern.test").lookalikes
    warnings, _ = index([read_list(listed, "x.json")])
    assert not look(data(protected=names, warnings=warnings), "domain", "lantern.test").lookalikes


@pytest.mark.parametrize(
    "value",
    ["a." * 32_000 + "example", "-".join(["lantern"] * 9_000), ".".join(["xn--" + "a" * 59] * 900), "a" * 65_000],
)
@pytest.mark.parametrize("kind", ["domain", "url", "email", "ipv4", "asn", "file-path"])
def test_a_hostile_value_costs_no_more_than_its_length(kind: str, value: str) -> None:
    shaped = {"url": f"https://{value}/", "email": f"a@{value}"}.get(kind, value)
    names = protect([Name("lantern", "lantern.example", False)], {})
    started = time.perf_counter()
    look(data(protected=names, protects=PROTECTS, locate=place), kind, shaped)
    assert time.perf_counter() - started < 0.1
