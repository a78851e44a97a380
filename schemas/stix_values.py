"""The kinds of value that STIX properties hold (STIX 2.1 sections 2 and 3), each a function that refuses.

A check returns nothing and raises `ItemRefused`; its `where` is relative to the value that it was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from schemas.errors import ItemRefused, clip
from schemas.safejson import escape
from schemas.timestamps import parse_time

Check = Callable[[Any], None]

UUID_HEX = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
UUID_LENGTH = 36
_id_matches = re.compile(rf"([a-z][a-z0-9-]{{2,249}})--{UUID_HEX}").fullmatch
type_matches = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*").fullmatch
name_matches = re.compile(r"[a-z][a-z0-9_]{2,249}|id").fullmatch
_lang_matches = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,8}").fullmatch
_selector_matches = re.compile(
    r"(?:id|[a-z0-9_-]{3,250})(?:\.(?:\[[0-9]{1,6}\]|[A-Za-z0-9_-]{1,250})){0,32}"
).fullmatch
_hash_name_matches = re.compile(r"[A-Za-z0-9_-]{3,250}").fullmatch
_extension_matches = re.compile(rf"extension-definition--{UUID_HEX}|[a-z0-9][a-z0-9-]{{0,249}}").fullmatch
_kebab_matches = re.compile(r"[a-z0-9-]{1,250}").fullmatch


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


NOT_RELATABLE = frozenset(
    ("bundle", "marking-definition", "language-content", "extension-definition", "relationship", "sighting")
)
"""Types that a relationship can't join: its ends are domain objects or observables (section 5.1)."""

NOT_OBSERVED = words("""attack-pattern campaign course-of-action grouping identity incident indicator infrastructure
    intrusion-set location malware malware-analysis note observed-data opinion report threat-actor tool
    vulnerability marking-definition language-content extension-definition bundle""")
"""Types that are no part of an observation (section 4.14)."""


def refusal(code: str, what: str, hint: str, where: str = "") -> ItemRefused:
    return ItemRefused(code, what, where=where, hint=hint)


def below(fault: ItemRefused, step: str | int) -> ItemRefused:
    """The same refusal, seen from one step further up; the last step up is the property."""
    return ItemRefused(
        fault.code, fault.what, where=f"/{escape(str(step))}{fault.where}", hint=fault.hint, field=str(step)
    )


def missing(name: str) -> ItemRefused:
    """The refusal of an object without this property."""
    return below(refusal("property-missing", "this property is required", "add it"), name)


def _kind_of(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _wrong(value: Any, wanted: str) -> ItemRefused:
    return refusal("property-type", f"{_kind_of(value)} where {wanted} belongs", f"give {wanted}")


def text(value: Any) -> None:
    if type(value) is not str:
        raise _wrong(value, "a string")


def boolean(value: Any) -> None:
    if type(value) is not bool:
        raise _wrong(value, "true or false")


def json_object(value: Any) -> None:
    if type(value) is not dict:
        raise _wrong(value, "an object")
    if not value:
        raise refusal("property-value", "the object is empty", "leave the property out")


def time(value: Any) -> None:
    if type(value) is not str:
        raise _wrong(value, "a timestamp")
    parse_time(value)


def version_time(value: Any) -> None:
    """`created` and `modified` are written to the millisecond at least (section 3.2)."""
    time(value)
    if len(value) < 24:
        raise refusal(
            "timestamp-precision",
            f"{clip(value)!r} has no milliseconds",
            "write it with three digits after the seconds, as in 2026-11-01T00:00:00.000Z",
        )


def number(least: float | None = None, most: float | None = None, *, whole: bool = False) -> Check:
    """A number, or integer if `whole`, from `least` to `most`."""
    wanted = "an integer" if whole else "a number"
    kinds = (int,) if whole else (int, float)

    def check(value: Any) -> None:
        if type(value) not in kinds:
            raise _wrong(value, wanted)
        if (least is not None and value < least) or (most is not None and value > most):
            span = f"from {least}" if most is None else f"from {least} to {most}"
            raise refusal("property-value", f"{value} is outside what is allowed", f"give {wanted} {span}")

    return check


def list_of(element: Check) -> Check:
    """A list that is not empty (section 2.9)."""

    def check(value: Any) -> None:
        if type(value) is not list:
            raise _wrong(value, "an array")
        if not value:
            raise refusal("property-value", "the array is empty", "leave the property out")
        index = 0
        try:
            for index, part in enumerate(value):  # noqa: B007 - it is read where a part is refused
                element(part)
        except ItemRefused as fault:
            raise below(fault, index) from None

    return check


def one_of(words: Iterable[str]) -> Check:
    """A word of a closed vocabulary (section 10)."""
    allowed = frozenset(words)
    hint = "one of " + ", ".join(sorted(allowed))

    def check(value: Any) -> None:
        text(value)
        if value not in allowed:
            raise refusal("property-value", f"{clip(value)!r} is not in the vocabulary", hint)

    return check


def matching(matches: Callable[[str], object], what: str, hint: str, code: str = "property-value") -> Check:
    """A text that `matches` takes."""

    def check(value: Any) -> None:
        text(value)
        if not matches(value):
            raise refusal(code, f"{clip(value)!r} is no {what}", hint)

    return check


lang = matching(_lang_matches, "language tag", "a tag of RFC 5646, such as en or pt-BR")
selector = matching(
    _selector_matches,
    "selector",
    "a property's name, then .name or .[index] for what is in it",
    "selector-invalid",
)
kebab = matching(_kebab_matches, "relationship type", "use only a-z, 0-9 and hyphens")


def identifier(types: Iterable[str] = (), but_not: Iterable[str] = ()) -> Check:
    """`type--UUID` (section 2.7) of one of `types` (empty: of any), and of none of `but_not`."""
    allowed, forbidden = frozenset(types), frozenset(but_not)

    def check(value: Any) -> None:
        if type(value) is not str:
            raise _wrong(value, "an identifier")
        found = _id_matches(value)
        if not found:
            raise refusal("id-invalid", f"{clip(value)!r} is no STIX identifier", "write it as type--UUID")
        type_ = found[1]
        if (allowed and type_ not in allowed) or type_ in forbidden:
            wanted = "refer to " + " or ".join(sorted(allowed)) if allowed else "refer to another type"
            raise refusal("reference-invalid", f"{clip(type_)!r} may not be referred to here", wanted)

    return check


def own_id(type_: str) -> Check:
    """The id of an object of this type."""
    well_formed = identifier()

    def check(value: Any) -> None:
        well_formed(value)
        if value[: -UUID_LENGTH - 2] != type_:
            what = f"{clip(value)!r} does not begin with {clip(type_)}--"
            raise refusal("id-invalid", what, "write it as type--UUID")

    return check


def fields(required: tuple[str, ...], known: Mapping[str, Check], some_of: tuple[str, ...] = ()) -> Check:
    """An object that has all of `required` and one at least of `some_of`; what is not `known` is free."""

    def check(value: Any) -> None:
        json_object(value)
        for name in required:
            if name not in value:
                raise refusal("property-missing", f"{name!r} is missing", "add it", f"/{name}")
        if some_of and not any(name in value for name in some_of):
            raise refusal("property-missing", f"none of {', '.join(some_of)} is there", "add one of them")
        for name in known.keys() & value.keys():
            try:
                known[name](value[name])
            except ItemRefused as fault:
                raise below(fault, name) from None

    return check


def hashes(value: Any) -> None:
    """Algorithm to digest (section 2.6); names outside the vocabulary are allowed."""
    json_object(value)
    for name, digest in value.items():
        if not _hash_name_matches(name):
            hint = "name it as SHA-256, MD5 and so on"
            raise refusal("property-value", f"{clip(name)!r} names no hash algorithm", hint)
        if type(digest) is not str:
            raise below(_wrong(digest, "a string"), name)


_DIGEST_CHARS: Mapping[str, int] = {
    "md5": 32,
    "sha1": 40,
    "sha256": 64,
    "sha512": 128,
    "sha3256": 64,
    "sha3512": 128,
}
_hexadecimal = re.compile(r"[0-9a-fA-F]+").fullmatch


def file_hashes(value: Any) -> None:
    """As `hashes`, and every digest is as long as its algorithm makes them (section 10.6)."""
    hashes(value)
    for name, digest in value.items():
        wanted = _DIGEST_CHARS.get(name.replace("-", "").replace("_", "").lower())
        if wanted and (len(digest) != wanted or not _hexadecimal(digest)):
            what = f"{clip(digest)!r} is no digest of {clip(name)}"
            raise below(refusal("property-value", what, f"write it with {wanted} hexadecimal digits"), name)


def translations(value: Any) -> None:
    """Language to the translated properties (section 7.1)."""
    json_object(value)
    for name, content in value.items():
        try:
            lang(name)
            json_object(content)
        except ItemRefused as fault:
            raise below(fault, clip(name)) from None


base64 = matching(
    re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?+").fullmatch,
    "base64",
    "encode it as RFC 4648 section 4 says",
)

kill_chain_phase = fields(("kill_chain_name", "phase_name"), {"kill_chain_name": text, "phase_name": text})
_external_reference = fields(
    ("source_name",),
    {"source_name": text, "description": text, "url": text, "external_id": text, "hashes": hashes},
)


def external_reference(value: Any) -> None:
    """Where else something is described (section 2.5): its source's name says too little by itself."""
    _external_reference(value)
    if not any(name in value for name in ("description", "url", "external_id")):
        what = "beside source_name, none of description, url, external_id is there"
        raise refusal("property-missing", what, "add one of them")


_EXTENSION_TYPES = one_of(("new-sdo", "new-sco", "new-sro", "property-extension", "toplevel-property-extension"))
extension_types = list_of(_EXTENSION_TYPES)


def extensions(value: Any) -> None:
    """Extension id or predefined name to its properties (section 3.1)."""
    json_object(value)
    for name, content in value.items():
        if not _extension_matches(name):
            fault = refusal("property-value", "this names no extension", "use extension-definition--UUID")
            raise below(fault, clip(name))
        try:
            json_object(content)
            if "extension_type" in content:
                _EXTENSION_TYPES(content["extension_type"])
        except ItemRefused as fault:
            raise below(fault, name) from None


_granular_marking = fields(
    ("selectors",),
    {"selectors": list_of(selector), "marking_ref": identifier(("marking-definition",)), "lang": lang},
)


def granular_marking(value: Any) -> None:
    """Selectors, and either a marking or a language (section 7.2.3); see `select` for what they point at."""
    _granular_marking(value)
    if ("marking_ref" in value) == ("lang" in value):
        raise refusal("property-missing", "either marking_ref or lang belongs here", "give one of the two")


def select(body: Mapping[str, Any], path: str) -> bool:
    """Whether a well-formed selector points at something in the object."""
    part: Any = body
    for step in path.split("."):
        if step.startswith("["):
            index = int(step[1:-1])
            if type(part) is not list or index >= len(part):
                return False
            part = part[index]
        elif type(part) is dict and step in part:
            part = part[step]
        else:
            return False
    return True
