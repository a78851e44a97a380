"""Reading a feed page by page while it is written to, in any interleaving."""

from __future__ import annotations

import random

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.feed import FeedRow
from services.share import entry, feeds
from services.share.rows import Match, View
from services.tables import metadata
from tests.unit.share.world import as_record, domain, withdrawn

RECIPIENTS = 3
# what happens between two pages: some items get a new state each (who has it, and whether it is withdrawn)
change = st.tuples(st.integers(0, 6), st.sets(st.integers(0, RECIPIENTS - 1)), st.booleans())
writes = st.lists(change, max_size=5)


def entries(changes: list[tuple[int, set[int], bool]], counters: dict[str, int]) -> list[entry.Entry]:
    made = []
    for number, to, gone in changes:
        name = f"h{number}.example"
        counters[name] = counters.get(name, 0) + 1
        record = (withdrawn if gone else domain)(name, to, counters[name])
        made.append(entry.read(as_record(record).value))
    return made


@settings(deadline=None, max_examples=60)
@given(
    st.lists(writes, min_size=1, max_size=12), st.integers(1, 4), st.randoms(use_true_random=False), st.booleans()
)
def test_no_interleaving_makes_a_reader_skip_or_repeat(
    history: list[list[tuple[int, set[int], bool]]], limit: int, chance: random.Random, restarts: bool
) -> None:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    now_us, counters = 1_795_000_000_000_000, dict[str, int]()
    after = [-1] * RECIPIENTS
    held: list[dict[str, FeedRow]] = [{} for _ in range(RECIPIENTS)]
    given_: list[set[tuple[str, bytes]]] = [set() for _ in range(RECIPIENTS)]

    def turn_page(connection: sa.Connection, bit: int) -> bool:
        page = feeds.page(connection, View(bit, True), Match(after=after[bit]), limit)
        for row in page.rows:
            assert row.added > after[bit] and (row.stix_id, row.body) not in given_[bit]
            after[bit] = row.added
            given_[bit].add((row.stix_id, row.body))
            held[bit][row.stix_id] = row
        return page.more

    with engine.connect() as connection:
        for changes in history:
            # a batch of 0 µs after the one before: the stamps must rise all the same
            now_us += chance.choice([0, 1, 50_000, 10_000_000, -1_000_000 if restarts else 0])
            feeds.apply(connection, entries(changes, counters), now_us, chance)
            turn_page(connection, chance.randrange(RECIPIENTS))
        for bit in range(RECIPIENTS):
            while turn_page(connection, bit):
                pass
            final = feeds.page(connection, View(bit, True), Match(), 10_000).rows
            assert {row.stix_id: row for row in final} == {row.stix_id: held[bit][row.stix_id] for row in final}
            assert len({row.stix_id for row in final}) == len(final)
    engine.dispose()
