"""English."""

from __future__ import annotations

from connectors.email.texts import Texts

TEXTS = Texts(
    language="en",
    direction="ltr",
    subject="New digest",
    title="News from your feed",
    listed="This is new in your feed since the last digest.",
    counted="There is news in your feed. This message shows no contents: we have no encryption key of yours.",
    new="New or changed",
    withdrawn="Withdrawn",
    urgent="Urgent",
    by_category="By category",
    at_once="Urgent: lives may be in danger",
    stop="Withdrawn: stop acting on these, and delete them",
    category="Category",
    confidence="Confidence",
    seen="Seen",
    id="Id",
    not_listed="More in your feed, not listed here",
    handling="Handle each item as its TLP marking says. Addresses are altered so that nobody opens them.",
    automatic="This message was sent automatically.",
    categories={
        "shutdown": "Internet shutdown",
        "censorship": "Censorship",
        "spyware": "Spyware",
        "surveillance": "Surveillance",
        "intrusion": "Intrusion",
        "phishing": "Phishing",
        "account-takeover": "Account takeover",
        "ddos": "Denial of service",
        "doxxing": "Doxxing",
        "harassment": "Harassment",
        "defamation": "Defamation",
        "impersonation": "Impersonation",
        "device-seizure": "Seizure of devices",
        "intimate-media": "Intimate media",
        "": "Not classified",
    },
)
