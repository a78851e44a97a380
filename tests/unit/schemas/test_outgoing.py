"""Outgoing ids are UUIDs of version 5, and the same for ever."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outgoing import outgoing_id

NAMESPACE = UUID("3f1f3d0c-6b0e-5d0b-9c53-2f6f0f7f5a10")


@given(st.binary(min_size=16, max_size=16), st.integers(0, 10**6))
def test_an_id_is_the_uuid_of_fingerprint_and_generation(fingerprint: bytes, generation: int) -> None:
    expected = uuid5(NAMESPACE, f"{fingerprint.hex()}/{generation}")
    assert outgoing_id("indicator", fingerprint, generation) == f"indicator--{expected}"


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        (0, "malware--f3a7c10b-e6fa-5d86-a382-120fa2a476d1"),
        (1, "malware--772d683d-5436-5f7f-95e2-41f65880e034"),
    ],
)
def test_ids_that_were_given_out_stay(generation: int, expected: str) -> None:
    assert outgoing_id("malware", bytes(16), generation) == expected
