"""Every connector there is, in one list: a new one is one line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from connectors import email, ioda, misp, ooni, sample, taxii_push, webhook
from connectors.base import Manifest

MANIFESTS: tuple[Manifest, ...] = (
    email.MANIFEST,
    ioda.MANIFEST,
    misp.MANIFEST,
    ooni.MANIFEST,
    sample.MANIFEST,
    taxii_push.MANIFEST,
    webhook.MANIFEST,
)

CONNECTORS: Mapping[str, Manifest] = MappingProxyType({manifest.name: manifest for manifest in MANIFESTS})
