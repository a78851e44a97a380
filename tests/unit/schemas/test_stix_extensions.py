"""What is inside observables is held to the standard, and refused with the pointer of the fault."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import ItemRefused
from schemas.stix import read_object

UUID = "5956efbb-a7b0-566d-a7f9-a202eb05c70f"
WHEN = "2026-01-02T03:04:05.678Z"
ARTIFACT = f"artifact--{UUID}"


def observable(type_: str, **properties: Any) -> dict[str, Any]:
    return {"type": type_, "spec_version": "2.1", "id": f"{type_}--{UUID}", **properties}


def file(**extensions: Any) -> dict[str, Any]:
    renamed = {name.replace("_", "-"): content for name, content in extensions.items()}
    return observable("file", name="a.exe", extensions=renamed)


def observed(version: str = "2.1", **objects: Any) -> dict[str, Any]:
    return {
        **({"spec_version": "2.1"} if version == "2.1" else {}),
        "type": "observed-data",
        "id": f"observed-data--{UUID}",
        "created": WHEN,
        "modified": WHEN,
        "first_observed": WHEN,
        "last_observed": WHEN,
        "number_observed": 1,
        "objects": objects,
    }


TRAFFIC = observable("network-traffic", protocols=["tcp"], src_ref=f"ipv4-addr--{UUID}")


@pytest.mark.parametrize(
    "body",
    [
        file(archive_ext={"contains_refs": [f"file--{UUID}"], "anything": 1}),
        file(ntfs_ext={"sid": "S-1", "alternate_data_streams": [{"name": "a", "size": 1}]}),
        file(windows_pebinary_ext={"pe_type": "dll", "time_date_stamp": WHEN, "sections": [{"name": "a"}]}),
        file(x_made_up_ext={"sid": 1}),
        file(pdf_ext={"is_optimized": False}),
        observable("user-account", extensions={"unix-account-ext": {"gid": -1, "groups": ["a"]}}),
        observable("x509-certificate", x509_v3_extensions={"private_key_usage_period_not_after": WHEN, "x": 1}),
        observable("email-message", is_multipart=True, body_multipart=[{"body": "a"}, {"body_raw_ref": ARTIFACT}]),
        observable("email-message", is_multipart=False, body="a"),
        TRAFFIC | {"is_active": True},
        TRAFFIC | {"is_active": False, "end": WHEN},
        observable("file", hashes={"MD5": "AB" * 16, "SSDEEP": "3:a:b", "x_other": "?"}),
        observed(
            a={"type": "file", "name": "a", "parent_directory_ref": "b"}, b={"type": "directory", "path": "/"}
        ),
        observed("2.0", a={"type": "directory", "path": "/", "contains_refs": ["1", "2"]}),
        observed(a={"type": "x-made-up", "path": 1}),
    ],
)
def test_taken(body: dict[str, Any]) -> None:
    assert read_object(body).type == body["type"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (file(archive_ext={"comment": "none"}), "/extensions/archive-ext/contains_refs"),
        (file(archive_ext={"contains_refs": [ARTIFACT]}), "/extensions/archive-ext/contains_refs/0"),
        (file(ntfs_ext={"property1": "a"}), "/extensions/ntfs-ext"),
        (file(ntfs_ext={"sid": 1}), "/extensions/ntfs-ext/sid"),
        (
            file(ntfs_ext={"alternate_data_streams": [{"size": 1}]}),
            "/extensions/ntfs-ext/alternate_data_streams/0/name",
        ),
        (file(windows_pebinary_ext={"imphash": "a"}), "/extensions/windows-pebinary-ext/pe_type"),
        (
            file(windows_pebinary_ext={"pe_type": "dll", "time_date_stamp": "2016-11-31T08:17:27Z"}),
            "/extensions/windows-pebinary-ext/time_date_stamp",
        ),
        (
            file(windows_pebinary_ext={"pe_type": "dll", "machine_hex": "0x14c"}),
            "/extensions/windows-pebinary-ext/machine_hex",
        ),
        (file(x_ext=[]), "/extensions/x-ext"),
        (
            observable("x509-certificate", x509_v3_extensions={"private_key_usage_period_not_after": "today"}),
            "/x509_v3_extensions/private_key_usage_period_not_after",
        ),
        (
            observable("email-message", is_multipart=True, body_multipart=[{"content_type": "a"}]),
            "/body_multipart/0",
        ),
        (observable("email-message", is_multipart=False, body_multipart=[{"body": "a"}]), "/body_multipart"),
        (observable("email-message", is_multipart=True, body="a"), "/body"),
        (TRAFFIC | {"is_active": True, "end": WHEN}, "/end"),
        (observable("artifact", payload_bin="YQ==", url="http://a.example/"), "/url"),
        (observable("file", hashes={"sha-256": "ab" * 16}), "/hashes/sha-256"),
        (observable("file", hashes={"MD5": "zz" * 16}), "/hashes/MD5"),
        (observed(a={"type": "file", "hashes": {"MD5": "a"}}), "/objects/a/hashes/MD5"),
        (observed(a={"type": "artifact", "payload_bin": "abc=="}), "/objects/a/payload_bin"),
        (observed(a={"type": "directory", "contains_refs": [f"monkey--{UUID}"]}), "/objects/a/contains_refs/0"),
        (observed(a={"path": "/"}), "/objects/a/type"),
        (observed(a="file"), "/objects/a"),
    ],
)
def test_refused(body: dict[str, Any], where: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        read_object(body)
    assert refused.value.where == where
    assert refused.value.hint
    assert refused.value.field == where.split("/")[1]
