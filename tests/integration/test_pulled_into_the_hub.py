"""What pullers fetch, taken in by the runtime on both databases: what stands, and what is withdrawn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors import slices
from connectors.base import Tools
from connectors.http import Http
from connectors.registry import CONNECTORS
from services import connector_states as states
from services.accept.door import Door
from services.accept.pull import Pulling
from services.hub import Hub
from services.instances import read_instances
from services.store import Store
from services.tables import metadata
from tests.fakes import NOW_MS, accept_client, make_hub, source_agreement
from tests.pulled import AtTheDoor
from tests.unit.connectors.misp.test_misp_pull import Misp
from tests.unit.connectors.stix_files.test_stix_files import published

AT = 1_700_000_000


class Runtime:
    """Turns of the connectors that a file sets up, each opened anew as after a start of the hub."""

    def __init__(self, hub: Hub, file: Path, looks: AtTheDoor) -> None:
        self.hub = hub
        self.live = looks.live
        self.withdrawn = looks.withdrawn
        self._file = file
        self._door = Door(hub, lambda: None)

    async def turn(self, toml: str) -> states.State:
        self._file.write_text(toml)
        [instance] = read_instances(self._file, CONNECTORS).values()
        await self.hub.store.write(lambda connection: states.enter(connection, [instance], NOW_MS))
        assert instance.manifest.pull is not None
        async with Http(instance.manifest.hosts(instance.settings)) as http:
            tools = Tools(http, lambda _: b"secret", lambda: NOW_MS, instance.partner)
            puller = await instance.manifest.pull(instance.settings, tools)
            pulling = Pulling(self.hub, instance, puller, await self.state(instance.name), self._door)
            while await pulling.round():
                pass
            await puller.close()
        return await self.state(instance.name)

    async def state(self, name: str) -> states.State:
        found = await self.hub.store.read(lambda connection: states.state(connection, name))
        assert found is not None
        return found


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    hub = make_hub(tmp_path, [source_agreement("alpha")])  # whether it sends snapshots is for what fetches to say
    if request.param == "postgres":
        hub.store.close()
        store = Store(request.getfixturevalue("postgres_url"))
        metadata.create_all(store.engine)
        hub = replace(hub, store=store)
    async with accept_client(hub) as client:
        yield Runtime(hub, tmp_path / "connectors.toml", AtTheDoor(hub, client, {}))
    hub.store.close()


@pytest.mark.parametrize("cut_at", [10_000, 8])
async def test_a_folder_of_files(
    runtime: Runtime, tmp_path: Path, cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_ELEMENTS", cut_at)
    folder = tmp_path / "files"
    folder.mkdir()
    toml = f'[lab]\nconnector = "stix_files"\npartner = "alpha"\nfolder = "{folder}"\nsnapshot = true\n'
    names = [f"h{number}.example" for number in range(20)]
    (folder / "a.json").write_bytes(published(1_000, *names[:15]))
    (folder / "b.json").write_bytes(published(2_000, *names[10:]))
    state = await runtime.turn(toml)
    assert len(await runtime.live()) == 1 + 20 + 20 and state.refused == 0 and state.went >= 41
    again = await runtime.turn(toml)
    assert again.went == state.went, "nothing changed, and nothing was taken in again"
    (folder / "a.json").write_bytes(published(3_000, names[0]))
    await runtime.turn(toml)
    assert len(await runtime.live()) == 1 + 11 + 11
    (folder / "a.json").unlink()
    await runtime.turn(toml)
    assert len(await runtime.live()) == 1 + 10 + 10
    assert await runtime.withdrawn() == 2 * 10


async def test_a_misp(runtime: Runtime) -> None:
    misp = Misp()
    for number in range(4):
        misp.put(number, AT + number)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", misp.static)
    async with TestServer(app) as server:
        toml = f'[misp]\nconnector = "misp"\npartner = "alpha"\nfeed = "{server.make_url("/feed")}"\n'
        await runtime.turn(toml)
        assert len(await runtime.live()) == 12
        misp.remove(2, 1, AT + 60)
        del misp.events[3]
        state = await runtime.turn(toml)
        assert len(await runtime.live()) == 8 and await runtime.withdrawn() == 4
        assert len(misp.fetched) == 5 and state.refused == 0
