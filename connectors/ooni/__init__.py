"""Censorship as measured by the volunteers of OONI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from connectors.base import Manifest, Settings
from connectors.ooni import client, mapping
from schemas.handling import Country

Domain = Annotated[str, Field(pattern=r"^[a-z0-9.-]{3,253}$")]

Test = Literal["web_connectivity", "telegram", "whatsapp", "facebook_messenger", "signal"]


class OoniSettings(Settings):
    """Measurements come from the API at `url`, of `countries`, or from files in `folder`.

    `domains` narrows what is asked of sites. What OONI has not confirmed counts where `min_probes` reports in
    `min_networks` networks find it, by `min_share` of the measurements, within `window_days`.
    """

    url: str = "https://api.ooni.io/"
    folder: Path | None = None
    countries: Annotated[tuple[Country, ...], Field(max_length=300)] = ()
    tests: Annotated[tuple[Test, ...], Field(min_length=1)] = get_args(Test)
    domains: Annotated[tuple[Domain, ...], Field(max_length=1000)] = ()
    min_probes: Annotated[int, Field(ge=2, le=mapping.MAX_REPORTS)] = 5
    min_networks: Annotated[int, Field(ge=2, le=100)] = 2
    min_share: Annotated[float, Field(ge=0.1, le=1)] = 0.5
    window_days: Annotated[int, Field(ge=1, le=30)] = 3

    @property
    def bounds(self) -> mapping.Bounds:
        return mapping.Bounds(self.min_probes, self.min_networks, self.min_share)

    @model_validator(mode="after")
    def _measurements_come_from_somewhere(self) -> Self:
        if self.folder is None and not self.countries:
            raise ValueError("countries: name those of which measurements are to be fetched, or a folder of files")
        return self


MANIFEST = Manifest(
    name="ooni",
    summary="blocked sites and services, from OONI's measurements (API or files)",
    settings=OoniSettings,
    hosts=lambda settings: () if settings.folder else (settings.url,),
    pull=client.open_puller,
    every_seconds=3600,
)
