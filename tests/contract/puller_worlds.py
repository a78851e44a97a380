"""A partner's system for each puller, small enough for a test: what is there, how it fails, and how it is huge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web

from tests.pulled import SECRET, SECRET_FILE, trickle

CANARY = "canary"
"""Part of every value that a world holds, and of every path: none of it may be in a log or an error."""
GIB = 1024**3
AT = "2026-11-01T00:00:00.000Z"


@dataclass
class World:
    """`settings(url, folder)` are those of the connector. `answer` is what its server says; `huge` instead of it
    where there is a GiB of it, or more. `whole` is how many items there are."""

    settings: Callable[[str, Path], Mapping[str, Any]]
    answer: Callable[[web.Request], web.Response] = lambda _: web.Response(status=404)
    huge: Callable[[web.Request], Any] | None = None
    whole: int = 0
    refuses_huge: str = ""
    """The code with which it refuses what is huge; empty where it takes all of it."""


def uuid(number: int) -> str:
    return str(UUID(int=number, version=4))


def indicator(number: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid(number)}",
        "created": AT,
        "modified": AT,
        "pattern": f"[domain-name:value = '{CANARY}-{number}.example']",
        "pattern_type": "stix",
        "valid_from": AT,
        **more,
    }


def bundle(*numbers: int) -> bytes:
    objects = [indicator(number) for number in numbers]
    return orjson.dumps({"type": "bundle", "id": f"bundle--{uuid(0)}", "objects": objects})


async def endless(piece: bytes, total: int = GIB, head: bytes = b"") -> AsyncIterator[bytes]:
    yield head
    for _ in range(total // len(piece) + 1):
        yield piece


# --- files --------------------------------------------------------------------------------------------------------


def _in_folder(url: str, folder: Path) -> Mapping[str, Any]:
    for number in range(3):
        (folder / f"{CANARY}-{number}.json").write_bytes(bundle(2 * number, 2 * number + 1))
    return {"folder": str(folder)}


INDEX = b"""indicators:
- {type: download, name: a, download_url: "%(url)s/canary/a.stix2"}
- {type: download, name: b, download_url: "%(url)s/canary/b.stix2"}
- {type: download, name: c, download_url: "%(url)s/canary/c.stix2"}
"""


def _stix(request: web.Request) -> web.Response:
    if request.path.endswith("indicators.yaml"):
        url = str(request.url.origin()).encode()
        return web.Response(body=INDEX.replace(b"%(url)s", url))
    return web.Response(body=bundle(*{"a": (0, 1), "b": (2,), "c": (3, 4)}[request.path[-7]]))


async def _huge_stix(request: web.Request) -> web.StreamResponse:
    if request.path.endswith("indicators.yaml"):
        return _stix(request)
    return await trickle(request, endless(b'{"a":"%s"},' % (b"x" * 65_000), head=b'{"objects":['))


STALKERWARE = b"""- name: canary-app
  names: [canary-app, canary-other]
  type: stalkerware
  packages: [com.canary.example]
  certificates: [31A6ECECD97CF39BC4126B8745CD94A7C30BF81C]
  websites: [www.canary.example]
  c2: {ips: [192.0.2.1], domains: [c2.canary.example]}
"""


async def _huge_text(request: web.Request) -> web.StreamResponse:
    return await trickle(request, endless(b"- name: " + b"x" * 65_000 + b"\n"))


def _csv(_: web.Request) -> web.Response:
    rows = "".join(f'domain,{CANARY}-{number}.example,"a ""note""\nof it"\r\n' for number in range(50_000))
    return web.Response(body=("type,value,description\r\n" + rows).encode(), content_type="text/csv")


async def _huge_csv(request: web.Request) -> web.StreamResponse:
    async def rows() -> AsyncIterator[bytes]:
        yield b"type,value,description\r\n"
        for number in range(GIB // 8_000 + 1):
            yield b'domain,%s-%d.example,"%s"\r\n' % (CANARY.encode(), number, b"x" * 8_000)

    return await trickle(request, rows())


# --- TAXII --------------------------------------------------------------------------------------------------------

COLLECTION = uuid(7_000)
TAXII = "application/taxii+json;version=2.1"


def _taxii_answer(document: Mapping[str, Any], **headers: str) -> web.Response:
    return web.Response(body=orjson.dumps(document), headers={"Content-Type": TAXII, **headers})


def _date(number: int) -> str:
    return f"2026-11-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z"


def _taxii(request: web.Request, total: int = 25, size: int = 4, padding: str = "") -> web.Response:
    """Objects that were added one each second; pages by a `next` that is the place of the last one."""
    if request.path.endswith("/collections/"):
        return _taxii_answer(
            {"collections": [{"id": COLLECTION, "title": "c", "can_read": True, "can_write": False}]}
        )
    if not request.path.endswith("/objects/"):
        return _taxii_answer({"title": "t", "versions": [TAXII], "max_content_length": 1_000})
    after = int(request.query.get("next", -1))
    if "added_after" in request.query:
        asked = request.query["added_after"]
        after = max(after, sum(_date(number) <= asked for number in range(total)) - 1)
    numbers = range(after + 1, min(total, after + 1 + size))
    if not numbers:
        return _taxii_answer({})
    more = numbers[-1] < total - 1
    document = {"more": more, "objects": [indicator(number, description=padding) for number in numbers]}
    if more:
        document["next"] = str(numbers[-1])
    dates = {"X-TAXII-Date-Added-First": _date(numbers[0]), "X-TAXII-Date-Added-Last": _date(numbers[-1])}
    return _taxii_answer(document, **dates)


async def _huge_taxii(request: web.Request) -> web.StreamResponse:
    return _taxii(request, total=10_900, size=50, padding="x" * 100_000)


# --- MISP ---------------------------------------------------------------------------------------------------------


def misp_event(number: int, at: int = 1_700_000_000, attributes: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "uuid": uuid(number),
        "info": CANARY,
        "timestamp": str(at),
        "date": "2026-11-01",
        "Attribute": [
            {
                "uuid": uuid(1_000 * (number + 1) + each),
                "type": "domain",
                "value": f"{CANARY}-{number}-{each}.example",
                "timestamp": str(at),
                **more,
            }
            for each in range(attributes)
        ],
    }


def _misp(request: web.Request) -> web.Response:
    name = request.path.rpartition("/")[2].removesuffix(".json")
    if name == "manifest":
        return web.json_response({uuid(each): {"timestamp": 1_700_000_000 + each} for each in range(5)})
    found = next((each for each in range(5) if uuid(each) == name), None)
    return web.Response(status=404) if found is None else web.json_response({"Event": misp_event(found)})


async def _huge_misp(request: web.Request) -> web.StreamResponse:
    if request.path.endswith("manifest.json"):
        return web.json_response({uuid(each): {"timestamp": 1_700_000_000} for each in range(1, 110)})
    if request.path.endswith(f"{uuid(1)}.json"):
        return await trickle(request, endless(b"x" * 65_000, head=b'{"Event":{"info":"'))
    number = next(each for each in range(1, 110) if request.path.endswith(f"{uuid(each)}.json"))
    return web.Response(body=orjson.dumps({"Event": misp_event(number, attributes=100, comment="x" * 100_000)}))


# --- measurements -------------------------------------------------------------------------------------------------

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "connectors"


def _ooni(_: web.Request) -> web.Response:
    listed = orjson.loads((FIXTURES / "ooni" / "listed.json").read_bytes())
    found = [{**listed, "confirmed": True, "input": f"https://{CANARY}-{number}.example/"} for number in range(5)]
    return web.json_response({"metadata": {}, "results": found})


def _ioda(_: web.Request) -> web.Response:
    return web.Response(body=(FIXTURES / "ioda" / "events.json").read_bytes(), content_type="application/json")


async def _huge_json(request: web.Request) -> web.StreamResponse:
    return await trickle(
        request,
        endless(b'{"a":"%s"},' % (b"x" * 65_000), head=b'{"results":['),
        headers={"Content-Type": "application/json"},
    )


WORLDS: Mapping[str, World] = {
    "ooni": World(
        lambda url, _: {"url": f"{url}/{CANARY}/", "countries": ["XA"], "tests": ["web_connectivity"]},
        _ooni,
        _huge_json,
        whole=5 * 3,
        refuses_huge="answer-too-large",
    ),
    "ioda": World(
        lambda url, _: {"url": f"{url}/{CANARY}/"},
        _ioda,
        _huge_json,
        whole=len(orjson.loads((FIXTURES / "ioda" / "expected.json").read_bytes())),
        refuses_huge="answer-too-large",
    ),
    "sample": World(_in_folder, whole=6),
    "stix_files": World(
        lambda url, _: {"index": f"{url}/{CANARY}/indicators.yaml", "hosts": [url], "snapshot": True},
        _stix,
        _huge_stix,
        whole=5,
        refuses_huge="answer-too-large",
    ),
    "stalkerware": World(
        lambda url, _: {"url": f"{url}/{CANARY}/ioc.yaml"},
        lambda _: web.Response(body=STALKERWARE),
        _huge_text,
        whole=1 + 5 + 5,
        refuses_huge="answer-too-large",
    ),
    "csv_feed": World(
        lambda url, _: {"url": f"{url}/{CANARY}/feed.csv?key={SECRET.decode()}"}, _csv, _huge_csv, whole=50_000
    ),
    "taxii": World(
        lambda url, _: {"url": f"{url}/{CANARY}/api/", "token_file": str(SECRET_FILE), "page": 50},
        _taxii,
        _huge_taxii,
        whole=25,
    ),
    "misp": World(
        lambda url, _: {"feed": f"{url}/{CANARY}"}, _misp, _huge_misp, whole=15, refuses_huge="answer-too-large"
    ),
}
"""One for each connector that pulls."""
