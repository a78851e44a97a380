"""MISP warning lists: reading, what each type matches, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import Misconfigured
from services.enrich.context import look
from services.enrich.kinds import kind_of
from services.enrich.warninglists import index, read_list
from tests.unit.enrich.made_up import data


def a_list(type_: str, entries: list[str], **more: Any) -> dict[str, Any]:
    return {"name": f"made-up {type_}", "type": type_, "version": 1, "list": entries, **more}


def names(lists: list[dict[str, Any]], kind: str, value: str) -> list[str]:
    found, _ = index(read_list(each, "x.json") for each in lists)
    return [each.list for each in look(data(warnings=found), kind, value).warnings]


STRING = a_list("string", ["Lure.example", "198.51.100.7", "AB" * 16, ".below.example"])
HOSTNAME = a_list("hostname", [".host.example", "a.b.example"])
SUBSTRING = a_list("substring", ["part.example", "odd/path", "abc"])
CIDR = a_list("cidr", ["198.51.100.0/24", "198.51.100.128/25", "203.0.113.9", "2001:db8:1::/48"])
REGEX = a_list("regex", [r"/^press@[a-z]+\.example$/i"])
ALL = [STRING, HOSTNAME, SUBSTRING, CIDR, REGEX]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("domain", "lure.example", ["string"]),
        ("domain", "www.lure.example", []),
        ("url", "https://lure.example/a", ["string"]),
        ("md5", "ab" * 16, ["string"]),
        ("domain", "a.below.example", ["string"]),
        ("domain", "host.example", ["hostname"]),
        ("domain", "x.y.host.example", ["hostname"]),
        ("domain", "ghost.example", []),
        ("domain", "b.example", []),
        ("email", "a@x.host.example", ["hostname"]),
        ("url", "http://user@x.host.example:81/?q", ["hostname"]),
        ("domain", "x.part.example", ["substring"]),
        ("domain", "apart.example", []),  # MISP would match it
        ("url", "https://x.example/odd/path/1", ["substring"]),
        ("file-name", "abc", []),  # too short a substring
        ("ipv4", "198.51.100.7", ["cidr", "string"]),
        ("ipv4", "198.51.99.255", []),
        ("ipv4", "198.51.101.0", []),
        ("ipv4", "203.0.113.9", ["cidr"]),
        ("ipv4", "203.0.113.10", []),
        ("ipv6", "2001:db8:1::5", ["cidr"]),
        ("ipv6", "2001:db8:2::5", []),
        ("ipv6", "::c633:6407", []),  # the same number as an IPv4 address
        ("cidr", "198.51.100.64/26", ["cidr"]),
        ("cidr", "198.51.0.0/16", []),
        ("url", "https://198.51.100.9/a", ["cidr"]),
        ("url", "https://[2001:db8:1::9]:8443/a", ["cidr"]),
        ("email", "PRESS@lantern.example", ["regex"]),
        ("email", "xpress@lantern.example", []),
        ("sha256", "cd" * 32, []),
        ("complex", "[a:b = 'c']", []),
    ],
)
def test_what_each_type_matches(kind: str, value: str, expected: list[str]) -> None:
    assert names(ALL, kind, value) == [f"made-up {type_}" for type_ in expected]


@pytest.mark.parametrize(
    ("attributes", "kind", "expected"),
    [
        (["domain", "hostname"], "domain", True),
        (["domain"], "url", False),
        (["url"], "url", True),
        (["email-src"], "domain", False),
        (["email-src"], "email", True),
        (["md5"], "domain", False),
        ([], "url", True),
    ],
)
def test_a_list_is_for_the_attributes_that_it_names(attributes: list[str], kind: str, expected: bool) -> None:
    value = {"domain": "x.example", "url": "https://x.example/", "email": "a@x.example"}[kind]
    assert bool(names([a_list("hostname", ["x.example"], matching_attributes=attributes)], kind, value)) is expected


@pytest.mark.parametrize(
    ("name", "category", "expected"),
    [
        ("List of known sinkholes", "", "sinkhole"),
        ("List of known dynamic DNS domains", "", "dynamic-dns"),
        ("List of known Cloudflare IP ranges", "False positive", "shared-hosting"),
        ("Something new", "False positive", "benign"),
        ("Something new", "Known identifier", "known"),
        ("Something new", "", "known"),
    ],
)
def test_what_a_list_means(name: str, category: str, expected: str) -> None:
    assert kind_of(name, category) == expected


@pytest.mark.parametrize(
    ("name", "kind", "value", "expected"),
    [
        ("known good", "domain", "x.example", True),
        ("known good", "domain", "www.x.example", True),
        ("known good", "url", "https://x.example/", True),
        ("known good", "url", "https://x.example/page", False),  # a page can be blocked as a page
        ("dynamic dns", "domain", "x.example", False),
        ("url shortener", "domain", "x.example", True),
        ("ipfs gateway", "domain", "x.example", True),
        ("ipfs gateway", "domain", "somebody.x.example", False),  # somebody else's
        ("sinkhole", "domain", "x.example", False),
        ("something new", "domain", "x.example", False),
    ],
)
def test_what_must_not_be_blocked(name: str, kind: str, value: str, expected: bool) -> None:
    found, _ = index([read_list({**a_list("hostname", ["x.example"]), "name": name}, "x.json")])
    assert look(data(warnings=found), kind, value).do_not_block is expected


@pytest.mark.parametrize(
    "entry",
    [
        *("(a+)+$", "(a|aa)*b", r"(.)\1", "(?=a)b", ".*a.*", "a{2,}b{2,}", "(", "a**"),
        *("^" + "[a-z]?" * 24 + "[a-z]{24}!", "a?a{3}", "a{0}b?", "a{,3}b?", "(a|b)c?", "(a|a)" * 24 + "!"),
    ],
)
def test_what_may_backtrack_is_left_out_with_its_reason(entry: str) -> None:
    found, left_out = index([read_list(a_list("regex", [entry]), "x.json")])
    assert found.patterns == ()
    assert left_out[0].what == "1 of made-up regex" and left_out[0].reason


@pytest.mark.parametrize(
    "entry", ["^a+$", r"^a\?b\+c{2}$", "[?*+]x{1,3}", "^(a|b)$", "a|b|c", "^(press)@x?$", "a*?"]
)
def test_what_chooses_once_is_taken(entry: str) -> None:
    found, left_out = index([read_list(a_list("regex", [entry]), "x.json")])
    assert len(found.patterns) == 1 and left_out == ()


def test_a_list_that_says_nothing_is_left_out_by_name() -> None:
    found, left_out = index([read_list({**a_list("string", ["example"]), "name": "TLDs as known by IANA"}, "x")])
    assert found.lists == () and "suffix" in left_out[0].reason


def test_the_later_of_two_lists_of_one_name_counts() -> None:
    pair = [a_list("string", ["old.example"]), a_list("string", ["new.example"])]
    assert names(pair, "domain", "old.example") == []
    assert names(pair, "domain", "new.example") == ["made-up string"]


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ([], "(document)"),
        ({"type": "string", "list": []}, "name"),
        (a_list("bloom", []), "type"),
        ({**a_list("string", []), "list": {}}, "list"),
        (a_list("string", ["a", ""]), "list/1"),
        ({**a_list("string", []), "list": [1]}, "list/0"),
        (a_list("cidr", ["198.51.100.0/33"]), "list/0"),
        (a_list("string", [], matching_attributes="url"), "matching_attributes"),
    ],
)
def test_a_wrong_list_is_refused_with_its_key(document: Any, key: str) -> None:
    with pytest.raises(Misconfigured, match=r"x\.json") as caught:
        read_list(document, "x.json")
    assert caught.value.what.startswith(f"{key}: ") and caught.value.hint
