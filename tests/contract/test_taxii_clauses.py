"""TAXII 2.1 (OASIS Standard, 10 June 2021), clause by clause: what it asks of a server, in our own words.

Each row is checked over HTTP against a whole hub: see `taxii_talk` and `taxii_collections`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.contract import taxii_collections as collections
from tests.contract import taxii_talk as talk
from tests.contract.taxii_world import World, taxii_world

MUST, SHOULD = "MUST", "SHOULD"
Check = Callable[[World], Awaitable[None]]


class Clause(NamedTuple):
    """`level` is MUST or SHOULD."""

    section: str
    level: str
    says: str
    check: Check

    def __str__(self) -> str:
        return f"{self.section}-{self.check.__name__}"


NOT_HERE = [
    ("1.6.5, 6", "channels are reserved, and are not specified yet"),
    ("1.6.6", "TLS, and which versions of it, is the proxy's before the hub (deploy)"),
    ("1.6.9", "servers are free to offer other schemes; what clients must support binds clients"),
    ("3.9", "DNS SRV records are the operator's to publish"),
    ("4.1", "contact: may be there; a hub says nothing of who runs it"),
    ("4.3.1", "pendings: nothing is pending, since what is taken is in the collection before the answer"),
    ("5.4", "can_read false: no collection of ours is so"),
    ("7.3", "certificate checks bind clients"),
    ("8.2", "all that is asked of clients"),
]
"""What the table at the end has no row for, and why."""

CLAUSES = [
    Clause("1.6.8", MUST, "every answer is of the TAXII media type with its version",
           talk.media_type_of_answers),
    Clause("1.6.8", MUST, "what cannot be written in an accepted media type is answered with 406",
           talk.not_acceptable),
    Clause("1.6.8", MUST, "a body that is not of the TAXII media type, with its version, is answered with 415",
           talk.unsupported_media_type),
    Clause("1.6.8.2", MUST, "an Accept header without a version gets the newest version",
           talk.accept_without_a_version),
    Clause("1.6.9", MUST, "a request without credentials, or with wrong ones, is answered with 401 and a challenge",
           talk.unauthorized),
    Clause("1.6.9", SHOULD, "HTTP Basic is understood, and other schemes may be",
           talk.basic_and_bearer),
    Clause("1.6.9", MUST, "what is shown depends on who asks",
           talk.each_has_its_own),
    Clause("2", MUST, "no list is empty: what would be one is left out",
           talk.no_empty_lists),
    Clause("2", MUST, "a timestamp is in UTC, with Z and six decimals",
           talk.timestamps),
    Clause("2", MUST, "an identifier is a UUID of version 4",
           talk.identifiers),
    Clause("3.1", MUST, "addresses end in a slash; the same without one may be there",
           talk.slashes),
    Clause("3.1", SHOULD, "a method that an address does not have is answered with 405 and those that it has",
           collections.methods),
    Clause("3.2", MUST, "pages have the dates of their first and last object in their headers",
           talk.date_headers),
    Clause("3.3", MUST, "objects and manifests are in the order in which they were added, the oldest first",
           talk.sorted_by_date_added),
    Clause("3.4", MUST, "added_after gives what was added later, and not at that moment",
           talk.added_after),
    Clause("3.4", MUST, "limit is the most that is given; what is over says so by more",
           talk.limit),
    Clause("3.4", MUST, "a limit that is no positive number is refused",
           talk.bad_limits),
    Clause("3.4", MUST, "several values of one filter are alternatives, several filters hold together",
           talk.alternatives_and_conjunctions),
    Clause("3.4", MUST, "a filter that is malformed, or given twice, is answered with 400",
           talk.malformed_filters),
    Clause("3.4.1", MUST, "match[type] selects by the type of objects",
           talk.match_type),
    Clause("3.4.1", MUST, "without match[version], or with last, each object comes in its newest version",
           talk.version_last),
    Clause("3.4.1", MUST, "first is the oldest version, all are all of them, a time is that version",
           talk.other_versions),
    Clause("3.4.1", MUST, "values of match[version] can be combined, but for all, which stands alone",
           talk.combined_versions),
    Clause("3.4.1", MUST, "match[spec_version] selects by the version of STIX; without it the newest comes",
           talk.match_spec_version),
    Clause("3.5", MUST, "by next a client gets all there is, each once",
           talk.paging_by_next),
    Clause("3.5", MUST, "by added_after and the header's last date a client gets all there is as well",
           talk.paging_by_added_after),
    Clause("3.5", MUST, "next can be given together with added_after and the same filters",
           talk.next_with_added_after),
    Clause("3.5", MUST, "next is opaque, and another's, or a made-up one, is refused",
           talk.opaque_next),
    Clause("3.5", MUST, "what comes while a client pages is there at the end, and nothing is left out",
           talk.pages_while_it_changes),
    Clause("3.6", MUST, "an error says nothing of what its reader may not see",
           talk.errors_tell_nothing),
    Clause("3.6.1", MUST, "an error has a title; its HTTP status stands in it as text",
           talk.errors),
    Clause("3.7", MUST, "an envelope holds objects, says whether there is more, and then has next",
           talk.envelopes),
    Clause("3.8", MUST, "resources have no properties of their own making",
           talk.property_names),
    Clause("4.1", MUST, "discovery is at /taxii2/, has a title, and names the API roots, the default among them",
           collections.discovery),
    Clause("4.2", MUST, "an API root has a title, its versions, and how long a request may be",
           collections.api_root),
    Clause("4.2", MUST, "what is longer than max_content_length is answered with 413",
           collections.too_long),
    Clause("4.3", MUST, "a status is found by its id, for who made the request and for nobody else",
           collections.get_status),
    Clause("4.3", SHOULD, "a status stays for at least a day after the request is complete",
           collections.status_stays),
    Clause("4.3.1", MUST, "the counts are there and add up, and complete means that nothing is pending",
           collections.status_counts),
    Clause("4.3.1", MUST, "each object is named by id and version; what failed has a message",
           collections.status_details),
    Clause("5.1", MUST, "the collections of a partner are listed, and each is found by its id",
           collections.collections),
    Clause("5.2", MUST, "a collection that is not there, or not for this partner, is answered with 404",
           collections.no_collection),
    Clause("5.2.1", MUST, "a collection has id, title, whether it can be read and written, and its media types",
           collections.collection_resource),
    Clause("5.3.1", MUST, "a record has id, when it was added, and the version; each its own date",
           collections.manifest),
    Clause("5.3.1", MUST, "what has no modified has created for its version, and without that when it was added",
           collections.versions_of_what_has_none),
    Clause("5.4", MUST, "objects come as they were posted",
           collections.objects),
    Clause("5.4", MUST, "an object that is withdrawn comes as a new version that is revoked",
           collections.revoked),
    Clause("5.5", MUST, "what is posted is answered with 202 and a status, and is in the collection",
           collections.add_objects),
    Clause("5.5", MUST, "what was posted before is a success again, and is there once",
           collections.duplicates),
    Clause("5.5", MUST, "content that is no envelope, or can't be processed, is answered with 422",
           collections.unprocessable),
    Clause("5.5", MUST, "one object that can't be taken fails by itself, and the others are added",
           collections.one_bad_object),
    Clause("5.5", MUST, "a collection that can't be written to is answered with 403",
           collections.read_only),
    Clause("5.6", MUST, "an object is found by its STIX id; one that is not there is answered with 404",
           collections.get_object),
    Clause("5.7", MUST, "deleting takes an object out in all its versions, and says 200",
           collections.delete_object),
    Clause("5.7", MUST, "with match[version] only those versions are deleted",
           collections.delete_versions),
    Clause("5.8", MUST, "all versions of an object are listed, in the order in which they were added",
           collections.object_versions),
]  # fmt: skip


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with taxii_world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("row", CLAUSES, ids=str)
async def test_clause(world: World, row: Clause) -> None:
    await row.check(world)


def test_the_table_covers_what_the_standard_asks_of_a_server() -> None:
    sections = {".".join(row.section.split(".")[:2]) for row in CLAUSES}
    wanted = {"1.6", "2", *(f"3.{n}" for n in range(1, 9)), *(f"4.{n}" for n in range(1, 4))}
    assert sections >= wanted | {f"5.{n}" for n in range(1, 9)}
    assert all(row.level in (MUST, SHOULD) and row.says for row in CLAUSES)
    assert all(where and why for where, why in NOT_HERE)
