"""Rows in lots that a partner's system takes at once, smaller ones where it refuses a lot as a whole, and what the
status of its answer means. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from connectors.base import DELIVERED, Outcome
from schemas.errors import PartnerFailed
from schemas.feed import FeedRow

SPLIT_AT = (400, 413, 422)
"""What an answer with one of these says may be the fault of one object: the others are tried without it."""
LATER_AT = (408, 425, 429)
NOT_LET_IN = (401, 403, 407)

Send = Callable[[Sequence[FeedRow]], Awaitable[Sequence[Outcome] | str]]


def lots(rows: Iterable[FeedRow], max_rows: int, max_bytes: int) -> Iterator[Sequence[FeedRow]]:
    """The rows in order, in lots within both bounds; a row whose body alone is beyond `max_bytes` is a lot."""
    lot: list[FeedRow] = []
    size = 0
    for row in rows:
        more = len(row.body) + 2  # with what parts it from the next
        if lot and (len(lot) == max_rows or size + more > max_bytes):
            yield lot
            lot, size = [], 0
        lot.append(row)
        size += more
    if lot:
        yield lot


async def send_all(parts: Iterable[Sequence[FeedRow]], send: Send) -> list[Outcome]:
    """One outcome for each row, in order.

    `send` gives an outcome for each row of a lot, or a code that says why the lot as a whole was refused: then
    each half goes by itself, down to the single row that is at fault. Where a whole lot is to come later, the rest
    is not tried. A failure counts for what is left; before anything was sent, it is raised.
    """
    waiting = list(parts)[::-1]
    outcomes: list[Outcome] = []
    while waiting:
        lot = waiting.pop()
        try:
            answer = await send(lot)
        except PartnerFailed as error:
            if not outcomes:
                raise
            answer = [Outcome("retry", error.code, error.after_seconds)] * len(lot)
        if not isinstance(answer, str):
            outcomes += answer
            if all(outcome.state == "retry" for outcome in answer):
                outcomes += [answer[-1]] * sum(map(len, waiting))
                return outcomes
        elif len(lot) == 1:
            outcomes.append(Outcome("refused", answer))
        else:
            middle = len(lot) // 2
            waiting += [lot[middle:], lot[:middle]]
    return outcomes


def verdict(status: int, after_seconds: float, count: int, where: str = "") -> Sequence[Outcome] | str:
    """What an answer to `count` rows means by its status (RFC 9110 section 15): outcomes, or why they were refused
    as a whole. Raises `PartnerFailed` where it speaks of us and not of them; `where` is whose answer it is."""
    if 200 <= status < 300:
        return [DELIVERED] * count
    if status in SPLIT_AT:
        return f"status-{status}"
    if status in LATER_AT or status >= 500:
        return [Outcome("retry", f"status-{status}", after_seconds)] * count
    if status in NOT_LET_IN:
        hint = "ask the partner whether what we show it is still good"
        raise PartnerFailed("not-let-in", f"it does not let us in (status {status})", where=where, hint=hint)
    if 400 <= status < 500:
        return [Outcome("refused", "gone" if status == 410 else f"status-{status}")] * count
    hint = "is that the address that the partner gave?"
    raise PartnerFailed("status-unexpected", f"it answers with status {status}", where=where, hint=hint)
