"""A whole core without streams: all partitions, the post between them, and what each recipient holds."""

from __future__ import annotations

import re
from typing import Any

import orjson

from schemas.bits import from_hex, members
from schemas.cleared import Cleared, Copy
from schemas.known import Known
from schemas.report import Report
from services import pipeline
from services.govern.compile import Compiled
from services.govern.settle import Rules
from services.rehearsal import Rehearsal
from tests.unit.govern.world import DATA, NOW_MS, SECRET

WINDOW_MS = 60_000
OWN = ("markings", "granular", "handling", "revoked", "gone", "withdrawn", "labels", "joins")


def key(name: str) -> bytes:
    """A made-up fingerprint; names that begin alike may lie in different partitions."""
    return name.encode().ljust(16, b"-")[:16]


def report(
    name: str, source: str, seq: int, /, *, of: str = "", at_ms: int = NOW_MS - 1000, **fields: Any
) -> Report:
    """A source's word on the item `name`; a sighting or opinion travels under `of`."""
    type_ = fields.pop("type", "indicator")
    references = tuple((prop, key(end).hex()) for prop, end in fields.pop("references", ()))
    top = {n: fields.pop(n) for n in OWN if n in fields}
    value = fields.pop("value", f"{name}.example")
    return Report(
        seq=seq,
        index=0,
        submission="s",
        pointer="",
        source=source,
        received_ms=at_ms,
        kind=fields.pop("kind", "") or "domain" if type_ == "indicator" else f"stix:{type_}",
        value=value,
        type=type_,
        object={"type": type_, "id": f"{type_}--{source}-{name}", **fields},
        created_ms=at_ms,
        modified_ms=at_ms,
        first_seen_ms=at_ms,
        last_seen_ms=at_ms,
        identity=key(name).hex() if of else "",
        references=references,
        **top,
    )


class Core(Rehearsal):
    """Works off reports and everything that follows from them."""

    def __init__(self, compiled: Compiled, *, window_ms: int = WINDOW_MS) -> None:
        super().__init__(pipeline.core(Rules(compiled, DATA, SECRET), window_ms), now_ms=NOW_MS)
        self.compiled = compiled

    def hear(self, *words: tuple[str, Report]) -> None:
        """Each report under the name of its record's key, and then letters until there are none."""
        self.work([(key(name), word.model_dump_json().encode()) for name, word in words])

    def holds(self, partner: str, *, withdrawn: bool = False) -> dict[str, dict[str, Any]]:
        """The live (or withdrawn) bodies of a partner by their ids."""
        [bit] = members(self.compiled.number[partner])
        return {
            copy.body["id"]: copy.body
            for copy in self.copies()
            if copy.live is not withdrawn and from_hex(copy.to) >> bit & 1
        }

    def copies(self) -> list[Copy]:
        """All copies of all items."""
        return [copy for raw in self.cleared.values() for copy in Cleared.from_bytes(raw).copies]

    def of_type(self, partner: str, stix_type: str) -> list[dict[str, Any]]:
        return sorted((b for b in self.holds(partner).values() if b["type"] == stix_type), key=lambda b: b["id"])

    def known(self, name: str) -> Known:
        return next(Known.from_bytes(state[key(name)]) for state in self.state if key(name) in state)

    def view(self, partner: str) -> list[str]:
        """All that a partner holds, as text, with the names of items for their ids.

        Of which generation an id is depends on who held the item before, and can't be read out of it.
        """
        names = {
            copy.body["id"]: fingerprint.hex()
            for fingerprint, cleared in self.cleared.items()
            for copy in Cleared.from_bytes(cleared).copies
        }
        shown = []
        for withdrawn in (False, True):
            for body in self.holds(partner, withdrawn=withdrawn).values():
                text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()
                shown.append(re.sub(r"[a-z-]+--[0-9a-f-]{36}", lambda found: names.get(found[0], found[0]), text))
        return sorted(shown)
