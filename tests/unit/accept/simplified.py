"""A reading as plain JSON, with what goes without saying left out: what the fixtures' expectations hold."""

from __future__ import annotations

from typing import Any

from schemas.markings import PINNED
from schemas.timestamps import format_time
from services.accept.reading import Aside, Draft, Item, Reading, Refusal
from tests.fakes import NOW_MS


def simplified(reading: Reading) -> dict[str, Any]:
    return {
        "format": reading.format,
        "notes": list(reading.notes),
        "items": [_item(item) for item in reading.items],
    }


def _item(item: Item) -> dict[str, Any]:
    match item:
        case Refusal():
            return {"at": item.pointer, "refused": item.error.code, "where": item.error.where}
        case Aside():
            return {"at": item.pointer, item.fate: item.reason}
        case Draft():
            return _draft(item)


def _draft(draft: Draft) -> dict[str, Any]:
    times = {
        name: format_time(ms)
        for name in ("created", "modified", "first_seen", "last_seen")
        if (ms := getattr(draft, f"{name}_ms")) != NOW_MS
    }
    rest = {
        "markings": [_level(id_) for id_ in draft.markings],
        "labels": list(draft.labels),
        "handling": dict(draft.handling),
        "granular": {_level(id_): list(selected) for id_, selected in draft.granular},
        "revoked": draft.revoked,
        "notes": list(draft.notes),
        "times": times,
    }
    return {
        "at": draft.pointer,
        "is": f"{draft.kind} {draft.value}",
        **{name: value for name, value in rest.items() if value},
        "object": {name: draft.object[name] for name in draft.object if name not in _OBVIOUS},
    }


def _level(id_: str) -> str:
    level = PINNED.get(id_)
    return f"{type(level).__name__}:{level.label}" if level else "unresolved"


_OBVIOUS = ("type", "spec_version", "pattern_type", "created", "modified", "valid_from")
