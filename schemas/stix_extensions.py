"""What is inside observables: predefined extensions, parts of messages, objects embedded in observed data.

Sources: STIX 2.1 sections 6.5 to 6.18 and 4.14. Properties that the standard does not define are free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from schemas import stix_values as values
from schemas.errors import ItemRefused
from schemas.stix_values import Check, below, fields, list_of, number, text, time

_whole = number(whole=True)
_size = number(0, whole=True)
_texts = list_of(text)
_hex = values.matching(
    re.compile(r"[0-9a-fA-F]+").fullmatch, "hexadecimal number", "write it with 0-9 and a-f, without 0x"
)
_artifact = values.identifier(("artifact",))
_files = list_of(values.identifier(("file", "directory")))


def _all(check: Check, names: str) -> dict[str, Check]:
    return dict.fromkeys(names.split(), check)


_alternate_stream = fields(("name",), {"name": text, "hashes": values.file_hashes, "size": _size})
_section = fields(("name",), {"name": text, "size": _size, "entropy": number(), "hashes": values.file_hashes})
_optional_header = fields(
    (),
    {
        **_all(
            _hex,
            """magic_hex win32_version_value_hex checksum_hex subsystem_hex dll_characteristics_hex
            loader_flags_hex""",
        ),
        **_all(
            _size,
            """size_of_code size_of_initialized_data size_of_uninitialized_data address_of_entry_point base_of_code
            base_of_data image_base section_alignment file_alignment size_of_image size_of_headers
            size_of_stack_reserve size_of_stack_commit size_of_heap_reserve size_of_heap_commit""",
        ),
        "hashes": values.file_hashes,
    },
)
_PREDEFINED: Mapping[str, Check] = {
    "archive-ext": fields(("contains_refs",), {"contains_refs": _files, "comment": text}),
    "ntfs-ext": fields(
        (),
        {"sid": text, "alternate_data_streams": list_of(_alternate_stream)},
        ("sid", "alternate_data_streams"),
    ),
    "pdf-ext": fields(
        (),
        {
            **_all(text, "version pdfid0 pdfid1"),
            "is_optimized": values.boolean,
            "document_info_dict": values.json_object,
        },
        ("version", "is_optimized", "document_info_dict", "pdfid0", "pdfid1"),
    ),
    "raster-image-ext": fields(
        (),
        {**_all(_whole, "image_height image_width bits_per_pixel"), "exif_tags": values.json_object},
    ),
    "windows-pebinary-ext": fields(
        ("pe_type",),
        {
            **_all(text, "pe_type imphash"),
            **_all(_hex, "machine_hex pointer_to_symbol_table_hex characteristics_hex"),
            **_all(_size, "number_of_sections number_of_symbols size_of_optional_header"),
            "time_date_stamp": time,
            "file_header_hashes": values.file_hashes,
            "optional_header": _optional_header,
            "sections": list_of(_section),
        },
    ),
    "http-request-ext": fields(
        ("request_method", "request_value"),
        {
            **_all(text, "request_method request_value request_version"),
            "request_header": values.json_object,
            "message_body_length": _whole,
            "message_body_data_ref": _artifact,
        },
    ),
    "icmp-ext": fields(("icmp_type_hex", "icmp_code_hex"), _all(_hex, "icmp_type_hex icmp_code_hex")),
    "socket-ext": fields(
        ("address_family",),
        {
            **_all(text, "address_family socket_type"),
            **_all(values.boolean, "is_blocking is_listening"),
            "options": values.json_object,
            **_all(_size, "socket_descriptor socket_handle"),
        },
    ),
    "tcp-ext": fields((), _all(_hex, "src_flags_hex dst_flags_hex"), ("src_flags_hex", "dst_flags_hex")),
    "windows-process-ext": fields(
        (),
        {
            **_all(values.boolean, "aslr_enabled dep_enabled"),
            **_all(text, "priority owner_sid window_title integrity_level"),
            "startup_info": values.json_object,
        },
    ),
    "windows-service-ext": fields(
        (),
        {
            **_all(text, "service_name group_name display_name start_type service_type service_status"),
            "descriptions": _texts,
            "service_dll_refs": list_of(values.identifier(("file",))),
        },
    ),
    "unix-account-ext": fields((), {"gid": _whole, "groups": _texts, **_all(text, "home_dir shell")}),
}


def extensions(value: Any) -> None:
    """Extension id or predefined name to its properties (section 3.1), which predefined ones have rules for."""
    values.extensions(value)
    for name, check in _PREDEFINED.items():
        if name in value:
            try:
                check(value[name])
            except ItemRefused as fault:
                raise below(fault, name) from None


mime_part = fields(
    (),
    {
        **_all(text, "body content_type content_disposition"),
        "body_raw_ref": values.identifier(("artifact", "file")),
    },
    ("body", "body_raw_ref"),
)
"""One part of a message of several (section 6.6.2)."""

certificate_extensions = fields(
    (),
    {
        **_all(time, "private_key_usage_period_not_before private_key_usage_period_not_after"),
        **_all(
            text,
            """basic_constraints name_constraints policy_constraints key_usage extended_key_usage
            subject_key_identifier authority_key_identifier subject_alternative_name issuer_alternative_name
            subject_directory_attributes crl_distribution_points inhibit_any_policy certificate_policies
            policy_mappings""",
        ),
    },
)
"""The extensions of an X.509 certificate (section 6.18.2)."""


def embedded(checks: Mapping[str, Mapping[str, Check]]) -> Check:
    """The objects that observed data hold in themselves (section 4.14, deprecated), each by `checks` of its type.

    They refer to one another by key and need no id, as in STIX 2.0: what is no identifier is let be, while an
    identifier of the wrong type is not.
    """

    def check(value: Any) -> None:
        values.json_object(value)
        for key, part in value.items():
            try:
                values.json_object(part)
                _well_formed(part, checks)
            except ItemRefused as fault:
                raise below(fault, key) from None

    return check


def _well_formed(part: Mapping[str, Any], checks: Mapping[str, Mapping[str, Check]]) -> None:
    type_ = part.get("type")
    if type(type_) is not str:
        raise below(values.refusal("type-invalid", "an embedded object has no type", "name its type"), "type")
    known = checks.get(type_, {})
    for name in known.keys() & part.keys():
        try:
            known[name](part[name])
        except ItemRefused as fault:
            if fault.code != "id-invalid":
                raise below(fault, name) from None
