"""What can go wrong, in one tree.

    TocsinError
    ├── Refused             what came from outside can't be taken; says what, where and what to do
    │   ├── BodyRefused     the whole body (an HTTP status with it)
    │   ├── ItemRefused     one object, row or attribute; the others go on
    │   └── RequestRefused  what a request asks for (in services/problems.py)
    ├── Misconfigured    settings, agreements or policy; nothing starts
    └── Unavailable      a broker, database or hub can't be reached; try again
        └── PartnerFailed   a partner's system does not do what it should

Every error has a stable `code` (kebab-case, for programs and metrics), `what` (a sentence),
`where` (a JSON pointer, `line N`, a file or an object id; may be empty) and `hint` (what to do).
No message quotes more than `clip` allows of what came from outside.
"""

from __future__ import annotations


def clip(text: object, max_chars: int = 80) -> str:
    """`text` made safe for a message: control characters escaped, at most `max_chars` characters."""
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[: max_chars + 1]
    )
    return safe if len(safe) <= max_chars else safe[: max_chars - 1] + "…"


class TocsinError(Exception):
    """The root; `str()` of it is one line for a person."""

    def __init__(self, code: str, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(code, what)
        self.code = code
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return "".join([f"{self.where}: " if self.where else "", self.what, f" ({self.hint})" if self.hint else ""])


class Refused(TocsinError):
    """Input that can't be taken."""


class BodyRefused(Refused):
    """A whole body is refused; `status` is the HTTP status that says so (RFC 9110)."""

    def __init__(self, code: str, what: str, *, where: str = "", hint: str = "", status: int = 400) -> None:
        super().__init__(code, what, where=where, hint=hint)
        self.status = status


class ItemRefused(Refused):
    """One object, row or attribute is refused; `field` names its offending property where there is one."""

    def __init__(self, code: str, what: str, *, where: str = "", hint: str = "", field: str = "") -> None:
        super().__init__(code, what, where=where, hint=hint)
        self.field = field


def not_understood(error: Exception, where: str = "") -> ItemRefused:
    """The refusal of one item over which the hub itself stumbled; nothing of the item's content is in it."""
    return ItemRefused(
        "not-understood",
        f"the hub could not read this ({type(error).__name__})",
        where=where,
        hint="simplify it, or tell the hub's operator: the hub should have said what is wrong with it",
    )


class Misconfigured(TocsinError):
    """Settings, agreements or policy are wrong; the process does not start."""


class Unavailable(TocsinError):
    """Something that should answer does not; the same call may go through later."""


class PartnerFailed(Unavailable):
    """A partner's system can't be reached, or answers what makes no sense; nothing that was under way counts.

    `after_seconds` is when it asked to be tried again, 0 where it did not say.
    """

    def __init__(self, code: str, what: str, *, where: str = "", hint: str = "", after_seconds: float = 0) -> None:
        super().__init__(code, what, where=where, hint=hint)
        self.after_seconds = after_seconds
