"""A mail server (aiosmtpd, the real one), and keys of made-up recipients."""

from __future__ import annotations

import asyncio
import email
import email.policy
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from pysequoia import Tsk, decrypt

from connectors.email import MANIFEST, EmailSettings
from tests.partners.rows import lent
from tests.partners.world import Mode, World, secret_file
from tests.unit.connectors.raw_server import TLS, server_context

USER, PASSWORD = "tocsin", "mail-s3cret"
RECIPIENTS = ("security@horizon.example", "duty@horizon.example")


@dataclass
class MailServer:
    """`answers` are by recipient, instead of what `mode` says. `messages` are recipient and bytes, as they came."""

    mode: Mode = "takes"
    answers: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)

    def held(self) -> frozenset[Any]:
        return frozenset(self.read(raw)["Message-ID"] for _, raw in self.messages)

    def forget(self) -> None:
        self.messages.clear()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if answer := self.answers.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.secure.append(server.transport.get_extra_info("sslcontext") is not None)
        assert isinstance(envelope.content, bytes)
        if self.mode == "refuses":
            return "554 5.7.1 no: " + envelope.content[:40].decode().replace("\r\n", " ")
        if self.mode == "later":
            return "451 4.3.0 later"
        self.messages.append((envelope.rcpt_tos[0], envelope.content))
        return "250 OK"

    def authenticate(self, _server: SMTP, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        good = data.login == USER.encode() and data.password == PASSWORD.encode() and self.mode != "lets-nobody-in"
        return AuthResult(success=good, handled=False)

    def read(self, raw: bytes) -> EmailMessage:
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message


def opened(message: EmailMessage, key: Tsk) -> EmailMessage:
    """What is inside of an encrypted message."""
    version, contents = message.iter_parts()
    assert version.get_content_type() == "application/pgp-encrypted"
    armoured = contents.get_content()
    inside = decrypt(decryptor=key.decryptor(), bytes=armoured).bytes
    assert inside is not None
    read = email.message_from_bytes(inside, policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    return read


def made_key(name: str = "Horizon <security@horizon.example>") -> Tsk:
    return Tsk.generate(user_id=name)


@asynccontextmanager
async def mail_server(partner: MailServer, starttls: bool = True, tls: bool = False) -> AsyncIterator[int]:
    """Its port."""
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        with warnings.catch_warnings():
            # it asks for TLS by STARTTLS only, and warns where that is not what is meant
            warnings.simplefilter("ignore")
            return made()

    def made() -> SMTP:
        return SMTP(
            partner,
            hostname="mail.example",
            tls_context=server_context() if starttls else None,
            require_starttls=starttls,
            authenticator=partner.authenticate,
            auth_required=True,
            auth_require_tls=starttls,
            enable_SMTPUTF8=True,
        )

    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=server_context() if tls else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def email_world(
    folder: Path, *keys: Tsk, language: str = "en", clock: Any = None, **settings: Any
) -> AsyncIterator[World]:
    partner = MailServer()
    starttls, tls = settings.get("tls", "starttls") == "starttls", settings.get("tls") == "tls"
    async with mail_server(partner, starttls, tls) as port:
        given = {
            "host": "127.0.0.1",
            "port": port,
            "ca_file": TLS / "authority.pem",
            "user": USER,
            "password_file": secret_file(folder, "mail.password", PASSWORD),
            "sender": "feeds@hub.example",
            "recipients": RECIPIENTS[:1],
            "every_hours": 0,
            "timeout_seconds": 3,
        }
        if keys:
            certificates = "\n".join(str(key.extract_certificate()) for key in keys)
            given["key_file"] = secret_file(folder, "keys.asc", certificates)
        chosen = EmailSettings(**(given | settings))
        lending = lent((), language=language) if clock is None else lent((), clock, language=language)
        async with lending as tools:
            assert MANIFEST.push is not None
            yield World(partner, chosen, tools, MANIFEST.push, (PASSWORD,))
