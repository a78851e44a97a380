"""What a table says of TLP and PAP counts, in whatever column it says it and however it writes it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from schemas.agreement import Agreement
from schemas.errors import BodyRefused
from schemas.markings import PINNED, Pap, Tlp
from services.accept import formats
from services.accept.reading import Draft, Reading
from tests.fakes import NOW_MS, source_agreement

MAPPING = {"value": "ioc", "kind": "domain", "description": "notiz"}


def source(**contributes: Any) -> Agreement:
    """A source whose default is CLEAR: a marking that gets lost would let its rows go to everybody."""
    return source_agreement(defaults={"tlp": "clear", "consent": "not-required"}, **contributes)


def read(text: str, content_type: str = "text/csv", **contributes: Any) -> Reading:
    return formats.read(text.encode(), content_type, "", source(**contributes), NOW_MS, 1 << 24)


def only(reading: Reading) -> Draft:
    assert not reading.refusals
    [draft] = reading.drafts
    return draft


def levels(draft: Draft) -> set[Any]:
    return {PINNED.get(id_, "denied") for id_ in draft.markings}


CELLS = [
    ("tlp", "red", {Tlp.RED}),
    ("TLP", " Amber+Strict ", {Tlp.AMBER_STRICT}),
    ("TLP:", "red", {Tlp.RED}),
    ("\uff34\uff2c\uff30", "red", {Tlp.RED}),
    ("tlp level", "red", {Tlp.RED}),
    ("event_tlp", "red", {Tlp.RED}),
    ("traffic light protocol", "red", {Tlp.RED}),
    ("pap", "amber", {Pap.AMBER}),
    ("tlp", "TLP:AMBER (recipients only)", {"denied"}),
    ("tlp", "mauve", {"denied"}),
    ("tlp", "", set()),
    ("marking", "TLP:RED", {Tlp.RED}),
    ("Markings", "RED; PAP:GREEN", {Tlp.RED, Pap.GREEN}),
    ("marking", "for friends", {"denied"}),
    ("tlp/pap", "tlp:red|pap:red", {Tlp.RED, Pap.RED}),
    ("tags", "tlp:red", {Tlp.RED}),
    ("labels", "tlp:red", {Tlp.RED}),
    ("attribute_tag", "phishing,tlp:red", {Tlp.RED}),
    ("event_tag", "tlp:red;pap:red", {Tlp.RED, Pap.RED}),
    ("tag", "phishing|tlp:red", {Tlp.RED}),
    ("tags", "phishing tlp:red", {Tlp.RED}),
    ("tags", "tlp:green tlp:red", {Tlp.GREEN, Tlp.RED}),
    ("tags", "TLP : RED, phishing", {Tlp.RED}),
    ("tags", "tlp:amber strict", {"denied"}),
    ("tags", "phishing [TLP:RED]", {"denied"}),
    ("tags", "phishing tlp:clear tlp: red", {"denied"}),
    ("tags", "phishing, spyware", set()),
    ("comment", "TLP:RED", {Tlp.RED}),
    ("comment", "please: TLP:RED, do not share", {"denied"}),
    ("comment", "TLP RED", {"denied"}),
    ("comment", "PAP=RED", {"denied"}),
    ("comment", "misp:tlp:red", {"denied"}),
    ("comment", "tlp\u200b:red", {Tlp.RED}),
    ("reference", "https://feed.example/tlp-red/7", {"denied"}),
    ("", "TLP:RED", {Tlp.RED}),
    ("comment", "seen in the red light of a clear day", set()),
]


@pytest.mark.parametrize(("column", "cell", "expected"), CELLS)
@pytest.mark.parametrize("mapped", [False, True])
def test_cells(column: str, cell: str, expected: set[Any], mapped: bool) -> None:
    if mapped:
        found = read(f'ioc,notiz,{column}\na.example,x,"{cell}"\n', csv=MAPPING)
    else:
        found = read(f'kind,value,{column}\ndomain,a.example,"{cell}"\n')
    assert levels(only(found)) == expected


@pytest.mark.parametrize("use", ["tlp", "pap", "tags"])
def test_a_mapping_names_markings_and_a_column_called_like_one_counts_beside_it(use: str) -> None:
    cell = "tlp:amber" if use == "tags" else "amber"
    found = read(f"ioc,notiz,ampel,tlp\na.example,x,{cell},red\n", csv={**MAPPING, use: "Ampel"})
    assert levels(only(found)) == {Tlp.RED, Pap.AMBER if use == "pap" else Tlp.AMBER}


def test_a_column_that_the_mapping_names_counts_where_the_mapping_does_not_fit() -> None:
    found = read("kind,value,ampel\ndomain,a.example,red\n", csv={**MAPPING, "tlp": "Ampel"})
    assert levels(only(found)) == {Tlp.RED}


def test_columns_without_a_name_are_all_looked_at() -> None:
    assert levels(only(read("kind,value,,\ndomain,a.example,TLP:RED,\n"))) == {Tlp.RED}


def test_tags_are_parted_and_those_that_are_no_markings_stay_labels() -> None:
    assert only(read('kind,value,tags\ndomain,a.example,"phishing; two words|x tlp:red"\n')).labels == (
        "phishing",
        "two words",
        "x",
    )


def test_the_indicator_itself_is_no_marking() -> None:
    draft = only(read("kind,value\nurl,http://a.example/?tlp=red\n"))
    assert (draft.markings, draft.notes) == ((), ())


@pytest.mark.parametrize(("column", "cell"), [("comment", "TLP:RED, do not share"), ("tags", "x [TLP:RED]")])
def test_the_source_is_told_why_its_row_goes_to_nobody(column: str, cell: str) -> None:
    [note] = only(read(f'kind,value,{column}\ndomain,a.example,"{cell}"\n')).notes
    assert note.startswith(f"{column}: this speaks of TLP or PAP")


@pytest.mark.parametrize("column", ["tlp", "pap", "tags", "labels", "marking"])
def test_a_row_that_ends_before_its_markings_is_refused(column: str) -> None:
    found = read(f"kind,value,{column}\ndomain,a.example\ndomain,b.example,\n")
    assert [(r.pointer, r.error.code) for r in found.refusals] == [("line 2", "csv-row-length")]
    assert [draft.value for draft in found.drafts] == ["b.example"]


def test_a_row_may_end_before_anything_else() -> None:
    assert len(read("domain_name,ip_address,comment\na.example\n").drafts) == 1


@pytest.mark.parametrize("name", ["TLP:RED", "indicators (tlp amber)", "pap=green"])
def test_a_marking_in_the_header_is_refused_since_nobody_knows_what_it_is_on(name: str) -> None:
    with pytest.raises(BodyRefused) as caught:
        read(f"kind,value,{name}\ndomain,a.example,\n")
    assert (caught.value.code, caught.value.where) == ("csv-header-marking", "line 1")


LISTS = [
    ("# TLP:RED\na.example\n", {Tlp.RED}),
    ("a.example\n  ## tlp:amber ##\n", {Tlp.AMBER}),
    ("# TLP:CLEAR\na.example\n# PAP:RED\n", {Tlp.CLEAR, Pap.RED}),
    ("# this list is TLP:RED\na.example\n", {"denied"}),
    ("# made up\na.example\n", set()),
    ("a.example\nb.example c # tlp:clear\n", set()),
]


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_the_comments_of_a_list_mark_it(text: str, expected: set[Any]) -> None:
    draft = only(read(text, "text/plain"))
    assert levels(draft) == expected
    assert bool(draft.notes) == ("denied" in expected)


@pytest.mark.parametrize("comments", ["# TLP:AMBER+STRICT\n# PAP:RED\n", "# not so TLP:RED\n", ""])
def test_a_refused_line_of_a_list_is_kept_with_what_it_is_under(comments: str) -> None:
    [refusal] = read(f"a.example\nb\x00.example\n{comments}", "text/plain").refusals
    again = only(read(refusal.raw().replace(b"\0", b"").decode(), "text/plain"))
    assert (again.value, levels(again)) == (
        "b.example",
        levels(read(f"{comments}x.example", "text/plain").drafts[0]),
    )


@pytest.mark.parametrize(
    "text",
    [
        "kind,value,comment\n" + f"domain,a.example,{'tlp ' * 20_000}\n" * 20,
        "kind,value,comment\n" + f"domain,a.example,{chr(0xFDFA) * 40_000}\n" * 20,
        "kind,value,tags\n" + f"domain,a.example,{'tlp:x ' * 10_000}\n" * 20,
        "kind,value" + ",tlp x" + "".join(f",c{n}" for n in range(190)) + "\ndomain,a.example" + ",tlp:x" * 190,
        "kind,value,marking\n" + f"domain,a.example,{'x|' * 60_000}\n" * 20,
        "\n" * 1_000_000 + "#" * 1_000_000,
        "".join(f"# tlp:{n}\n" for n in range(100_000)) + "a.example\n" * 10_000,
    ],
)
def test_hostile_cells_take_no_time(text: str) -> None:
    began = time.process_time()  # of ours alone, whatever else the machine does
    drafts = read(text, "text/plain").drafts
    assert max((len(draft.markings) for draft in drafts), default=0) <= 200
    assert time.process_time() - began < 4
