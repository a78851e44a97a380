"""Databases of addresses: what they say, and that a damaged one neither answers wrongly nor ends the process."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from schemas.errors import Misconfigured
from services.enrich.context import NOWHERE, Place
from services.enrich.places import locator, read_database

ADDRESSES = ("203.0.113.7", "2001:db8::7", "198.51.100.7")
ASN = {"autonomous_system_number": 64496, "country": {"iso_code": "XA"}}


def database(folder: Path, value: dict[str, Any], version: int = 6) -> bytes:
    file = folder / "made-up.mmdb"
    writer = MMDBWriter(version, "Made-up", ipv4_compatible=version == 6)
    writer.insert_network(IPSet(["203.0.113.0/24", *(["2001:db8::/32"] if version == 6 else [])]), value)
    writer.to_db_file(str(file))
    return file.read_bytes()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ASN, Place("XA", 64496)),
        ({"asn": "AS64496", "as_name": "Made-up", "country_code": "XA"}, Place("XA", 64496, "Made-up")),
        ({"registered_country": {"iso_code": "XA"}}, Place("XA")),
        ({"country": "Somewhere", "asn": 2**32}, NOWHERE),
        ({"country": {"name": "Somewhere"}, "asn": "one"}, NOWHERE),
    ],
)
def test_fields_of_several_makers(tmp_path: Path, value: dict[str, Any], expected: Place) -> None:
    locate = locator([read_database(database(tmp_path, value), "x.mmdb")])
    assert [locate(each) for each in ADDRESSES] == [expected, expected, NOWHERE]


def test_a_database_of_ipv4_does_not_know_ipv6(tmp_path: Path) -> None:
    locate = locator([read_database(database(tmp_path, ASN, version=4), "x.mmdb")])
    assert [locate(each).asn for each in ADDRESSES] == [64496, None, None]


def test_a_damaged_database_is_refused_or_gives_no_place(tmp_path: Path) -> None:
    whole = database(tmp_path, ASN)
    dice = random.Random(3)
    begin = whole.rindex(b"\xab\xcd\xefMaxMind.com") - 60
    refused = 0
    for number in range(1_500):
        data = bytearray(whole)
        data[dice.randrange(begin if number % 2 else 0, len(data))] = dice.randrange(256)
        try:
            locate = locator([read_database(bytes(data[: dice.choice((None, None, -40))]), "x.mmdb")])
        except Misconfigured as problem:
            refused += 1
            assert problem.where == "x.mmdb" and problem.hint and problem.what
        else:
            for address in ADDRESSES:
                locate(address)
    assert 100 < refused < 1_400


@pytest.mark.parametrize("at", [0, 3, 6 * 90])
def test_a_tree_that_leads_nowhere_is_refused(tmp_path: Path, at: int) -> None:
    data = bytearray(database(tmp_path, ASN))
    data[at : at + 3] = b"\xff\xff\xff"
    with pytest.raises(Misconfigured):
        read_database(bytes(data), "x.mmdb")


def test_a_record_that_is_dear_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="characters"):
        read_database(database(tmp_path, {"names": [{"n": "x" * 50}] * 1_000}), "x.mmdb")
