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


def test_of_the_other_types_hardly_an_invalid_one_is_taken(verdicts: list[Verdict]) -> None:
    """What is left needs rules inside predefined extensions, or of one type alone."""
    taken = [v for v in of(verdicts, "invalid", "high") if not is_core(v) and not v.refusals]
    assert len(taken) <= 7, listed(taken)


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
