"""Internet outages as measured by IODA."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from connectors.base import Manifest, Settings
from connectors.ioda import client, mapping
from schemas.handling import Country


class IodaSettings(Settings):
    """`countries` are asked for one by one; none of them means all countries, without their regions.

    An outage counts when `min_signals` show it and one of them has `min_score`; what lies no more than
    `gap_minutes` apart is one. `lookback_hours` is how far back each pull looks.
    """

    url: str = "https://api.ioda.inetintel.cc.gatech.edu/v2/"
    countries: Annotated[tuple[Country, ...], Field(max_length=300)] = ()
    regions: bool = False
    min_signals: Annotated[int, Field(ge=1, le=10)] = 2
    min_score: Annotated[float, Field(ge=0)] = 1000
    gap_minutes: Annotated[int, Field(ge=0, le=1440)] = 60
    lookback_hours: Annotated[int, Field(ge=2, le=720)] = 48

    @property
    def bounds(self) -> mapping.Bounds:
        return mapping.Bounds(self.min_signals, self.min_score, self.gap_minutes * 60)

    @model_validator(mode="after")
    def _regions_lie_somewhere(self) -> Self:
        if self.regions and not self.countries:
            raise ValueError("regions: name the countries whose regions are meant, in `countries`")
        return self


MANIFEST = Manifest(
    name="ioda",
    summary="internet outages of countries and regions, from IODA's API",
    settings=IodaSettings,
    hosts=lambda settings: (settings.url,),
    pull=client.open_puller,
    every_seconds=600,
)
