"""Texts that are nearly right: seeds, spliced, cut, doubled, and strewn with what has meant trouble elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_CHARS = 4_000

TROUBLE = (
    *(" ", "\t", "\n", "\r", "\0", "\x7f", "\u00a0", "\u3000", "\u200b", "\u200d", "\u00ad", "\ufeff", "\u202e"),
    *("\u0301", "\u0345", "\u0130", "\u1e9e", "\u03a3", "\ufdfa", "\u3002", "\uff0e", "\uff0f", "\uff0b", "\u2488"),
    *("\ud800", "\U0001f468\u200d\U0001f469", "\u0660", "\u216e", "\u212a", "\uff41", "\u00df", "а", "е"),
    *("'", "\\", "\\'", "\\\\", "[", "]", "(", ")", "[[", "]]", "[.]", "(dot)", "[at]", "[:]", "[://]", "{.}"),
    *(".", "..", "*.", "/", "//", "://", ":", ":80", ":443", "::", "@", "#", "?", "%", "%2e", "%2F", "%00", "%25"),
    *(
        "hxxp",
        "http://",
        "https://",
        "xn--",
        "xn--a",
        "www.",
        "0",
        "00",
        "+",
        "-",
        "0x",
        "1",
        "|",
        ",",
        ";",
        "=",
        "==",
    ),
    *(" AND ", " OR ", " FOLLOWEDBY ", " NOT ", " LIKE ", " MATCHES ", " IN ", "EXISTS ", " WITHIN 5 SECONDS"),
    *(" REPEATS 2 TIMES", "t'2020-01-01T00:00:00Z'", "h'0A'", "b'AA=='", "true", "5", "-0.0", "/*", "*/", "//\n"),
    *("a:b = 'x'", "[a:b = 'x']", "('x', 'y')", "file:hashes.'SHA-256'", "[*]", "[0]", "tel:", "ext. 5", "x.com/"),
)


def mutated(seeds: Sequence[str], dice: random.Random) -> str:
    """A text made of one of the seeds, or of two, by up to six changes."""
    text = dice.choice(seeds)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 6))):
        text = _changed(text, seeds, dice)[:MAX_CHARS]
    return text


def _changed(text: str, seeds: Sequence[str], dice: random.Random) -> str:
    at, to = sorted((dice.randint(0, len(text)), dice.randint(0, len(text))))
    match dice.randrange(9):
        case 0 | 1 | 2:
            return text[:at] + dice.choice(TROUBLE) + text[at:]
        case 3:
            return text[:at] + dice.choice(TROUBLE) + text[to:]
        case 4:
            return text[:at] + text[min(to, at + dice.randint(1, 4)) :]
        case 5:
            return text[:at] + text[at:to] * dice.randint(2, 5) + text[to:]
        case 6:
            other = dice.choice(seeds)
            return text[:at] + other[dice.randint(0, len(other)) :]
        case 7:
            return text[:at] + text[at:to].swapcase() + text[to:]
        case _:
            return text[:at] + chr(dice.choice((dice.randrange(0x250), dice.randrange(0x3000)))) + text[at:]


def shortened(text: str, still: Callable[[str], bool]) -> str:
    """The shortest text found by leaving out parts of it for which `still(text)` is true."""
    step = max(1, len(text) // 2)
    while step:
        at = 0
        while at < len(text):
            shorter = text[:at] + text[at + step :]
            if still(shorter):
                text = shorter
            else:
                at += step
        step //= 2
    return text
