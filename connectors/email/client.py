"""The e-mail's output: encryption (which draws random numbers) and SMTP (RFC 5321; STARTTLS, RFC 3207)."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import aiosmtplib
from pysequoia import Cert, encrypt

from connectors.base import DELIVERED, Outcome, Tools
from connectors.email.catalogue import texts_for
from connectors.email.mapping import Digest, counted, goes_at_once, listed
from connectors.email.mime import Envelope, encrypted_message, open_message, readable
from schemas.errors import Misconfigured, PartnerFailed
from schemas.feed import FeedRow

MAX_KEYS = 20
SECRET_KEY = b"-----BEGIN PGP PRIVATE KEY BLOCK"
HOUR_MS = 3_600_000

log = logging.getLogger(__name__)


class _Settings(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls(self) -> str: ...
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def user(self) -> str: ...
    @property
    def password_file(self) -> Path | None: ...
    @property
    def sender(self) -> str: ...
    @property
    def recipients(self) -> Sequence[str]: ...
    @property
    def key_file(self) -> Path | None: ...
    @property
    def every_hours(self) -> float: ...
    @property
    def listed(self) -> int: ...
    @property
    def timeout_seconds(self) -> float: ...


async def open_pusher(settings: _Settings, tools: Tools) -> EmailPusher:
    password = b""
    keys: tuple[Cert, ...] = ()
    context = None
    if settings.password_file is not None:
        password = await asyncio.to_thread(tools.secret, settings.password_file)
    if settings.key_file is not None:
        text = await asyncio.to_thread(tools.secret, settings.key_file)
        keys = await asyncio.to_thread(certificates, text, str(settings.key_file))
    if settings.tls != "none":
        context = await asyncio.to_thread(_tls, settings.ca_file)
    return EmailPusher(settings, tools, password.decode("utf-8", "replace"), keys, context)


def certificates(text: bytes, where: str) -> tuple[Cert, ...]:
    """The armoured OpenPGP certificates of a file. Raises `Misconfigured`."""
    if SECRET_KEY in text:
        raise Misconfigured(
            "key-secret",
            "this file holds a secret key",
            where=where,
            hint="put the public one there, and only that",
        )
    try:
        found = Cert.split_bytes(text)
    except Exception:  # the library has no class of its own, and its message quotes what it read
        found = []
    if not 1 <= len(found) <= MAX_KEYS:
        raise Misconfigured(
            "key-file",
            f"this is no file of 1 to {MAX_KEYS} OpenPGP certificates",
            where=where,
            hint="export the recipients' public keys into it (gpg --armor --export ADDRESS)",
        )
    return tuple(found)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise Misconfigured(
            "ca-file", "this is no file of authorities in PEM", where=str(ca_file), hint="name a readable one"
        ) from None


class EmailPusher:
    """Holds back what can wait until the next digest is due. What a message can't hold goes in further ones."""

    def __init__(
        self, settings: _Settings, tools: Tools, password: str, keys: Sequence[Cert], context: ssl.SSLContext | None
    ) -> None:
        self._settings = settings
        self._tools = tools
        self._password = password
        self._keys = keys
        self._context = context
        self._texts = texts_for(tools.language)
        self._where = f"{settings.host}:{settings.port}"
        self._id_key = secrets.token_bytes(32)
        self._sent: tuple[bytes, dict[str, Outcome]] = (b"", {})

    async def push(self, rows: Sequence[FeedRow]) -> Sequence[Outcome]:
        now_ms = self._tools.now_ms()
        last_ms = self._last_ms()
        due_ms = 0 if last_ms is None else last_ms + int(self._settings.every_hours * HOUR_MS)
        due = now_ms >= due_ms
        # what was there when the last digest went belongs to it
        goes = [due or goes_at_once(row) or row.added <= (last_ms or 0) * 1_000 for row in rows]
        going = [row for row, now in zip(rows, goes, strict=True) if now]
        outcome = await self._send(going, now_ms) if going else DELIVERED
        if due and going and outcome == DELIVERED:
            self._tools.memory["digest_ms"] = now_ms
        later = Outcome("wait", "digest-later", max(due_ms - now_ms, 0) / 1000)
        return [outcome if now else later for now in goes]

    def _last_ms(self) -> int | None:
        """When the last digest went. None, so that one is due, where that is not known."""
        last = self._tools.memory.get("digest_ms")
        return last if isinstance(last, int) else None

    async def _send(self, rows: Sequence[FeedRow], now_ms: int) -> Outcome:
        """What became of one digest: done where one recipient got it, and none is left that might."""
        key = self._key(rows)
        answers = self._sent[1] if self._sent[0] == key else {}
        self._sent = (key, answers)
        missing = [to for to in self._settings.recipients if answers.get(to, Outcome("retry")).state == "retry"]
        messages = await asyncio.to_thread(self._messages, rows, missing, key, now_ms)
        await self._post(messages, answers)
        of_all = list(answers.values())
        if later := [one for one in of_all if one.state == "retry"]:
            return later[0]
        if DELIVERED not in of_all:
            return of_all[0]
        if refused := sum(one != DELIVERED for one in of_all):
            log.warning("%s: a digest was refused for %d of %d recipients", self._where, refused, len(of_all))
        return DELIVERED

    def _key(self, rows: Sequence[FeedRow]) -> bytes:
        """Of what a digest is about. Keyed, since ids that can be seen on the way are made of it."""
        versions = "\n".join(f"{row.stix_id} {row.modified} {int(row.live)}" for row in rows)
        return hmac.digest(self._id_key, versions.encode(), "sha256")

    def _messages(
        self, rows: Sequence[FeedRow], recipients: Sequence[str], key: bytes, now_ms: int
    ) -> list[tuple[str, bytes]]:
        boundary = f"=_{key.hex()[:32]}"
        if self._keys:
            digest = listed(rows, self._texts, self._settings.listed)
            armoured = self._encrypted(digest, boundary, now_ms)
        else:
            digest = counted(rows, self._texts)
        messages = []
        for recipient in recipients:
            id_ = hmac.digest(self._id_key, key + recipient.encode(), "sha256").hex()[:32]
            envelope = Envelope(
                sender=self._settings.sender,
                recipient=recipient,
                subject=digest.subject,
                message_id=f"{id_}@{self._settings.sender.partition('@')[2]}",
                at_ms=now_ms,
                language=self._texts.language,
            )
            message = (
                encrypted_message(envelope, armoured, boundary)
                if self._keys
                else open_message(envelope, digest, boundary)
            )
            messages.append((recipient, message))
        return messages

    def _encrypted(self, digest: Digest, boundary: str, now_ms: int) -> bytes:
        """Raises `PartnerFailed` where a key is no longer good: nothing goes then, and above all not in clear."""
        hint = "put the recipient's new key into `key_file`"
        for key in self._keys:
            if key.is_revoked:
                raise PartnerFailed("key-revoked", "a recipient's key is revoked", where=key.fingerprint, hint=hint)
            if key.expiration is not None and key.expiration.timestamp() * 1000 <= now_ms:
                raise PartnerFailed(
                    "key-expired", "a recipient's key has expired", where=key.fingerprint, hint=hint
                )
        try:
            return encrypt(readable(digest, boundary).as_bytes(), list(self._keys))
        except Exception:  # the library has no class of its own
            raise PartnerFailed(
                "key-unusable", "nothing can be encrypted to a recipient's key", hint=hint
            ) from None

    async def _post(self, messages: Sequence[tuple[str, bytes]], answers: dict[str, Outcome]) -> None:
        smtp = aiosmtplib.SMTP(
            hostname=self._settings.host,
            port=self._settings.port,
            username=self._settings.user or None,
            password=self._password or None,
            use_tls=self._settings.tls == "tls",
            start_tls=self._settings.tls == "starttls",
            tls_context=self._context,
            timeout=self._settings.timeout_seconds,
            local_hostname="localhost",  # this machine's name is nobody's business
        )
        try:
            async with asyncio.timeout(self._settings.timeout_seconds * (2 + len(messages))):
                await smtp.connect()
                for recipient, message in messages:
                    answers[recipient] = await self._post_one(smtp, recipient, message)
                await smtp.quit()
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            if all(answers.get(recipient, Outcome("retry")) == DELIVERED for recipient, _ in messages):
                return  # all was taken, and only the goodbye failed
            raise _failed(error, self._where) from None
        finally:
            smtp.close()

    async def _post_one(self, smtp: aiosmtplib.SMTP, recipient: str, message: bytes) -> Outcome:
        try:
            await smtp.sendmail(self._settings.sender, [recipient], message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return await _refused(smtp, error.recipients[0].code)
        except aiosmtplib.SMTPResponseException as error:
            return await _refused(smtp, error.code)
        return DELIVERED

    async def close(self) -> None:
        """Nothing is open between digests."""


async def _refused(smtp: aiosmtplib.SMTP, code: int) -> Outcome:
    """By the first digit (RFC 5321 section 4.2.1): 5 is for good, anything else is worth another try."""
    if smtp.is_connected:
        await smtp.rset()
    return Outcome("refused" if 500 <= code < 600 else "retry", f"smtp-{code}")


def _failed(error: Exception, where: str) -> PartnerFailed:
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            hint = "check `user` and `password_file`"
            return PartnerFailed("not-let-in", "it does not let us in", where=where, hint=hint)
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return PartnerFailed("slow", "it did not answer in time", where=where)
        case ssl.SSLError():
            hint = "check its certificate; an authority of your own goes into `ca_file`"
            return PartnerFailed("tls-invalid", "its certificate is not valid", where=where, hint=hint)
        case aiosmtplib.SMTPServerDisconnected():
            return PartnerFailed("cut-off", "it ended the connection", where=where)
        case aiosmtplib.SMTPConnectError() | OSError():
            if isinstance(error.__cause__, ssl.SSLError):
                return _failed(error.__cause__, where)
            return PartnerFailed("unreachable", "it can't be reached", where=where, hint="is it up?")
        case aiosmtplib.SMTPResponseException() if error.code > 0:
            return PartnerFailed(f"smtp-{error.code}", "it does not take mail from us", where=where)
        case _ if "STARTTLS" in str(error):
            hint = 'without it nothing is sent; `tls = "tls"` is for servers that begin with TLS (port 465)'
            return PartnerFailed("no-starttls", "it offers no STARTTLS", where=where, hint=hint)
        case _:
            return PartnerFailed("not-smtp", f"its answer makes no sense ({type(error).__name__})", where=where)
