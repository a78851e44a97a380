"""A connector on its way with one partner's feed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.base import Manifest, Settings
from services import connector_states as states
from services.hub import Hub
from services.instances import Instance
from tests.fakes import NOW_MS
from tests.unit.share.world import Feeder, feeds_hub, recipient

DAY_MS = 86_400_000
NAME = "meadow-hook"


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


World = tuple[Hub, Feeder, Clock]


def instance(partner: str = "meadow", *, acknowledges: bool = True, push_rows: int = 2) -> Instance:
    manifest = Manifest("made-up", "", Settings, acknowledges=acknowledges, push_rows=push_rows)
    return Instance(NAME, manifest, partner, "push", Settings(), 60, False, None, "en", "d", "")


def state(hub: Hub) -> states.State:
    with hub.store.engine.begin() as connection:
        found = states.state(connection, NAME)
    assert found is not None
    return found


def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Hub, Feeder, Clock]]:
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else ""
    clock = Clock()
    hub = feeds_hub(tmp_path, [recipient("meadow"), recipient("ridge")], url, clock)
    with hub.store.engine.begin() as connection:
        states.enter(connection, [instance()], clock())
    yield hub, Feeder(hub), clock
    hub.store.close()
