"""Digests by e-mail: what is encrypted, what carriers see, when they go, and mail servers that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError
from pysequoia import ArmorKind, Tsk, armor

from connectors.base import DELIVERED, Outcome
from connectors.email import EmailSettings
from connectors.email.catalogue import CATALOGUE, texts_for
from connectors.email.mapping import counted, defanged, listed
from schemas.errors import Misconfigured, PartnerFailed
from schemas.fingerprint import refang
from schemas.handling import CATEGORIES
from tests.fakes import NOW_MS
from tests.partners.email import RECIPIENTS, MailServer, email_world, made_key, opened
from tests.partners.rows import row, stix_id, withdrawn
from tests.partners.world import World, secret_file
from tests.unit.connectors.raw_server import raw_server, saying

ROWS = [
    row("bad.example", urgent=True, category="spyware"),
    row("https://second.example/x", kind="url"),
    withdrawn("gone.example"),
]
HOUR_MS = 3_600_000


def server(world: World, **changes: Any) -> MailServer:
    for name, value in changes.items():
        setattr(world.partner, name, value)
    return cast(MailServer, world.partner)


def texts_of(message: Any) -> tuple[str, str]:
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    return text.get_content(), html.get_content()


async def test_with_a_key_the_contents_are_for_its_holder_only(tmp_path: Path) -> None:
    key = made_key()
    async with email_world(tmp_path, key) as world:
        assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 3
        there = server(world)
        (to, raw), *others = there.messages
        assert (to, others, there.secure) == (RECIPIENTS[0], [], [True])
        message = there.read(raw)
        assert message.get_content_type() == "multipart/encrypted"
        assert message.get_param("protocol") == "application/pgp-encrypted"
        assert (message["Subject"], message["Auto-Submitted"]) == ("New digest", "auto-generated")
        text, html = texts_of(opened(message, key))
        for shown in (text, html):
            assert (
                "bad[.]example" in shown
                and "hxxps[://]second[.]example/x" in shown
                and stix_id("gone.example") in shown
            )
        for secret in (b"bad.example", b"second", b"indicator", b"spyware", b"Spyware", b"Phishing", b"Urgent"):
            assert secret not in raw, secret


async def test_a_stranger_s_key_opens_nothing(tmp_path: Path) -> None:
    async with email_world(tmp_path, made_key()) as world:
        await (await world.pusher()).push(ROWS)
        message = server(world).read(server(world).messages[0][1])
    with pytest.raises(RuntimeError):
        opened(message, made_key("Stranger <s@elsewhere.example>"))


async def test_each_recipient_gets_a_message_that_all_keys_open(tmp_path: Path) -> None:
    keys = [made_key(), made_key("Duty <duty@horizon.example>")]
    async with email_world(tmp_path, *keys, recipients=RECIPIENTS) as world:
        assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 3
        there = server(world)
        assert [to for to, _ in there.messages] == list(RECIPIENTS)
        for to, raw in there.messages:
            message = there.read(raw)
            assert message["To"] == to
            for key in keys:
                assert "bad[.]example" in texts_of(opened(message, key))[0]
        assert len(there.held()) == 2


async def test_without_a_key_there_are_numbers_only(tmp_path: Path) -> None:
    async with email_world(tmp_path) as world:
        assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 3
        message = server(world).read(server(world).messages[0][1])
    text, html = texts_of(message)
    for line in ("New or changed: 2", "Withdrawn: 1", "Urgent: 1", "  Spyware: 1", "  Phishing: 1"):
        assert line in text.splitlines()
    for secret in ("bad", "second", "indicator", "2026-", "gone", "green", "GREEN"):
        assert secret not in text and secret not in html


@pytest.mark.parametrize("language", CATALOGUE)
async def test_every_language_goes_through_the_mail_whole(tmp_path: Path, language: str) -> None:
    key, texts = made_key(), CATALOGUE[language]
    async with email_world(tmp_path, key, language=f"{language}-XA") as world:
        await (await world.pusher()).push(ROWS)
        message = server(world).read(server(world).messages[0][1])
    assert (message["Subject"], message["Content-Language"]) == (texts.subject, language)
    text, html = texts_of(opened(message, key))
    assert texts.title in text and texts.at_once in text and texts.categories["spyware"] in text
    assert f'<html lang="{language}" dir="{texts.direction}">' in html


@pytest.mark.parametrize("language", CATALOGUE)
def test_every_language_has_words_for_everything(language: str) -> None:
    texts = CATALOGUE[language]
    assert set(texts.categories) == {*CATEGORIES, ""}
    said = [value for value in texts if isinstance(value, str)] + list(texts.categories.values())
    assert all(said) and len(set(texts.categories.values())) == len(texts.categories)
    assert texts.direction == ("rtl" if language == "ar" else "ltr")
    for word in ("threat", "attack", "spyware", "urgent"):
        assert word not in texts.subject.lower()


@pytest.mark.parametrize(
    ("asked", "got"), [("fr", "fr"), ("ES-mx", "es"), ("ar", "ar"), ("de", "en"), ("", "en"), ("../ru", "en")]
)
def test_an_unknown_language_is_english(asked: str, got: str) -> None:
    assert texts_for(asked).language == got


def clock_of(*times: int) -> Callable[[], int]:
    given = iter(times)
    return lambda: next(given)


async def test_between_digests_only_what_can_not_wait_goes(tmp_path: Path) -> None:
    clock = clock_of(NOW_MS, NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS, NOW_MS + 24 * HOUR_MS)
    calm = row("calm.example", added=(NOW_MS + 1) * 1_000)
    urgent, gone = row("now.example", urgent=True), withdrawn("gone.example")
    async with email_world(tmp_path, clock=clock, every_hours=24) as world:
        # opened for each turn, as the runtime does it
        assert await (await world.pusher()).push([row("early.example")]) == [DELIVERED]
        later = Outcome("wait", "digest-later", 23 * 3600)
        assert await (await world.pusher()).push([calm, urgent, gone]) == [later, DELIVERED, DELIVERED]
        assert await (await world.pusher()).push([calm]) == [Outcome("wait", "digest-later", 22 * 3600)]
        assert len(server(world).messages) == 2
        assert await (await world.pusher()).push([calm]) == [DELIVERED]
        assert len(server(world).messages) == 3


async def test_a_digest_that_one_message_can_not_hold_goes_in_several(tmp_path: Path) -> None:
    clock = clock_of(NOW_MS, NOW_MS + 1_000, NOW_MS + 2_000, NOW_MS + 24 * HOUR_MS, NOW_MS + 25 * HOUR_MS)
    there = [row(f"{number}.example", added=NOW_MS * 1_000 - number) for number in range(2)]
    new = [row(f"new-{number}.example", added=(NOW_MS + 1_500) * 1_000 + number) for number in range(2)]
    async with email_world(tmp_path, clock=clock, every_hours=24) as world:
        pusher = await world.pusher()
        assert [await pusher.push([one]) for one in there] == [[DELIVERED]] * 2
        assert (await pusher.push(new))[0].state == "wait"
        assert [await pusher.push([one]) for one in new] == [[DELIVERED]] * 2
        assert len(server(world).messages) == 4


async def test_a_digest_that_did_not_go_is_still_due(tmp_path: Path) -> None:
    async with email_world(tmp_path, clock=lambda: NOW_MS, every_hours=24) as world:
        pusher = await world.pusher()
        server(world, mode="later")
        assert await pusher.push(ROWS) == [Outcome("retry", "smtp-451")] * 3
        server(world, mode="takes")
        assert await pusher.push(ROWS) == [DELIVERED] * 3


async def test_who_has_a_digest_does_not_get_it_again(tmp_path: Path) -> None:
    async with email_world(tmp_path, recipients=RECIPIENTS) as world:
        pusher = await world.pusher()
        server(world, answers={RECIPIENTS[1]: "450 4.2.0 greylisted"})
        assert await pusher.push(ROWS) == [Outcome("retry", "smtp-450")] * 3
        server(world, answers={})
        assert await pusher.push(ROWS) == [DELIVERED] * 3
        assert [to for to, _ in server(world).messages] == list(RECIPIENTS)


async def test_one_mailbox_that_is_gone_keeps_none_of_the_others_back(tmp_path: Path) -> None:
    async with email_world(tmp_path, recipients=RECIPIENTS) as world:
        server(world, answers={RECIPIENTS[0]: "550 5.1.1 no such user"})
        assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 3
        server(world, answers=dict.fromkeys(RECIPIENTS, "550 5.1.1 no such user"))
        assert await (await world.pusher()).push(ROWS) == [Outcome("refused", "smtp-550")] * 3


async def test_without_starttls_nothing_is_said(tmp_path: Path) -> None:
    said: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        while line := await reader.readline():
            said.append(line)
            writer.write(b"250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n")

    async with raw_server(plain) as port, email_world(tmp_path, port=port) as world:
        with pytest.raises(PartnerFailed) as failed:
            await (await world.pusher()).push(ROWS)
    assert failed.value.code == "no-starttls"
    assert all(line.split()[0].upper() in (b"EHLO", b"QUIT") for line in said)


async def test_tls_from_the_beginning(tmp_path: Path) -> None:
    async with email_world(tmp_path, tls="tls") as world:
        assert await (await world.pusher()).push(ROWS) == [DELIVERED] * 3
        assert server(world).secure == [True]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_certificate_that_is_not_valid_is_a_failure(tmp_path: Path, tls: str) -> None:
    async with email_world(tmp_path, tls=tls, ca_file=None) as world:
        with pytest.raises(PartnerFailed) as failed:
            await (await world.pusher()).push(ROWS)
    assert failed.value.code == "tls-invalid"
    assert server(world).messages == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (saying(b""), "slow"),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "slow"),
    ],
)
async def test_what_does_not_greet_is_slow(tmp_path: Path, answer: Any, code: str) -> None:
    async with raw_server(answer) as port, email_world(tmp_path, port=port, timeout_seconds=0.3) as world:
        with pytest.raises(PartnerFailed) as failed:
            await (await world.pusher()).push(ROWS)
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("greeting", "codes"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ("not-smtp", "unreachable", "cut-off")),
        (b"554 go away\r\n", ("smtp-554", "unreachable")),
        (b"", ("cut-off", "unreachable")),
        (b"220-" + b"x" * 3_000_000, ("not-smtp", "cut-off", "unreachable", "smtp-500")),
    ],
)
async def test_what_is_no_mail_server_is_a_failure(tmp_path: Path, greeting: bytes, codes: tuple[str, ...]) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with raw_server(answer) as port, email_world(tmp_path, port=port, timeout_seconds=1) as world:
        with pytest.raises(PartnerFailed) as failed:
            await (await world.pusher()).push(ROWS)
    assert failed.value.code in codes


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "key-file"), (b"no key at all", "key-file"), (str(made_key()).encode(), "key-secret")],
)
async def test_a_key_file_that_is_none_is_a_misconfiguration(tmp_path: Path, content: bytes, code: str) -> None:
    async with email_world(tmp_path, key_file=secret_file(tmp_path, "keys.asc", content)) as world:
        with pytest.raises(Misconfigured) as wrong:
            await world.pusher()
    assert wrong.value.code == code
    assert "PRIVATE" not in str(wrong.value) and "no key" not in str(wrong.value)


async def test_an_expired_key_stops_all_and_nothing_goes_in_clear(tmp_path: Path) -> None:
    key = Tsk.generate(user_id="Horizon <security@horizon.example>", validity_seconds=3600)
    async with email_world(tmp_path, key, clock=lambda: 4_000_000_000_000) as world:
        with pytest.raises(PartnerFailed) as failed:
            await (await world.pusher()).push(ROWS)
        assert (failed.value.code, server(world).messages) == ("key-expired", [])


async def test_a_revoked_key_stops_all(tmp_path: Path) -> None:
    key = made_key()
    certificate = key.extract_certificate()
    revoked = certificate.revoke(key.certifier())
    content = armor(bytes(certificate) + bytes(revoked), ArmorKind.PublicKey)
    async with email_world(tmp_path, key_file=secret_file(tmp_path, "keys.asc", content)) as world:
        with pytest.raises(PartnerFailed) as failed:
            await (await world.pusher()).push(ROWS)
        assert (failed.value.code, server(world).messages) == ("key-revoked", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"tls": "none", "host": "mail.example"},
        {"user": "x"},
        {"password_file": "x"},
        {"recipients": ()},
        {"recipients": ("a@b.example\r\nBcc: c@d.example",)},
        {"recipients": ("a@b.example, c@d.example",)},
        {"sender": "Tocsin <a@b.example>"},
        {"every_hours": -1},
        {"port": 0},
    ],
)
def test_settings_that_can_not_be_meant_are_refused(changes: dict[str, Any]) -> None:
    given = {"host": "mail.example", "sender": "a@b.example", "recipients": ("c@d.example",)}
    assert EmailSettings(**given)
    with pytest.raises(ValidationError):
        EmailSettings(**(given | changes))


# --- the words ---


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("bad.example", "bad[.]example"),
        ("https://bad.example/a.b?c=d@e", "hxxps[://]bad[.]example/a[.]b?c=d[@]e"),
        ("HTTP://BAD.EXAMPLE", "Hxxp[://]BAD[.]EXAMPLE".replace("Hxxp", "HxxP")),
        ("192.0.2.7", "192[.]0[.]2[.]7"),
        ("someone@bad.example", "someone[@]bad[.]example"),
        ("a\u202egnp.exe", "a\\u202egnp[.]exe"),
        ("two\r\nlines", "two\\r\\nlines"),
    ],
)
def test_no_program_takes_a_value_for_an_address(value: str, shown: str) -> None:
    assert defanged(value) == shown


@pytest.mark.parametrize("value", ["bad.example", "http://bad.example/x", "192.0.2.7", "someone@bad.example"])
def test_a_value_can_be_read_back(value: str) -> None:
    assert refang(defanged(value)) == value


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_has_nothing_to_load_and_nothing_of_a_value_s_own() -> None:
    hostile = row("x", value="<script>alert(1)</script><img src=//x>", kind="<b>", category='"><svg onload=x>')
    html = listed([hostile, *ROWS], texts_for("ar"), 10).html
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.found.isdisjoint({"script", "img", "svg", "a", "link", "iframe", "b", "form"})
    assert tags.attributes <= {"lang", "dir", "charset", "class"}
    assert "url(" not in html and "@import" not in html


def test_a_long_digest_lists_the_pressing_ones_and_counts_the_others() -> None:
    many = [row(f"{number}.example") for number in range(500)]
    digest = listed([*many, withdrawn("gone.example"), row("now.example", urgent=True)], texts_for("en"), 10)
    assert "now[.]example" in digest.text and stix_id("gone.example") in digest.text
    assert "More in your feed, not listed here: 492" in digest.text
    assert digest.text.count("[.]example") == 9
    assert len(digest.html) < 20_000


def test_a_withdrawal_shows_its_id_and_nothing_else() -> None:
    digest = listed([withdrawn("gone.example")], texts_for("en"), 10)
    assert stix_id("gone.example") in digest.text
    assert "TLP:" not in digest.text and "Category:" not in digest.text


def test_numbers_are_the_same_in_both_forms() -> None:
    digest = counted(ROWS, texts_for("en"))
    for label, number in (("New or changed", 2), ("Withdrawn", 1), ("Urgent", 1)):
        assert f"{label}: {number}\n" in digest.text
        assert f"<th>{label}</th><td>{number}</td>" in digest.html
