"""Adding to a collection of medallion, the TAXII server of OASIS, over a real socket.

An object that it holds already it counts as a failure ("Unable to process object"), so that a repetition fails.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import medallion
import pytest
from medallion.backends.memory_backend import MemoryBackend
from taxii2client.v21 import Collection
from werkzeug.serving import WSGIRequestHandler, make_server

from connectors.base import DELIVERED, Outcome, Pusher
from connectors.taxii_push import MANIFEST, TaxiiPushSettings
from schemas.errors import PartnerFailed
from tests.partners.rows import lent, row, stix_id, withdrawn
from tests.partners.world import secret_file

READ_WRITE = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
READ_ONLY = "52892447-4d7e-4f70-b94d-d7f22742ff63"
WRITE_ONLY = "472c94ae-3113-4e3e-a4dd-a9f4ac7471d4"
MOST = 3_000
USER, PASSWORD = "tocsin", "medallion-s3cret"


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None: ...


def contents() -> dict[str, Any]:
    def collection(id_: str, reads: bool, writes: bool) -> dict[str, Any]:
        made = {"id": id_, "title": id_, "can_read": reads, "can_write": writes, "media_types": []}
        return made | {"objects": [], "manifest": []}

    media_type = "application/taxii+json;version=2.1"
    collections = [
        collection(READ_WRITE, True, True),
        collection(READ_ONLY, True, False),
        collection(WRITE_ONLY, False, True),
    ]
    return {
        "/discovery": {"title": "made up", "default": "api1", "api_roots": ["api1"]},
        "api1": {
            "information": {"title": "made up", "versions": [media_type], "max_content_length": MOST},
            "status": [],
            "collections": collections,
        },
    }


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("medallion")
    backend = {"module": MemoryBackend.__module__, "module_class": "MemoryBackend"}
    data = folder / "data.json"
    data.write_text(json.dumps(contents()))
    config = folder / "config.json"
    settings = {
        "backend": backend | {"filename": str(data)},
        "users": {USER: PASSWORD},
        "taxii": {"max_page_size": 100},
    }
    config.write_text(json.dumps(settings))
    server = make_server("127.0.0.1", 0, medallion.load_app(str(config)), threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def settings(folder: Path, port: int, collection: str = READ_WRITE, **changes: Any) -> TaxiiPushSettings:
    given = {
        "api_root": f"http://127.0.0.1:{port}/api1",
        "collection": collection,
        "user": USER,
        "password_file": secret_file(folder, "password", PASSWORD),
    }
    return TaxiiPushSettings(**(given | changes))


async def pushed(chosen: TaxiiPushSettings, *batches: Any) -> list[Any]:
    async with lent(MANIFEST.hosts(chosen)) as tools:
        assert MANIFEST.push is not None
        pusher: Pusher = await MANIFEST.push(chosen, tools)
        outcomes = [await pusher.push(batch) for batch in batches]
        await pusher.close()
    return outcomes


async def test_objects_arrive_and_a_repetition_does_no_harm(tmp_path: Path, port: int) -> None:
    rows = [row(f"{number}.example") for number in range(20)]
    chosen = settings(tmp_path, port)
    assert await pushed(chosen, rows, rows, [withdrawn("3.example")]) == [[DELIVERED] * 20] * 2 + [[DELIVERED]]
    url = f"http://127.0.0.1:{port}/api1/collections/{READ_WRITE}/"
    with Collection(url, user=USER, password=PASSWORD) as there:
        found = there.get_objects()["objects"]
        assert {entry["id"] for entry in found} == {one.stix_id for one in rows}
        assert len(found) == 20
        versions = there.object_versions(stix_id("3.example"))["versions"]
        assert sorted(versions) == ["2026-11-01T00:00:00.000Z", "2026-11-02T00:00:00.000Z"]
        assert there.get_object(stix_id("3.example"))["objects"][0]["revoked"] is True


async def test_where_it_can_not_be_read_a_repetition_is_a_failure(tmp_path: Path, port: int) -> None:
    rows = [row("unread.example")]
    first, second = await pushed(settings(tmp_path, port, WRITE_ONLY), rows, rows)
    assert (first, second) == ([DELIVERED], [Outcome("refused", "refused-by-server")])


async def test_what_is_larger_than_all_it_takes_is_refused(tmp_path: Path, port: int) -> None:
    plain = row("small.example")
    large = row("large.example", body=plain.body[:-1] + b',"x_note":"' + b"x" * MOST + b'"}')
    assert await pushed(settings(tmp_path, port), [plain, large]) == [[DELIVERED, Outcome("refused", "too-large")]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"collection": READ_ONLY}, "not-writable"),
        ({"collection": "nobody-knows-it"}, "no-collection"),
        ({"user": "stranger"}, "not-let-in"),
    ],
)
async def test_what_it_does_not_allow_is_a_failure(
    tmp_path: Path, port: int, changes: dict[str, str], code: str
) -> None:
    with pytest.raises(PartnerFailed) as failed:
        await pushed(settings(tmp_path, port, **changes), [row("a.example")])
    assert failed.value.code == code
    assert PASSWORD not in str(failed.value)
