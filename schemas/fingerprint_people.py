"""Canonical forms of what people are reached and paid by: telephone numbers, accounts, payment addresses.

Each function is idempotent, gives None for what is no such thing, and refuses what is longer than `MAX_BYTES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import phonenumbers

from schemas.fingerprint_text import Ioc, clean_text, lower, refang

# --- telephone numbers ----------------------------------------------------------------------------------------

_MAX_PHONE_CHARS = 64
_PHONE = re.compile(r"(?:tel:)?\(?\+[\d\s()./\u2010-\u2015-]++(?:(?:;?ext[.=]?|x)\s*+\d{1,7})?+", re.IGNORECASE)


def phone_number(raw: str) -> Ioc | None:
    """A telephone number in the form of ITU-T E.164: `+`, country code, number; an extension goes.

    None without the `+`, as nobody knows from where it would be dialled, and where its country has no numbers
    as long or as short (a number need not be assigned: new ranges come faster than lists of them). The lengths
    and what is dialled only inside a country, as the 0 of `+44 (0)20 …`, are in the data of phonenumbers.
    """
    text = clean_text(raw)
    number = _e164(text)
    # what is dialled only inside its country may go at the second reading: such a number is none
    return Ioc("phone-number", number) if number and _e164(number) == number else None


def _e164(text: str) -> str:
    if len(text) > _MAX_PHONE_CHARS or not _PHONE.fullmatch(text):
        return ""
    try:
        number = phonenumbers.parse(text.lower().removeprefix("tel:").lstrip("("))
    except phonenumbers.NumberParseException:
        return ""
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


# --- accounts -------------------------------------------------------------------------------------------------

_MAX_ACCOUNT_CHARS = 512

PLATFORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "bluesky": ("bsky", "bsky.app"),
    "facebook": ("fb", "facebook.com", "fb.com"),
    "github": ("github.com",),
    "gitlab": ("gitlab.com",),
    "instagram": ("ig", "insta", "instagram.com"),
    "linkedin": ("linkedin.com",),
    "odnoklassniki": ("ok", "ok.ru"),
    "reddit": ("reddit.com",),
    "signal": (),
    "skype": (),
    "snapchat": ("snap", "snapchat.com"),
    "telegram": ("tg", "t.me", "telegram.me", "telegram.org"),
    "threads": ("threads.net", "threads.com"),
    "tiktok": ("tik-tok", "tiktok.com"),
    "twitter": ("x", "twitter.com", "x.com"),
    "viber": (),
    "vk": ("vkontakte", "vk.com"),
    "whatsapp": ("wa", "wa.me"),
    "xmpp": ("jabber",),
    "youtube": ("yt", "youtube.com"),
}
"""The platforms whose rules are known: other names of each, and the hosts of its profiles."""

_BY_NAME: Mapping[str, str] = {
    **{name: name for name in PLATFORMS},
    **{synonym: name for name, synonyms in PLATFORMS.items() for synonym in synonyms},
}
_HOSTS = frozenset(name for name in _BY_NAME if "." in name)
_PLATFORM = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?").fullmatch
_SUBDOMAINS = frozenset(("m", "mobile", "old", "web", "www"))
_BY_PHONE = frozenset(("signal", "viber", "whatsapp"))
# accounts of a machine, of a directory or of a protocol, from the vocabulary of STIX 2.1 section 10.1
_SYSTEMS = frozenset(("ldap", "nis", "openid", "radius", "tacacs", "unix", "windows-domain", "windows-local"))
# before a handle in a URL: what says nothing, and what tells one sort of accounts from another
_PROFILE: Mapping[str, re.Pattern[str]] = {
    "linkedin": re.compile(r"in/", re.IGNORECASE),
    "reddit": re.compile(r"u(?:ser)?/", re.IGNORECASE),
    "telegram": re.compile(r"s/", re.IGNORECASE),
    "bluesky": re.compile(r"profile/", re.IGNORECASE),
}
_SECTION: Mapping[str, re.Pattern[str]] = {
    "linkedin": re.compile(r"(?:company|school)/", re.IGNORECASE),
    "youtube": re.compile(r"(?:channel|c|user)/", re.IGNORECASE),
}
_NOTHING = re.compile(r"(?!)")
_KEEPS_CASE = re.compile(r"channel/").match
_FACEBOOK_ID = re.compile(r"profile\.php\?(?:(?!id=)[^&#]*+&)*+id=([0-9]{1,20}+)(?![0-9])").match
_HANDLE_END = re.compile(r"[/?#]")
# what follows a platform's host and is no account: its own pages, posts, groups, invitations
_PAGES = """
about addstickers c channel dialog events explore feed features gaming groups hashtag help home i in intent invite
jobs joinchat login marketplace messages notifications orgs p pages people permalink.php photo photo.php photos
playlist plugins post posts privacy profile profile.php proxy r reel reels results s search settings share share.php
sharer sharer.php shorts signup socks status stories story.php tag terms topics tr tv u user video videos watch
"""
_NO_ACCOUNTS = frozenset(_PAGES.split())


def social_account(raw: str) -> Ioc | None:
    """An account as `platform/handle`, from that form or from the URL of a profile on a well-known platform.

    The platform is in lower case and under one name (`x.com`, `twitter`). The handle is without `@`; in lower
    case where the platform's rules are known, as all of those fold it, else as it is. Where people are known by
    their telephone numbers, that is the handle.
    """
    text = refang(clean_text(raw))
    place, separator, rest = text.partition("://")
    if not separator:
        rest = text
    elif place.lower() not in ("http", "https"):
        return None
    platform, slash, handle = rest.partition("/")
    host = _host_name(platform)
    if not slash or (separator and host not in _HOSTS):
        return None
    return account(_BY_NAME[host], rest) if host in _HOSTS else account(platform, handle)


def account(platform: str, handle: str) -> Ioc | None:
    """The account `handle` of a platform.

    None for accounts of a machine (`unix`, `windows-local`, …), and for a URL where the platform is unknown and so
    how its URLs are made.
    """
    name = _host_name(clean_text(platform))
    name = _BY_NAME.get(name, name)
    if not _PLATFORM(name) or name in _SYSTEMS:
        return None
    text = refang(clean_text(handle))
    known = _handle(name, text) if name in PLATFORMS else "" if "://" in text else text.lstrip("@")
    if not known or len(known) > _MAX_ACCOUNT_CHARS or any(character.isspace() for character in known):
        return None
    return Ioc("social-account", f"{name}/{known}")


def _host_name(platform: str) -> str:
    name = lower(platform.strip())
    subdomain, _, host = name.partition(".")
    return host if subdomain in _SUBDOMAINS and host in _HOSTS else name


def _handle(platform: str, text: str) -> str:
    """A handle by its platform's rules; empty where it can be none."""
    path = _profile_path(platform, text)
    text = (text if path is None else path).lstrip("@")
    if platform == "facebook" and (by_number := _FACEBOOK_ID(text)):
        return by_number[1]
    if platform == "xmpp":
        return lower(text.partition("/")[0])  # after it comes a device, not a person (RFC 7622)
    profile = _PROFILE.get(platform, _NOTHING).match(text)
    section = _SECTION.get(platform, _NOTHING).match(text)
    prefix = profile or section
    before = section[0].lower() if section else ""
    rest = text[prefix.end() if prefix else 0 :].lstrip("@")
    handle = _HANDLE_END.split(rest, maxsplit=1)[0].rstrip()
    if platform in _BY_PHONE or (platform == "telegram" and handle.startswith("+")):
        # people write a number with strokes in it; a URL has its own after it
        number = (path is None and _with_plus(rest)) or _with_plus(handle)
        if number or handle.startswith("+"):
            return number
    if path is not None and not prefix and handle.lower() in _NO_ACCOUNTS:
        return ""
    return before + (handle if _KEEPS_CASE(before) else lower(handle)) if handle else ""


def _with_plus(text: str) -> str:
    number = phone_number(text if text.startswith("+") else f"+{text}")
    return number.value if number else ""


def _profile_path(platform: str, text: str) -> str | None:
    """What stands after the host where a handle was written as a URL of its platform; empty for another's."""
    _, separator, rest = text.partition("://")
    host, slash, path = (rest if separator else text).partition("/")
    host = _host_name(host)
    if slash and host in _HOSTS:
        return path if _BY_NAME[host] == platform else ""
    return "" if separator else None


# --- payment addresses ----------------------------------------------------------------------------------------

_MAX_ADDRESS_CHARS = 120
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_base58_matches = re.compile(rf"[{_BASE58}]{{25,40}}").fullmatch
# version bytes, from the source of each currency's reference software (`base58Prefixes`)
_BY_VERSION: Mapping[int, str] = {
    **dict.fromkeys((0x00, 0x05), "btc"),
    **dict.fromkeys((0x30, 0x32), "ltc"),
    **dict.fromkeys((0x4C, 0x10), "dash"),
    **dict.fromkeys((0x1E, 0x16), "doge"),
    0x41: "trx",
}
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_bech32_matches = re.compile(rf"(bc|ltc)1([{_BECH32}]{{8,87}})").fullmatch
_BECH32_CURRENCY: Mapping[str, str] = {"bc": "btc", "ltc": "ltc"}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_ethereum_matches = re.compile(r"0x[0-9a-f]{40}", re.IGNORECASE).fullmatch
_monero_matches = re.compile(rf"[48][{_BASE58}]{{94}}(?:[{_BASE58}]{{11}})?").fullmatch

CURRENCIES: Final = ("btc", "dash", "doge", "eth", "ltc", "trx", "xmr")


def crypto_address(raw: str) -> Ioc | None:
    """An address of a cryptocurrency as `currency/address`, the currency found by the address itself.

    Base58 keeps its case, Bech32 and hexadecimal are in lower case. By their checksums (Base58Check; BIP 173
    and 350) are known `btc` `ltc` `dash` `doge` `trx`; by their form alone `eth`, where the checksum is in the
    case that many do not keep, and `xmr`. None where a checksum is wrong.
    """
    text = clean_text(raw)
    said, slash, address = text.rpartition("/")
    currency, canonical = _currency(address)
    if not currency or (slash and said.lower() != currency):
        return None
    return Ioc("crypto-address", f"{currency}/{canonical}")


def address_of(currency: str, raw: str) -> Ioc | None:
    """An address of this one of `CURRENCIES`; None where it is another's."""
    found = crypto_address(raw)
    return found if found and found.value.startswith(f"{currency}/") else None


def _currency(address: str) -> tuple[str, str]:
    if len(address) > _MAX_ADDRESS_CHARS:
        return "", ""
    if _ethereum_matches(address):
        return "eth", address.lower()
    if _monero_matches(address):
        return "xmr", address
    if address in (address.lower(), address.upper()) and (parts := _bech32_matches(address.lower())):
        return (_BECH32_CURRENCY[parts[1]], address.lower()) if _bech32_holds(parts[1], parts[2]) else ("", "")
    return (_base58_currency(address), address) if _base58_matches(address) else ("", "")


def _base58_currency(address: str) -> str:
    number = 0
    for character in address:
        number = number * 58 + _BASE58.index(character)
    zeros = len(address) - len(address.lstrip("1"))
    decoded = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)
    if len(decoded) != 25 or sha256(sha256(decoded[:21]).digest()).digest()[:4] != decoded[21:]:
        return ""
    return _BY_VERSION.get(decoded[0], "")


def _bech32_holds(prefix: str, data: str) -> bool:
    """Whether the checksum is right: 1 in BIP 173 for version 0 of witness programs, 0x2bc830a3 in BIP 350."""
    checksum = 1
    letters = [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *map(_BECH32.index, data)]
    for value in letters:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum == (1 if data[0] == "q" else 0x2BC830A3)
