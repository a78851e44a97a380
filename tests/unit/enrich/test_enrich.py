"""Enrichment: tables of what goes in and what comes out."""

from __future__ import annotations

import pytest

from services.enrich.category import category
from services.enrich.domain import registrable_domain, suffix_list

SUFFIXES = suffix_list()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("domain", "login.mail.lure.example", "lure.example"),
        ("domain", "a.b.lure.co.uk", "lure.co.uk"),
        ("domain", "co.uk", ""),
        ("domain", "someone.github.io", "someone.github.io"),
        ("domain", "localhost", ""),
        ("url", "https://user@www.lure.example:8443/a?b=@c.example/", "lure.example"),
        ("url", "https://203.0.113.7/a", ""),
        ("url", "https://[2001:db8::1]/a", ""),
        ("email", "press@mail.lure.example", "lure.example"),
        ("ipv4", "203.0.113.7", ""),
        ("sha256", "ab" * 32, ""),
    ],
)
def test_registrable_domain(kind: str, value: str, expected: str) -> None:
    assert registrable_domain(SUFFIXES, kind, value) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], ""),
        (["malicious-activity"], ""),
        (["phishing"], "phishing"),
        (['rsit:fraud="phishing"'], "phishing"),
        (['circl:incident-classification="denial-of-service"'], "ddos"),
        (["phishing", "spyware"], "spyware"),
        (["SPYWARE"], "spyware"),
        (["antispyware"], ""),
        (["Remote Access Trojan"], "intrusion"),
    ],
)
def test_category(labels: list[str], expected: str) -> None:
    assert category(labels) == expected
