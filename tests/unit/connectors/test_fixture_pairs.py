"""What each connector makes of the same rows, to the byte: tests/fixtures/connectors/NAME.

To see what a change would make of them: TOCSIN_WRITE_FIXTURES=1, and look at the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import pytest

from connectors.email.catalogue import CATALOGUE
from connectors.email.mapping import counted, listed
from connectors.email.mime import Envelope, encrypted_message, open_message
from connectors.misp import push_mapping as misp
from connectors.taxii_push import mapping as taxii
from connectors.webhook import mapping as webhook
from tests.fakes import NOW_MS
from tests.partners.rows import PARTNER, row, withdrawn

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "connectors"
ROWS = [
    row("urgent.example", urgent=True, category="spyware"),
    row("https://login.example/?next=%2F", kind="url", confidence=None),
    row("c0ffee" * 10 + "c0de", kind="sha256", category="intrusion", first_seen="", last_seen=""),
    row("a family", type="malware", kind="", value="", body=b'{"type":"malware","name":"Family.one"}'),
    withdrawn("gone.example"),
]
INDENTED = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
ENVELOPE = Envelope("feeds@hub.example", "duty@horizon.example", "New digest", "id@hub.example", NOW_MS, "en")


def webhook_request() -> bytes:
    body = webhook.bundle(ROWS, PARTNER)
    headers = webhook.headers([bytes(range(32)), bytes(32)], webhook.message_id(ROWS, PARTNER), NOW_MS, body)
    return "".join(f"{name}: {value}\n" for name, value in headers.items()).encode() + b"\n" + body + b"\n"


def misp_event() -> bytes:
    attributes = [one for each in ROWS if (one := misp.attribute_of(each, PARTNER)) is not None]
    events = [misp.event_of([each], 0, PARTNER) for each in ROWS if misp.attribute_of(each, PARTNER)]
    shown = {event["uuid"]: event | {"Attribute": []} for event in events}
    for attribute in attributes:
        shown[attribute.event]["Attribute"].append(attribute.fields)
    return orjson.dumps([{"Event": event} for event in shown.values()], option=INDENTED)


MADE: Mapping[str, Callable[[], bytes]] = {
    "webhook/request.txt": webhook_request,
    "taxii_push/envelope.json": lambda: taxii.envelope(ROWS) + b"\n",
    "misp/pushed.json": misp_event,
    "email/counted.eml": lambda: open_message(ENVELOPE, counted(ROWS, CATALOGUE["en"]), "=_boundary"),
    "email/encrypted.eml": lambda: encrypted_message(ENVELOPE, b"-----BEGIN PGP MESSAGE-----\n", "=_boundary"),
    **{
        f"email/{language}.{suffix}": lambda texts=texts, suffix=suffix: getattr(  # type: ignore[misc]
            listed(ROWS, texts, 200), "html" if suffix == "html" else "text"
        ).encode()
        for language, texts in CATALOGUE.items()
        for suffix in ("txt", "html")
    },
}


@pytest.mark.parametrize("name", MADE)
def test_rows_become_what_is_expected(name: str) -> None:
    expected = FIXTURES / name
    made = MADE[name]()
    if os.environ.get("TOCSIN_WRITE_FIXTURES"):
        expected.parent.mkdir(exist_ok=True)
        expected.write_bytes(made)
    assert made == expected.read_bytes()
