"""The tables of the ledger, as the steps that made them. A step that was released never changes again."""

MIGRATIONS = (
    """
    CREATE TABLE feed (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        channel TEXT NOT NULL,
        progress BLOB NOT NULL,
        UNIQUE (account, channel)
    );
    -- labels: a JSON array in the catalogue's order. value: an integer, or an exact decimal as text.
    CREATE TABLE counter (
        feed_id INTEGER NOT NULL REFERENCES feed,
        family TEXT NOT NULL,
        labels TEXT NOT NULL,
        value NOT NULL,
        PRIMARY KEY (feed_id, family, labels)
    ) WITHOUT ROWID;
    CREATE TABLE histogram (
        feed_id INTEGER NOT NULL REFERENCES feed,
        family TEXT NOT NULL,
        labels TEXT NOT NULL,
        counts TEXT NOT NULL,
        sum_s TEXT NOT NULL,
        PRIMARY KEY (feed_id, family, labels)
    ) WITHOUT ROWID;
    -- When a series was first shown at zero (wall clock), and whether its real value may be shown.
    CREATE TABLE mark (
        feed_id INTEGER NOT NULL REFERENCES feed,
        family TEXT NOT NULL,
        labels TEXT NOT NULL,
        shown_ms INTEGER NOT NULL,
        released INTEGER NOT NULL,
        PRIMARY KEY (feed_id, family, labels)
    ) WITHOUT ROWID;
    CREATE TABLE message (
        feed_id INTEGER NOT NULL REFERENCES feed,
        settled INTEGER NOT NULL,
        sent_ms INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        general_status TEXT NOT NULL,
        entity_id TEXT NOT NULL,
        application_id TEXT NOT NULL,
        PRIMARY KEY (feed_id, settled, sent_ms, message_id)
    ) WITHOUT ROWID;
    CREATE TABLE volume (
        feed_id INTEGER NOT NULL REFERENCES feed,
        minute INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        PRIMARY KEY (feed_id, minute)
    ) WITHOUT ROWID;
    CREATE TABLE settled_by_hour (
        feed_id INTEGER NOT NULL REFERENCES feed,
        hour INTEGER NOT NULL,
        general_status TEXT NOT NULL,
        messages INTEGER NOT NULL,
        PRIMARY KEY (feed_id, hour, general_status)
    ) WITHOUT ROWID;
    CREATE TABLE rejected (
        feed_id INTEGER NOT NULL REFERENCES feed,
        fingerprint BLOB NOT NULL,
        read_ms INTEGER NOT NULL,
        PRIMARY KEY (feed_id, fingerprint)
    ) WITHOUT ROWID;
    """,
)
"""One script for each version of the schema; the database's `user_version` is how many were run."""
