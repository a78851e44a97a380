"""Files of STIX, and the index that the Mobile Verification Toolkit keeps of such files. Pure.

Sources: STIX 2.1 section 8 (bundles); `indicators.yaml` of github.com/mvt-project/mvt-indicators, and how
`mvt.common.updates` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from connectors.slices import Part, stix_parts
from schemas import safejson, safeyaml
from schemas.errors import BodyRefused, PartnerFailed

GITHUB = "https://raw.githubusercontent.com"
MAX_FILES = 1_000


def parts(body: bytes, where: str) -> list[Part]:
    """A file in bodies for accept, none where nothing is in it. Raises `PartnerFailed` where it is no STIX."""
    try:
        document = safejson.loads(body)
    except BodyRefused as refusal:
        raise PartnerFailed(refusal.code, f"a file of it: {refusal.what}", where=where) from None
    objects, frame = _objects(document)
    if objects is None or not all(isinstance(each, dict) for each in objects) or not _any_is_stix(objects):
        raise PartnerFailed("not-stix", "a file of it is no bundle of STIX objects", where=where)
    return stix_parts(objects, frame, body) if objects else []


def _any_is_stix(objects: Sequence[Mapping[str, Any]]) -> bool:
    """Or there are none. What a server says of its troubles may have a type as well, and must withdraw nothing."""
    return not objects or any(str(each.get("id")).startswith(f"{each.get('type')}--") for each in objects)


def _objects(document: Any) -> tuple[Sequence[Any] | None, Mapping[str, Any]]:
    """The objects of a bundle, a list, or of one object; and what stands around them."""
    if isinstance(document, list):
        return document or None, {}
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        return None, {}
    if document["type"] != "bundle":
        return [document], {}
    objects = document.get("objects", [])
    return objects if isinstance(objects, list) else None, {**document, "objects": None}


def addresses(index: bytes, where: str) -> list[str]:
    """The addresses of the files that an `indicators.yaml` names, each once. Raises `PartnerFailed`."""
    try:
        document = safeyaml.loads(index)
    except BodyRefused as refusal:
        raise PartnerFailed(refusal.code, f"its index: {refusal.what}", where=where) from None
    entries = document.get("indicators") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_FILES:
        raise PartnerFailed(
            "not-an-index", f"its index is no list of at most {MAX_FILES:,} indicators", where=where
        )
    return list(dict.fromkeys(_address(entry, where) for entry in entries))


def _address(entry: Any, where: str) -> str:
    if isinstance(entry, dict):
        place = entry.get("github")
        if entry.get("type") == "github" and isinstance(place, dict):
            steps = [place.get(name) for name in ("owner", "repo", "branch", "path")]
            if all(isinstance(step, str) and step and ".." not in step.split("/") for step in steps):
                return "/".join([GITHUB, *(quote(str(step)) for step in steps)])
        if isinstance(address := entry.get("download_url"), str):
            return address
    raise PartnerFailed("not-an-index", "an entry of its index does not say where its file is", where=where)
