"""Every connector there is, in one list: a new one is one line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from connectors import (
    blocklist,
    csv_feed,
    email,
    ioda,
    misp,
    mvt,
    ooni,
    sample,
    stalkerware,
    stix_files,
    taxii,
    taxii_push,
    threatexchange,
    webhook,
)
from connectors.base import Manifest
from schemas.feed import Format

MANIFESTS: tuple[Manifest, ...] = (
    blocklist.MANIFEST,
    csv_feed.MANIFEST,
    email.MANIFEST,
    ioda.MANIFEST,
    misp.FEED,
    misp.PULL,
    misp.PUSH,
    mvt.MANIFEST,
    ooni.MANIFEST,
    sample.MANIFEST,
    stalkerware.MANIFEST,
    stix_files.MANIFEST,
    taxii.MANIFEST,
    taxii_push.MANIFEST,
    threatexchange.MANIFEST,
    webhook.MANIFEST,
)

CONNECTORS: Mapping[str, Manifest] = MappingProxyType({manifest.name: manifest for manifest in MANIFESTS})
FORMATS: Mapping[str, Format] = MappingProxyType(
    {name: format_ for manifest in MANIFESTS for name, format_ in manifest.formats.items()}
)
"""The file formats that connectors add to the feeds, by name."""
