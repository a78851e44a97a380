"""What the properties of a STIX object owe to one another, where each by itself is well-formed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from schemas import markings
from schemas.errors import ItemRefused, clip
from schemas.stix_types import StixType
from schemas.stix_values import below, missing, refusal, select
from schemas.timestamps import exact


class _Bar(NamedTuple):
    """The property `name` has no place beside `by`, or, if `value` is given, where `by` has that value."""

    name: str
    by: str
    value: bool | None = None


_BARS: Mapping[str, tuple[_Bar, ...]] = {
    "artifact": (_Bar("url", "payload_bin"),),
    "email-message": (_Bar("body_multipart", "is_multipart", False), _Bar("body", "is_multipart", True)),
    "network-traffic": (_Bar("end", "is_active", True),),
    "observed-data": (_Bar("objects", "object_refs"),),
}


def exclusion_faults(body: Mapping[str, Any], type_: str) -> Iterator[ItemRefused]:
    """What may not stand together, well-formed or not (STIX 2.1 sections 4.14, 6.1, 6.6 and 6.12)."""
    for name, by, value in _BARS.get(type_, ()):
        if name in body and by in body and value in (None, body[by]):
            what = f"this has no place {'beside' if value is None else 'where'} {by}"
            what += "" if value is None else f" is {str(value).lower()}"
            yield below(refusal("property-value", what, "keep one of the two"), name)


def relation_faults(body: Mapping[str, Any], type_: str, stix_type: StixType) -> Iterator[ItemRefused]:
    """What properties that are each well-formed owe to one another."""
    for earlier, later, strict in stix_type.orders:
        first, second = body.get(earlier), body.get(later)
        if first is None or second is None or (first == second and not strict):
            continue
        if exact(second) < exact(first) or (strict and exact(first) == exact(second)):
            what = f"{later} does not lie after {earlier}" if strict else f"{later} lies before {earlier}"
            yield below(refusal("times-out-of-order", what, "mend one of the two"), later)
    if stix_type.some_of and not any(name in body for name in stix_type.some_of):
        what = f"none of {', '.join(stix_type.some_of)} is there"
        yield below(refusal("property-missing", what, "add one of them"), stix_type.some_of[0])
    if "granular_markings" in body:
        yield from _selector_faults(body)
    special = _SPECIAL.get(type_)
    if special:
        yield from special(body)


def _selector_faults(body: Mapping[str, Any]) -> Iterator[ItemRefused]:
    for index, marking in enumerate(body["granular_markings"]):
        for place, selector in enumerate(marking["selectors"]):
            if not select(body, selector):
                what = f"the selector {clip(selector)!r} points at nothing in the object"
                where = f"/granular_markings/{index}/selectors/{place}"
                yield ItemRefused(
                    "selector-invalid", what, where=where, hint="mend or remove it", field="granular_markings"
                )


def _malware_faults(body: Mapping[str, Any]) -> Iterator[ItemRefused]:
    if body["is_family"] and "name" not in body:
        yield below(refusal("property-missing", "a malware family needs a name", "add it"), "name")


def _marking_faults(body: Mapping[str, Any]) -> Iterator[ItemRefused]:
    """A definition with its type, or an extension (section 7.2.1)."""
    definition, kind = body.get("definition"), body.get("definition_type")
    if (definition is None) != (kind is None):
        yield missing("definition" if definition is None else "definition_type")
        return
    if kind == "statement" and not isinstance(definition.get("statement"), str):  # type: ignore[union-attr]
        yield below(refusal("property-value", "there is no statement in it", "add one"), "definition")
    if kind == "tlp" and not markings.is_tlp1(body):
        what = "this is none of the TLP markings that the standard defines"
        hint = "refer to the marking by its id, and leave its body out"
        yield below(refusal("marking-invalid", what, hint), "definition")


def _artifact_faults(body: Mapping[str, Any]) -> Iterator[ItemRefused]:
    if "url" in body and "hashes" not in body:
        yield missing("hashes")


def _location_faults(body: Mapping[str, Any]) -> Iterator[ItemRefused]:
    for name, needed in (("latitude", "longitude"), ("longitude", "latitude"), ("precision", "latitude")):
        if name in body and needed not in body:
            yield missing(needed)


_SPECIAL: Mapping[str, Callable[[Mapping[str, Any]], Iterator[ItemRefused]]] = {
    "artifact": _artifact_faults,
    "location": _location_faults,
    "malware": _malware_faults,
    "marking-definition": _marking_faults,
}
