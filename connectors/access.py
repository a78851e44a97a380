"""Where contents may be sent, and what lets us in there. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from schemas.errors import Misconfigured

_is_token = re.compile(rb"[!-~]{1,4096}").fullmatch


def _encrypted(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        host, port_is_one = "", False
    if not host or not port_is_one or parts.scheme not in ("http", "https") or parts.fragment:
        raise ValueError("this is no address of the web: write it as https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a name or password in an address would be in logs: there is a setting for a file of it")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ValueError("what is sent there could be read on its way: use https (http is for this machine only)")
    return url


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


EncryptedUrl = Annotated[str, AfterValidator(_encrypted)]
"""`https`, or `http` to this very machine."""


def token_of(secret: bytes, where: str) -> str:
    """A token or key as it goes into a header (RFC 6750 section 2.1, and some leeway): visible ASCII, no blanks.
    Raises `Misconfigured`, without quoting it; `where` is its file."""
    if not _is_token(secret):
        raise Misconfigured(
            "token-file",
            "this file does not hold a token",
            where=where,
            hint="write the token into it, on one line and nothing else",
        )
    return secret.decode("ascii")
