"""STIX 2.0 to 2.1: what 2.1 moved, renamed or made explicit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from schemas.errors import ItemRefused
from schemas.stix_types import StixType
from schemas.stix_values import missing, words

_LABELLED: Mapping[str, str] = MappingProxyType(
    {
        "indicator": "indicator_types",
        "malware": "malware_types",
        "report": "report_types",
        "threat-actor": "threat_actor_types",
        "tool": "tool_types",
    }
)
"""Types whose `labels` of STIX 2.0 became a property of their own in 2.1."""

_LABELS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "indicator": words("anomalous-activity anonymization attribution benign compromised malicious-activity"),
        "malware": words(
            """adware backdoor bot ddos dropper exploit-kit
            keylogger ransomware remote-access-trojan resource-exploitation rogue-security-software rootkit
            screen-capture spyware trojan virus worm"""
        ),
        "report": words(
            """attack-pattern campaign identity indicator intrusion-set malware
            observed-data threat-actor threat-report tool vulnerability"""
        ),
        "threat-actor": words(
            """activist competitor crime-syndicate criminal hacker insider-accidental
            insider-disgruntled nation-state sensationalist spy terrorist"""
        ),
        "tool": words(
            """credential-exploitation denial-of-service exploitation information-gathering
            network-capture remote-access vulnerability-scanning"""
        ),
    }
)
"""The vocabularies of STIX 2.0 for these labels; other labels are tags, and stay labels."""


def upgrade(body: dict[str, Any], type_: str, stix_type: StixType, notes: list[str]) -> list[ItemRefused]:
    """Turns a body of 2.0 into one of 2.1; returns what even 2.0 would require and is not there."""
    new = stix_type.new & body.keys()
    notes.extend(f"property-of-2.1-in-2.0: {name}" for name in sorted(new))
    wanted = [name for name in stix_type.required_2_0 if name not in body]
    if "labels" in wanted and (_LABELLED[type_] in body or "is_family" in body):
        wanted.remove("labels")
    body["spec_version"] = "2.1"
    if type_ in _LABELLED:
        _move_labels(body, type_)
    if type_ == "indicator":
        if "labels" not in body and "indicator_types" not in body:
            notes.append("labels-missing: labels")
        body.setdefault("pattern_type", "stix")
        if body["pattern_type"] == "stix":
            body.setdefault("pattern_version", "2.0")
    elif type_ == "malware":
        body.setdefault("is_family", False)
    return [missing(name) for name in wanted]


def _move_labels(body: dict[str, Any], type_: str) -> None:
    labels = body.get("labels")
    if _LABELLED[type_] in body or _has_selectors(body) or not isinstance(labels, list):
        return
    kinds = [label for label in labels if _names_a_kind(label, type_)]
    tags = [label for label in labels if not _names_a_kind(label, type_)]
    if kinds:
        body[_LABELLED[type_]] = kinds
        if tags:
            body["labels"] = tags
        else:
            del body["labels"]


def _has_selectors(body: Mapping[str, Any]) -> bool:
    """A selector must go on pointing at what it points at: that of a granular marking, or of what is personal."""
    extensions = body.get("extensions")
    parts = extensions.values() if isinstance(extensions, dict) else ()
    return "granular_markings" in body or any(isinstance(part, dict) and "personal" in part for part in parts)


def _names_a_kind(label: Any, type_: str) -> bool:
    return isinstance(label, str) and label in _LABELS[type_]
