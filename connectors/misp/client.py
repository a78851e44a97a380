"""The output to a MISP's REST API: events and attributes by uuids that stay."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

from connectors.access import token_of
from connectors.base import DELIVERED, NOTHING, Outcome, Tools
from connectors.http import Answer, place
from connectors.misp import push_mapping as mapping
from connectors.misp import push_rules as rules
from connectors.pieces import lots, send_all, verdict
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow

MAX_ANSWER_BYTES = 16 * 1024 * 1024
LOT_ROWS = 100
LOT_BYTES = 4 * 1024 * 1024
NOT_TAKEN = Outcome("refused", "not-taken")
EVENT_NOT_TAKEN = Outcome("refused", "event-not-taken")
DELETED_THERE = Outcome("refused", "deleted-there")


class _Settings(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def key_file(self) -> Path: ...
    @property
    def distribution(self) -> int: ...
    @property
    def publish(self) -> bool: ...


async def open_pusher(settings: _Settings, tools: Tools) -> MispPusher:
    key = await asyncio.to_thread(tools.secret, settings.key_file)
    return MispPusher(settings, tools, token_of(key, str(settings.key_file)))


class MispPusher:
    """Searches what MISP holds of a lot of rows, then adds, edits and deletes only what differs."""

    def __init__(self, settings: _Settings, tools: Tools, key: str) -> None:
        self._settings = settings
        self._http = tools.http
        self._partner = tools.partner
        self._url = settings.url.rstrip("/")
        self._where = place(settings.url)
        self._headers = {"Authorization": key, "Accept": "application/json", "Content-Type": "application/json"}

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        return await send_all(lots(rows, LOT_ROWS, LOT_BYTES), self._send)

    async def _send(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        outcomes = [NOTHING] * len(rows)
        attributes = {place_: mapping.attribute_of(row, self._partner) for place_, row in enumerate(rows)}
        uuids = {
            place_: mapping.attribute_uuid(row)
            for place_, row in enumerate(rows)
            if row.type == "indicator" and (attributes[place_] is not None or not row.live)
        }
        if not uuids:
            return outcomes
        # of several versions of one thing, the last is what is to be there
        last = {uuid: place_ for place_, uuid in uuids.items()}
        held = await self._search(list(last))
        changed: set[str] = set()
        new: dict[str, list[int]] = {}
        for uuid, place_ in last.items():
            attribute, known = attributes[place_], held.get(uuid)
            if attribute is None:
                outcomes[place_] = await self._delete(uuid, known)
            elif known is None:
                new.setdefault(attribute.event, []).append(place_)
            else:
                outcomes[place_] = await self._edit(attribute, known)
            if known is not None and known.event:
                changed.add(known.event)
        for event, places in new.items():
            added = [
                (rows[place_], attribute) for place_ in places if (attribute := attributes[place_]) is not None
            ]
            for place_, outcome in zip(places, await self._add(event, added), strict=True):
                outcomes[place_] = outcome
            changed.add(event)
        if self._settings.publish:
            await self._publish(sorted(changed))
        for place_, uuid in uuids.items():
            outcomes[place_] = outcomes[last[uuid]]
        return outcomes

    async def _search(self, uuids: Sequence[str]) -> dict[str, rules.Held]:
        answer = await self._post("attributes/restSearch", rules.search(uuids))
        self._check(answer)
        return rules.found(answer.body, self._where)

    async def _delete(self, uuid: str, held: rules.Held | None) -> Outcome:
        if held is None or held.deleted:
            return DELIVERED
        emptied = await self._post(f"attributes/edit/{uuid}", rules.emptied(uuid))
        # where it may not be emptied it is deleted all the same
        deleted = await self._post(f"attributes/delete/{uuid}", {})
        if deleted.status != 404:  # it went meanwhile
            self._check(deleted)
        if emptied.status not in (403, 404, 405):
            self._check(emptied)
        return DELIVERED

    async def _edit(self, attribute: mapping.Attribute, held: rules.Held) -> Outcome:
        if held.deleted:
            return DELETED_THERE
        if rules.same(held, attribute.fields):
            return DELIVERED
        answer = await self._post(f"attributes/edit/{attribute.uuid}", rules.edited(held, attribute.fields))
        if answer.status == 404:
            return DELETED_THERE
        return NOT_TAKEN if self._is_refusal(answer) else DELIVERED

    async def _add(self, event: str, added: Sequence[tuple[FeedRow, mapping.Attribute]]) -> Sequence[Outcome]:
        if not await self._has_event(event):
            fields = mapping.event_of([row for row, _ in added], self._settings.distribution, self._partner)
            answer = await self._post("events/add", {"Event": fields})
            if self._is_refusal(answer) and not await self._has_event(event):
                return [EVENT_NOT_TAKEN] * len(added)
        answer = await self._post(f"attributes/add/{event}", [attribute.fields for _, attribute in added])
        if self._is_refusal(answer):
            return [NOT_TAKEN] * len(added)
        there = rules.taken(answer.body, self._where)
        return [DELIVERED if attribute.uuid in there else NOT_TAKEN for _, attribute in added]

    async def _has_event(self, uuid: str) -> bool:
        answer = await self._ask("HEAD", f"events/view/{uuid}")
        if answer.status != 404:
            self._check(answer)
        return answer.status != 404

    async def _publish(self, events: Sequence[str]) -> None:
        for event in events:
            self._check(await self._post(f"events/publish/{event}", {}))

    def _is_refusal(self, answer: Answer) -> bool:
        """Whether it refuses what was sent; raises `PartnerFailed` for whatever else is no success."""
        if answer.status in (400, 403, 422) and rules.says_invalid(answer.body, self._where):
            return True
        self._check(answer)
        return False

    def _check(self, answer: Answer) -> None:
        if answer.status == 404:
            raise rules.not_misp(self._where)
        meant = verdict(answer.status, answer.after_seconds, 1, self._where)
        if isinstance(meant, str) or meant[0] != DELIVERED:
            raise PartnerFailed(
                f"status-{answer.status}",
                f"it answers with status {answer.status}",
                where=self._where,
                after_seconds=answer.after_seconds,
            )

    async def _post(self, path: str, content: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Answer:
        return await self._ask("POST", path, orjson.dumps(content))

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        return await self._http.request(
            method, f"{self._url}/{path}", headers=self._headers, body=body, max_bytes=MAX_ANSWER_BYTES
        )

    async def close(self) -> None:
        """Nothing is open."""
