"""STIX object types as a table: their properties, what kind each is, and which belong together.

Sources: STIX 2.1 sections 3 to 7 (OASIS standard), and STIX 2.0 parts 1 and 2 for what 2.1 changed.

A line of the table is `property:kind`, `!` where it is required; no kind means text. Types and properties
that are not in the table are custom ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from schemas import stix_extensions as inner
from schemas import stix_values as values
from schemas.stix_values import Check

Family = Literal["domain", "relationship", "observable", "meta"]


class Order(NamedTuple):
    """Two timestamps: `later` may not lie before `earlier`, nor, if `strict`, be the same."""

    earlier: str
    later: str
    strict: bool = False


class StixType(NamedTuple):
    """What holds for one type of object. `new` are the properties that STIX 2.0 does not have."""

    family: Family
    checks: Mapping[str, Check]
    required: tuple[str, ...]
    required_2_0: tuple[str, ...]
    orders: tuple[Order, ...]
    some_of: tuple[str, ...]
    new: frozenset[str]
    new_type: bool


_KINDS: Mapping[str, Check] = {
    "text": values.text,
    "bool": values.boolean,
    "time": values.time,
    "object": values.json_object,
    "texts": values.list_of(values.text),
    "objects": values.list_of(values.json_object),
    "phases": values.list_of(values.kill_chain_phase),
    "hashes": values.file_hashes,
    "parts": values.list_of(inner.mime_part),
    "certificate": inner.certificate_extensions,
    "kebab": values.kebab,
    "count": values.number(0, 999_999_999, whole=True),
    "positive": values.number(1, 999_999_999, whole=True),
    "int": values.number(whole=True),
    "size": values.number(0, whole=True),
    "port": values.number(0, 65535, whole=True),
    "float": values.number(),
    "latitude": values.number(-90, 90),
    "longitude": values.number(-180, 180),
    "distance": values.number(0),
    "ref": values.identifier(),
    "refs": values.list_of(values.identifier()),
    "related": values.identifier(but_not=values.NOT_RELATABLE),
    "identity": values.identifier(("identity",)),
    "places": values.list_of(values.identifier(("identity", "location"))),
    "observations": values.list_of(values.identifier(("observed-data",))),
    "samples": values.list_of(values.identifier(("file", "artifact"))),
    "systems": values.list_of(values.identifier(("software",))),
    "system": values.identifier(("software",)),
    "observed": values.list_of(values.identifier(but_not=values.NOT_OBSERVED)),
    "observables": values.list_of(values.identifier(but_not=values.NOT_OBSERVED | values.NOT_RELATABLE)),
    "files": values.list_of(values.identifier(("file", "directory"))),
    "resolved": values.list_of(values.identifier(("domain-name", "ipv4-addr", "ipv6-addr"))),
    "interfaces": values.list_of(values.identifier(("mac-addr",))),
    "file": values.identifier(("file",)),
    "directory": values.identifier(("directory",)),
    "account": values.identifier(("user-account",)),
    "artifact": values.identifier(("artifact",)),
    "flow": values.identifier(("network-traffic",)),
    "flows": values.list_of(values.identifier(("network-traffic",))),
    "process": values.identifier(("process",)),
    "processes": values.list_of(values.identifier(("process",))),
    "mailbox": values.identifier(("email-addr",)),
    "mailboxes": values.list_of(values.identifier(("email-addr",))),
    "networks": values.list_of(values.identifier(("autonomous-system",))),
    "endpoint": values.identifier(("ipv4-addr", "ipv6-addr", "mac-addr", "domain-name")),
    "extension_types": values.extension_types,
    "encryption": values.one_of(("AES-256-GCM", "ChaCha20-Poly1305", "mime-type-indicated")),
    "opinion": values.one_of(("strongly-disagree", "disagree", "neutral", "agree", "strongly-agree")),
    "base64": values.base64,
    "translations": values.translations,
}

_ANY: dict[str, Check] = {
    "type": values.text,
    "spec_version": values.text,
    "object_marking_refs": values.list_of(values.identifier(("marking-definition",))),
    "granular_markings": values.list_of(values.granular_marking),
    "extensions": inner.extensions,
}
_VERSIONED: dict[str, Check] = _ANY | {
    "created_by_ref": _KINDS["identity"],
    "created": values.version_time,
    "modified": values.version_time,
    "revoked": values.boolean,
    "labels": _KINDS["texts"],
    "confidence": values.number(0, 100, whole=True),
    "lang": values.lang,
    "external_references": values.list_of(values.external_reference),
}
_COMMON: Mapping[Family, Mapping[str, Check]] = {
    "domain": _VERSIONED,
    "relationship": _VERSIONED,
    "meta": _VERSIONED,
    "observable": _ANY | {"defanged": values.boolean},
}
_COMMON_REQUIRED: Mapping[Family, tuple[str, ...]] = {
    "domain": ("type", "id", "created", "modified"),
    "relationship": ("type", "id", "created", "modified"),
    "meta": ("type", "id", "created"),
    "observable": ("type", "id"),
}

_DOMAIN = {
    "attack-pattern": "name! description aliases:texts kill_chain_phases:phases",
    "campaign": "name! description aliases:texts first_seen:time last_seen:time objective",
    "course-of-action": "name! description",
    "grouping": "name description context! object_refs!:refs",
    "identity": "name! description roles:texts identity_class sectors:texts contact_information",
    "incident": "name! description",
    "indicator": """pattern! pattern_type! valid_from!:time valid_until:time name description
        indicator_types:texts pattern_version kill_chain_phases:phases""",
    "infrastructure": """name! description infrastructure_types:texts aliases:texts kill_chain_phases:phases
        first_seen:time last_seen:time""",
    "intrusion-set": """name! description aliases:texts first_seen:time last_seen:time goals:texts
        resource_level primary_motivation secondary_motivations:texts""",
    "location": """name description latitude:latitude longitude:longitude precision:distance region country
        administrative_area city street_address postal_code""",
    "malware": """is_family!:bool name description malware_types:texts aliases:texts kill_chain_phases:phases
        first_seen:time last_seen:time operating_system_refs:systems architecture_execution_envs:texts
        implementation_languages:texts capabilities:texts sample_refs:samples""",
    "malware-analysis": """product! version host_vm_ref:system operating_system_ref:system
        installed_software_refs:systems configuration_version modules:texts analysis_engine_version
        analysis_definition_version submitted:time analysis_started:time analysis_ended:time result_name
        result analysis_sco_refs:observables sample_ref:ref""",
    "note": "content! object_refs!:refs abstract authors:texts",
    "observed-data": """first_observed!:time last_observed!:time number_observed!:positive objects:object
        object_refs:observed""",
    "opinion": "opinion!:opinion object_refs!:refs explanation authors:texts",
    "report": "name! published!:time object_refs!:refs description report_types:texts",
    "threat-actor": """name! description threat_actor_types:texts aliases:texts first_seen:time last_seen:time
        roles:texts goals:texts sophistication resource_level primary_motivation secondary_motivations:texts
        personal_motivations:texts""",
    "tool": "name! description tool_types:texts aliases:texts kill_chain_phases:phases tool_version",
    "vulnerability": "name! description",
}
_RELATIONSHIP = {
    "relationship": """relationship_type!:kebab source_ref!:related target_ref!:related description
        start_time:time stop_time:time""",
    "sighting": """sighting_of_ref!:related description first_seen:time last_seen:time count:count
        observed_data_refs:observations where_sighted_refs:places summary:bool""",
}
_META = {
    "marking-definition": "name definition_type definition:object",
    "language-content": "object_ref!:ref contents!:translations object_modified:time",
    "extension-definition": """name! schema! version! extension_types!:extension_types created_by_ref!:identity
        description extension_properties:texts""",
}
_OBSERVABLE = {
    "artifact": "mime_type payload_bin:base64 url hashes:hashes encryption_algorithm:encryption decryption_key",
    "autonomous-system": "number!:size name rir",
    "directory": "path! path_enc ctime:time mtime:time atime:time contains_refs:files",
    "domain-name": "value! resolves_to_refs:resolved",
    "email-addr": "value! display_name belongs_to_ref:account",
    "email-message": """is_multipart!:bool date:time content_type from_ref:mailbox sender_ref:mailbox
        to_refs:mailboxes cc_refs:mailboxes bcc_refs:mailboxes message_id subject received_lines:texts
        additional_header_fields:object body body_multipart:parts raw_email_ref:artifact""",
    "file": """hashes:hashes size:size name name_enc magic_number_hex mime_type ctime:time mtime:time atime:time
        parent_directory_ref:directory contains_refs:refs content_ref:artifact""",
    "ipv4-addr": "value! resolves_to_refs:interfaces belongs_to_refs:networks",
    "ipv6-addr": "value! resolves_to_refs:interfaces belongs_to_refs:networks",
    "mac-addr": "value!",
    "mutex": "name!",
    "network-traffic": """protocols!:texts start:time end:time is_active:bool src_ref:endpoint dst_ref:endpoint
        src_port:port dst_port:port src_byte_count:size dst_byte_count:size src_packets:size dst_packets:size
        ipfix:object src_payload_ref:artifact dst_payload_ref:artifact encapsulates_refs:flows
        encapsulated_by_ref:flow""",
    "process": """is_hidden:bool pid:int created_time:time cwd command_line environment_variables:object
        opened_connection_refs:flows creator_user_ref:account image_ref:file parent_ref:process
        child_refs:processes""",
    "software": "name! cpe swid languages:texts vendor version",
    "url": "value!",
    "user-account": """user_id credential account_login account_type display_name is_service_account:bool
        is_privileged:bool can_escalate_privs:bool is_disabled:bool account_created:time account_expires:time
        credential_last_changed:time account_first_login:time account_last_login:time""",
    "windows-registry-key": """key values:objects modified_time:time creator_user_ref:account
        number_of_subkeys:size""",
    "x509-certificate": """is_self_signed:bool hashes:hashes version serial_number signature_algorithm issuer
        validity_not_before:time validity_not_after:time subject subject_public_key_algorithm
        subject_public_key_modulus subject_public_key_exponent:int x509_v3_extensions:certificate""",
}

_ORDERS: Mapping[str, tuple[Order, ...]] = {
    "indicator": (Order("valid_from", "valid_until", strict=True),),
    "relationship": (Order("start_time", "stop_time", strict=True),),
    "observed-data": (Order("first_observed", "last_observed"),),
    "malware-analysis": (Order("analysis_started", "analysis_ended"),),
    "network-traffic": (Order("start", "end"),),
    "x509-certificate": (Order("validity_not_before", "validity_not_after"),),
}
_ALL_ORDERS = (Order("created", "modified"), Order("first_seen", "last_seen"))

_SOME_OF: Mapping[str, tuple[str, ...]] = {
    "artifact": ("payload_bin", "url"),
    "file": ("hashes", "name"),
    "location": ("region", "country", "latitude"),
    "malware-analysis": ("result", "analysis_sco_refs"),
    "marking-definition": ("definition", "extensions"),
    "network-traffic": ("src_ref", "dst_ref"),
    "observed-data": ("objects", "object_refs"),
}
_NOT_BARE = frozenset(("process", "user-account", "windows-registry-key", "x509-certificate"))

_NEW = {
    "indicator": "indicator_types pattern_type pattern_version",
    "malware": """malware_types is_family aliases first_seen last_seen operating_system_refs sample_refs
        architecture_execution_envs implementation_languages capabilities""",
    "identity": "roles",
    "relationship": "start_time stop_time",
    "report": "report_types",
    "sighting": "description",
    "threat-actor": "threat_actor_types first_seen last_seen",
    "tool": "tool_types aliases",
    "attack-pattern": "aliases",
    "marking-definition": "name",
    "observed-data": "object_refs",
}
_NEW_EVERYWHERE = frozenset(("confidence", "lang", "extensions"))
_NEW_TYPES = values.words(
    """grouping incident infrastructure location malware-analysis note opinion language-content
    extension-definition"""
)

# what 2.1 requires and 2.0 did not have is made in the upgrade; an indicator is clear enough without labels
_REQUIRED_2_0_INSTEAD: Mapping[str, tuple[str, ...]] = {
    "indicator": ("pattern", "valid_from"),
    "malware": ("name", "labels"),
    "report": ("name", "published", "object_refs", "labels"),
    "threat-actor": ("name", "labels"),
    "tool": ("name", "labels"),
}


def _type(name: str, family: Family, line: str) -> StixType:
    checks = dict(_COMMON[family]) | {"id": values.own_id(name)}
    if name == "marking-definition":
        checks["created"] = values.time  # section 7.2.1 does not ask for milliseconds, as 3.2 does
    required = list(_COMMON_REQUIRED[family])
    own: list[str] = []
    own_names: list[str] = []
    for entry in line.split():
        marked, _, kind = entry.partition(":")
        property_ = marked.removesuffix("!")
        if marked != property_:
            own.append(property_)
        own_names.append(property_)
        checks[property_] = _KINDS[kind or "text"]
    if name == "observed-data":
        checks["objects"] = inner.embedded({name: type_.checks for name, type_ in _OBSERVED.items()})
    orders = (*_ALL_ORDERS, *_ORDERS.get(name, ()))
    return StixType(
        family=family,
        checks=MappingProxyType(checks),
        required=(*required, *own),
        required_2_0=(*required, *_REQUIRED_2_0_INSTEAD.get(name, own)),
        orders=tuple(order for order in orders if {order.earlier, order.later} <= checks.keys()),
        some_of=(*own_names, "extensions") if name in _NOT_BARE else _SOME_OF.get(name, ()),
        new=values.words(_NEW.get(name, "")) | _NEW_EVERYWHERE,
        new_type=name in _NEW_TYPES,
    )


def _types(family: Family, table: Mapping[str, str]) -> Iterable[tuple[str, StixType]]:
    return ((name, _type(name, family, line)) for name, line in table.items())


_OBSERVED = MappingProxyType(dict(_types("observable", _OBSERVABLE)))
TYPES: Mapping[str, StixType] = MappingProxyType(
    dict(
        [
            *_types("domain", _DOMAIN),
            *_types("relationship", _RELATIONSHIP),
            *_types("meta", _META),
            *_OBSERVED.items(),
        ]
    )
)


def custom_type(name: str, *, versioned: bool) -> StixType:
    """A type that the standard does not define: only what all objects have in common is known of it."""
    return _type(name, "domain" if versioned else "observable", "")
