"""Which steps share an agent: the only place where the stages meet.

    accept ─▶ tocsin.reports ─▶ [ dedupe · enrich · govern ] ─▶ tocsin.cleared ─▶ share
                    ▲                   │ tocsin.known       ├▶ tocsin.decisions ─▶ witness
                    └───────────────────────────────────────┴─ tocsin.references

dedupe, enrich and govern are one agent because all three are keyed by fingerprint and share one state; a hop
between them would cost more than they do. share and witness are each one more, ending in the database. Letters
between items of different partitions leave as references, and come back among the reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from schemas.bits import Bits, from_hex, to_hex
from schemas.fingerprint import named_fingerprint
from schemas.known import NEVER_MS, Known, due_of, policy_of
from schemas.reference import Letter, Standing, is_letter
from schemas.report import Report
from schemas.topics import CLEARED, DECISIONS, KNOWN, REFERENCES, REPORTS
from services.dedupe.merge import merge, next_window_ms, release, unheard, wording
from services.enrich.joins import Join
from services.govern import askers, campaign, feedback, references
from services.govern.settle import Rules, Settled, settle
from services.stream.types import Chunk, Effects, Output, Stage

STAGES = ("accept", "dedupe", "enrich", "govern", "share", "witness")
"""In the order of the flow. (Their folders sort in it.)"""

CORE = "core"
WINDOW_MS = 60_000
ANSWER_MS = 5_000
"""So long a relationship waits to be decided for the first time for the answers of its ends."""


def stamp_of(rules: Rules) -> bytes:
    """What state is stamped with (8 bytes): decided under another policy, or with other data, it is due again."""
    return hashlib.blake2b(f"{rules.compiled.hash}/{rules.data.version}".encode(), digest_size=8).digest()


def core(rules: Rules, window_ms: int = WINDOW_MS) -> Stage:
    """dedupe · enrich · govern as one stage."""
    stamp = stamp_of(rules)

    def step(chunk: Chunk, state: Mapping[bytes, bytes]) -> Effects:
        desk = _Desk(rules, stamp, window_ms, chunk, state)
        for record in chunk.records:
            if is_letter(record.value):
                desk.letter(Letter.from_bytes(record.value))
            else:
                desk.report(record.key, Report.from_bytes(record.value))
        for key in chunk.due:
            desk.visited.add(key)
            desk.due(key)
        return desk.effects()

    def due_ms(value: bytes) -> int | None:
        if askers.is_page(value):
            return None
        if policy_of(value) != stamp:
            return 0  # decided under other rules: decide again at once
        due = due_of(value)
        return None if due == NEVER_MS else due

    return Stage(
        name=CORE,
        source=REPORTS,
        state=KNOWN,
        outputs=(CLEARED, DECISIONS, REFERENCES),
        step=step,
        due_ms=due_ms,
        watermark=CLEARED,
    )


@dataclass
class _Desk:
    """One call of the step: what its records come to, item by item."""

    rules: Rules
    stamp: bytes
    window_ms: int
    chunk: Chunk
    state: Mapping[bytes, bytes]
    touched: dict[bytes, Known] = field(default_factory=dict)
    undecided: dict[bytes, None] = field(default_factory=dict)
    visited: set[bytes] = field(default_factory=set)
    asked: dict[bytes, list[askers.Asker]] = field(default_factory=dict)
    may_see: dict[bytes, Mapping[str, Bits]] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    changes: dict[bytes, bytes | None] = field(default_factory=dict)

    def report(self, record_key: bytes, report: Report) -> None:
        key = bytes.fromhex(report.identity) if report.identity else record_key
        numbering = self.rules.compiled.numbering
        heard = merge(self.known(key), report, record_key, numbering, self.chunk.now_ms, self.window_ms)
        if heard is not None:
            self._note(key, heard.known, heard.at_once)

    def letter(self, letter: Letter) -> None:
        key = bytes.fromhex(letter.to)
        if letter.release is not None:
            self._release(key, letter.release, letter.word)
        elif letter.wants is not None:
            self._wanted(key, letter.of, letter.wants)
        elif letter.standing is None:
            self._ask(key, askers.Asker(bytes.fromhex(letter.of), bytes.fromhex(letter.route)))
        elif letter.join is not None:
            self._member(key, letter.join, letter.of, letter.standing)
        else:
            self._answer(key, letter.of, letter.standing)

    def _ask(self, key: bytes, asker: askers.Asker) -> None:
        self.changes |= askers.add(self.raw, key, asker)
        self.asked.setdefault(key, []).append(asker)

    def _member(self, key: bytes, join: Join, member: str, standing: Standing) -> None:
        known = self.known(key) or campaign.new(join, self.rules.compiled.numbering)
        told = campaign.told(known, member, standing, self._next_window_ms(key))
        if told is not None:
            self._note(key, told.known, told.at_once)

    def _answer(self, key: bytes, of: str, standing: Standing) -> None:
        known = self.known(key)
        if known is None or of not in known.ends:
            return
        told = references.told(known, of, standing, self._next_window_ms(key))
        if told is not None:
            self._note(key, told.known, told.at_once)

    def _release(self, key: bytes, source: str, seen: str) -> None:
        """What the source has said since staff looked waits for them to look again."""
        known = self.known(key)
        word = known.contributions.get(source) if known else None
        if known and word and not word.released and wording(self.rules.secret, word) == seen:
            words = {**known.contributions, source: word.model_copy(update={"released": True})}
            self._note(key, known.model_copy(update={"contributions": words}), at_once=True)

    def _wanted(self, key: bytes, of: str, who: str) -> None:
        known = self.known(key)
        after = known and references.wanted(known, of, "0" if of == key.hex() else who)
        if after is not None and after is not known:
            self._note(key, after, at_once=True)

    def due(self, key: bytes) -> None:
        known = self.known(key)
        if known is not None:
            self._note(key, known, at_once=bool(known.kind))

    def _note(self, key: bytes, known: Known, at_once: bool) -> None:
        """What is known of an item now, and whether it is to be decided in this chunk."""
        self.touched[key] = known
        if at_once:
            self.undecided[key] = None

    def effects(self) -> Effects:
        # what bears on another item's score is decided before that item
        bearing = [key for key in self.undecided if self.touched[key].type in feedback.TYPES]
        for key in bearing:
            self._decide(key)
            self._bear(key)
        for key in list(self.undecided):
            if key not in self.may_see:
                self._decide(key)
        for key in self.asked.keys() - self.may_see.keys():
            if (known := self.known(key)) is not None and known.kind:
                for asker in self.asked[key]:
                    self._tell(asker, key, references.standing_of(known, key, self.chunk.epoch))
        for key, known in self.touched.items():
            if key not in self.undecided:
                self.changes[key] = known.to_bytes(*self._as_before(key, known))
        return Effects(self.outputs, self.changes)

    def _decide(self, key: bytes) -> None:
        chunk = self.chunk
        known = self._asking(key, self.touched[key])
        if known.type == "relationship" and not known.counter and key not in self.visited and _awaits(known):
            # nobody can have it before its ends have answered: it is decided once, then or when they are late
            self.touched[key] = known
            self.may_see[key] = {}
            self.changes[key] = known.to_bytes(self.stamp, chunk.now_ms + ANSWER_MS)
            return
        words = self._unreleased(known)
        if (unreleased := _digest_of(words)) != known.unreleased:
            # whoever is to release it must see what it says now, even if everybody is denied it as before
            known = known.model_copy(update={"judged": "", "unreleased": unreleased})
        settled = settle(known, key, self.rules, chunk.now_ms, chunk.epoch)
        if settled.cleared:
            self.outputs.append(Output(CLEARED.name, key, settled.cleared.to_bytes()))
        if settled.decision:
            waiting = {name: words[name] for name in settled.decision.probation if name in words}
            decision = settled.decision.model_copy(update={"words": waiting}) if waiting else settled.decision
            self.outputs.append(Output(DECISIONS.name, key, decision.to_bytes()))
        known = self._wanting(key, self._telling(key, settled), settled.referring)
        self.touched[key] = known
        self.may_see[key] = settled.may_see
        # what has just begun to wait is due too, also where windows have no length
        self.changes[key] = known.to_bytes(self.stamp, min(settled.due_ms, known.waiting_ms or NEVER_MS))

    def _unreleased(self, known: Known) -> dict[str, str]:
        """By source on probation, the digest of its word that staff did not release."""
        sources = self.rules.compiled.sources
        return {
            source: wording(self.rules.secret, word)
            for source, word in known.contributions.items()
            if not (word.released or word.withdrawn) and (terms := sources.get(source)) and terms.probation
        }

    def _asking(self, key: bytes, known: Known) -> Known:
        """Asks for the standing of what the item refers to and did not ask for so far; forgets all other ends."""
        if known.kind == campaign.KIND:
            return known
        words = (*known.contributions.values(), *known.waiting.values())
        wanted = list(references.asked_for(known.type, (pair for word in words for pair in word.references)))
        for end in wanted:
            if end not in known.ends:
                self._send(bytes.fromhex(end), Letter(to=end, of=key.hex(), route=known.route or key.hex()))
        if known.ends.keys() == set(wanted):
            return known
        arriving = {end: standing for end, standing in known.arriving.items() if end in wanted}
        ends = {end: known.ends.get(end, Standing()) for end in wanted}
        return known.model_copy(update={"ends": ends, "arriving": arriving})

    def _telling(self, key: bytes, settled: Settled) -> Known:
        """Tells the item's standing to those that asked and to its campaigns, where it changed; and to the new."""
        known, standing = settled.known, settled.standing
        digest = _digest(settled)
        if digest == known.told:
            for asker in self.asked.get(key, ()):
                self._tell(asker, key, references.told_of(standing))
            return known
        for asker in askers.all_of(self.raw, key):
            self._tell(asker, key, references.told_of(standing))
        for join, who in settled.joins.items():
            self._join(key, join, _for(standing, who))
        for join in known.joined:
            if join not in settled.joins:
                self._join(key, join, Standing(epoch=standing.epoch, counter=standing.counter))
        return known.model_copy(update={"told": digest, "joined": tuple(settled.joins)})

    def _wanting(self, key: bytes, known: Known, referring: Mapping[str, Bits]) -> Known:
        """Tells the malware and identities that it refers to who lacks nothing but that to have them."""
        wants = references.wants(known, referring)
        for end, who in wants.letters.items():
            self._send(bytes.fromhex(end), Letter(to=end, of=key.hex(), wants=who))
        return known if wants.now == known.wants else known.model_copy(update={"wants": wants.now})

    def _tell(self, asker: askers.Asker, key: bytes, standing: Standing) -> None:
        self._send(asker.route, Letter(to=asker.key.hex(), of=key.hex(), standing=standing))

    def _join(self, key: bytes, join: Join, standing: Standing) -> None:
        to = named_fingerprint(self.rules.secret, "campaign", *join)
        self._send(to, Letter(to=to.hex(), of=key.hex(), standing=standing, join=join))

    def _send(self, route: bytes, letter: Letter) -> None:
        self.outputs.append(Output(REFERENCES.name, route, letter.to_bytes()))

    def _bear(self, key: bytes) -> None:
        """Lets a sighting or opinion bear on the score of its item, which lies in the same partition."""
        known = self.touched[key]
        if not known.route:
            return  # it speaks of nothing but itself
        of = bytes.fromhex(known.route)
        item = self.known(of) or unheard(self.rules.compiled.numbering)
        if item.type in feedback.TYPES:
            return  # an opinion on an opinion: neither has a score
        said = feedback.bears(known, self.may_see[key], lambda: self._next_window_ms(of))
        after = feedback.heard(item, key.hex(), said)
        if after is not item:
            self.touched[of] = after
            self.due(of)

    def _next_window_ms(self, key: bytes) -> int:
        return next_window_ms(key, self.chunk.now_ms, self.window_ms)

    def known(self, key: bytes) -> Known | None:
        """The item as it is now, this chunk included."""
        if (known := self.touched.get(key)) is not None:
            return known
        raw = self.state.get(key)
        if not raw:
            return None
        known = Known.from_bytes(raw)
        if (released := release(known, self.chunk.now_ms)) is not known:
            # before anything else is heard: nothing waits longer, or shorter, for what comes late
            self._note(key, released, at_once=True)
        return released

    def raw(self, key: bytes) -> bytes | None:
        return self.changes[key] if key in self.changes else self.state.get(key)

    def _as_before(self, key: bytes, known: Known) -> tuple[bytes, int]:
        """The header of an item that was not decided again: due at the latest when what waits is to be shown."""
        raw = self.state.get(key)
        policy, due_ms = (policy_of(raw), due_of(raw)) if raw and known.kind else (self.stamp, NEVER_MS)
        return policy, min(due_ms, known.waiting_ms or NEVER_MS)


def _awaits(known: Known) -> bool:
    """Whether some of the ends that were asked have not answered; what is not known to the hub never does."""
    return any(not standing.epoch for standing in known.ends.values())


def _for(standing: Standing, who: Bits) -> Standing:
    """The standing as far as it is one for `who`."""
    copies = [copy.model_copy(update={"to": to_hex(Bits(from_hex(copy.to) & who))}) for copy in standing.copies]
    return standing.model_copy(update={"copies": tuple(copy for copy in copies if copy.to != "0")})


def _digest_of(words: Mapping[str, str]) -> str:
    """Empty where there are none."""
    if not words:
        return ""
    return hashlib.blake2b(orjson.dumps(words, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


def _digest(settled: Settled) -> str:
    """Of what others are told; empty where there is nothing to tell."""
    standing, joins = settled.standing, settled.joins
    if not standing.copies and not standing.gone and standing.lacking == "0":
        return ""
    shown = [
        standing.copies,
        standing.gone,
        standing.hanging,
        standing.lacking,
        standing.followers,
        [[*join, to_hex(who)] for join, who in joins.items()],
    ]
    return hashlib.blake2b(orjson.dumps(shown, default=vars), digest_size=12).hexdigest()
