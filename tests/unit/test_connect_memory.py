"""What a connector that pushes remembers from turn to turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Manifest, Tools
from tests.unit.share.world import Feeder, domain
from tests.unit.test_connect import World, _world, accept, staff, table


async def test_it_lasts_until_its_place_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, remembered = _world(tmp_path, monkeypatch), []
    made_up = world.manifests()["made-up"]

    async def push(settings: Any, tools: Tools) -> Any:
        remembered.append(dict(tools.memory))
        tools.memory["turn"] = len(remembered)
        assert made_up.push is not None
        return await made_up.push(settings, tools)

    def manifests() -> dict[str, Manifest]:
        return {"made-up": replace(made_up, push=push)}

    monkeypatch.setattr(world, "manifests", manifests)
    feeder, first = Feeder(world.hub), []
    for number, url in enumerate(["https://here.example", "https://here.example", "https://moved.example"]):
        world.file.write_text(table("out", partner="meadow", does="push", url=url))
        first.append(len(remembered))
        await _goes_out(world, feeder, number, accepted=number == 1)
    assert [bool(remembered[turn]) for turn in first] == [False, True, False]


async def _goes_out(world: World, feeder: Feeder, number: int, *, accepted: bool) -> None:
    name = f"{number}.example"
    async with world.running(), staff(world) as client:
        if not accepted:
            await world.health("out", "waits")
            await accept(client, "out")
        await feeder.put(domain(name, [0], counter=number + 1))

        async def is_out() -> bool:
            return name in world.pushed

        await world.until(is_out)
        await world.health("out", "idle")
