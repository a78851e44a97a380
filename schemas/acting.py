"""What a recipient may do with a copy, as the copy itself says. Pure.

To block something is an act that whoever is behind it can notice. The Permissible Actions Protocol (taxonomy PAP
of the MISP project) permits that up to GREEN; AMBER is for checks that do not touch the target, RED for one's own
logs. A copy that says nothing of PAP permits it to nobody: what is unknown denies (deploy/policy.md). A source
whose things may be blocked says so once, with `pap` in its agreement's defaults; govern marks what it lets out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.enrichment import ENRICHMENT_ID
from schemas.handling import HANDLING_ID
from schemas.markings import Pap, pinned


def pap_of(body: Mapping[str, Any]) -> Pap | None:
    """The strictest PAP that a copy carries; None where it carries none."""
    levels = (pinned(marking) for marking in body.get("object_marking_refs", ()))
    return max((level for level in levels if isinstance(level, Pap)), default=None)


def may_be_used(body: Mapping[str, Any], purpose: str) -> bool:
    """Whether a copy may be used for one of the `purposes` of the handling; one that names none, for all."""
    purposes = extension(body, HANDLING_ID).get("purposes")
    return purposes is None or purpose in purposes


def may_be_blocked(body: Mapping[str, Any]) -> bool:
    """Whether a recipient may let its systems act on a copy by themselves, so that it can be noticed.

    Only where PAP says so, where it may be used to protect, and where no warning list says that to block it would
    do more harm than it does.
    """
    pap = pap_of(body)
    if pap is None or pap > Pap.GREEN:
        return False
    return may_be_used(body, "protect") and not extension(body, ENRICHMENT_ID).get("do_not_block", False)


def extension(body: Mapping[str, Any], id_: str) -> Mapping[str, Any]:
    """One of a copy's extensions, empty where it has none."""
    found = body.get("extensions", {}).get(id_, {})
    return found if isinstance(found, Mapping) else {}
