"""Checks of a TAXII server: its resources, and what is read, posted and deleted (sections 4 and 5)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.contract.taxii_world import (
    API,
    FED,
    MAX_BYTES,
    MEDIA_TYPE,
    POSTED,
    UNKNOWN,
    VERSIONS,
    World,
    indicator,
    modified_of_first,
    paths,
)

# --- 4: the server ------------------------------------------------------------------------------------------------


async def discovery(w: World) -> None:
    got = (await w.get("/taxii2/")).json
    assert got["title"] and got["default"] in got["api_roots"]
    for root in got["api_roots"]:
        assert (await w.get(root)).status == 200


async def api_root(w: World) -> None:
    got = (await w.get(API)).json
    assert got["title"] and got["versions"] == [MEDIA_TYPE] and got["max_content_length"] == MAX_BYTES


async def too_long(w: World) -> None:
    assert (await w.post(indicator(7, description="x" * MAX_BYTES))).status == 413
    fits = indicator(7, description="x")
    assert (await w.post(fits)).status == 202


async def get_status(w: World) -> None:
    status = (await w.post(indicator(7))).json
    got = await w.get(f"{API}status/{status['id']}/")
    assert (got.status, got.json) == (200, status)
    for by in ("beta", "reader", "staff"):
        assert (await w.get(f"{API}status/{status['id']}/", by)).status == 404
    for id_ in (str(UUID(int=0)), "x", "0" * 36):
        assert (await w.get(f"{API}status/{id_}/")).status == 404


async def status_stays(w: World) -> None:
    status = (await w.post(indicator(7))).json
    now_ms = w.hub.clock() + 10 * 86_400_000
    w.hub.clock = lambda: now_ms
    assert (await w.get(f"{API}status/{status['id']}/")).json == status


async def status_counts(w: World) -> None:
    status = (await w.post(indicator(7), {"type": "indicator"}, indicator(1))).json
    counts = [status[f"{name}_count"] for name in ("success", "failure", "pending")]
    assert (status["status"], status["total_count"], counts) == ("complete", 3, [2, 1, 0])
    assert [len(status["successes"]), len(status["failures"])] == counts[:2] and "pendings" not in status


async def status_details(w: World) -> None:
    status = (await w.post(indicator(7, 4), indicator(8, pattern="[nonsense"))).json
    assert status["successes"] == [{"id": indicator(7)["id"], "version": indicator(7, 4)["modified"]}]
    [failed] = status["failures"]
    assert (failed["id"], failed["version"]) == (indicator(8)["id"], VERSIONS[0]) and "pattern" in failed["message"]


# --- 5: collections -----------------------------------------------------------------------------------------------


async def collections(w: World) -> None:
    found = (await w.get(f"{API}collections/")).json["collections"]
    assert [f"{API}collections/{each['id']}/" for each in found] == [w.feed, w.of("category spyware"), w.own]
    for each in found:
        assert (await w.get(f"{API}collections/{each['id']}/")).json == each
    assert len((await w.get(f"{API}collections/", "reader")).json["collections"]) == 1


async def collection_resource(w: World) -> None:
    for base, can_write in ((w.feed, False), (w.of("category spyware"), False), (w.own, True)):
        got = (await w.get(base)).json
        assert got["title"] and (got["can_read"], got["can_write"]) == (True, can_write)
        assert got["media_types"] == ["application/stix+json;version=2.1"] and got["id"] in base


async def no_collection(w: World) -> None:
    for base in (w.of("", "beta"), w.of("contributions", "beta"), w.of("x"), f"{API}collections/x/"):
        for what in ("", "objects/", "manifest/", f"objects/{POSTED[0]}/", f"objects/{POSTED[0]}/versions/"):
            assert (await w.get(base + what)).status == 404
        assert (await w.ask("POST", f"{base}objects/", data={"objects": [indicator(7)]})).status == 404
        assert (await w.ask("DELETE", f"{base}objects/{POSTED[0]}/")).status == 404
    assert (await w.get(w.of("contributions", "reader"), "reader")).status == 404


async def manifest(w: World) -> None:
    for base in (w.feed, w.own):
        records = (await w.get(f"{base}manifest/", **{"match[version]": "all"})).json["objects"]
        assert all(set(each) == {"id", "date_added", "version", "media_type"} for each in records)
        assert len({each["date_added"] for each in records}) == len(records) == 5
        objects = (await w.get(f"{base}objects/", **{"match[version]": "all"})).json["objects"]
        assert [(e["id"], e["version"]) for e in records] == [(e["id"], e["modified"]) for e in objects]


async def versions_of_what_has_none(w: World) -> None:
    marking = {"type": "marking-definition", "spec_version": "2.1", "created": VERSIONS[1], "definition_type":
               "statement", "definition": {"statement": "s"},
               "id": "marking-definition--00000000-0000-4000-8000-000000000001"}  # fmt: skip
    name = {"type": "domain-name", "spec_version": "2.1", "value": "a.example",
            "id": "domain-name--00000000-0000-5000-8000-000000000001"}  # fmt: skip
    assert (await w.post(marking, name)).json["success_count"] == 2
    *_, first, second = (await w.get(f"{w.own}manifest/")).json["objects"]
    assert first["version"] == VERSIONS[1] and second["version"] == second["date_added"]


async def objects(w: World) -> None:
    found = (await w.get(f"{w.own}objects/")).json["objects"]
    assert found == [indicator(1), indicator(2), indicator(0, 3)]


async def revoked(w: World) -> None:
    await w.post(indicator(1, 2, revoked=True))
    got = await w.get(f"{w.own}objects/{POSTED[1]}/")
    [found] = got.json["objects"]
    assert (found["revoked"], found["modified"]) == (True, VERSIONS[1]) and b"p1.example" not in got.body


async def add_objects(w: World) -> None:
    got = await w.post(indicator(7), indicator(8))
    assert (got.status, got.json["success_count"]) == (202, 2)
    assert (await w.get(f"{w.own}objects/")).ids[-2:] == [indicator(7)["id"], indicator(8)["id"]]


async def duplicates(w: World) -> None:
    got = await w.post(indicator(1), indicator(1))
    assert (got.status, got.json["success_count"]) == (202, 2)
    assert (await w.get(f"{w.own}manifest/", **{"match[version]": "all"})).ids.count(POSTED[1]) == 1


async def unprocessable(w: World) -> None:
    bundle = {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": [indicator(7)]}
    bodies: list[Any] = [
        b"", b"{", b"nonsense", b"\xff\xfe", b"[]", b"7", b'"x"', b"{}", b'{"objects": []}', b'{"objects": {}}',
        bundle,
        b'{"objects": [{"a": 1, "a": 2}]}', b'{"objects": [{"a": ' + b"9" * 50 + b"}]}",
        b'{"objects":' + b"[" * 200 + b"]" * 200 + b"}",
    ]  # fmt: skip
    for body in bodies:
        got = await w.ask("POST", f"{w.own}objects/", data=body)
        assert got.status == 422 and got.json["http_status"] == "422", body
    assert (await w.get(f"{w.own}objects/")).ids == [POSTED[1], POSTED[2], POSTED[0]]


async def one_bad_object(w: World) -> None:
    got = await w.post(indicator(7), None, {"type": "indicator", "id": 7}, indicator(8))
    assert (got.status, got.json["success_count"], got.json["failure_count"]) == (202, 2, 2)
    assert (await w.get(f"{w.own}objects/")).ids[-2:] == [indicator(7)["id"], indicator(8)["id"]]


async def read_only(w: World) -> None:
    for base in (w.feed, w.of("category spyware")):
        assert (await w.ask("POST", f"{base}objects/", data={"objects": [indicator(7)]})).status == 403
        assert (await w.ask("DELETE", f"{base}objects/{FED[0]}/")).status == 403


async def get_object(w: World) -> None:
    for base, one in ((w.feed, FED[0]), (w.own, POSTED[0])):
        assert (await w.get(f"{base}objects/{one}/")).ids == [one]
        for id_ in (UNKNOWN, "nonsense", "indicator--x", "%00", "..%2f", FED[0] if base == w.own else POSTED[0]):
            for what in ("", "versions/"):
                assert (await w.get(f"{base}objects/{id_}/{what}")).status == 404
    assert (await w.get(f"{w.own}objects/{POSTED[0]}/", **{"match[version]": "2020-01-01T00:00:00Z"})).json == {}
    assert (await w.get(f"{w.own}objects/{POSTED[0]}/", **{"match[id]": POSTED[0]})).status == 400


async def delete_object(w: World) -> None:
    path = f"{w.own}objects/{POSTED[0]}/"
    got = await w.ask("DELETE", path)
    assert (got.status, got.body) == (200, b"")
    assert (await w.get(path)).status == (await w.get(f"{path}versions/")).status == 404
    assert (await w.get(f"{w.own}manifest/", **{"match[version]": "all"})).ids == POSTED[1:]
    assert (await w.ask("DELETE", path)).status == 404


async def delete_versions(w: World) -> None:
    path = f"{w.own}objects/{POSTED[0]}/"
    assert (await w.ask("DELETE", path, **{"match[version]": VERSIONS[1]})).status == 200
    assert await modified_of_first(w, "all") == [VERSIONS[0], VERSIONS[2]]
    assert (await w.ask("DELETE", path, **{"match[version]": "last"})).status == 200
    assert await modified_of_first(w, "all") == VERSIONS[:1]
    for params, status in (
        ({"match[version]": VERSIONS[1]}, 404),
        ({"match[spec_version]": "2.0"}, 404),
        ({"match[version]": "x"}, 400),
        ({"match[id]": POSTED[0]}, 400),
        ({"match[version]": "first", "match[spec_version]": "2.1"}, 200),
    ):
        assert (await w.ask("DELETE", path, **params)).status == status


async def object_versions(w: World) -> None:
    path = f"{w.own}objects/{POSTED[0]}/versions/"
    assert (await w.get(path)).json == {"more": False, "versions": VERSIONS}
    assert (await w.get(path, **{"match[spec_version]": "2.0"})).json == {}
    assert (await w.get(path, **{"match[version]": "last"})).status == 400
    dates = (await w.get(f"{w.own}manifest/", **{"match[version]": "all", "match[id]": POSTED[0]})).json["objects"]
    assert (await w.get(path, added_after=dates[0]["date_added"])).json["versions"] == VERSIONS[1:]
    [version] = (await w.get(f"{w.feed}objects/{FED[0]}/versions/")).json["versions"]
    assert version == (await w.get(f"{w.feed}objects/{FED[0]}/")).json["objects"][0]["modified"]


async def methods(w: World) -> None:
    for path in paths(w):
        for method in ("PUT", "PATCH", "OPTIONS"):
            got = await w.ask(method, path)
            assert got.status == 405 and "GET" in got.headers["allow"], (method, path)
    assert "POST" in (await w.ask("PUT", f"{w.own}objects/")).headers["allow"]
    assert "DELETE" in (await w.ask("PUT", f"{w.own}objects/{POSTED[0]}/")).headers["allow"]
    for path in ("/taxii2/", API, w.own, f"{w.own}manifest/"):
        assert (await w.ask("POST", path, data={"objects": []})).status == 405
