"""STIX 2.1 and 2.0: one draft for each IoC of an indicator, one for every other object.

What an object says about its own handling (markings, labels that are markings, the handling extension) is
taken out of it into the draft's fields, and so are its references to others: see `resolving`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any

import orjson

from schemas import handling, objects, patterns
from schemas import stix_values as values
from schemas.agreement import Agreement
from schemas.errors import BodyRefused, ItemRefused, clip
from schemas.fingerprint import Ioc, clean_text, file_hash
from schemas.safejson import loads
from schemas.stix import StixObject, open_bundle
from schemas.timestamps import is_time, parse_time
from schemas.tombstone import tombstone
from services.accept import selectors
from services.accept.context import with_context
from services.accept.indicators import split_tags
from services.accept.reading import Aside, Draft, Gathering, Posted, Reading, Refusal

FORMAT = "stix"
MAX_PATTERN_TYPE_CHARS = 64
MAX_NOTES = 20
MAX_JOINS = 20
MAX_ID_CHARS = 300
TOMBSTONE = Ioc("domain", "withdrawn.invalid")
"""What the pattern of a revoked indicator names where the original one is withheld."""

_NO_IDENTITY = objects.Identity((), "")
_FIRST_SEEN = ("valid_from", "first_seen", "first_observed", "start_time")
_LAST_SEEN = ("last_seen", "last_observed", "stop_time")


def read(document: Any, agreement: Agreement, now_ms: int) -> Reading:
    """Never raises for what is in an object: a fault refuses that object.

    Raises `BodyRefused` where the document is no STIX, or its frame is broken.
    """
    strict = agreement.contributes is not None and agreement.contributes.strict
    gathering, posted = Gathering(), list[Posted]()
    opened = open_bundle(document, strict=strict, parse=gathering.parse)
    for found, (pointer, raw) in zip_longest(opened.items, _objects(document)):
        with gathering.refusing(pointer, partial(orjson.dumps, raw)):
            if isinstance(found, ItemRefused):
                posted.append(_unread(pointer, raw))
                raise found
            posted.append(_posted(found))  # what it says of its handling is taken out below
            for item in list(_items(found, agreement.id, now_ms, partial(orjson.dumps, raw))):
                gathering.add(item)
    return Reading(FORMAT, tuple(with_context(gathering.items)), opened.notes, tuple(posted))


def read_envelope(document: Any, agreement: Agreement, now_ms: int) -> Reading:
    """What a TAXII envelope (TAXII 2.1 section 3.7) says, as `read`; of each object of it its source is told.

    Raises `BodyRefused` (422) where it is no envelope, or one without objects.
    """
    if not isinstance(document, dict) or "type" in document:
        raise _no_envelope("this is no TAXII envelope")
    found = document.get("objects")
    if not isinstance(found, list) or not found:
        raise _no_envelope("the envelope has no list of objects, or an empty one")
    reading = read({"type": "bundle", "id": _ENVELOPE, "objects": found}, agreement, now_ms)
    return replace(reading, answered=True)


_ENVELOPE = "bundle--00000000-0000-4000-8000-000000000000"
"""By no other name are the objects of an envelope a bundle."""


def _no_envelope(what: str) -> BodyRefused:
    hint = 'send {"objects": [...]} with at least one STIX object'
    return BodyRefused("envelope-invalid", what, hint=hint, status=422)


def _posted(found: StixObject) -> Posted:
    body = found.body
    version: str = "" if found.modified_ms is None else body.get("modified", body.get("created", ""))
    if not found.revoked:
        return Posted(found.pointer, found.id, found.type, version, orjson.dumps(body))
    created_ms, modified_ms = found.created_ms or 0, found.modified_ms or 0
    over = tombstone(found.type, found.id, created_ms, modified_ms)
    kept = {name: body[name] for name in ("created", "modified") if name in body}
    return Posted(found.pointer, found.id, found.type, version, orjson.dumps(over | kept), revoked=True)


def _unread(pointer: str, raw: Any) -> Posted:
    """What is told of an object that can't be read must be text that can be sent, whatever stands in it."""
    fields = raw if isinstance(raw, dict) else {}
    id_, modified = fields.get("id"), fields.get("modified", fields.get("created"))
    version = modified if isinstance(modified, str) and is_time(modified) else ""
    return Posted(pointer, clip(id_, MAX_ID_CHARS) if isinstance(id_, str) and id_ else pointer, version=version)


def _objects(document: Any) -> Iterable[tuple[str, Any]]:
    """The objects in a document as they came, with their JSON pointers; in the order of `open_bundle`."""
    if isinstance(document, list):
        return ((f"/{index}", raw) for index, raw in enumerate(document))
    if document.get("type", "bundle") == "bundle":
        return ((f"/objects/{index}", raw) for index, raw in enumerate(document.get("objects", [])))
    return [("", document)]


def read_one(raw: bytes, agreement: Agreement, now_ms: int) -> list[Draft | Refusal]:
    """What one object says that was read before and kept: the drafts of it, or why it can't be read any more."""
    try:
        reading = read(loads(raw), agreement, now_ms)
    except BodyRefused as refusal:
        error = ItemRefused(refusal.code, refusal.what, where=refusal.where, hint=refusal.hint)
        return [Refusal("", error, lambda: raw)]
    return [item for item in reading.items if not isinstance(item, Aside)]


def _items(found: StixObject, source: str, now_ms: int, raw: Callable[[], bytes]) -> Iterator[Draft | Aside]:
    if found.type == "marking-definition":
        yield Aside(found.pointer, "noted", "markings are resolved by id", "stix:marking-definition", found.id)
        return
    draft = _draft(found, source, now_ms)
    if found.type != "indicator":
        yield draft._replace(raw=raw)
    elif found.parsed is None:
        yield _of_other_pattern(draft, found)
    elif found.revoked and found.parsed.iocs in ((), (TOMBSTONE,)):
        yield draft._replace(kind="", value="", raw=raw)
    elif not found.parsed.iocs:
        reason = "the values in its pattern name no indicator"
        yield Aside(
            found.pointer, "skipped", reason, "stix:indicator", "", found.id, draft.modified_ms, found.revoked
        )
    else:
        yield from _of_pattern(draft, found.parsed)


def _draft(found: StixObject, source: str, now_ms: int) -> Draft:
    """The object without what it says about its handling and refers to, under the id that its source gave it."""
    body = found.body
    parts, value = _NO_IDENTITY if found.type == "indicator" else objects.identify(body, source)
    granular = selectors.grouped(body.get("granular_markings", ()))
    terms, ours, notes = _handling(body)
    if ours and selectors.has_any(granular, terms):
        granular, terms = selectors.out_of(granular, terms, ours)
    written = dict(body) if selectors.has_any(granular, terms) else {}
    by_tag, labels = _labels(body, found.checked)
    markings = (*(id_.lower() for id_ in body.pop("object_marking_refs", ())), *by_tag)
    body.pop("granular_markings", None)
    references = objects.take_references(body)
    if written:
        granular, terms = selectors.moved(granular, terms, _places(written, body, references))
    _drop_a_confidence_that_is_none(body, found.checked)
    created_ms = now_ms if found.created_ms is None else found.created_ms
    modified_ms = created_ms if found.modified_ms is None else found.modified_ms
    return Draft(
        pointer=found.pointer,
        kind=f"stix:{found.type}",
        value=value,
        type=found.type,
        object=body,
        created_ms=created_ms,
        modified_ms=modified_ms,
        first_seen_ms=_time(found, _FIRST_SEEN, created_ms),
        last_seen_ms=_time(found, _LAST_SEEN, modified_ms),
        markings=markings,
        granular=granular,
        handling=terms,
        revoked=found.revoked,
        labels=(*labels, *_types_of(found)),
        notes=(*found.notes[:MAX_NOTES], *notes),
        parts=parts,
        references=references,
    )


def _handling(body: dict[str, Any]) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """What it says of its handling, which is taken out; the id of the extension; and notes for its source."""
    extensions = body.get("extensions") or {}
    ours = handling.find(extensions)
    if ours is None:
        return {}, "", ()
    said = handling.read(extensions)
    notes = selectors.check_personal(body, said.personal, f"/extensions/{ours}/personal")
    _replace(body, "extensions", {id_: fields for id_, fields in extensions.items() if id_ != ours})
    return {name: value for name, value in extensions[ours].items() if name != "extension_type"}, ours, notes


def _places(
    written: Mapping[str, Any], body: Mapping[str, Any], references: Iterable[tuple[str, str]]
) -> selectors.Places:
    """Where the entries of lists stand that are no longer as they were written."""
    places: dict[str, Sequence[Sequence[int]]] = {
        name: () for name in ("object_marking_refs", "granular_markings") if name in written
    }
    if written.get("labels") != body.get("labels"):
        places["labels"] = selectors.of_labels(written["labels"], body.get("labels", ()))
    taken = {name: value for name, value in written.items() if name not in body and name not in (*places, "labels")}
    return {**places, **selectors.of_references(taken, references)}


def _labels(body: dict[str, Any], checked: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(markings, labels). Where nobody checked them, whatever among them is text: it may be a marking."""
    written = body.get("labels")
    if "labels" in checked:
        markings, labels = split_tags(written or ())
        if written:
            _replace(body, "labels", list(labels))
        return markings, labels
    entries = written if isinstance(written, list) else [written]
    return split_tags([entry for entry in entries if isinstance(entry, str)])


def _drop_a_confidence_that_is_none(body: dict[str, Any], checked: Collection[str]) -> None:
    """On a type that has no confidence it is a custom property of any kind, which the rules would take for one."""
    if "confidence" in body and "confidence" not in checked:
        try:
            _confidence(body["confidence"])
        except ItemRefused:
            del body["confidence"]


_confidence = values.number(0, 100, whole=True)


def _replace(body: dict[str, Any], name: str, value: Any) -> None:
    if value:
        body[name] = value
    else:
        del body[name]


def _types_of(found: StixObject) -> Sequence[str]:
    """What kind of indicator or malware its source calls it, in the vocabularies of STIX."""
    name = f"{found.type.replace('-', '_')}_types"
    types: Sequence[str] = found.body.get(name, ()) if name in found.checked else ()
    return types


def _time(found: StixObject, names: tuple[str, ...], otherwise_ms: int) -> int:
    """The first of these times that the object has; a custom property of such a name is none."""
    body = found.body
    for name in names:
        if name in found.checked and (text := body.get(name)):
            return otherwise_ms if text == body.get("created") == body.get("modified") else parse_time(text)
    return otherwise_ms


def _of_pattern(draft: Draft, parsed: patterns.Parsed) -> Iterator[Draft]:
    pairs = zip(parsed.iocs, parsed.identities, strict=True)
    if len(parsed.iocs) == 1:
        [(ioc, identity)] = pairs
        joins = _certificates(parsed.canonical) if parsed.canonical else ()
        yield draft._replace(kind=ioc.kind, value=ioc.value, identity=identity, joins=joins)
        return
    for ioc, identity in pairs:
        # each report tells of its own alternative only: with the whole pattern in every one of them,
        # reports would grow with the square of the alternatives
        alone = {**draft.object, "pattern": patterns.generate(ioc)}
        yield draft._replace(kind=ioc.kind, value=ioc.value, identity=identity, object=alone)


_STRING = r"'((?:[^'\\]++|\\.)*+)'"
_certificate_words = re.compile(
    rf"(?:x509-certificate:hashes|app:cert)\.[A-Za-z0-9_]++ = {_STRING}|{_STRING}|( AND )", re.DOTALL
).finditer


def _certificates(canonical: str) -> tuple[tuple[str, str], ...]:
    """The certificates with which a pattern joins something else by AND."""
    found: dict[str, None] = {}
    joined = False
    for match in _certificate_words(canonical):
        joined = joined or match[3] is not None
        if match[1] and (certificate := file_hash(match[1], certificate=True)):
            found[certificate.value] = None
    return tuple(("certificate", value) for value in found)[:MAX_JOINS] if joined else ()


def _of_other_pattern(draft: Draft, found: StixObject) -> Draft:
    """A rule in another language (YARA, Sigma, Snort …): its text is what it is, nobody here reads it."""
    language = found.body["pattern_type"].strip().lower()
    if len(language) > MAX_PATTERN_TYPE_CHARS:
        raise ItemRefused(
            "pattern-type-invalid",
            f"{clip(language)!r} is too long for a pattern type",
            where="/pattern_type",
            hint="name the language in which the pattern is written",
            field="pattern_type",
        )
    try:
        text = clean_text(found.body["pattern"])
    except ItemRefused as error:
        error.where, error.field = "/pattern", "pattern"
        raise
    ioc = Ioc(f"pattern:{language}", text)
    return draft._replace(kind=ioc.kind, value=ioc.value, identity=ioc)
