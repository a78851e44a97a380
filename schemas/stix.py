"""STIX documents, as they come decoded from a source, to validated objects of STIX 2.1.

Taken are bundles of 2.1 and 2.0, single objects, lists of objects and TAXII envelopes. An invalid object does
not spoil the valid ones beside it. What breaks a rule of the standard and can yet be understood is taken
with a note, unless `strict`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from schemas import markings
from schemas import stix_values as values
from schemas.errors import BodyRefused, ItemRefused, TocsinError, clip, not_understood
from schemas.patterns import Parsed
from schemas.patterns import parse as parse_pattern
from schemas.safejson import control_character, pointer_to, walk
from schemas.stix_rules import exclusion_faults, relation_faults
from schemas.stix_types import TYPES, StixType, custom_type
from schemas.stix_upgrade import upgrade
from schemas.stix_values import missing
from schemas.timestamps import parse_time

Version = Literal["2.0", "2.1"]
ParsePattern = Callable[[str, Version], Parsed]

FORMATS = "taken are STIX 2.1 and 2.0 (bundle, object, list of objects), MISP events and CSV"


class Limits(NamedTuple):
    """Bounds of what is read, beside those of `safejson.loads`. Strings in characters."""

    max_objects: int = 100_000
    max_properties: int = 1_000
    max_string: int = 1 << 20
    max_list: int = 100_000


LIMITS = Limits()


class StixObject(NamedTuple):
    """One validated object.

    `body` is the object as STIX 2.1 (it shares its nested values with the document); `spec_version` is the
    version in which it came. Times are ms since 1970, None where the type has no such property. `notes` say
    what was understood leniently, as `code: property`. `parsed` is what an indicator's STIX pattern names.
    `pointer` is the JSON pointer of the object in the document. `checked` names the properties that its type
    defines; whatever the body holds under another name was looked at by nobody.
    """

    type: str
    id: str
    spec_version: Version
    created_ms: int | None
    modified_ms: int | None
    revoked: bool
    body: dict[str, Any]
    notes: tuple[str, ...]
    pointer: str
    parsed: Parsed | None = None
    checked: Collection[str] = ()


class Opened(NamedTuple):
    """A document whose frame is sound: how many objects it has, and these, read one by one as they are drawn."""

    id: str
    total: int
    notes: tuple[str, ...]
    items: Iterator[StixObject | ItemRefused]


class Bundle(NamedTuple):
    """A document read to its end: the valid objects, and the refusals of the others."""

    id: str
    objects: tuple[StixObject, ...]
    refused: tuple[ItemRefused, ...]
    notes: tuple[str, ...]


_VIOLATIONS: Mapping[str, str] = {
    "property-of-2.1-in-2.0": "this property is not in STIX 2.0",
    "spec-version-missing": "this type is not in STIX 2.0, and spec_version does not say 2.1",
    "spec-version-in-2.0": "objects of STIX 2.0 have no spec_version",
    "timestamp-precision": "the timestamp has no milliseconds",
    "property-name": "a custom property's name has 3 to 250 of a-z, 0-9 and underscore",
    "empty": "null or something empty stands where the property should be left out",
    "labels-missing": "STIX 2.0 requires labels",
    "pattern-type-case": "the pattern type is written in lower case",
    "object-twice": "the same version of the same object stands in the document twice",
    "bundle-id": "the bundle has no id of the form bundle--UUID",
    "envelope": "a bundle was expected",
    "marking-body": "the body is not that of the well-known marking which has this id",
}
"""Notes that a strict source does not get away with, and what to tell it. Other notes only inform."""

_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def read_bundle(document: Any, *, strict: bool = False, limits: Limits = LIMITS) -> Bundle:
    """All objects of a document. Raises `BodyRefused` where the document as a whole can't be taken."""
    opened = open_bundle(document, strict=strict, limits=limits)
    items = list(opened.items)
    return Bundle(
        opened.id,
        tuple(item for item in items if isinstance(item, StixObject)),
        tuple(item for item in items if isinstance(item, ItemRefused)),
        opened.notes,
    )


def open_bundle(
    document: Any, *, strict: bool = False, limits: Limits = LIMITS, parse: ParsePattern = parse_pattern
) -> Opened:
    """The frame of a document, its objects to be drawn. Raises `BodyRefused`:

    `unknown-format`, `bundle-invalid`, `too-many-objects`; and under `strict` any violation of the frame.
    """
    frame = _frame(document)
    if strict and frame.notes:
        code = frame.notes[0].partition(":")[0]
        raise BodyRefused(code, _VIOLATIONS[code], hint="this source agreed to send strict STIX")
    if len(frame.objects) > limits.max_objects:
        raise BodyRefused(
            "too-many-objects",
            f"{len(frame.objects):,} objects, where {limits.max_objects:,} are allowed",
            hint="send them in several submissions",
            status=413,
        )
    items = _items(frame, strict, limits, parse)
    return Opened(frame.id, len(frame.objects), frame.notes, items)


class _Frame(NamedTuple):
    id: str
    objects: list[Any]
    root: str
    notes: tuple[str, ...] = ()


def _frame(document: Any) -> _Frame:
    if isinstance(document, list) and document and _looks_like_stix(document[0]):
        return _Frame("", document, "", ("envelope: list",))
    if not isinstance(document, dict):
        raise _unknown_format("this is no STIX document")
    if document.get("type") == "bundle":
        return _bundle_frame(document)
    if _looks_like_stix(document):
        return _Frame("", [document], "-")
    objects = document.get("objects")
    if "type" not in document and isinstance(objects, list) and objects and _looks_like_stix(objects[0]):
        return _Frame("", objects, "/objects", ("envelope: objects",))
    if {"stix_header", "observables", "ttps", "threat_actors"} & document.keys():
        raise _unknown_format("this looks like STIX 1.x written as JSON")
    raise _unknown_format("this is JSON, but no STIX")


def _looks_like_stix(candidate: Any) -> bool:
    if not isinstance(candidate, dict) or not isinstance(candidate.get("type"), str):
        return False
    id_ = candidate.get("id")
    return candidate["type"] in TYPES or "spec_version" in candidate or (isinstance(id_, str) and "--" in id_)


def _unknown_format(what: str) -> BodyRefused:
    return BodyRefused("unknown-format", what, hint=FORMATS, status=415)


def _bundle_frame(bundle: Mapping[str, Any]) -> _Frame:
    id_, objects, version = bundle.get("id", ""), bundle.get("objects", []), bundle.get("spec_version")
    if not isinstance(id_, str) or (id_ and not id_.startswith("bundle--")):
        raise _bundle_fault(f"the bundle's id {clip(id_)!r} does not begin with bundle--", "/id")
    if not isinstance(objects, list):
        raise _bundle_fault("the bundle's objects are no array", "/objects")
    if version not in (None, "2.0", "2.1"):
        raise _bundle_fault(f"the bundle is of STIX {clip(version)!r}", "/spec_version")
    notes = []
    if not re.fullmatch(f"bundle--{values.UUID_HEX}", id_):
        notes.append("bundle-id: id")
    if objects == [] and "objects" in bundle:
        notes.append("empty: objects")
    return _Frame(id_[:100], objects, "/objects", tuple(notes))


def _bundle_fault(what: str, where: str) -> BodyRefused:
    return BodyRefused("bundle-invalid", what, where=where, hint=FORMATS)


def _items(frame: _Frame, strict: bool, limits: Limits, parse: ParsePattern) -> Iterator[StixObject | ItemRefused]:
    seen: set[tuple[str, int | None]] = set()
    for index, raw in enumerate(frame.objects):
        pointer = "" if frame.root == "-" else f"{frame.root}/{index}"
        try:
            item = read_object(raw, pointer, strict=strict, limits=limits, parse=parse)
            if (item.id, item.modified_ms) in seen:
                item = item._replace(notes=(*item.notes, "object-twice: id"))
                _hold_to_the_standard(item.notes, pointer, strict)
            seen.add((item.id, item.modified_ms))
            yield item
        except ItemRefused as refused:
            yield refused
        except (TocsinError, MemoryError):
            raise
        except Exception as error:  # one object that trips the hub up must not keep the others out
            yield not_understood(error, pointer)


def read_object(
    raw: Any,
    pointer: str = "",
    *,
    strict: bool = False,
    limits: Limits = LIMITS,
    parse: ParsePattern = parse_pattern,
) -> StixObject:
    """One object, as 2.1. Raises `ItemRefused` with the JSON pointer of the first fault, and names the others."""
    if type(raw) is not dict:
        raise ItemRefused("not-an-object", "this is no JSON object", where=pointer, hint="send STIX objects")
    _bound(raw, pointer, limits)
    notes: list[str] = []
    body = _without_empties(raw, notes)
    type_ = _type_of(body, pointer)
    stix_type = TYPES.get(type_) or custom_type(type_, versioned="created" in body)
    version = _version_of(body, stix_type, pointer, notes)
    faults = upgrade(body, type_, stix_type, notes) if version == "2.0" else []
    faults += exclusion_faults(body, type_)
    faults += _property_faults(body, stix_type)
    if faults and version == "2.0":
        faults = _less_imprecise(faults, notes)
    if not faults:
        faults = list(relation_faults(body, type_, stix_type))
    if faults:
        raise _refused(faults, pointer)
    _note_custom(body, stix_type, notes)
    if type_ == "marking-definition" and not markings.agrees(body):
        notes.append("marking-body: definition")
    parsed = _parsed(body, version, pointer, notes, parse) if type_ == "indicator" else None
    if notes:
        _hold_to_the_standard(notes, pointer, strict)
    if stix_type.family == "observable":
        # observables have no versions: what they carry under such names is a custom property of any kind
        return StixObject(
            type_, body["id"], version, None, None, False, body, tuple(notes), pointer, None, stix_type.checks
        )
    created = body["created"]
    created_ms = parse_time(created)
    modified = body.get("modified", created)
    modified_ms = created_ms if modified == created else parse_time(modified)
    revoked = body.get("revoked", False)
    return StixObject(
        type_,
        body["id"],
        version,
        created_ms,
        modified_ms,
        revoked,
        body,
        tuple(notes),
        pointer,
        parsed,
        stix_type.checks,
    )


def _bound(raw: dict[str, Any], pointer: str, limits: Limits) -> None:
    """One pass over all that is in the object, for size and for characters that no text needs."""
    suspicious = False
    max_string, max_list, max_properties = limits.max_string, limits.max_list, limits.max_properties
    parts: list[Any] = [raw]
    for part in parts:
        kind = type(part)
        if kind is str:
            if len(part) > max_string:
                raise _too_large(raw, pointer, limits)
            if not part.isprintable():
                suspicious = True
        elif kind is dict:
            if len(part) > max_properties:
                raise _too_large(raw, pointer, limits)
            parts.append("".join(part))
            parts.extend(part.values())
        elif kind is list:
            if len(part) > max_list:
                raise _too_large(raw, pointer, limits)
            parts.extend(part)
    where = control_character(raw) if suspicious else None
    if where is not None:
        raise _at(
            "control-character",
            "a control character stands here",
            pointer,
            where,
            "remove it; tabs and line feeds may stay",
        )


def _too_large(raw: dict[str, Any], pointer: str, limits: Limits) -> ItemRefused:
    bounds: Mapping[type, tuple[int, str]] = {
        str: (limits.max_string, "characters"),
        list: (limits.max_list, "elements"),
        dict: (limits.max_properties, "properties"),
    }
    for steps, part in walk(raw):
        most, what = bounds.get(type(part), (0, ""))
        if what and len(part) > most:
            return _at("too-long", f"more than {most:,} {what}", pointer, pointer_to(steps), "send less of it")
    return _at("too-long", "the names of its properties are too long", pointer, "", "shorten them")


def _at(code: str, what: str, pointer: str, where: str, hint: str) -> ItemRefused:
    field = where.split("/")[1] if where else ""
    return ItemRefused(code, what, where=pointer + where, hint=hint, field=field)


def _without_empties(raw: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """A copy; null and empty arrays and objects, which the standard forbids, are the same as absent."""
    body = dict(raw)
    for name, value in raw.items():
        if value is None or value == [] or value == {}:
            del body[name]
            notes.append(f"empty: {clip(name)}")
    return body


def _type_of(body: Mapping[str, Any], pointer: str) -> str:
    type_ = body.get("type")
    if type(type_) is str and values.type_matches(type_) and 3 <= len(type_) <= 250 and type_ != "bundle":
        return type_
    what = "an object has no type" if type_ is None else f"{clip(type_)!r} is no type of STIX object"
    raise _at("type-invalid", what, pointer, "/type", "name a type, in lower case with hyphens")


def _version_of(body: dict[str, Any], stix_type: StixType, pointer: str, notes: list[str]) -> Version:
    version = body.get("spec_version")
    if version == "2.1":
        return "2.1"
    if version == "2.0":
        notes.append("spec-version-in-2.0: spec_version")
        return "2.0"
    if version is not None:
        what = f"spec_version is {clip(version)!r}"
        raise _at("spec-version-unknown", what, pointer, "/spec_version", "2.1 and 2.0 are understood")
    if stix_type.new_type:
        notes.append("spec-version-missing: spec_version")
    elif stix_type.family != "observable":
        return "2.0"
    body["spec_version"] = "2.1"
    return "2.1"


def _property_faults(body: Mapping[str, Any], stix_type: StixType) -> list[ItemRefused]:
    checks = stix_type.checks
    faults = [missing(name) for name in stix_type.required if name not in body]
    for name, value in body.items():
        check = checks.get(name)
        if check is not None:
            try:
                check(value)
            except ItemRefused as fault:
                faults.append(values.below(fault, name))
    return faults


def _less_imprecise(faults: list[ItemRefused], notes: list[str]) -> list[ItemRefused]:
    """In 2.0 many wrote `created` without milliseconds."""
    notes.extend(f"{fault.code}: {fault.field}" for fault in faults if fault.code == "timestamp-precision")
    return [fault for fault in faults if fault.code != "timestamp-precision"]


def _refused(faults: list[ItemRefused], pointer: str) -> ItemRefused:
    first = faults[0]
    others = dict.fromkeys(fault.field for fault in faults if fault.field != first.field)
    also = f"; wrong too: {clip(', '.join(others), 200)}" if others else ""
    return ItemRefused(
        first.code,
        f"{clip(first.field)}: {first.what}{also}",
        where=pointer + first.where,
        hint=first.hint,
        field=first.field,
    )


def _note_custom(body: Mapping[str, Any], stix_type: StixType, notes: list[str]) -> None:
    custom = body.keys() - stix_type.checks.keys()
    for name in sorted(custom):
        code = "custom-property" if values.name_matches(name) else "property-name"
        notes.append(f"{code}: {clip(name)}")


def _parsed(
    body: dict[str, Any], version: Version, pointer: str, notes: list[str], parse: ParsePattern
) -> Parsed | None:
    kind: str = body["pattern_type"]
    if kind != "stix":
        if kind.lower() != "stix":
            return None
        notes.append("pattern-type-case: pattern_type")
        body["pattern_type"] = "stix"
    pattern: str = body["pattern"]
    # a direction mark can make a pattern read as another than it is
    if not pattern.isprintable() and _BIDI.search(pattern):
        raise _at(
            "control-character",
            "a mark of writing direction stands in the pattern",
            pointer,
            "/pattern",
            "remove it",
        )
    try:
        return parse(pattern, "2.0" if body.get("pattern_version") == "2.0" else version)
    except ItemRefused as fault:
        raise ItemRefused(
            fault.code, fault.what, where=f"{pointer}/pattern", hint=fault.hint, field="pattern"
        ) from None


def _hold_to_the_standard(notes: list[str] | tuple[str, ...], pointer: str, strict: bool) -> None:
    if not strict:
        return
    for note in notes:
        code, _, field = note.partition(": ")
        if code in _VIOLATIONS:
            raise ItemRefused(
                code,
                f"{field}: {_VIOLATIONS[code]}",
                where=f"{pointer}/{field}",
                hint="this source agreed to send strict STIX",
                field=field,
            )
