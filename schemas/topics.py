"""Every topic, in the order of the flow.

All topics keyed by fingerprint have the same number of partitions and the same partitioner (murmur2 of
the key, as Kafka's Java client), so that one worker owns an item from its report to its decision.
Records of a stage carry the header `epoch` (8 bytes, big-endian: which owner of the partition wrote it).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PARTITIONS = 8
DAY_SECONDS = 86_400


class Topic(NamedTuple):
    """One topic: who writes it, what its key is, which model of `schemas` its values are, how long it is kept.

    `compacted` topics keep the last value of each key for ever (`retention_seconds` is None).
    """

    name: str
    writer: str
    key: Literal["fingerprint", "submission"]
    model: str
    retention_seconds: int | None
    partitions: int = PARTITIONS

    @property
    def compacted(self) -> bool:
        return self.retention_seconds is None


REPORTS = Topic("tocsin.reports", "accept", "fingerprint", "report.Report", 7 * DAY_SECONDS)
KNOWN = Topic("tocsin.known", "dedupe", "fingerprint", "known.Known", None)
CLEARED = Topic("tocsin.cleared", "govern", "fingerprint", "cleared.Cleared", 7 * DAY_SECONDS)
REFERENCES = Topic("tocsin.references", "govern", "fingerprint", "reference.Letter", 7 * DAY_SECONDS)
DECISIONS = Topic("tocsin.decisions", "govern", "fingerprint", "decision.Decision", 30 * DAY_SECONDS)
REJECTED = Topic("tocsin.rejected", "any", "submission", "rejected.Rejected", 30 * DAY_SECONDS)

TOPICS = (REPORTS, KNOWN, CLEARED, REFERENCES, DECISIONS, REJECTED)
