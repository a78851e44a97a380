"""What a partner contributed, read back by itself: the pages of its own TAXII collection.

The functions work on a connection and its transaction. What is there is accept's to say.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from services.share.rows import Match
from services.share.taxii import Versions
from services.tables import contributions, partners

_table = contributions.c
_HEAD = (_table.added, _table.stix_id, _table.version.label("modified"))
_NO_BODY = sa.literal(b"", sa.LargeBinary).label("body")


class Row(NamedTuple):
    """One version of an object. `modified` is empty for types that have none, `body` where it was not asked for."""

    added: int
    stix_id: str
    modified: str
    body: bytes


class Page(NamedTuple):
    """Rows in the order in which they were added, and whether there are more."""

    rows: list[Row]
    more: bool


def is_suspended(connection: Connection, partner: str) -> bool:
    """True also for who has no number."""
    row = connection.execute(sa.select(partners.c.suspended_ms).where(partners.c.id == partner)).one_or_none()
    return row is None or row.suspended_ms is not None


def page(
    connection: Connection, source: str, match: Match, versions: Versions, limit: int, *, bodies: bool = True
) -> Page:
    """At most `limit` rows of this source. The cost is that of the page, wherever it lies."""
    conditions = [_table.source == source, _table.added > match.after]
    if match.ids is not None:
        conditions.append(_table.stix_id.in_(match.ids))
    if match.types is not None:
        conditions.append(_table.type.in_(match.types))
    if not versions.all:
        conditions.append(_of(versions))
    query = sa.select(*_HEAD, _table.body if bodies else _NO_BODY).where(*conditions)
    rows = [Row._make(row) for row in connection.execute(query.order_by(_table.added).limit(limit + 1))]
    return Page(rows[:limit], len(rows) > limit)


def _of(versions: Versions) -> sa.ColumnElement[bool]:
    wanted: list[sa.ColumnElement[bool]] = []
    if versions.exact:
        wanted.append(_table.version_us.in_(versions.exact))
    for asked, later in ((versions.first, False), (versions.last, True)):
        if asked:
            wanted.append(~_has_other(later=later))
    return sa.or_(*wanted)


def _has_other(*, later: bool) -> Any:
    other = contributions.alias()
    beyond = other.c.version_us > _table.version_us if later else other.c.version_us < _table.version_us
    return sa.exists().where(other.c.source == _table.source, other.c.stix_id == _table.stix_id, beyond)
