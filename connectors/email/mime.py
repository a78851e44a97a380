"""A digest as a message of the Internet. Pure: boundaries, ids and times are given.

RFC 5322 (the message), RFC 2046 section 5.1.4 (plain text beside HTML), RFC 3156 section 4 (OpenPGP), RFC 3834
section 5 (that nobody's machine should answer).
"""

from __future__ import annotations

from email.encoders import encode_7or8bit
from email.message import EmailMessage, Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.policy import SMTP
from email.utils import formatdate
from typing import NamedTuple

from connectors.email.mapping import Digest


class Envelope(NamedTuple):
    """What whoever carries a message sees of it. `message_id` is without brackets."""

    sender: str
    recipient: str
    subject: str
    message_id: str
    at_ms: int
    language: str


def readable(digest: Digest, boundary: str) -> EmailMessage:
    """Plain text and HTML, of which a reader takes one. All is base64: no character of it can be a boundary."""
    message = EmailMessage(policy=SMTP)
    message.set_content(digest.text, cte="base64")
    message.add_alternative(digest.html, subtype="html", cte="base64")
    message.set_boundary(boundary)
    return message


def open_message(envelope: Envelope, digest: Digest, boundary: str) -> bytes:
    """A message that everybody on its way can read."""
    message = readable(digest, boundary)
    _address(message, envelope)
    return message.as_bytes()


def encrypted_message(envelope: Envelope, armoured: bytes, boundary: str) -> bytes:
    """A message around an armoured OpenPGP message, in which is the readable one."""
    message = MIMEMultipart("encrypted", boundary=boundary, policy=SMTP, protocol="application/pgp-encrypted")
    message.attach(MIMEApplication(b"Version: 1\r\n", "pgp-encrypted", encode_7or8bit))
    contents = MIMEApplication(armoured, "octet-stream", encode_7or8bit, name="encrypted.asc")
    contents.add_header("Content-Disposition", "inline", filename="encrypted.asc")
    message.attach(contents)
    _address(message, envelope)
    return message.as_bytes(policy=SMTP)


def _address(message: Message, envelope: Envelope) -> None:
    message["From"] = envelope.sender
    message["To"] = envelope.recipient
    message["Subject"] = envelope.subject
    message["Date"] = formatdate(envelope.at_ms / 1000)
    message["Message-ID"] = f"<{envelope.message_id}>"
    message["Content-Language"] = envelope.language
    message["Auto-Submitted"] = "auto-generated"
