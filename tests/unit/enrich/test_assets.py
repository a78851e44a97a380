"""What people write to be protected, and which items that covers."""

from __future__ import annotations

import pytest

from schemas.errors import Misconfigured
from schemas.fingerprint import Ioc, fingerprint
from schemas.patterns import parse
from services.cli_data import _asset
from services.enrich.assets import owners, protection
from tests.fakes import SECRET

ETH = "0x00000000000000000000000000000000000000AB"
COVERED = [
    ("press.example", "[domain-name:value = 'www.press.example']"),
    ("press.example", "[email-addr:value = 'writer@mail.press.example']"),
    ("203.0.113.7", "[url:value = 'http://203.0.113.7/x']"),
    ("https://press.example/team", "[url:value = 'https://press.example/team/writer']"),
    ("account:twitter/Writer", "[user-account:account_type = 'x.com' AND user-account:account_login = '@writer']"),
    ("account:twitter/writer", "[url:value = 'https://mobile.twitter.com/Writer/status/1']"),
    ("account:https://x.com/writer", "[url:value = 'https://twitter.com/writer']"),
    ("https://twitter.com/writer", "[user-account:account_type = 'x' AND user-account:account_login = 'writer']"),
    ("https://t.me/writer/", "[user-account:account_type = 'tg' AND user-account:account_login = 'writer']"),
    ("https://www.facebook.com/profile.php?id=12", "[url:value = 'https://m.facebook.com/profile.php?id=12&x=y']"),
    ("https://wa.me/12025550147?text=hi",
     "[user-account:account_type = 'whatsapp' AND user-account:account_login = '+1 202 555 0147']"),
    ("account:Writer", "[user-account:account_type = 'twitter' AND user-account:account_login = 'Writer']"),
    ("account:@writer", "[user-account:account_type = 'made-up' AND user-account:account_login = 'Writer']"),
    ("account:writer", "[user-account:account_type = 'linkedin' AND user-account:account_login = 'school/Writer']"),
    ("account:writer", "[url:value = 'https://www.instagram.com/writer/']"),
    ("account:Writer", "[user-account:user_id = 'Writer']"),
    ("account:writer", "[user-account:user_id = '@Writer']"),
    ("account:writer", "[user-account:account_login = 'writer']"),
    ("account:writer", "[user-account:display_name = 'Writer']"),
    ("+1 202 555 0147", "[phone-number:value = '+12025550147']"),
    ("+12025550147", "[user-account:account_type = 'signal' AND user-account:account_login = '12025550147']"),
    ("tel:+12025550147", "[url:value = 'https://wa.me/12025550147?text=hi']"),
    (ETH, f"[cryptocurrency-wallet:value = '{ETH.lower()}']"),
    (f"eth/{ETH}", f"[cryptocurrency-wallet:value = '{ETH}']"),
    ("app: org.press.App", "[app:id = 'org.press.App']"),
]  # fmt: skip
NOT_COVERED = [
    ("www.press.example", "[domain-name:value = 'press.example']"),
    ("https://press.example/team", "[url:value = 'https://press.example/teams']"),
    (
        "account:twitter/writer",
        "[user-account:account_type = 'telegram' AND user-account:account_login = 'writer']",
    ),
    ("account:twitter/writer", "[url:value = 'https://twitter.com/writers']"),
    ("account:twitter/writer", "[domain-name:value = 'twitter.com']"),
    ("https://github.com/writer/tool", "[url:value = 'https://github.com/writer/other']"),
    ("account:writer", "[user-account:user_id = 'writers']"),
    ("account:writer", "[domain-name:value = 'writer']"),
    ("+12025550147", "[phone-number:value = '+12025550148']"),
    ("app:org.press.App", "[app:id = 'org.press.Apps']"),
]


def covers(line: str, pattern: str) -> bool:
    (item,) = parse(pattern).identities
    return protection(SECRET, frozenset(fingerprint(SECRET, each) for each in _asset(line, 1)))(item)


@pytest.mark.parametrize(("line", "pattern"), COVERED)
def test_covered(line: str, pattern: str) -> None:
    assert covers(line, pattern)


@pytest.mark.parametrize(("line", "pattern"), NOT_COVERED)
def test_not_covered(line: str, pattern: str) -> None:
    assert not covers(line, pattern)


@pytest.mark.parametrize(
    "line",
    ["somebody", "account:", "account:@@", "account:unix/root", "account:https://press.example/writer", "app:",
     "a/b", "account:telegram/",
     "0044 20 7946 0958", "d41d8cd98f00b204e9800998ecf8427e", "203.0.113.0/24", "x" * 60_000],
)  # fmt: skip
def test_what_cannot_be_protected_says_how_to_write_it_and_quotes_nothing(line: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        _asset(line, 7)
    assert caught.value.where == "line 7" and "account:platform/name" in caught.value.hint
    assert line not in caught.value.what


def test_what_an_item_belongs_to_is_bounded_and_never_refused() -> None:
    for ioc in (
        Ioc("url", "https://x.com/" + "a" * 100_000),
        Ioc("url", "https://" + "a." * 50 + "example/" + "b/" * 5_000),
        Ioc("social-account", "made-up/" + "a/" * 5_000),
        Ioc("user-account", "a" * 100_000),
    ):
        assert len(list(owners(ioc))) < 50
