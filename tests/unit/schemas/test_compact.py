"""Compact documents: what is squeezed comes back as it was, and nothing else does."""

from __future__ import annotations

import hashlib
import zlib

import orjson
import pytest

from schemas.compact import DICTIONARY, MAX_DOCUMENT_BYTES, expand, squeeze
from schemas.known import Contribution, Held, Known, Sent


def document(**more: object) -> bytes:
    """One source's word on one domain, as the core would keep it."""
    at = "2026-03-29T12:58:43.400Z"
    contribution = Contribution(
        seq=70_123,
        index=17,
        object={
            "type": "indicator",
            "spec_version": "2.1",
            "id": "indicator--ce02123b-f44b-4ace-b659-1dc32c547e10",
            "created": at,
            "modified": at,
            "indicator_types": ["malicious-activity"],
            "pattern": "[domain-name:value = 'login.mail-check.example']",
            "pattern_type": "stix",
            "valid_from": at,
            **more,
        },
        created_ms=1_774_789_123_400,
        modified_ms=1_774_789_123_400,
        first_seen_ms=1_774_789_123_400,
        last_seen_ms=1_774_789_123_400,
        labels=("malicious-activity",),
        reached="3ff07fff03ff3e",
    )
    held = Held(
        to="3ff07fff03ff3e",
        content="fb5c86f0f30ffeb548741ec5",
        generation=0,
        created_ms=1_774_789_123_400,
        modified_ms=1_774_789_123_400,
        last_seen_ms=1_774_789_123_400,
    )
    known = Known(
        kind="domain",
        value="login.mail-check.example",
        type="indicator",
        counter=1,
        judged="1b746327a9b16e347db82333",
        contributions={"alder": contribution},
        sent=Sent(numbering="0a6f80f030b45b44", live=(held,)),
    )
    return orjson.dumps(known, default=vars)


@pytest.mark.parametrize(
    "given",
    [
        b"{}",
        b'{"a":1}',
        document(),
        document(description="seen in redirections of messages to journalists"),
        document(name="\u202eäöü \U0001f41d" * 500),
        b'{"x":"' + hashlib.sha512(b"x").hexdigest().encode() + b'"}',
        b"{" + b" " * (MAX_DOCUMENT_BYTES - 2) + b"}",
        b"{\xff\x00}",
    ],
    ids=lambda given: f"{len(given)}",
)
def test_a_document_comes_back_and_is_never_longer(given: bytes) -> None:
    squeezed = squeeze(given)
    assert len(squeezed) <= len(given)
    assert expand(squeezed) == given


def test_an_item_takes_a_third_of_its_json() -> None:
    given = document()
    assert len(squeeze(given)) < len(given) / 3


def test_the_dictionary_is_the_one_that_was_released() -> None:
    """Changed, nobody can read the state from before: add another one instead."""
    assert (
        hashlib.sha256(DICTIONARY).hexdigest() == "74aa06b1f240cc787c754f92470f293b7aaa1809f064e988871c095e52463530"
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "an object"),
        (b"[1]", "an object"),
        (b"\x01{}", "an object"),
        (b"{" + b" " * MAX_DOCUMENT_BYTES, "the most"),
    ],
)
def test_what_could_not_come_back_is_not_squeezed(given: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        squeeze(given)


def packed(document: bytes, dictionary: bytes = DICTIONARY) -> bytes:
    packer = zlib.compressobj(zdict=dictionary)
    return b"\x01" + packer.compress(document) + packer.flush()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "begins with nothing"),
        (b"\x00{}", "begins with 00"),
        (b"\x02" + packed(b"{}")[1:], "begins with 02"),
        (b"[]", "begins with 5b"),
        (b"\x01", "cut off"),
        (squeeze(document())[:-1], "cut off"),
        (squeeze(document()) + b"\x00", "something else"),
        (squeeze(document()) + squeeze(document()), "something else"),
        (b"\x01" + zlib.compress(b"{}")[:-1] + b"\x00", "damaged"),
        (b"\x01{}", "damaged"),
        (packed(document(), b"another dictionary"), "damaged"),
        (packed(b"{" + b" " * MAX_DOCUMENT_BYTES), "more than"),
        (packed(bytes(1 << 30)), "more than"),
        (b"{" + b" " * MAX_DOCUMENT_BYTES, "the most"),
    ],
    ids=range(14),
)
def test_what_is_damaged_or_too_large_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        expand(raw)


def test_a_single_bit_that_changed_is_noticed() -> None:
    """But for those that fill the last byte up, which mean nothing (7 at most), and the odd one by which a
    repetition is taken from an equal text elsewhere: with all of these the document is the same."""
    squeezed = squeeze(document())
    overlooked = 0
    for place in range(len(squeezed) * 8):
        changed = bytearray(squeezed)
        changed[place // 8] ^= 1 << place % 8
        try:
            assert expand(bytes(changed)) == document()
        except ValueError:
            continue
        overlooked += 1
    assert overlooked <= 7 + 1
