"""What is left of a URL when only its host may leave: whether that says whom it was made for, or would hit many.

Lures carry the names of those they are made for, in whatever spelling: `https://amina-k.lure.example/u/Amina%20K`.
So words are compared without case, accents, punctuation and percent escapes, host names as people read them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple
from urllib.parse import unquote

import idna

from schemas.errors import ItemRefused
from schemas.fingerprint import Ioc, refang, url
from schemas.fingerprint import host as read_host
from services.enrich.context import MAX_HOST_CHARS, Context
from services.enrich.domain import host_of
from services.enrich.joins import SHARED_BY_MANY
from services.enrich.kinds import NEVER_BLOCK

Look = Callable[[Ioc], Context]

HOST_KINDS: Final = frozenset({"domain", "ipv4", "ipv6"})
MIN_WORD_CHARS: Final = 3
MIN_HOST_WORD_CHARS: Final = 4
MAX_TEXT_CHARS: Final = 64
"""Of a text whose words are looked for in a host: long ones have words that are in many."""
MAX_TEXTS: Final = 300
"""As many are compared with a host; where there are more, it holds one of them for all we know."""

_UNUSABLE = SHARED_BY_MANY | NEVER_BLOCK
_OF_CUSTOMERS = frozenset({"dynamic-dns", "shared-hosting"})
_ESCAPED_DEEP = 4

SAY_NOTHING: Final = frozenset(
    """
    about access account accounts action admin alert all and api app apps asp aspx assets at auth bin biz blog
    by case cdn cgi click client cloud code com confirm contact content css data default dev docs document
    documents download edu email file files for form forms free from get gov has he her his home host hosting
    htm html http https image images img in inc index info into invite is it jpg json jsp link links live log
    login logon mail main media message messages mobile net new news not of off official on online open org out
    page pages pdf php png portal post public redirect reset search secure security server service services
    session share shop sign signin signup site sites src sso static store support svc system target test that
    the their them this to track update updates upload url user username users verify version view was we web
    webmail website were who with www xml your
    """.split()  # noqa: SIM905 - as a list of literals it fills a screen
)
"""Words that are in many hosts and many addresses, and name nobody."""

_scheme = re.compile(r"(?:[a-z][a-z0-9+.-]*):(?://|\[//\])\S+|hxxps?\S+", re.IGNORECASE).fullmatch
_domain = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*").fullmatch
_runs = re.compile(r"[^\W\d_]+|\d+").findall
_LETTERS = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})


def of_url(value: str) -> Ioc | None:
    """The host of a canonical URL, as an indicator; None where it has none that anybody could look up."""
    name = host_of("url", value)
    host = read_host(name) if name and len(name) <= MAX_HOST_CHARS else None
    if host is None or (host.kind == "domain" and not _domain(host.value)):
        return None
    return host if host.kind in HOST_KINDS else None


def read_url(text: str) -> str | None:
    """The canonical URL that a text is, from its scheme to its end; None where it is none."""
    try:
        bare = refang(text.strip())
        found = url(bare) if _scheme(bare) else None
    except ItemRefused:
        return None
    return found.value if found else None


class Said(NamedTuple):
    """A text that is personal, taken apart. Of one that is a URL, `host` is its host, which `words` leave out."""

    plain: str
    words: tuple[str, ...]
    host: Ioc | None = None
    host_words: tuple[str, ...] = ()


def said(text: str) -> Said:
    """What a text says, word by word."""
    value = read_url(text)
    host = of_url(value) if value else None
    if value is None or host is None:
        return Said(text, tuple(_words(text)))
    beside = _beside_host(value)
    return Said(beside, tuple(_words(beside)), host, tuple(_words(host.value)))


def shown(text: str, others: Iterable[Said]) -> str | None:
    """`https://host/` of a text that is a URL; None where it is none, or the host itself holds what is personal.

    `others` are further texts that are personal.
    """
    value = read_url(text)
    host = of_url(value) if value else None
    if value is None or host is None or holds_personal(host, value, others):
        return None
    name = f"[{host.value}]" if host.kind == "ipv6" else host.value
    return f"{value.partition('://')[0]}://{name}/"


def is_shared(host: Ioc, look: Look) -> bool:
    """Whether others use the host too, so that it must not go out as what attacks: shared hosting, much-used sites.

    What lies below a provider of dynamic DNS is one customer's own; the provider's name is not.
    """
    bare = host.value.removeprefix("www.")
    names = [host] if host.kind != "domain" or bare == host.value else [host, Ioc("domain", bare)]
    return any(_is_shared(name, look) for name in names)


def _is_shared(host: Ioc, look: Look) -> bool:
    context = look(host)
    kinds = {warning.kind for warning in context.warnings}
    if host.kind == "domain" and "dynamic-dns" in kinds:
        above = look(Ioc("domain", host.value.partition(".")[2]))
        if any(warning.kind == "dynamic-dns" for warning in above.warnings):
            kinds -= _OF_CUSTOMERS
    return context.do_not_block or context.protected or not kinds.isdisjoint(_UNUSABLE)


def holds_personal(host: Ioc, value: str, others: Iterable[Said]) -> bool:
    """Whether a word of the URL's user, path and query, or of `others` (personal texts), stands in its host.

    The top-level domain is nobody's. Of another URL on this very host, the host is none of those words.
    """
    texts = (said(value), *others)
    if host.kind != "domain":
        return any(host.value in text.plain for text in texts)
    readings = [_without_top(reading) for reading in dict.fromkeys((host.value, _as_read(host.value)))]
    squeezed = ["".join(_runs(_folded(reading))) for reading in readings]
    of_host = {word for reading in readings for word in _words(reading) if len(word) >= MIN_HOST_WORD_CHARS}
    of_host -= SAY_NOTHING
    for text in texts:
        words = text.words if text.host == host else (*text.words, *text.host_words)
        if any(word in reading for word in _telling(words) for reading in squeezed):
            return True
        spaced = " ".join(word for word in words if word not in SAY_NOTHING)
        if any(word in spaced for word in of_host):
            return True
    return False


def _without_top(host: str) -> str:
    above, dot, _ = host.rpartition(".")
    return above if dot else host


def plain(text: str) -> str:
    """A text as it is looked for in others: without percent escapes, case and the marks that defang it."""
    return refang(_unescaped(text)).casefold()


def _beside_host(value: str) -> str:
    """User information, path and query of a canonical URL."""
    authority, _, tail = value.partition("://")[2].partition("/")
    return f"{authority.rpartition('@')[0]} {tail}"


def _as_read(host: str) -> str:
    return ".".join(map(_label_as_read, host.split(".")))


def _label_as_read(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return idna.decode(label)
    except UnicodeError:
        pass
    try:
        return label[4:].encode().decode("punycode")
    except UnicodeError:
        return label


def _unescaped(text: str) -> str:
    for _ in range(_ESCAPED_DEEP):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def _folded(text: str) -> str:
    """Without case, accents and compatibility forms."""
    wide = unicodedata.normalize("NFKC", text).casefold()
    plain = "".join(c for c in unicodedata.normalize("NFKD", wide) if not unicodedata.combining(c))
    return plain.translate(_LETTERS)


def _words(text: str) -> list[str]:
    """The runs of letters and of digits, humps (`AminaK`) and labels in punycode apart."""
    read = " ".join(_as_read(part) if "xn--" in part else part for part in re.split(r"[\s/?&=]", _unescaped(text)))
    humps = "".join(
        f" {after}" if before.islower() and after.isupper() else after for before, after in pairwise(f" {read}")
    )
    return _runs(_folded(humps))


def _telling(words: Iterable[str]) -> Iterator[str]:
    """The words that could name somebody: long ones, and short ones together with the next short ones."""
    short: list[str] = []
    for word in words:
        if word in SAY_NOTHING:
            continue
        if _weight(word) < MIN_WORD_CHARS:
            short.append(word)
        else:
            yield word
    yield from _joined(short)


def _joined(short: list[str]) -> Iterator[str]:
    for place in range(len(short)):
        name = ""
        for word in short[place : place + MIN_WORD_CHARS]:
            name += word
            if _weight(name) >= MIN_WORD_CHARS:
                yield name
                break
    for first, second in pairwise(short):
        if _weight(first + second) >= MIN_WORD_CHARS:
            yield second + first


def _weight(word: str) -> int:
    """The number of characters; an ideograph or syllable says as much as two letters."""
    return sum(2 if character >= "\u2e80" else 1 for character in word)
