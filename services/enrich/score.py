"""How far an item is to be believed now: 0 to 100, from what one recipient may see of it. Pure.

After Iklody, Wagener, Dulaunoy, Mokaddem and others, "Decaying Indicators of Compromise" (arXiv 1803.11052), which
MISP implements: a base that the sources give, times 1 - (t / τ)^(1 / δ) at the age t. All is reckoned in whole
numbers, so that every machine gets the same. In order:

- `base`: the most that a single source's word is worth, its reliability times its confidence;
- `sources`: what the others add. Of what is missing to 100, a hundred points of other sources halve the rest; a
  source counts once, however often it says it;
- `age`: since the item was last seen, by kind. It takes off whole steps: see `STEP`;
- `sightings`: the younger age that a sighting gives; the less reliable who saw it, the less of the way to it;
- `warnings`: the worst of the warning lists that it is on;
- `agreed`, `disputed`: the opinions of partners. Of each the worst counts, until it is withdrawn; a sighting with
  a count of 0 ("not seen", STIX 2.1 section 5.2) disputes like a disagreement;
- `bound`: what lies below 0 or above 100.

More words, sources and agreement never lower the value; age, warnings and disagreement never raise it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

STEP = 10
"""Age lowers the value from one multiple of this to the next, and leaves it alone in between: an item has a new
version when it takes a step, not every day."""
DAY_MS = 86_400_000


class Word(NamedTuple):
    """One contribution that the recipient may see; `confidence` 0 to 100 (STIX 2.1 appendix A)."""

    source: str
    reliability: str
    confidence: int | None
    first_seen_ms: int
    last_seen_ms: int
    count: int  # type: ignore[assignment]  # a tuple's method of this name is nothing to a contribution


class Feedback(NamedTuple):
    """One sighting or opinion that the recipient may see.

    `value` of a sighting is its count, of an opinion 1 (strongly disagree) to 5 (strongly agree): STIX 2.1 section
    10.18, opinion-enum, in its order.
    """

    source: str
    reliability: str
    kind: Literal["sighting", "opinion"]
    value: int
    at_ms: int


class Score(NamedTuple):
    """`parts` are for people to read: (name, points), those with none left out, together `value`."""

    value: int
    parts: tuple[tuple[str, int], ...]


class Weight(NamedTuple):
    """What a source's reliability is good for, in percent: its word, and its saying that another's is wrong."""

    word: int
    dispute: int


WEIGHTS: Mapping[str, Weight] = MappingProxyType(
    {
        "A": Weight(100, 60),
        "B": Weight(85, 45),
        "C": Weight(70, 30),
        "D": Weight(40, 15),
        "E": Weight(20, 5),
        "F": Weight(50, 10),
    }
)
"""By the Admiralty code. F says that nobody can judge the source (a new partner), not that it is a bad one: its
word is worth something between C and D, and it can do others' words little harm."""
UNJUDGED = WEIGHTS["F"]
UNSAID_CONFIDENCE = 70
"""Who shares an indicator takes it for "probably true" (credibility 2, STIX 2.1 appendix A) unless it says else."""


class Life(NamedTuple):
    """τ in days, after which nothing is left, and δ: 1 fades evenly, half in τ / 2; 2 fades fast at first, half
    in τ / 4."""

    days: int
    speed: Literal[1, 2]


LIVES: Mapping[str, Life] = MappingProxyType(
    {
        # Addresses are given to somebody else within weeks. MISP's model for network detection has τ 120 days and δ
        # 2; Sekoia's rules end an address after a month.
        **dict.fromkeys(("ipv4", "ipv6"), Life(90, 2)),
        # Pages are taken down first: phishing lives 54 hours on average, half of it less than 6 (Lee and others,
        # "7 Days Later", WWW 2025; MISP's model has 3 days); spyware's are up for weeks.
        **dict.fromkeys(("url", "email-subject"), Life(90, 2)),
        # A name is registered by the year, and its infrastructure is used in the first months of it.
        "domain": Life(365, 2),
        # Networks change hands slowly, but much else is in them.
        **dict.fromkeys(("cidr", "asn"), Life(365, 2)),
        # An account stays whose it is until it is closed.
        **dict.fromkeys(("email", "user-account"), Life(730, 1)),
        # Content never becomes another; its use fades. Sekoia's rules keep it for 5 years: half is left then.
        **dict.fromkeys(("md5", "sha1", "sha256", "sha512"), Life(3_650, 1)),
        # Those of sites are renewed within a year or so, those that sign apps stay for decades.
        **dict.fromkeys(("cert-md5", "cert-sha1", "cert-sha256", "cert-sha512"), Life(1_825, 1)),
        # What a tool calls itself on a device outlives many of its builds; forensics looks years back.
        **dict.fromkeys(
            (
                *("file-name", "file-path", "dir-path", "process-name", "process-cmd", "app-id"),
                *("ios-profile-id", "android-property", "registry-key"),
            ),
            Life(1_825, 1),
        ),
        # Rules (YARA, Sigma) describe content and behaviour, not a place.
        "pattern": Life(1_825, 1),
    }
)
"""By the kind of `schemas.fingerprint`; of one with a colon, what is before it."""
OTHER_LIFE = Life(365, 1)

WARNINGS: Mapping[str, int] = MappingProxyType(
    {
        "benign": 60,  # known to be good: to block it does harm
        **dict.fromkeys(("special-use", "exercise"), 60),  # addresses of nobody; what is made to test with
        "popular": 40,  # so much used that it is seldom meant as a whole
        # others are there too: hosting, shorteners, networks of many customers
        **dict.fromkeys(("shared-hosting", "cloud", "url-shortener", "link-in-bio"), 25),
        "sinkhole": 25,  # in defenders' hands: it shows who was infected, and attacks nobody any more
        **dict.fromkeys(("dynamic-dns", "disposable-email"), 10),  # many unrelated people, and many attackers
    }
)
"""Points that a warning takes off, by what the list says of the item (see `services.enrich.kinds`)."""
OTHER_WARNING = 20

_DISPUTED: Mapping[int, int] = MappingProxyType({1: 100, 2: 60})  # percent of the weight
_AGREED: Mapping[int, int] = MappingProxyType({4: 5, 5: 10})  # points of a fully reliable source
_MOST_AGREED = 10
_NOT_SEEN = 2


def score(
    words: Sequence[Word], feedback: Sequence[Feedback], kind: str, warnings: Collection[str], now_ms: int
) -> Score:
    """The item's score at `now_ms`, for a recipient that may see these; their order does not matter.

    What is dated after `now_ms` counts as of now. Without any word the value is 0.
    """
    base, strength = _strength(words)
    life = _life(kind)
    last_ms = _last_ms(words)
    seen_ms = _renewed_ms(last_ms, feedback)
    aged = _aged(strength, life, now_ms - last_ms)
    renewed = aged if seen_ms == last_ms else _aged(strength, life, now_ms - seen_ms)
    agreed, disputed = _opinions(feedback)
    warned = _warned(warnings)
    total = renewed + agreed - warned - disputed
    value = min(max(total, 0), 100)
    parts = (
        ("base", base),
        ("sources", strength - base),
        ("age", aged - strength),
        ("sightings", renewed - aged),
        ("warnings", -warned),
        ("agreed", agreed),
        ("disputed", -disputed),
        ("bound", value - total),
    )
    return Score(value, tuple(part for part in parts if part[1]))


def next_step_ms(
    words: Sequence[Word], feedback: Sequence[Feedback], kind: str, warnings: Collection[str], now_ms: int
) -> int | None:
    """When age alone makes the value lower than it is at `now_ms`; None where it never does."""
    _, strength = _strength(words)
    life = _life(kind)
    seen_ms = _renewed_ms(_last_ms(words), feedback)
    renewed = _aged(strength, life, now_ms - seen_ms)
    agreed, disputed = _opinions(feedback)
    rest = agreed - _warned(warnings) - disputed
    value = min(max(renewed + rest, 0), 100)
    below = min(renewed, value - rest)  # more than this has to be gone before it shows beyond the bound
    if value == 0 or below <= 0:
        return None
    return seen_ms + _turn_ms(strength, (below - 1) // STEP * STEP, life)


# --- the parts --------------------------------------------------------------------------------------------------


def _strength(words: Sequence[Word]) -> tuple[int, int]:
    """The base, and with what the other sources add; both 0 to 100, whatever the age."""
    if len(words) == 1:
        worth = _worth(words[0])
        return worth, worth
    by_source: dict[str, int] = {}
    for word in words:
        by_source[word.source] = max(_worth(word), by_source.get(word.source, 0))
    base = max(by_source.values(), default=0)
    others = sum(by_source.values()) - base
    return base, base + (100 - base) * others // (100 + others)


def _worth(word: Word) -> int:
    confidence = UNSAID_CONFIDENCE if word.confidence is None else min(max(word.confidence, 0), 100)
    return WEIGHTS.get(word.reliability, UNJUDGED).word * confidence // 100


def _last_ms(words: Sequence[Word]) -> int:
    return max([word.last_seen_ms for word in words], default=0)


def _renewed_ms(last_ms: int, feedback: Sequence[Feedback]) -> int:
    """From which time on the age counts, sightings included."""
    seen_ms = last_ms
    for one in feedback:
        if one.kind == "sighting" and one.value > 0:
            weight = WEIGHTS.get(one.reliability, UNJUDGED).word
            seen_ms = max(seen_ms, last_ms + (one.at_ms - last_ms) * weight // 100)
    return seen_ms


def _life(kind: str) -> Life:
    return LIVES.get(kind) or LIVES.get(kind.partition(":")[0], OTHER_LIFE)


def _aged(strength: int, life: Life, age_ms: int) -> int:
    """`strength` x (1 - (t / τ)^(1 / δ)), up to the next multiple of STEP, but never above `strength`."""
    value = strength
    while value > 0:
        lower = (value - 1) // STEP * STEP
        if age_ms < _turn_ms(strength, lower, life):
            break
        value = lower
    return value


def _turn_ms(strength: int, value: int, life: Life) -> int:
    """The age at which not more than `value` is left: τ x ((strength - value) / strength)^δ, rounded up."""
    gone, whole = strength - value, strength
    if life.speed == 2:
        gone, whole = gone * gone, whole * whole
    return -(-life.days * DAY_MS * gone // whole)


def _warned(warnings: Collection[str]) -> int:
    return max([WARNINGS.get(name, OTHER_WARNING) for name in warnings], default=0)


def _opinions(feedback: Sequence[Feedback]) -> tuple[int, int]:
    """Points for and against. Who disputes has not agreed, whatever else it says."""
    if not feedback:
        return 0, 0
    against: dict[str, int] = {}
    in_favour: dict[str, int] = {}
    for one in feedback:
        weight = WEIGHTS.get(one.reliability, UNJUDGED)
        opinion = one.value if one.kind == "opinion" else (0 if one.value > 0 else _NOT_SEEN)
        if opinion in _DISPUTED:
            points = weight.dispute * _DISPUTED[opinion] // 100
            against[one.source] = max(points, against.get(one.source, 0))
        elif opinion in _AGREED:
            points = weight.word * _AGREED[opinion] // 100
            in_favour[one.source] = max(points, in_favour.get(one.source, 0))
    agreed = sum(points for source, points in in_favour.items() if source not in against)
    return min(agreed, _MOST_AGREED), sum(against.values())
