"""A world for every connector that pushes: a new one without a world fails the tests of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tests.partners.email import email_world
from tests.partners.misp import misp_world
from tests.partners.sample import sample_world
from tests.partners.taxii import taxii_world
from tests.partners.webhook import webhook_world
from tests.partners.world import MakeWorld, Mode


class Registered(NamedTuple):
    """`modes` are the ways in which this partner can behave."""

    make: MakeWorld
    modes: tuple[Mode, ...] = ("takes", "refuses", "later", "lets-nobody-in", "talks-nonsense")


WORLDS: Mapping[str, Registered] = MappingProxyType(
    {
        "email": Registered(email_world, ("takes", "refuses", "later", "lets-nobody-in")),
        "misp_push": Registered(misp_world),
        "sample": Registered(sample_world, ("takes", "talks-nonsense")),
        "taxii_push": Registered(taxii_world),
        "webhook": Registered(webhook_world),
    }
)
