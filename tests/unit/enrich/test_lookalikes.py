"""Look-alikes of a protected list: what resembles a name, how, and by how much; and what does not."""

from __future__ import annotations

import pytest

from services.enrich.domain import host_of, registrable_domain, suffix_list
from services.enrich.lookalikes import MAX_FOUND, Lookalike, Name, lookalikes, protect

SUFFIXES = suffix_list()
PROTECTED = protect(
    [
        Name("lanternpost", "lanternpost.example", False),
        Name("meadow", "meadow.example", False),
        Name("horizonwatch", "horizonwatch.example", False),
        Name("beacon", "beacon.example", True),
        Name("abc", "abc.example", False),
        Name("facevale", "facevale.example", False),
    ],
    {ord("а"): "a", ord("е"): "e", ord("о"): "o", ord("ı"): "i"},
)


def a_label(text: str) -> str:
    return "xn--" + text.encode("punycode").decode()


def of(domain: str) -> tuple[Lookalike, ...]:
    return lookalikes(PROTECTED, registrable_domain(SUFFIXES, "domain", domain), domain)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        # the protected ones themselves, and what lies below them
        ("meadow.example", ()),
        ("www.login.meadow.example", ()),
        ("", ()),
        ("co.uk", ()),
        # another suffix
        ("meadow.co.uk", (("meadow.example", 0, "tld"),)),
        ("abc.test", (("abc.example", 0, "tld"),)),
        ("beacon.test", (("beacon.example", 0, "tld"),)),
        # letters that look alike
        ("rneadow.example", (("meadow.example", 2, "homoglyph"),)),
        ("mead0w.example", (("meadow.example", 1, "homoglyph"),)),
        ("meadovv.example", (("meadow.example", 2, "homoglyph"),)),
        ("lantempost.example", (("lanternpost.example", 2, "homoglyph"),)),
        ("horlzonwatch.example", (("horizonwatch.example", 1, "homoglyph"),)),
        (f"{a_label('mеadow')}.example", (("meadow.example", 1, "homoglyph"),)),
        (f"{a_label('mеаdоw')}.example", (("meadow.example", 3, "homoglyph"),)),
        (f"{a_label('méadow')}.example", (("meadow.example", 1, "homoglyph"),)),
        # letters added, left out, changed, swapped
        ("meadows.example", (("meadow.example", 1, "edit"),)),
        ("medow.example", (("meadow.example", 1, "edit"),)),
        ("maedow.example", (("meadow.example", 1, "edit"),)),
        ("nedow.example", ()),  # two edits of a short name
        ("lantrenpots.example", (("lanternpost.example", 2, "edit"),)),
        ("lantrenpotz.example", ()),  # three
        ("abd.test", ()),  # too short to say anything
        ("becon.test", ()),  # an ordinary word
        # the name beside other words
        ("meadow-login.example", (("meadow.example", 6, "combo"),)),
        ("login-meadow.test", (("meadow.example", 6, "combo"),)),
        ("facevalelogin.test", (("facevale.example", 5, "combo"),)),
        ("facev4le-login.example", (("facevale.example", 7, "combo"),)),
        ("meadow.example.lure.test", (("meadow.example", 0, "combo"),)),
        ("my-meadow.lure.test", (("meadow.example", 3, "combo"),)),
        ("beacon-support.test", (("beacon.example", 8, "combo"),)),
        ("beacon-lights.test", ()),  # an ordinary word beside others
        ("abc-login.test", ()),
        ("lure.test", ()),
        # malformed A-labels are read as they are
        ("xn--\x80.example", ()),
        ("xn--99999999999.example", ()),
    ],
)
def test_lookalikes(domain: str, expected: tuple[tuple[str, int, str], ...]) -> None:
    assert of(domain) == tuple(Lookalike(*each) for each in expected)


def test_several_are_given_with_the_nearest_first() -> None:
    assert [each.of for each in of("meadow-horizonwatch.test")] == ["horizonwatch.example", "meadow.example"]


def test_a_hostile_host_costs_little_and_gives_few() -> None:
    names = protect([Name(f"protected{n}x", f"protected{n}x.example", False) for n in range(40)], {})
    host = ".".join(f"protected{n}x-login" for n in range(40)) + ".lure.test"
    assert len(lookalikes(names, "lure.test", host)) == MAX_FOUND


def test_the_host_of_a_url_or_address_counts() -> None:
    for kind, value in (("url", "https://meadow-login.test/a"), ("email", "a@meadow-login.test")):
        host = host_of(kind, value)
        assert lookalikes(PROTECTED, registrable_domain(SUFFIXES, kind, value), host)[0].how == "combo"
