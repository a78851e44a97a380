"""What makes two records the same indicator: a pair (kind, canonical value), and the keyed hash of it.

Kinds: `domain` `ipv4` `ipv6` `cidr` `url` `email` `asn`, the file hashes `md5` `sha1` `sha256` `sha512`, the
certificate hashes `cert-md5` … `cert-sha512`, `badhash`, `file-name` `file-path` `dir-path` `process-name`
`process-cmd` `app-id` `ios-profile-id` `android-property` `registry-key` `user-account` `email-subject`, the
kinds of `schemas/fingerprint_people.py` (`phone-number` `social-account` `crypto-address`) and of
`schemas/fingerprint_machines.py` (`mac` `ja3` `ja3s` `ja4` `pdq` `tmk`), `complex` (a whole STIX pattern) and
`other:<STIX object path>`.

Canonicalisation is idempotent: a canonical value read again gives itself, so that what one hub sends out is
the same indicator to the next. A function that returns None says that the text names no indicator of that
kind. Each refuses (`ItemRefused`, code `value-too-long`) what is longer than `MAX_BYTES`.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import idna

from schemas.fingerprint_machines import ja3 as ja3
from schemas.fingerprint_machines import ja3s as ja3s
from schemas.fingerprint_machines import ja4 as ja4
from schemas.fingerprint_machines import mac_address as mac_address
from schemas.fingerprint_machines import pdq as pdq
from schemas.fingerprint_machines import tmk as tmk
from schemas.fingerprint_people import account, address_of
from schemas.fingerprint_people import crypto_address as crypto_address
from schemas.fingerprint_people import phone_number as phone_number
from schemas.fingerprint_people import social_account as social_account
from schemas.fingerprint_text import MAX_BYTES as MAX_BYTES
from schemas.fingerprint_text import Ioc as Ioc
from schemas.fingerprint_text import clean_text as clean_text
from schemas.fingerprint_text import lower, named, nfc
from schemas.fingerprint_text import refang as refang

FINGERPRINT_BYTES: Final = 16

_MAX_DOMAIN_CHARS = 253  # RFC 1035 section 2.3.4; no longer name can be looked up, so none is worth IDNA's time


# --- hosts --------------------------------------------------------------------------------------------------

_PLAIN_HOST = re.compile(r"[a-z0-9.-]*[a-z-]").fullmatch
_UNICODE_DOTS = re.compile("[\u3002\uff0e\uff61]")
_WILDCARDS = re.compile(r"\A(?:\*\.\s*)+")
_PORT = re.compile(r"([^:]+|\[.*\]):[0-9]{1,5}", re.DOTALL).fullmatch


def host(raw: str) -> Ioc | None:
    """A domain, an address, a network (`cidr`), or, where `raw` has a scheme or a path, a URL.

    Domains are A-labels by UTS #46, non-transitional; a label that IDNA refuses stays as it is, in lower case.
    """
    if _PLAIN_HOST(raw) and len(raw) <= MAX_BYTES:  # most hosts: nothing in them that any rule would change
        return Ioc("domain", raw)
    return _host(refang(clean_text(raw)))


def _host(text: str) -> Ioc | None:
    if "/" in text:
        return _network(text) or url(text)
    return _name(text)


def _name(text: str) -> Ioc | None:
    """A domain or an address from a text that is neither a network nor a URL."""
    text = lower(text)
    if _UNICODE_DOTS.search(text):
        text = refang(_UNICODE_DOTS.sub(".", text))
    text = _WILDCARDS.sub("", _trimmed(text))
    address = _address(text)
    if address is None and (with_port := _PORT(text)):
        text = _trimmed(with_port[1])
    if address is None and len(text) <= _MAX_DOMAIN_CHARS:
        text = _trimmed(".".join(map(_a_label, text.split("."))))
    return address or _address(text) or named("domain", text)


def _trimmed(text: str) -> str:
    """`text` without dots and white space at its end."""
    end = len(text)
    while end and (text[end - 1] == "." or text[end - 1].isspace()):
        end -= 1
    return text[:end]


def _a_label(label: str) -> str:
    """Source: RFC 5891 and UTS #46 (idna keeps the deviation characters, as non-transitional processing does)."""
    try:
        return idna.encode(label, uts46=True).decode("ascii")
    except UnicodeError:
        return label


def _address(text: str) -> Ioc | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" not in text and not text[-1:].isdigit():
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return Ioc(f"ipv{address.version}", _address_text(address))


def _address_text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As RFC 5952 section 4; IPv4-mapped addresses in hexadecimal, which Python writes differently since 3.13."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped and not address.scope_id:
        number = int(address.ipv4_mapped)
        return f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"
    return str(address)


def _network(text: str) -> Ioc | None:
    if "%" in text:
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if network.prefixlen == network.max_prefixlen:
        return Ioc(f"ipv{network.version}", _address_text(network.network_address))
    return Ioc("cidr", f"{_address_text(network.network_address)}/{network.prefixlen}")


# --- URLs and e-mail addresses ------------------------------------------------------------------------------

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://").match
_DEFAULT_PORTS: Mapping[str, str] = {"http": "80", "https": "443"}
_AUTHORITY_END = re.compile(r"[/?#]").search
_AUTHORITY_PORT = re.compile(r"([^:]*|\[.*\]):([0-9]*)", re.DOTALL).fullmatch
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def url(raw: str) -> Ioc | None:
    """A URL by RFC 3986 section 6.2.2 (case, percent escapes) and 6.2.3 (ports, empty path).

    Without a scheme it is taken as http; the fragment goes; user information, path and query stay.
    None where an http(s) URL has no host.
    """
    found = _url(raw)
    if found and refang(found.value) != found.value:  # what was left out had kept brackets apart, as in `[:/]`
        found = _url(found.value)
        return found if found and refang(found.value) == found.value else None
    return found


def _url(raw: str) -> Ioc | None:
    # escapes first: what they hide may itself be a defanged dot
    text = refang(nfc(_ESCAPE.sub(_escape, clean_text(raw))))
    scheme, rest = _split_scheme(text)
    end = _AUTHORITY_END(rest)
    cut = end.start() if end else len(rest)
    authority = _authority(rest[:cut], _DEFAULT_PORTS.get(scheme))
    if scheme in _DEFAULT_PORTS and not authority.rpartition("@")[2]:
        return None
    tail = rest[cut:].partition("#")[0].rstrip()
    return Ioc("url", f"{scheme}://{authority}{tail if tail.startswith('/') else '/' + tail}")


def _split_scheme(text: str) -> tuple[str, str]:
    if scheme := _SCHEME(text):
        return scheme[1].lower(), text[scheme.end() :]
    return "http", text.removeprefix("//")


def _authority(text: str, default_port: str | None) -> str:
    user, at, place = text.rpartition("@")
    place, port = _trimmed(_UNICODE_DOTS.sub(".", place)), ""
    if with_port := _AUTHORITY_PORT(place):
        place, port = with_port.groups()
        port = port.lstrip("0")
    name = _name(place)
    shown = "" if name is None else f"[{name.value}]" if name.kind == "ipv6" else name.value
    if not shown:
        return ""
    return user + at + shown + (f":{port}" if port and port != default_port else "")


def _escape(match: re.Match[str]) -> str:
    character = chr(int(match[0][1:], 16))
    return character if character in _UNRESERVED else match[0].upper()


def email(raw: str) -> Ioc | None:
    """An e-mail address in lower case, its domain as by `host`; None without `@` or without a domain."""
    local, at, domain = lower(refang(clean_text(raw))).rpartition("@")
    name = _name(domain) if at else None
    return Ioc("email", f"{local}@{name.value}") if name else None


# --- hashes, keys and plain texts ---------------------------------------------------------------------------

_HASH_BY_LENGTH: Mapping[int, str] = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_HEXADECIMAL = re.compile(r"[0-9a-f]+").fullmatch
_HASH_FILLERS = re.compile(r"[\s:]+")


def file_hash(raw: str, certificate: bool = False) -> Ioc | None:
    """A hash, its kind by its length and not by what it was said to be; `badhash` where it can't be one.

    The hash of a certificate has a kind of its own (`cert-…`): it never equals the hash of a file.
    """
    digest = _HASH_FILLERS.sub("", clean_text(raw)).lower()
    if not digest:
        return None
    kind = _HASH_BY_LENGTH.get(len(digest)) if _HEXADECIMAL(digest) else None
    if kind is None:
        return Ioc("badhash", clean_text(digest))
    return Ioc(f"cert-{kind}" if certificate else kind, digest)


_HIVES: Mapping[str, str] = {
    "hklm": "hkey_local_machine",
    "hkcu": "hkey_current_user",
    "hkcr": "hkey_classes_root",
    "hku": "hkey_users",
    "hkcc": "hkey_current_config",
}
_BACKSLASHES = re.compile(r"\\{2,}")


def registry_key(raw: str) -> Ioc | None:
    """A Windows registry key in lower case with its hive spelled out and single backslashes."""
    key = _BACKSLASHES.sub(r"\\", lower(clean_text(raw)))
    hive, separator, rest = key.partition("\\")
    return named("registry-key", _HIVES.get(hive, hive) + separator + rest)


def file_name(raw: str) -> Ioc | None:
    """A file's name, or its path where the name holds a `/` or a backslash."""
    name = clean_text(raw)
    return named("file-path" if "/" in name or "\\" in name else "file-name", name)


def ios_profile_id(raw: str) -> Ioc | None:
    """The identifier of an iOS configuration profile, in lower case."""
    return named("ios-profile-id", lower(clean_text(raw)))


_DIGITS = re.compile(r"[0-9]{1,10}").fullmatch
_MAX_ASN = 2**32 - 1  # RFC 6793


def asn(raw: str) -> Ioc | None:
    """The number of an autonomous system in decimal; None where it is not one of 32 bits."""
    digits = clean_text(raw).removeprefix("+")
    return Ioc("asn", str(int(digits))) if _DIGITS(digits) and int(digits) <= _MAX_ASN else None


VERBATIM_KINDS: Final = (
    *("file-path", "dir-path", "process-name", "process-cmd", "app-id", "android-property"),
    *("user-account", "email-subject"),
)
"""The kinds of `verbatim` that a source can name."""


def verbatim(kind: str, raw: str) -> Ioc | None:
    """An indicator of a kind whose value stays as it is, case included."""
    return named(kind, clean_text(raw))


# --- by STIX object path ------------------------------------------------------------------------------------

Rule = Callable[[str], Ioc | None]

ACCOUNT_PATH: Final = "user-account"
"""In the place of a path: both the type and the login of an account, as `social_account` writes them."""

_PATHS: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            "domain-name:value",
            "ipv4-addr:value",
            "ipv6-addr:value",
            "network-traffic:dst_ref.value",
            "network-traffic:src_ref.value",
        ),
        host,
    ),
    "url:value": url,
    **dict.fromkeys(("email-addr:value", "email-message:from_ref.value", "email-message:sender_ref.value"), email),
    "file:name": file_name,
    "file:path": partial(verbatim, "file-path"),
    "directory:path": partial(verbatim, "dir-path"),
    "process:name": partial(verbatim, "process-name"),
    "process:command_line": partial(verbatim, "process-cmd"),
    "app:id": partial(verbatim, "app-id"),
    "configuration-profile:id": ios_profile_id,
    "android-property:name": partial(verbatim, "android-property"),
    "windows-registry-key:key": registry_key,
    "user-account:user_id": partial(verbatim, "user-account"),
    **dict.fromkeys(("email:subject", "email-message:subject"), partial(verbatim, "email-subject")),
    ACCOUNT_PATH: social_account,
}
# STIX has no types for telephone numbers and payment addresses: these are the names that OpenCTI gave them; nor
# has it a place for TLS fingerprints, which are put where it has that of HTTP requests
_STRICT_PATHS: Mapping[str, Rule] = {
    "autonomous-system:number": asn,
    "mac-addr:value": mac_address,
    "phone-number:value": phone_number,
    "cryptocurrency-wallet:value": crypto_address,
    "network-traffic:extensions.'tls-ext'.ja3": ja3,
    "network-traffic:extensions.'tls-ext'.ja3s": ja3s,
    "network-traffic:extensions.'tls-ext'.ja4": ja4,
}
_MEDIA_HASHES: Mapping[str, Rule] = {"PDQ": pdq, "TMK": tmk}
_QUOTED_STEP = re.compile(r"'([^'\\]*+(?:\\.[^'\\]*+)*+)'", re.DOTALL)
_PLAIN_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch

# fmt: off
PATTERN_KEYWORDS: Final = frozenset((
    "AND", "OR", "NOT", "FOLLOWEDBY", "LIKE", "MATCHES", "ISSUPERSET", "ISSUBSET", "EXISTS", "LAST", "IN",
    "START", "STOP", "SECONDS", "true", "false", "WITHIN", "REPEATS", "TIMES",
))
# fmt: on


def from_path(path: str, literal: str) -> Ioc | None:
    """The indicator that `path = 'literal'` of a STIX pattern names; None where the literal names none.

    `path` is a STIX object path without blanks, `literal` the string with its escapes undone. The name of a
    file's hash says nothing, its length does; but for `PDQ` and `TMK`, which no length tells from others.
    """
    rule = _PATHS.get(path)
    if rule is not None:
        return rule(literal)
    path = plain_path(path)
    if path.startswith("file:hashes."):
        name = path.removeprefix("file:hashes.").upper()
        if media_hash := _MEDIA_HASHES.get(name):
            return media_hash(literal) or verbatim(f"other:file:hashes.{name}", literal)
        return file_hash(literal)
    if path.startswith(("x509-certificate:hashes.", "app:cert.")):
        return file_hash(literal, certificate=True)
    strict = _STRICT_PATHS.get(path)
    if strict and (found := strict(literal)):
        return found
    rule = _PATHS.get(path)
    return rule(literal) if rule else verbatim(f"other:{path}", literal)


def plain_path(path: str) -> str:
    """`path` with the quotes gone around those of its steps that need none."""
    return _QUOTED_STEP.sub(_plain_step, path) if "'" in path else path


def _plain_step(match: re.Match[str]) -> str:
    return match[1] if _PLAIN_STEP(match[1]) and match[1] not in PATTERN_KEYWORDS else match[0]


# --- by the type names of MISP and of CSV feeds, and by nothing -----------------------------------------------

_certificate_hash = partial(file_hash, certificate=True)

_TYPES: Mapping[str, Rule] = {
    **dict.fromkeys(("domain", "hostname", "ip-src", "ip-dst"), host),  # MISP
    **dict.fromkeys(("domain_name", "ip_address", "ipaddress"), host),  # Meta, Amnesty; Volexity
    "url": url,
    **dict.fromkeys(("email-src", "email-dst", "email", "email_address"), email),
    **dict.fromkeys(("md5", "sha1", "sha256", "sha512"), file_hash),
    **dict.fromkeys(("hash_md5", "hash_sha1", "hash_sha256", "hash_sha512"), file_hash),  # Meta
    **dict.fromkeys((f"x509-fingerprint-{name}" for name in ("md5", "sha1", "sha256")), _certificate_hash),
    "filename": file_name,
    "regkey": registry_key,
    "mobile-application-id": partial(verbatim, "app-id"),
    **dict.fromkeys(("phone-number", "phone_number"), phone_number),
    **dict.fromkeys(("github-username", "github-organisation"), partial(account, "github")),
    "twitter-id": partial(account, "twitter"),
    "jabber-id": partial(account, "xmpp"),
    **dict.fromkeys(("mac-address", "mac-eui-64"), mac_address),
    **{currency: partial(address_of, currency) for currency in ("btc", "dash", "xmr")},
    "ja3-fingerprint-md5": ja3,
    **dict.fromkeys(("pdq", "hash_pdq"), pdq),  # ThreatExchange
    **dict.fromkeys(("tmk", "hash_tmk"), tmk),
    "hash_video_md5": file_hash,
}
_HASH_TYPES = ("md5", "sha1", "sha256", "sha512")


def from_type(type_name: str, raw: str) -> list[Ioc]:
    """The indicators in a value of a MISP attribute type or of a CSV feed's type; none where the type names none.

    Composite types (`domain|ip`, `filename|sha256`) give what their parts give.
    """
    name = type_name.strip().lower()
    if rule := _TYPES.get(name):
        return _present(rule(raw))
    if name == "file":  # Volexity: hashes of one file, separated by commas
        return [ioc for part in clean_text(raw).split(",") for ioc in _present(file_hash(part))]
    if name in ("ip-src|port", "ip-dst|port", "hostname|port"):
        return _present(host(_halves(raw)[0]))
    if name == "domain|ip":
        return [ioc for part in _halves(raw) for ioc in _present(host(part))]
    if name == "regkey|value":
        return _present(registry_key(_halves(raw)[0]))
    return _named_file(name.removeprefix("filename|"), raw) if name.startswith("filename|") else []


def _halves(raw: str) -> tuple[str, str]:
    left, _, right = clean_text(raw).partition("|")
    return left, right


def _named_file(hash_type: str, raw: str) -> list[Ioc]:
    """The name and the hash of a file, parted by the last bar: a name may hold one, a hash never does.

    Fuzzy, import and other hashes are left out: some are as long as an MD5, and would be taken for one.
    """
    left, bar, right = clean_text(raw).rpartition("|")
    name, digest = (left, right) if bar else (right, "")
    return _present(file_name(name)) + (_present(file_hash(digest)) if hash_type in _HASH_TYPES else [])


def _present(ioc: Ioc | None) -> list[Ioc]:
    return [] if ioc is None else [ioc]


_CELL_HASH = re.compile(r"(?:[0-9a-f]{2}:?){16,64}", re.IGNORECASE).fullmatch
_CELL_URL = re.compile(r"https?://[^/?#]", re.IGNORECASE).match
_CELL_DOMAIN = re.compile(
    r"(?:\*\.)?(?:[\w-]{1,63}\.)+(?:[^\W\d_]{2,63}|xn--[a-z0-9-]{1,59})\.?", re.IGNORECASE
).fullmatch


def from_cell(raw: str) -> Ioc | None:
    """The indicator that a free-text cell is, wholly: a hash, http(s) URL, address, e-mail address or domain.

    Only the first line counts. A sentence that mentions one gives None.
    """
    cell = refang(clean_text(raw.partition("\n")[0]))
    if not cell or any(character.isspace() for character in cell):
        return None
    if _CELL_HASH(cell) and (found := file_hash(cell)) and found.kind != "badhash":
        return found
    if _CELL_URL(cell):
        return url(cell)
    if "/" in cell:
        return _network(cell)
    local, at, domain = cell.rpartition("@")
    if at:
        return email(cell) if local and "@" not in local and _CELL_DOMAIN(domain) else None
    return _address(cell) or (_name(cell) if _CELL_DOMAIN(cell) else None)


# --- fingerprints -------------------------------------------------------------------------------------------


def fingerprint(secret: bytes, ioc: Ioc) -> bytes:
    """The key of an indicator: HMAC-SHA-256 (RFC 2104) of kind, NUL, value, cut to `FINGERPRINT_BYTES`.

    Keyed, because phone numbers and names can be guessed.
    """
    message = f"{ioc.kind}\0{ioc.value}".encode("utf-8", "surrogatepass")
    return hmac.digest(secret, message, "sha256")[:FINGERPRINT_BYTES]


def named_fingerprint(secret: bytes, *parts: str) -> bytes:
    """The key of anything else that is known by `parts`; never that of an indicator or of other parts."""
    message = b"\0"  # no kind begins so
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        message += len(data).to_bytes(8, "big") + data
    return hmac.digest(secret, message, "sha256")[:FINGERPRINT_BYTES]
