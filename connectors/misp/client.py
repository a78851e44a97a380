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
EVENT_GONE = Outcome("retry", "event-gone")
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
        self._right: set[str] = set()  # the uuids of events that were seen to be as they are to be
        self._headers = {"Authorization": key, "Accept": "application/json", "Content-Type": "application/json"}

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        return await send_all(lots(rows, LOT_ROWS, LOT_BYTES), self._send)

    async def _send(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        outcomes = [NOTHING] * len(rows)
        attributes = [mapping.attribute_of(row, self._partner) for row in rows]
        # of several versions of one thing, the last is what is to be there
        last: dict[str, int] = {}
        uuids: dict[int, str] = {}
        for number, row in enumerate(rows):
            if row.type == "indicator":
                uuids[number] = mapping.attribute_uuid(row)
                last[uuids[number]] = number
        if not uuids:
            return outcomes
        live = {number: attribute for number in last.values() if (attribute := attributes[number]) is not None}
        refused = await self._settle_events(rows, live)
        held = await self._search(list(last))
        new: dict[str, list[int]] = {}
        for uuid, number in last.items():
            known = held.get(uuid)
            if number not in live:
                # what a new version says no more is taken back too
                outcomes[number] = (
                    NOTHING if rows[number].live and known is None else await self._delete(uuid, known)
                )
            elif live[number].event in refused:
                outcomes[number] = EVENT_NOT_TAKEN
            elif known is not None:
                outcomes[number] = await self._edit(live[number], known)
            else:
                new.setdefault(live[number].event, []).append(number)
        for event, numbers in new.items():
            added = await self._add(event, [live[number] for number in numbers])
            for number, outcome in zip(numbers, added, strict=True):
                outcomes[number] = outcome
        if self._settings.publish:
            touched = {one.event for one in held.values()} | {one.event for one in live.values()}
            await self._publish(sorted(touched - refused - {""}))
        for number, uuid in uuids.items():
            outcomes[number] = outcomes[last[uuid]]
        return outcomes

    async def _settle_events(self, rows: Sequence[FeedRow], live: Mapping[int, mapping.Attribute]) -> set[str]:
        """Sees to it that the events of these rows are there, and distributed as is set; gives those that MISP does
        not take."""
        refused = set()
        for number, attribute in live.items():
            uuid = attribute.event
            if uuid in self._right or uuid in refused:
                continue
            fields = mapping.event_of([rows[number]], self._settings.distribution, self._partner)
            if await self._settle_event(uuid, fields):
                self._right.add(uuid)
            else:
                refused.add(uuid)
        return refused

    async def _settle_event(self, uuid: str, fields: Mapping[str, Any]) -> bool:
        answer = await self._post("events/restSearch", rules.search_event(uuid))
        self._check(answer)
        known = rules.found_event(answer.body, uuid, self._where)
        if known is None:
            answer = await self._post("events/add/metadata:1", {"Event": fields})
        elif str(known.get("distribution")) != fields["distribution"]:
            as_set = {"distribution": fields["distribution"]}
            answer = await self._post(f"events/edit/{uuid}/metadata:1", {"Event": as_set})
        return not self._is_refusal(answer)

    async def _search(self, uuids: Sequence[str]) -> dict[str, rules.Held]:
        answer = await self._post("attributes/restSearch", rules.search(uuids))
        self._check(answer)
        return rules.found(answer.body, self._where)

    async def _delete(self, uuid: str, held: rules.Held | None) -> Outcome:
        if held is None or held.deleted:
            return DELIVERED
        emptied = await self._post(f"attributes/edit/{uuid}", rules.emptied(uuid))
        if emptied.status in rules.BUSY:
            self._check(emptied)
        # where it can't be emptied it is deleted all the same
        deleted = await self._post(f"attributes/delete/{uuid}", {})
        if deleted.status != 404:  # it went meanwhile
            self._check(deleted)
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

    async def _add(self, event: str, added: Sequence[mapping.Attribute]) -> Sequence[Outcome]:
        answer = await self._post(f"attributes/add/{event}", [attribute.fields for attribute in added])
        if answer.status == 404:  # somebody deleted it meanwhile
            self._right.discard(event)
            return [EVENT_GONE] * len(added)
        if self._is_refusal(answer):
            return [NOT_TAKEN] * len(added)
        there = rules.taken(answer.body, self._where)
        return [DELIVERED if attribute.uuid in there else NOT_TAKEN for attribute in added]

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
