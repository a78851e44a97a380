"""To where contents may be sent."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from connectors.addresses import EncryptedUrl

read = TypeAdapter(EncryptedUrl).validate_python


@pytest.mark.parametrize(
    "url",
    [
        "https://horizon.example/hook?key=1",
        "https://10.0.0.1:8443/",
        "http://127.0.0.1:9000/hook",
        "http://[::1]/hook",
        "http://localhost/hook",
    ],
)
def test_what_can_not_be_read_on_its_way_is_taken(url: str) -> None:
    assert read(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://horizon.example/hook",
        "http://10.0.0.1/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "https://user:secret@horizon.example/",
        "https://horizon.example/#part",
        "https://",
        "https://horizon.example:99999/",
        "https://[horizon",
        "ftp://horizon.example/",
        "horizon.example",
        "",
    ],
)
def test_all_else_is_not(url: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        read(url)
    assert "secret@" not in str(wrong.value.errors(include_input=False))
