"""What others hold to be valid STIX is taken, and what they hold to be invalid is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from schemas import safejson, stix
from schemas.errors import BodyRefused, Refused

CORE = ("bundle", "identity", "indicator", "malware", "marking-definition", "relationship")


class Verdict(NamedTuple):
    """A corpus file with what its manifest says of it, and what we said."""

    entry: dict[str, Any]
    refusals: tuple[Refused, ...]

    @property
    def line(self) -> str:
        reasons = "; ".join(str(refused) for refused in self.refusals[:3]) or "taken"
        return f"{self.entry['file']}: {reasons} [{self.entry.get('why', '')[:160]}]"

    @property
    def names_the_property(self) -> bool:
        wanted = self.entry.get("offending_property")
        return wanted is None or any(
            wanted == getattr(refused, "field", "") or wanted in refused.what or wanted in refused.where
            for refused in self.refusals
        )


def judge(raw: bytes) -> tuple[Refused, ...]:
    try:
        return stix.read_bundle(safejson.loads(raw)).refused
    except BodyRefused as refused:
        return (refused,)


@pytest.fixture(scope="module")
def verdicts(shared: Path) -> list[Verdict]:
    corpus = shared / "stix-corpus"
    manifest = json.loads((corpus / "manifest.json").read_text("utf-8"))
    return [Verdict(entry, judge((corpus / entry["file"]).read_bytes())) for entry in manifest]


def of(verdicts: list[Verdict], kind: str, confidence: str | None = None) -> Iterator[Verdict]:
    return (
        verdict
        for verdict in verdicts
        if verdict.entry["kind"] == kind and confidence in (None, verdict.entry["confidence"])
    )


def is_core(verdict: Verdict) -> bool:
    return verdict.entry.get("type") in CORE


def listed(verdicts: list[Verdict]) -> str:
    return "\n".join(verdict.line for verdict in verdicts)


def test_the_corpus_is_whole(verdicts: list[Verdict]) -> None:
    sizes = {kind: len(list(of(verdicts, kind))) for kind in ("valid", "invalid", "realworld", "rawinvalid")}
    assert sizes == {"valid": 1680, "invalid": 282, "realworld": 22, "rawinvalid": 2}


@pytest.mark.parametrize("core", [True, False], ids=["core types", "other types"])
def test_valid_is_taken(verdicts: list[Verdict], core: bool) -> None:
    refused = [verdict for verdict in of(verdicts, "valid") if is_core(verdict) is core and verdict.refusals]
    assert not refused, listed(refused)


def test_what_users_hold_is_taken(verdicts: list[Verdict]) -> None:
    refused = [verdict for verdict in of(verdicts, "realworld") if verdict.refusals]
    assert not refused, listed(refused)


def test_what_is_not_json_is_refused(verdicts: list[Verdict]) -> None:
    for verdict in of(verdicts, "rawinvalid"):
        assert [refused.code for refused in verdict.refusals] == ["not-json"], verdict.line
        assert verdict.refusals[0].where.startswith("line ")


@pytest.mark.parametrize("type_", CORE)
def test_invalid_is_refused_and_its_property_named(verdicts: list[Verdict], type_: str) -> None:
    found = [verdict for verdict in of(verdicts, "invalid", "high") if verdict.entry["type"] == type_]
    assert found
    wrong = [verdict for verdict in found if not verdict.refusals or not verdict.names_the_property]
    assert not wrong, listed(wrong)


def test_of_the_other_types_every_invalid_one_is_refused_and_its_property_named(verdicts: list[Verdict]) -> None:
    found = [verdict for verdict in of(verdicts, "invalid", "high") if not is_core(verdict)]
    assert len(found) > 50
    wrong = [verdict for verdict in found if not verdict.refusals or not verdict.names_the_property]
    assert not wrong, listed(wrong)


LENIENT = {
    "custom properties under names of any form, noted for sources that agreed to strict STIX": """sv-0002 sv-0019
        sv-0035 sv-0050 sv-0051 sv-0052 sv-0127 ps-0184""",
    "something empty, noted": "sv-0036",
    "words of lists that others keep and lengthen: languages, encodings, MIME types, CPE, CVE, CAPEC": """sv-0011
        sv-0040 sv-0105 sv-0109 sv-0112 sv-0130 sv-0131 sv-0163 sv-0164 sv-0165 sv-0166 sv-0167""",
    "a value that is no address or URL, but the word of its source": """sv-0056 sv-0057 sv-0058 sv-0059 sv-0060
        sv-0061 sv-0062 sv-0063 sv-0064 sv-0065 sv-0066 sv-0067 sv-0110 sv-0132 sv-0133 sv-0135""",
    "object types and properties that users' patterns hold, as app:id": "sv-0045 sv-0046 sv-0047",
    "custom types and extensions, which need not be known": "sv-0025 sv-0027 sv-0125",
    "identifiers of any version of UUID": "sv-0129",
    "payloads and translations that nothing reads": "sv-0069 sv-0113",
    "bodies of well-known markings, which are known by their ids": "sv-0082 sv-0085 sv-0089",
}
"""What one validator refuses and the hub takes: why, and which."""


def test_what_is_taken_though_one_validator_refuses_it(verdicts: list[Verdict]) -> None:
    found = list(of(verdicts, "invalid", "medium"))
    assert len(found) == 104
    taken = {"-".join(Path(v.entry["file"]).name.split("-")[:2]): v for v in found if not v.refusals}
    reviewed = {name for names in LENIENT.values() for name in names.split()}
    assert taken.keys() == reviewed, listed([v for name, v in taken.items() if name not in reviewed])


def test_every_refusal_says_what_where_and_what_to_do(verdicts: list[Verdict]) -> None:
    refusals = [(verdict.line, refused) for verdict in verdicts for refused in verdict.refusals]
    assert len(refusals) > 200
    for line, refused in refusals:
        assert refused.code == refused.code.lower(), line
        assert refused.what, line
        assert refused.hint, line
        assert isinstance(refused, BodyRefused) or refused.where or "no JSON object" in refused.what, line


def test_what_only_breaks_a_should_never_crashes(verdicts: list[Verdict]) -> None:
    assert len(list(of(verdicts, "should"))) == 109
    assert len(list(of(verdicts, "disputed"))) == 102
    stumbled = [verdict for verdict in verdicts if any(r.code == "not-understood" for r in verdict.refusals)]
    assert not stumbled, listed(stumbled)


def test_what_was_taken_is_valid_to_another_validator(shared: Path) -> None:
    """Feeds of STIX 2.0 become 2.1 that python-stix2 takes."""
    stix2 = pytest.importorskip("stix2")
    for file in sorted((shared / "data" / "stix20").iterdir()):
        bundle = stix.read_bundle(safejson.loads(file.read_bytes()))
        assert not bundle.refused
        for item in bundle.objects:
            assert item.spec_version == "2.0"
            assert item.body["spec_version"] == "2.1"
            if item.type != "observed-data":  # its embedded objects are deprecated in 2.1, and left as they are
                stix2.parse(item.body, allow_custom=True, version="2.1")


def test_real_feeds_are_taken_whole(shared: Path) -> None:
    for file in sorted((shared / "data" / "stix21").iterdir()):
        document = safejson.loads(file.read_bytes())
        bundle = stix.read_bundle(document)
        assert not bundle.refused, file.name
        assert len(bundle.objects) == len(document["objects"]), file.name
