"""The tables of the database. What writes each is said at each; times are ms since 1970, `added` in µs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, false, text

metadata = MetaData()
INBOX_ORDER_LOCK = 0x70C51
"""PostgreSQL advisory lock: submissions become visible in the order of their numbers."""
RELAY_LOCK = 0x70C52
"""PostgreSQL advisory lock, held by a process as long as it relays: no two locks may have one number."""
CONNECT_LOCK = 0x70C54
"""PostgreSQL advisory lock, held by the one process that runs connectors."""
POLICY_LOCK = 0x70C53
"""PostgreSQL advisory lock: one process at a time makes a version of the policy."""
# SQLite gives rising row numbers only to a column of exactly this type
Serial = BigInteger().with_variant(Integer, "sqlite")

# -- the hub itself ---------------------------------------------------------------------------------------
facts = Table(  # one value per name: the numbering's id
    "facts", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)
partners = Table(  # the numbering of recipients: a number is given once and never used again
    "partners",
    metadata,
    Column("bit", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("suspended_ms", BigInteger),
)
tokens = Table(  # SHA-256 of bearer tokens
    "tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),  # "staff", "staff:" and a name, or a partner's id
    Column("scope", Text, nullable=False),  # staff | partner
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)
policies = Table(  # what decides who gets what; the newest version is in force
    "policies",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),  # `services.directory.hash_of`: what decisions cite
    Column("document", Text, nullable=False),  # canonical JSON of policy and agreements
    Column("published", Text, nullable=False),  # canonical JSON for everybody: what is signed
    Column("signature", Text, nullable=False),  # Ed25519, hex, by the key (hex)
    Column("key", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("confirmed", Text, nullable=False),  # JSON: by name, which staff confirmed it
    Column("note", Text, nullable=False),  # JSON: sentences, what changed
)
confirmations = Table(  # of what waits; a row goes when its change is in force or is no more
    "confirmations",
    metadata,
    Column("transition", Text, primary_key=True),  # digest of what a name was and becomes
    Column("staff", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# -- accept -----------------------------------------------------------------------------------------------
submissions = Table(
    "submissions",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("format", Text, nullable=False),
    Column("taken", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("fates", LargeBinary, nullable=False),  # zlib of JSON: one entry per item
    Column("relayed_ms", BigInteger),
    Column("consent", LargeBinary),  # keyed hash of source and reference of the consent under which it was sent
    Index("submissions_by_source", "source", "seq"),
    Index("submissions_by_consent", "consent"),
    sqlite_autoincrement=True,
)
withdrawn_consents = Table(  # by the same hash; what is sent under one of them is refused
    "withdrawn_consents",
    metadata,
    Column("consent", LargeBinary, primary_key=True),
    Column("withdrawn_ms", BigInteger, nullable=False),
)
outbox = Table(  # what is stored and not yet acknowledged by the broker; a row is deleted when it is
    "outbox",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("messages", LargeBinary, nullable=False),
    Column("urgent", Boolean, nullable=False, server_default=false()),  # overtakes what other sources sent
)
# nearly always none; the condition must stand in the query word for word
IS_URGENT = text("urgent")
Index("outbox_urgent", outbox.c.seq, sqlite_where=IS_URGENT, postgresql_where=IS_URGENT)
submission_positions = Table(  # the last offset of a submission in each partition of tocsin.reports
    "submission_positions",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
)

aliases = Table(  # what each id of a source names; written with the submission that says so
    "aliases",
    metadata,
    Column("alias", LargeBinary, primary_key=True),  # keyed hash of source and id
    Column("source", Text, nullable=False),
    Column("keys", LargeBinary, nullable=False),  # fingerprints, or pairs of record key and fingerprint
    Column("object_type", Text, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("state", Integer, nullable=False),  # 0 live | 1 revoked | 2 in no snapshot any more
    Column("seq", BigInteger, nullable=False),
)
# by which ids a source still names an item; the condition must stand in the query word for word
NAMES_ONE = text("state = 0 AND length(keys) <= 32")
Index("aliases_by_name", aliases.c.source, aliases.c["keys"], sqlite_where=NAMES_ONE, postgresql_where=NAMES_ONE)
alias_names = Table(  # the same for the few ids that name several items: one row for each
    "alias_names",
    metadata,
    Column("alias", LargeBinary, primary_key=True),
    Column("name", LargeBinary, primary_key=True),
    Column("source", Text, nullable=False),
    Index("alias_names_by_name", "source", "name"),
)
waiting = Table(  # objects that refer to what has not come yet
    "waiting",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),  # of the submission, and the place in it
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("feed", Text, nullable=False),  # the name of what it came in
    Column("own", LargeBinary, nullable=False),  # its own alias
    Column("modified_ms", BigInteger, nullable=False),
    Column("ripe", Boolean, nullable=False),  # what it waits for has come; too much woke at once
    Column("pointer", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # the object as it came
    Index("waiting_by_source", "source", "seq", "place"),
    Index("waiting_by_own", "own"),
)
waiting_ends = Table(  # what each of them waits for: any of these
    "waiting_ends",
    metadata,
    Column("alias", LargeBinary, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Index("waiting_ends_by_place", "seq", "place"),
)
snapshots = Table(  # what the last snapshot of each feed held
    "snapshots",
    metadata,
    Column("feed", LargeBinary, primary_key=True),  # keyed hash of source and name
    Column("name", LargeBinary, primary_key=True),  # fingerprint, or record key and fingerprint
    Column("source", Text, nullable=False),
    Index("snapshots_by_name", "name"),
)
contributions = Table(  # STIX objects as their sources sent them, which they can read back; and nobody else
    "contributions",
    metadata,
    Column("source", Text, primary_key=True),
    Column("added", BigInteger, primary_key=True, autoincrement=False),  # rises for each source by itself
    Column("stix_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("version", Text, nullable=False),  # as in the body; empty for types that have none
    Column("version_us", BigInteger, nullable=False),  # the same as a number; `added` where there is none
    Column("seq", BigInteger, nullable=False),  # of the submission
    Column("names", LargeBinary, nullable=False),  # of its items: record key and fingerprint of each
    Column("body", LargeBinary, nullable=False),
    Index("contributions_by_version", "source", "stix_id", "version_us", unique=True),
    Index("contributions_by_submission", "seq"),
)
contribution_names = Table(  # by the items that they speak of, so that they go when those are withdrawn
    "contribution_names",
    metadata,
    Column("source", Text, primary_key=True),
    Column("name", LargeBinary, primary_key=True),
    Column("added", BigInteger, primary_key=True, autoincrement=False),
)

# -- share ------------------------------------------------------------------------------------------------
positions = Table(  # how far each sink has applied each partition, written with the effects
    "positions",
    metadata,
    Column("sink", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)
watermarks = Table(  # up to which offset of tocsin.reports everything is visible in the feeds
    "watermarks",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
)
clock = Table(  # the last `added` given out; its row is the lock that keeps `added` rising across writers
    "clock", metadata, Column("name", Text, primary_key=True), Column("value", BigInteger, nullable=False)
)
items = Table(  # the version of each item that the feeds show
    "items",
    metadata,
    Column("fingerprint", LargeBinary, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("counter", BigInteger, nullable=False),
)
audiences = Table(  # distinct sets of recipients (hex), and below who is in each
    "audiences",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("recipients", Text, nullable=False, unique=True),
)
audience_members = Table(
    "audience_members",
    metadata,
    Column("bit", Integer, primary_key=True, autoincrement=False),
    Column("audience", BigInteger, primary_key=True, autoincrement=False),
)
feed = Table(  # one row per copy and audience; a recipient finds an item in at most one live row
    "feed",
    metadata,
    Column("added", BigInteger, primary_key=True, autoincrement=False),
    Column("audience", BigInteger, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("stix_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("modified", Text, nullable=False),  # as in the body
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("confidence", Integer),
    Column("first_seen", Text, nullable=False),
    Column("last_seen", Text, nullable=False),
    Column("tlp", Text, nullable=False),
    Column("score", Integer),
    Column("active_until", Text, nullable=False, server_default=""),  # with ms, so that texts sort as times
    Column("registrable_domain", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON as it goes out
    Column("urgent", Boolean, nullable=False, server_default=false()),
    Column("since", BigInteger),  # µs: when the id came, or its withdrawal did; null: when this row did
    Column("reminded", Integer, nullable=False, server_default="0"),  # how often a withdrawal was put in anew
    Index("feed_by_audience", "audience", "added"),
    Index("feed_by_fingerprint", "fingerprint"),
    Index("feed_by_stix_id", "stix_id"),
)
# what a partner that is cut off still reads
Index(
    "feed_withdrawn",
    feed.c.audience,
    feed.c.added,
    sqlite_where=feed.c.live == false(),
    postgresql_where=feed.c.live == false(),
)
# what a collection of one category reads; the condition must stand in the query word for word
OF_A_CATEGORY = text("category <> '' AND live")
Index(
    "feed_by_category",
    feed.c.category,
    feed.c.audience,
    feed.c.added,
    sqlite_where=OF_A_CATEGORY,
    postgresql_where=OF_A_CATEGORY,
)
former = Table(  # ids that somebody was sent and holds no more; nothing of what they stood for
    "former",
    metadata,
    Column("stix_id", Text, primary_key=True),
    Column("audience", BigInteger, primary_key=True, autoincrement=False),
    Column("since", BigInteger, nullable=False),  # µs
    Column("left_ms", BigInteger, nullable=False, index=True),
)
receipts = Table(  # what each recipient did with an item, in its latest word
    "receipts",
    metadata,
    Column("bit", Integer, primary_key=True, autoincrement=False),
    Column("stix_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),  # erased when the item leaves its feed, or is withdrawn
    Column("at_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),  # of its first word: then it had the item
    Column("withdrawn_ms", BigInteger),  # when it acknowledged the withdrawal
    Column("history", Text, nullable=False),  # JSON: the last few [status, at_ms]
    Index("receipts_by_stix_id", "stix_id"),
)
marks = Table(  # by recipient: up to which `added` of its feed nothing is owed, so that nobody looks there again
    "marks",
    metadata,
    Column("bit", Integer, primary_key=True, autoincrement=False),
    Column("told", BigInteger, nullable=False),  # withdrawals are acknowledged
    Column("acknowledged", BigInteger, nullable=False),
    Column("acted", BigInteger, nullable=False),
    Column("reminders", BigInteger, nullable=False),  # how often it was reminded of a withdrawal
)

connectors = Table(  # how each connector is doing that was ever set up
    "connectors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("connector", Text, nullable=False),
    Column("partner", Text, nullable=False),
    Column("does", Text, nullable=False),  # push | publish | pull
    Column("destination", Text, nullable=False),  # digest of where things go; empty where nothing does
    Column("accepted", Text, nullable=False),  # the one that staff let start
    Column("health", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("tried_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),  # when somebody asked that it runs now
    Column("failures", Integer, nullable=False),  # in a row
    Column("problem", Text, nullable=False),  # JSON: code, what, where, hint
    Column("checkpoint", Text, nullable=False),  # JSON: from where its next pull goes on
    Column("mark", BigInteger, nullable=False),  # µs: up to which `added` its partner's feed was gone through
    Column("went", BigInteger, nullable=False),  # rows delivered, or items taken
    Column("refused", BigInteger, nullable=False),
)
deliveries = Table(  # rows of a feed that are not through, or were through before others; nothing of their contents
    "deliveries",
    metadata,
    Column("name", Text, primary_key=True),  # of the connector
    Column("stix_id", Text, primary_key=True),
    Column("added", BigInteger, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("standing", Text, nullable=False),  # done | pending | dead
    Column("tries", Integer, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("code", Text, nullable=False),
    Index("deliveries_by_time", "name", "standing", "next_ms"),
)

# -- witness ----------------------------------------------------------------------------------------------
decisions = Table(  # the last decision on each item
    "decisions",
    metadata,
    Column("fingerprint", LargeBinary, primary_key=True),
    Column("stix_id", Text, nullable=False, index=True),
    Column("epoch", BigInteger, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("probation", Boolean, nullable=False, server_default=false()),  # some of it waits to be released
)
ON_PROBATION = text("probation")
Index("decisions_on_probation", decisions.c.fingerprint, sqlite_where=ON_PROBATION, postgresql_where=ON_PROBATION)
counts = Table(
    "counts", metadata, Column("name", Text, primary_key=True), Column("value", BigInteger, nullable=False)
)
rejected = Table(
    "rejected",
    metadata,
    Column("id", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("submission", Text, nullable=False, index=True),
    Column("at", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),  # the whole `schemas.rejected.Rejected`
    Column("replayed_ms", BigInteger),
)
