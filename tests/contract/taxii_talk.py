"""Checks of a TAXII server: media types, authentication, filters, pages, errors (sections 1 to 3)."""

from __future__ import annotations

import re
from uuid import UUID

from tests.contract.taxii_world import (
    API,
    FED,
    MAX_BYTES,
    MEDIA_TYPE,
    POSTED,
    UNKNOWN,
    VERSIONS,
    Got,
    World,
    indicator,
    modified_of_first,
    paths,
)

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z").fullmatch
FIRST, LAST = "x-taxii-date-added-first", "x-taxii-date-added-last"


# --- 1.6.8, 1.6.9, 3.1, 3.2: talking ------------------------------------------------------------------------------


async def media_type_of_answers(w: World) -> None:
    for path in paths(w):
        got = await w.get(path)
        assert (got.status, got.headers["content-type"]) == (200, MEDIA_TYPE), path
    for path in ("/taxii2/x/", f"{w.feed}objects/{UNKNOWN}/"):
        assert (await w.get(path)).headers["content-type"] == MEDIA_TYPE


async def not_acceptable(w: World) -> None:
    for accept in ("application/taxii+json;version=2.0", "application/vnd.oasis.taxii+json", "text/html"):
        for path in paths(w):
            assert (await w.ask("GET", path, headers={"Accept": accept})).status == 406, (accept, path)
        assert (await w.post(indicator(7), headers={"Accept": accept})).status == 406
        gone = await w.ask("DELETE", f"{w.own}objects/{POSTED[0]}/", headers={"Accept": accept})
        assert gone.status == 406
    assert (await w.get(f"{w.own}objects/")).ids == [POSTED[1], POSTED[2], POSTED[0]]


async def accept_without_a_version(w: World) -> None:
    for accept in ("application/taxii+json", "application/taxii+json; q=0.5, text/html"):
        got = await w.ask("GET", "/taxii2/", headers={"Accept": accept})
        assert (got.status, got.headers["content-type"]) == (200, MEDIA_TYPE)


async def unsupported_media_type(w: World) -> None:
    for sent in ("application/taxii+json", "application/taxii+json;version=2.0",
                 "application/stix+json;version=2.1", "application/json", "text/plain"):  # fmt: skip
        assert (await w.post(indicator(7), headers={"Content-Type": sent})).status == 415, sent
    assert (await w.get(f"{w.own}objects/", **{"match[id]": indicator(7)["id"]})).json == {}


async def unauthorized(w: World) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic !"}):
        for path in paths(w):
            got = await w.ask("GET", path, by="", headers=headers)
            assert got.status == 401 and "basic" in got.headers["www-authenticate"].lower(), path
    for method in ("POST", "DELETE"):
        assert (await w.ask(method, f"{w.own}objects/{POSTED[0]}/", by="")).status == 401


async def basic_and_bearer(w: World) -> None:
    assert (await w.ask("GET", w.own, by="", headers=w.basic())).status == 200
    assert (await w.get(w.own)).status == 200


async def each_has_its_own(w: World) -> None:
    of = [(await w.get(f"{API}collections/", by)).json["collections"] for by in ("alpha", "beta")]
    mine, theirs = ({each["id"] for each in found} for found in of)
    assert len(mine) == len(theirs) == 3 and not mine & theirs


async def no_empty_lists(w: World) -> None:
    for path in (f"{w.feed}objects/", f"{w.feed}manifest/", f"{w.own}objects/"):
        assert (await w.get(path, **{"match[type]": "malware"})).json == {}
    assert (await w.get(f"{API}collections/", "staff")).json == {}
    assert "failures" not in (await w.post(indicator(1))).json


async def timestamps(w: World) -> None:
    got = await w.get(f"{w.own}manifest/")
    assert all(TIMESTAMP(each["date_added"]) for each in got.json["objects"])
    assert TIMESTAMP(got.headers[FIRST]) and TIMESTAMP(got.headers[LAST])
    assert TIMESTAMP((await w.post(indicator(1))).json["request_timestamp"])


async def identifiers(w: World) -> None:
    ids = [each["id"] for each in (await w.get(f"{API}collections/")).json["collections"]]
    ids.append((await w.post(indicator(1))).json["id"])
    assert all(UUID(id_).version == 4 and str(UUID(id_)) == id_ for id_ in ids)


async def slashes(w: World) -> None:
    assert (await w.get("/taxii2/")).json["default"].endswith("/")
    for path in paths(w):
        assert (await w.get(path)).json == (await w.get(path.rstrip("/"))).json


async def date_headers(w: World) -> None:
    for base, one in ((w.feed, FED[0]), (w.own, POSTED[0])):
        dates = [each["date_added"] for each in (await w.get(f"{base}manifest/")).json["objects"]]
        for path in ("objects/", "manifest/"):
            got = await w.get(base + path)
            assert [got.headers[FIRST], got.headers[LAST]] == [dates[0], dates[-1]]
            got = await w.get(base + path, limit="1")
            assert [got.headers[FIRST], got.headers[LAST]] == [dates[0]] * 2
        all_ = {"match[version]": "all", "match[id]": one}
        of_one = [each["date_added"] for each in (await w.get(f"{base}manifest/", **all_)).json["objects"]]
        got = await w.get(f"{base}objects/{one}/versions/")
        assert [got.headers[FIRST], got.headers[LAST]] == [of_one[0], of_one[-1]]
        assert LAST in (await w.get(f"{base}objects/{one}/")).headers


# --- 3.3, 3.4: order and filters ----------------------------------------------------------------------------------


async def sorted_by_date_added(w: World) -> None:
    for base in (w.feed, w.own):
        got = await w.get(f"{base}manifest/", **{"match[version]": "all"})
        dates = [each["date_added"] for each in got.json["objects"]]
        assert dates == sorted(set(dates)) and len(dates) == 5
        objects = await w.get(f"{base}objects/", **{"match[version]": "all"})
        assert objects.ids == got.ids


async def added_after(w: World) -> None:
    for base in (w.feed, w.own):
        records = (await w.get(f"{base}manifest/")).json["objects"]
        for number, record in enumerate(records):
            for path in ("objects/", "manifest/"):
                got = await w.get(base + path, added_after=record["date_added"])
                assert got.ids == [each["id"] for each in records[number + 1 :]]


async def limit(w: World) -> None:
    for base, count in ((w.feed, 5), (w.own, 3)):
        for most in (1, 2, 3, 4, 5, 6):
            got = await w.get(f"{base}objects/", limit=str(most))
            assert len(got.ids) == min(most, count) and got.json["more"] is (most < count)


async def bad_limits(w: World) -> None:
    for value in ("0", "-1", "x", "", "1.5"):
        assert (await w.get(f"{w.feed}objects/", limit=value)).status == 400


async def alternatives_and_conjunctions(w: World) -> None:
    for base, some in ((w.feed, FED), (w.own, POSTED)):
        got = await w.get(f"{base}objects/", **{"match[id]": f"{some[0]},{some[1]},{UNKNOWN}"})
        assert sorted(got.ids) == sorted(some[:2])
        got = await w.get(f"{base}objects/", **{"match[id]": some[0], "match[type]": "malware"})
        assert got.json == {}
        got = await w.get(f"{base}objects/", **{"match[type]": "malware,indicator", "match[id]": some[0]})
        assert got.ids == [some[0]]


async def match_type(w: World) -> None:
    for base, count in ((w.feed, 5), (w.own, 3)):
        assert len((await w.get(f"{base}objects/", **{"match[type]": "indicator"})).ids) == count
        assert (await w.get(f"{base}manifest/", **{"match[type]": "malware"})).json == {}


async def version_last(w: World) -> None:
    for params in ({}, {"match[version]": "last"}):
        for path in ("manifest/", "objects/"):
            found = (await w.get(w.own + path, **params)).json["objects"]
            assert [(e["id"], e.get("version", e.get("modified"))) for e in found] == [
                (POSTED[1], VERSIONS[0]), (POSTED[2], VERSIONS[0]), (POSTED[0], VERSIONS[2]),
            ]  # fmt: skip


async def other_versions(w: World) -> None:
    assert await modified_of_first(w, "first") == VERSIONS[:1]
    assert await modified_of_first(w, "all") == VERSIONS
    assert await modified_of_first(w, VERSIONS[1]) == [VERSIONS[1]]
    assert await modified_of_first(w, "2026-11-02T00:00:00Z") == [VERSIONS[1]]
    assert await modified_of_first(w, "2020-01-01T00:00:00.000Z") == []


async def combined_versions(w: World) -> None:
    assert await modified_of_first(w, f"first,{VERSIONS[1]}") == VERSIONS[:2]
    assert await modified_of_first(w, "last,first") == [VERSIONS[0], VERSIONS[2]]
    assert (await w.get(f"{w.own}objects/", **{"match[version]": "all,first"})).status == 400


async def match_spec_version(w: World) -> None:
    for base, count in ((w.feed, 5), (w.own, 3)):
        for value, found in (("2.1", count), ("2.0,2.1", count), ("2.0", 0)):
            got = await w.get(f"{base}objects/", **{"match[spec_version]": value})
            assert len(got.json.get("objects", [])) == found
        found = (await w.get(f"{base}objects/")).json["objects"]
        assert {each["spec_version"] for each in found} == {"2.1"}


async def malformed_filters(w: World) -> None:
    for query in (
        *("match[id]=x", "match[type]=A", "match[version]=new", "match[spec_version]=x", "added_after=now"),
        *("added_after=2026-11-01", "next=x", "limit=1&limit=1", "match[type]=a&match[type]=b"),
    ):
        for base in (w.feed, w.own):
            got = await w.get(f"{base}objects/?{query}")
            assert got.status == 400, query


# --- 3.5: pages ---------------------------------------------------------------------------------------------------


async def pages(w: World, path: str, size: int, **params: str) -> list[Got]:
    found = [await w.get(path, limit=str(size), **params)]
    while found[-1].json.get("more"):
        found.append(await w.get(path, limit=str(size), next=found[-1].json["next"], **params))
    return found


async def paging_by_next(w: World) -> None:
    for base, one in ((w.feed, FED[0]), (w.own, POSTED[0])):
        for path in ("objects/", "manifest/"):
            for size in (1, 2, 3, 5, 9):
                for version in ("last", "all", "first"):
                    params = {"match[version]": version}
                    whole = (await w.get(base + path, **params)).json["objects"]
                    paged = [
                        each for got in await pages(w, base + path, size, **params) for each in got.json["objects"]
                    ]
                    assert paged == whole
        versions = f"{base}objects/{one}/versions/"
        paged = [each for got in await pages(w, versions, 1) for each in got.json["versions"]]
        assert paged == (await w.get(versions)).json["versions"]


async def paging_by_added_after(w: World) -> None:
    for base, count in ((w.feed, 5), (w.own, 3)):
        found, params = list[str](), dict[str, str]()
        while True:
            got = await w.get(f"{base}objects/", limit="2", **params)
            found += got.ids
            if not got.json.get("more"):
                break
            params = {"added_after": got.headers[LAST]}
        assert len(found) == len(set(found)) == count


async def next_with_added_after(w: World) -> None:
    for base in (w.feed, w.own):
        params = {"added_after": "2020-01-01T00:00:00Z", "match[type]": "indicator"}
        found = [id_ for got in await pages(w, f"{base}objects/", 2, **params) for id_ in got.ids]
        assert found == (await w.get(f"{base}objects/")).ids


async def opaque_next(w: World) -> None:
    theirs = (await w.get(f"{w.of('contributions', 'beta')}objects/", "beta", limit="1")).json["next"]
    feed = (await w.get(f"{w.feed}objects/", limit="1")).json["next"]
    for value in (theirs, feed, "0", "A" * 32):
        assert (await w.get(f"{w.own}objects/", next=value)).status == 400


async def pages_while_it_changes(w: World) -> None:
    first = await w.get(f"{w.own}objects/", limit="2")
    await w.post(indicator(1, 2), indicator(8))
    assert first.ids == [POSTED[1], POSTED[2]]
    got = await w.get(f"{w.own}objects/", next=first.json["next"])
    assert got.ids == [POSTED[0], POSTED[1], indicator(8)["id"]]


# --- 3.6, 3.7, 3.8: errors and envelopes --------------------------------------------------------------------------


async def errors(w: World) -> None:
    cases = [
        ("GET", "/taxii2/", "", None, {}), ("GET", f"{w.feed}objects/?limit=0", "alpha", None, {}),
        ("GET", f"{w.feed}objects/{UNKNOWN}/", "alpha", None, {}), ("PUT", w.feed, "alpha", None, {}),
        ("GET", w.feed, "alpha", None, {"Accept": "text/html"}), ("POST", f"{w.feed}objects/", "alpha", {}, {}),
        ("POST", f"{w.own}objects/", "alpha", b"{", {}),
        ("POST", f"{w.own}objects/", "alpha", b" " * 2 * MAX_BYTES, {}),
        ("POST", f"{w.own}objects/", "alpha", {}, {"Content-Type": "text/plain"}),
    ]  # fmt: skip
    seen = set()
    for method, path, by, data, headers in cases:
        got = await w.ask(method, path, by, data, headers)
        assert got.json["title"] and got.json["http_status"] == str(got.status) and got.json["description"]
        assert got.headers["content-type"] == MEDIA_TYPE
        seen.add(got.status)
    assert seen == {400, 401, 403, 404, 405, 406, 413, 415, 422}


async def errors_tell_nothing(w: World) -> None:
    for theirs, nobodys in (
        (w.of("contributions", "beta"), w.of("nothing", "beta")),
        (f"{w.of('', 'beta')}objects/", f"{w.of('', 'nobody')}objects/"),
    ):
        answers = [await w.get(path) for path in (theirs, nobodys)]
        assert answers[0].status == 404 and answers[0].body == answers[1].body


async def envelopes(w: World) -> None:
    for base in (w.feed, w.own):
        got = await w.get(f"{base}objects/", limit="2")
        assert set(got.json) == {"more", "next", "objects"} and got.json["more"] is True
        last = await w.get(f"{base}objects/")
        assert set(last.json) == {"more", "objects"} and last.json["more"] is False
        assert all(each["type"] == "indicator" and each["spec_version"] == "2.1" for each in last.json["objects"])


async def property_names(w: World) -> None:
    known = {
        "/taxii2/": {"title", "description", "contact", "default", "api_roots"},
        API: {"title", "description", "versions", "max_content_length"},
        w.own: {"id", "title", "description", "alias", "can_read", "can_write", "media_types"},
    }
    for path, names in known.items():
        assert set((await w.get(path)).json) <= names
