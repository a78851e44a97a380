"""What may be blocked, in the forms that resolvers, firewalls and filters read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from connectors.base import Manifest, Settings
from connectors.blocklist import client, mapping

Name = Literal["rpz", "hosts", "dnsmasq", "domains", "ips", "urls"]


class BlocklistSettings(Settings):
    """`folder` must be there; `zone` is what the response policy zone is called."""

    folder: Path
    formats: tuple[Name, ...] = Field(min_length=1)
    zone: str = "rpz.tocsin"

    @field_validator("formats")
    @classmethod
    def _each_once(cls, formats: tuple[Name, ...]) -> tuple[Name, ...]:
        if len(set(formats)) < len(formats):
            raise ValueError("name each format once")
        return formats

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        zone = zone.lower().removesuffix(".")
        if not mapping.is_zone(zone):
            raise ValueError(
                f"must be a domain name of at most {mapping.MAX_ZONE_CHARS} letters, digits, - and dots"
            )
        return zone


MANIFEST = Manifest(
    name="blocklist",
    summary="writes what may be blocked as lists for resolvers and firewalls (RPZ, hosts, dnsmasq, plain)",
    settings=BlocklistSettings,
    publish=client.open_publisher,
    formats=mapping.FORMATS,
    destination=("folder",),
    every_seconds=300,
)
