"""Withdrawals in any order of states, acknowledgements and reminders: everyone finds what it shall, once."""

from __future__ import annotations

import random

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.cleared import Copy
from schemas.feed import FeedRow
from schemas.receipt import Receipt
from services.owed import HOUR_US, Marks, Times, all_marks, owed
from services.share import entry, feeds, receipts
from services.share.rows import Match, View
from services.tables import metadata, partners
from tests.unit.share.world import as_record, body, cleared, copy, stix_id

RECIPIENTS, ITEMS = 3, 2
PATIENCE = {0: 5 * HOUR_US, 1: 5 * HOUR_US, 2: 12 * HOUR_US}
bits, numbers = st.integers(0, RECIPIENTS - 1), st.integers(0, ITEMS - 1)
state = st.tuples(st.just("state"), numbers, st.sets(bits), st.sets(bits))
acknowledge = st.tuples(st.just("say"), bits, numbers, st.integers(0, 2))
wait = st.tuples(st.just("wait"), st.integers(0, 15))
acts = st.lists(state | acknowledge | wait | st.just(("remind",)), max_size=25)


class Model:
    """What should be seen: per item the generation that each holds or held, as govern keeps it."""

    def __init__(self) -> None:
        self.live: dict[tuple[int, int], int] = {}  # (bit, item) -> generation
        self.gone: dict[tuple[int, int], set[int]] = {}  # (bit, item) -> generations withdrawn
        self.done: set[tuple[int, str]] = set()
        self.counters = [0] * ITEMS

    def change(self, item: int, keep: set[int], withdraw: set[int]) -> list[Copy]:
        """Those in `keep` have the item from now on; of the others that had it, `withdraw` are told."""
        self.counters[item] += 1
        for bit in range(RECIPIENTS):
            held = self.live.get((bit, item))
            if bit in keep and held is None:
                self.live[bit, item] = max(self.gone.get((bit, item), {-1})) + 1
            elif bit not in keep and held is not None:
                del self.live[bit, item]
                if bit in withdraw:
                    self.gone.setdefault((bit, item), set()).add(held)
        return [*self._copies(item, True), *self._copies(item, False)]

    def _copies(self, item: int, live: bool) -> list[Copy]:
        by_generation: dict[int, list[int]] = {}
        for bit in range(RECIPIENTS):
            one = {self.live[bit, item]} if (bit, item) in self.live else set()
            for generation in one if live else self.gone.get((bit, item), set()):
                by_generation.setdefault(generation, []).append(bit)
        return [copy(to, body(f"{item}.{generation}"), live=live) for generation, to in by_generation.items()]

    def expected(self, bit: int) -> list[tuple[str, bool]]:
        live = [(stix_id(f"{item}.{g}"), True) for (b, item), g in self.live.items() if b == bit]
        gone = [(stix_id(f"{item}.{g}"), False) for (b, item), gs in self.gone.items() if b == bit for g in gs]
        return sorted(live + gone)


@settings(deadline=None, max_examples=60)
@given(acts, st.randoms(use_true_random=False))
def test_each_finds_one_tombstone_per_generation(history: list[tuple[object, ...]], chance: random.Random) -> None:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    model, now_us = Model(), 1_795_000_000_000_000
    followed: list[dict[str, FeedRow]] = [{} for _ in range(RECIPIENTS)]
    after = [-1] * RECIPIENTS

    def whole(connection: sa.Connection, bit: int) -> list[FeedRow]:
        return feeds.page(connection, View(bit, True), Match(), 1_000).rows

    def follow(connection: sa.Connection, bit: int) -> None:
        """As a client that asks for what was added since."""
        for row in feeds.page(connection, View(bit, True), Match(after=after[bit]), 1_000).rows:
            after[bit] = row.added
            followed[bit][row.stix_id] = row

    with engine.connect() as connection:
        connection.execute(partners.insert(), [{"bit": bit, "id": f"p{bit}"} for bit in range(RECIPIENTS)])
        for act in history:
            now_us += 1_000_000
            before = {bit: whole(connection, bit) for bit in range(RECIPIENTS)}
            match act:
                case ("state", int(item), set(keep), set(withdraw)):
                    copies = model.change(item, keep, withdraw)
                    record = cleared(f"{item}", model.counters[item], *copies)
                    feeds.apply(connection, [entry.read(as_record(record).value)], now_us, chance)
                case ("say", int(bit), int(item), int(generation)):
                    id_ = stix_id(f"{item}.{generation}")
                    said = Receipt(item=id_, status="received")
                    [answer] = receipts.take(connection, View(bit, True), [said], now_us // 1_000 + 1)
                    if answer.withdrawn:
                        model.done.add((bit, id_))
                case ("wait", int(hours)):
                    now_us += hours * HOUR_US
                case _:
                    todo = receipts.look(connection, PATIENCE, range(RECIPIENTS), now_us, 2)
                    reminded = feeds.remind(connection, todo.rows, PATIENCE, now_us, chance)
                    receipts.move_marks(connection, todo.marks, reminded)
                    for bit, rows in before.items():
                        late = {r.stix_id for r in rows if not r.live and r.added + PATIENCE[bit] <= now_us}
                        known = {id_ for b, id_ in model.done if b == bit}
                        now = {r.stix_id: r for r in whole(connection, bit)}
                        moved = {r.stix_id for r in rows if now[r.stix_id] != r}
                        assert moved <= late - known
            follow(connection, chance.randrange(RECIPIENTS))
            for bit in range(RECIPIENTS):
                found = whole(connection, bit)
                assert sorted((row.stix_id, row.live) for row in found) == model.expected(bit)
                open_ = {id_ for id_, live in model.expected(bit) if not live and (bit, id_) not in model.done}
                mark = all_marks(connection).get(bit, Marks())
                assert owed(connection, bit, mark, Times(None, None)).withdrawals.number == len(open_)
        # in the end whoever is late is reminded of all that it has not acknowledged
        now_us += 100 * HOUR_US
        seen = {bit: whole(connection, bit) for bit in range(RECIPIENTS)}
        while not (todo := receipts.look(connection, PATIENCE, range(RECIPIENTS), now_us, 2)).nothing:
            reminded = feeds.remind(connection, todo.rows, PATIENCE, now_us, chance)
            receipts.move_marks(connection, todo.marks, reminded)
        for bit in range(RECIPIENTS):
            follow(connection, bit)
            rows = {row.stix_id: row for row in whole(connection, bit)}
            moved = {row.stix_id for row in seen[bit] if rows[row.stix_id].added != row.added}
            assert moved == {id_ for id_, live in model.expected(bit) if not live and (bit, id_) not in model.done}
            assert {id_: followed[bit][id_] for id_ in rows} == rows
    engine.dispose()
