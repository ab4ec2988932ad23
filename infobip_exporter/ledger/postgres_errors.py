"""What went wrong with PostgreSQL, and what to do about it."""

import psycopg

from infobip_exporter.errors import LedgerAway, LedgerError

_AGAIN = "the exporter retries and resumes by itself"

_ADVICE = {
    "25006": f"the database is read-only, as a standby is: {_AGAIN} once it may write",
    "28": "check user and password: in the URL, PGPASSWORD, PGPASSFILE or state.password_file",
    "3D000": "create the database, or name another one in state.url",
    "42501": "grant this user CREATE and USAGE on its schema",
    "3F000": "create the schema, or set the user's search_path",
    "42P01": "its tables were removed: restore a backup, or name another database in state.url",
    "53100": "make room on the database's disk; the exporter resumes by itself",
    "53300": f"raise max_connections, or put PgBouncer in between; {_AGAIN}",
}
"""By the beginning of SQLSTATE (PostgreSQL's appendix "Error Codes")."""

_AT_CONNECTING = {
    "authentication failed": "28",
    "no password supplied": "28",
    "no pg_hba.conf entry": "28",
    "does not exist": "3D000",
}
"""What the server says before a connection stands, which has no SQLSTATE then."""


def explained(where: str, error: psycopg.Error) -> LedgerError:
    """The error to raise instead of `error`: LedgerAway where waiting may help."""
    text = " ".join(str(error).split()) or type(error).__name__
    state = error.sqlstate or next((code for said, code in _AT_CONNECTING.items() if said in text), "")
    advice = next((advice for code, advice in _ADVICE.items() if state.startswith(code)), "")
    if advice:
        kind = LedgerAway if state in ("25006", "53100", "53300") else LedgerError
        return kind(f"state {where}: {text}: {advice}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return LedgerAway(f"state {where}: the database can't be reached: {text}: {_AGAIN}")
    return LedgerError(f"state {where}: {text}: {_AGAIN}")
