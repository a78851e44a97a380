"""dedupe · enrich · govern as one step: pure, and the same whenever it is run again."""

from __future__ import annotations

from schemas.cleared import Cleared
from schemas.decision import Decision
from schemas.known import Known, policy_of
from schemas.markings import Tlp, marking_id
from schemas.report import Report
from schemas.topics import CLEARED, DECISIONS, REFERENCES
from services import pipeline
from services.govern.settle import Rules
from services.stream.types import Chunk, Record
from tests.unit.govern.world import DATA, DAY_MS, NOW_MS, SECRET, SOURCE, agreement, world

KEY = b"k" * 16
COMPILED = world(agreement("all", max_age_days=30))
CORE = pipeline.core(Rules(COMPILED, DATA, SECRET))


def report(seq: int, at_ms: int = NOW_MS - DAY_MS) -> bytes:
    return (
        Report(
            seq=seq,
            index=0,
            submission="s",
            pointer="",
            source=SOURCE.id,
            received_ms=NOW_MS,
            kind="domain",
            value="mail.lure.example",
            type="indicator",
            object={"id": "indicator--1"},
            markings=(marking_id(Tlp.GREEN),),
            created_ms=at_ms,
            modified_ms=at_ms,
            first_seen_ms=at_ms,
            last_seen_ms=at_ms,
        )
        .model_dump_json()
        .encode()
    )


def chunk(*values: bytes, due: tuple[bytes, ...] = (), now_ms: int = NOW_MS) -> Chunk:
    records = [Record(KEY, value, offset, now_ms) for offset, value in enumerate(values)]
    return Chunk(partition=0, records=records, due=due, now_ms=now_ms, epoch=3)


def test_a_first_sighting_goes_out_with_its_decision() -> None:
    effects = CORE.step(chunk(report(1)), {})
    cleared, decision, letter = effects.outputs
    assert (cleared.topic, decision.topic, letter.topic) == (CLEARED.name, DECISIONS.name, REFERENCES.name)
    assert Cleared.from_bytes(cleared.value).registrable_domain == "lure.example"
    assert Decision.from_bytes(decision.value).policy == COMPILED.hash
    assert Cleared.from_bytes(cleared.value).epoch == 3


def test_replays_and_equal_words_send_nothing() -> None:
    first = CORE.step(chunk(report(1)), {})
    state = {key: value for key, value in first.changes.items() if value}
    assert CORE.step(chunk(report(1)), state) == ([], {})
    again = CORE.step(chunk(report(2), report(3)), state)
    assert not again.outputs
    kept = again.changes[KEY]
    assert kept is not None
    assert Known.from_bytes(kept).contributions[SOURCE.id].count == 3
    assert (policy_of(kept), CORE.due_ms(kept)) == (policy_of(state[KEY]), CORE.due_ms(state[KEY]))


def test_a_newer_word_is_decided_even_between_equal_ones() -> None:
    state = {key: value for key, value in CORE.step(chunk(report(1)), {}).changes.items() if value}
    effects = CORE.step(chunk(report(2), report(3, NOW_MS), report(4)), state)
    assert not effects.outputs, "what changes no terms waits for the item's next window"
    state |= {key: value for key, value in effects.changes.items() if value}
    due = CORE.due_ms(state[KEY])
    assert due is not None
    assert NOW_MS < due <= NOW_MS + pipeline.WINDOW_MS
    later = CORE.step(chunk(due=(KEY,), now_ms=due), state)
    assert CLEARED.name in {output.topic for output in later.outputs}
    kept = Known.from_bytes(later.changes[KEY] or b"").contributions[SOURCE.id]
    assert (kept.last_seen_ms, kept.count) == (NOW_MS, 4)


def test_a_crash_before_the_state_was_kept_repeats_the_same() -> None:
    assert CORE.step(chunk(report(1)), {}) == CORE.step(chunk(report(1)), {})


def test_many_reports_of_one_item_in_a_chunk_are_decided_once() -> None:
    outputs = CORE.step(chunk(*(report(n) for n in range(1, 9))), {}).outputs
    assert [output.topic for output in outputs] == [CLEARED.name, DECISIONS.name, REFERENCES.name]


def test_an_item_grows_too_old_without_any_report() -> None:
    state = {key: value for key, value in CORE.step(chunk(report(1)), {}).changes.items() if value}
    due = 0
    while due < NOW_MS + 29 * DAY_MS + 1:  # its score takes steps before
        due = CORE.due_ms(state[KEY]) or 0
        effects = CORE.step(chunk(due=(KEY,), now_ms=due), state)
        state |= {key: value for key, value in effects.changes.items() if value}
    assert due == NOW_MS + 29 * DAY_MS + 1
    assert [Cleared.from_bytes(o.value).copies for o in effects.outputs if o.topic == CLEARED.name] == [()]


def test_other_rules_want_everything_decided_again() -> None:
    state = {key: value for key, value in CORE.step(chunk(report(1)), {}).changes.items() if value}
    other = pipeline.core(Rules(world(agreement("all"), agreement("new")), DATA, SECRET))
    assert other.due_ms(state[KEY]) == 0
    effects = other.step(chunk(due=(KEY,)), state)
    assert len(Cleared.from_bytes(effects.outputs[0].value).copies) == 1


def test_stages_sort_in_the_order_of_the_flow() -> None:
    assert sorted(pipeline.STAGES) == list(pipeline.STAGES)
