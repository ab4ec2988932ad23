"""What must hold of anything that was read, whatever it was read from."""

from datetime import UTC, datetime
from decimal import Decimal

from infobip_exporter.errors import ConfigError
from infobip_exporter.infobip.kinds import MOST_PARTS, normalised
from infobip_exporter.infobip.query import format_moment
from infobip_exporter.model.record import Page, Record

YEARS_MS = tuple(
    round((datetime(year, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000
    for year in (1, 9999)
)
YEAR_MS = 366 * 86_400_000
MOST_COST = Decimal(10**16) * MOST_PARTS
SHOWN = 20
"""So much of a secret's beginning is as bad as all of it: a value that is shown is cut."""
REASONS = {"no_id", "no_sent_at", "no_status", "too_long"}


def check_page(page: Page) -> None:
    """Everything that the rest of the exporter relies on without looking."""
    assert page.rows == len(page.records) + len(page.rejected)
    for record in page.records:
        check_record(record)
    for row in page.rejected:
        assert row.reason in REASONS
        assert len(row.fingerprint) == 8
    assert page.next_cursor is None or (page.cursor_offered and page.next_cursor)


def check_record(record: Record) -> None:
    kind = record.kind
    assert record.message_id
    for text in (record.message_id, record.sender, *kind[:8]):
        assert type(text) is str
        text.encode()  # no half of a character: neither SQLite nor a label could carry it
    for name in (kind.general_status, kind.error_group, kind.status, kind.error):
        assert name == normalised(name)
        assert not set(name) & set(' \n"\\{}')
    assert kind.general_status
    assert type(kind.parts) is int
    assert 0 <= kind.parts <= MOST_PARTS
    # As many digits as a sum can hold and a page can show: never rounded, never slow.
    if kind.cost is not None:
        assert type(kind.cost) is Decimal
        assert kind.cost.is_finite()
        assert 0 <= kind.cost < MOST_COST
        assert not kind.cost.is_signed()
        digits = kind.cost.as_tuple()
        assert isinstance(digits.exponent, int)
        assert digits.exponent >= -50
        assert len(digits.digits) <= 80
    for moment_ms in (record.sent_ms, record.done_ms):
        if moment_ms is not None:
            assert type(moment_ms) is int
            assert YEARS_MS[0] <= moment_ms < YEARS_MS[1] + YEAR_MS
            format_moment(moment_ms)  # can be asked for again
    hash(kind)


def check_mistakes(error: ConfigError, *secrets: str) -> None:
    """One line for each mistake, of bounded length, with nothing in it that a terminal acts on, and no secret."""
    assert error.problems
    assert str(error) == "\n".join(error.problems)
    for problem in error.problems:
        assert len(problem) < 1000
        assert problem.isprintable(), ascii(problem)
        assert not any(secret[:SHOWN] in problem for secret in secrets)
