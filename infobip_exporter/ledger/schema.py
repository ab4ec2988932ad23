"""The tables of a ledger in SQLite."""

VERSION = 1
"""`user_version` of the file. No version of the exporter was released with another one."""

TABLES = (
    """
    CREATE TABLE feed (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        channel TEXT NOT NULL,
        progress BLOB NOT NULL,
        UNIQUE (account, channel)
    )
    """,
    # labels: a JSON object. value: an integer, an exact decimal as text, or a histogram as JSON [[counts], "sum"].
    """
    CREATE TABLE series (
        feed_id INTEGER NOT NULL REFERENCES feed,
        family TEXT NOT NULL,
        labels TEXT NOT NULL,
        value NOT NULL,
        PRIMARY KEY (feed_id, family, labels)
    ) WITHOUT ROWID
    """,
    # The series whose real value may be shown.
    """
    CREATE TABLE released (
        feed_id INTEGER NOT NULL REFERENCES feed,
        family TEXT NOT NULL,
        labels TEXT NOT NULL,
        PRIMARY KEY (feed_id, family, labels)
    ) WITHOUT ROWID
    """,
    # The columns of model.cells.Cell; ids and outcomes as signed 64-bit numbers.
    """
    CREATE TABLE cell (
        feed_id INTEGER NOT NULL REFERENCES feed,
        since_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        in_flight INTEGER NOT NULL,
        oldest_in_flight_ms INTEGER NOT NULL,
        read_ms INTEGER NOT NULL,
        looked_ms INTEGER NOT NULL,
        reads INTEGER NOT NULL,
        final INTEGER NOT NULL,
        audited INTEGER NOT NULL,
        auditable INTEGER NOT NULL,
        uncounted INTEGER NOT NULL,
        ids INTEGER NOT NULL,
        outcomes INTEGER NOT NULL,
        PRIMARY KEY (feed_id, since_ms)
    ) WITHOUT ROWID
    """,
    # What is kept of a cell's messages: counting/known.py.
    """
    CREATE TABLE settled (
        feed_id INTEGER NOT NULL REFERENCES feed,
        since_ms INTEGER NOT NULL,
        messages BLOB NOT NULL,
        PRIMARY KEY (feed_id, since_ms)
    )
    """,
    """
    CREATE TABLE in_flight (
        feed_id INTEGER NOT NULL REFERENCES feed,
        since_ms INTEGER NOT NULL,
        messages BLOB NOT NULL,
        PRIMARY KEY (feed_id, since_ms)
    )
    """,
    """
    CREATE TABLE settled_by_hour (
        feed_id INTEGER NOT NULL REFERENCES feed,
        hour INTEGER NOT NULL,
        general_status TEXT NOT NULL,
        messages INTEGER NOT NULL,
        PRIMARY KEY (feed_id, hour, general_status)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE rejected (
        feed_id INTEGER NOT NULL REFERENCES feed,
        fingerprint BLOB NOT NULL,
        read_ms INTEGER NOT NULL,
        PRIMARY KEY (feed_id, fingerprint)
    ) WITHOUT ROWID
    """,
)
