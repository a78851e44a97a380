"""To where contents may be sent."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from connectors.access import EncryptedUrl, token_of
from schemas.errors import Misconfigured

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


@pytest.mark.parametrize("secret", [b"t0ken", b"a.b-c_d~e+f/g==", b"x" * 4096])
def test_a_token_is_one(secret: bytes) -> None:
    assert token_of(secret, "file").encode() == secret


@pytest.mark.parametrize(
    "secret", [b"", b"two words", b"two\r\nX-Lines: 1", b"t\xc3\xb6ken", b"nul\0", b"x" * 4097]
)
def test_what_is_no_token_is_a_misconfiguration(secret: bytes) -> None:
    with pytest.raises(Misconfigured) as wrong:
        token_of(secret, "the-file")
    assert wrong.value.where == "the-file"
    assert not secret or secret.decode("latin-1")[:9] not in str(wrong.value)
