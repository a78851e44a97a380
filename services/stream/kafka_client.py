"""Apache Kafka by aiokafka: how to reach it, and how entries and drafts lie in its records.

A stamp is three headers: `epoch` (8 bytes, big-endian), and `claim` (empty) or `watermark` (8 bytes, big-endian:
the source offset). On a compacted topic an empty value is Kafka's null, which compaction understands.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.codec import has_lz4

from schemas.errors import Misconfigured
from services.stream.log import PLAIN, Draft, Entry, Kind, Stamp
from services.stream.types import Record

MAX_MESSAGE_BYTES = 8 * 1024 * 1024  # a rejected record holds another one in base64
BATCH_BYTES = 1024 * 1024
REQUEST_TIMEOUT_MS = 30_000

Header = tuple[str, bytes]


@dataclass(frozen=True)
class Client:
    """Where the brokers are and how to talk to them.

    `security` is `plaintext`, `ssl` (the system's authorities), or `ssl:CA` or `ssl:CA:CERT:KEY` (PEM files).
    """

    servers: str
    security: str = "plaintext"

    def settings(self) -> dict[str, Any]:
        """What every client of aiokafka takes. Raises `Misconfigured`."""
        settings: dict[str, Any] = {
            "bootstrap_servers": self.servers.split(","),
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
        }
        if self.security == "plaintext":
            return settings
        protocol, *files = self.security.split(":")
        if protocol != "ssl" or len(files) not in (0, 1, 3):
            raise Misconfigured(
                "kafka-security-unknown",
                "no such way to secure the connection to Kafka",
                where="TOCSIN_KAFKA_SECURITY",
                hint="plaintext, ssl, ssl:CA or ssl:CA:CERT:KEY",
            )
        try:
            context = ssl.create_default_context(cafile=files[0] if files else None)
            if len(files) == 3:
                context.load_cert_chain(files[1], files[2])
        except OSError as error:
            raise Misconfigured(
                "kafka-security-unreadable", str(error), where="TOCSIN_KAFKA_SECURITY", hint="give PEM files"
            ) from None
        return {**settings, "security_protocol": "SSL", "ssl_context": context}

    def producer(self) -> AIOKafkaProducer:
        """Idempotent: it never gives up on a broker that is silent, and never writes a batch twice."""
        return AIOKafkaProducer(
            **self.settings(),
            enable_idempotence=True,
            acks="all",
            compression_type="lz4" if has_lz4() else None,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_MESSAGE_BYTES,
            linger_ms=0,
        )

    def reader(self) -> AIOKafkaConsumer:
        """A consumer without a group."""
        return AIOKafkaConsumer(
            **self.settings(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * BATCH_BYTES,
            fetch_max_wait_ms=500,
        )


def headers(stamp: Stamp) -> list[Header]:
    if not stamp.epoch:
        return []
    epoch = ("epoch", stamp.epoch.to_bytes(8, "big"))
    if stamp.kind is Kind.CLAIM:
        return [epoch, ("claim", b"")]
    if stamp.kind is Kind.WATERMARK:
        return [epoch, ("watermark", stamp.mark.to_bytes(8, "big"))]
    return [epoch]


def stamp(given: Sequence[Header]) -> Stamp:
    """The stamp in a record's headers; strange ones are none of ours."""
    fields = dict(given)
    epoch = int.from_bytes(fields.get("epoch", b"")[:8], "big")
    if not epoch:
        return PLAIN
    if "claim" in fields:
        return Stamp(epoch, Kind.CLAIM)
    if "watermark" in fields:
        return Stamp(epoch, Kind.WATERMARK, int.from_bytes(fields["watermark"][:8], "big"))
    return Stamp(epoch)


def entries(records: Iterable[Any]) -> list[Entry]:
    """aiokafka's records as entries; neighbours with the same headers share their stamp."""
    found: list[Entry] = []
    last: tuple[Header, ...] = ()
    shared = PLAIN
    for record in records:
        if record.headers != last:
            last, shared = record.headers, stamp(record.headers)
        place = Record(record.key or b"", record.value or b"", record.offset, record.timestamp)
        found.append(Entry(place, shared))
    return found


async def send(
    producer: AIOKafkaProducer, topic: str, partition: int, drafts: Sequence[Draft], compacted: bool
) -> list[tuple[Any, int]]:
    """Hands the drafts over, in order; for each batch made of them the future of its metadata, and its size."""
    sent: list[tuple[Any, int]] = []
    batch, count = producer.create_batch(), 0
    last, given = PLAIN, headers(PLAIN)
    for key, value, mark in drafts:
        if mark is not last:
            last, given = mark, headers(mark)
        payload = None if compacted and not value else value
        if batch.append(key=key, value=payload, timestamp=None, headers=given) is None:
            sent.append((await producer.send_batch(batch, topic, partition=partition), count))
            batch, count = producer.create_batch(), 0
            batch.append(key=key, value=payload, timestamp=None, headers=given)
        count += 1
    sent.append((await producer.send_batch(batch, topic, partition=partition), count))
    return sent
