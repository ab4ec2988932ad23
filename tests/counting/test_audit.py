"""The audit's three numbers notice each difference between what was counted and the log, also by parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.counting.audit import AUDIT_AGE_MS, Finding, Shown, audit, divide, finalize
from infobip_exporter.counting.caps import Caps
from infobip_exporter.counting.count import count
from infobip_exporter.counting.known import ByTime, InFlight, Known
from infobip_exporter.counting.rows import Rows
from infobip_exporter.counting.statuses import Statuses
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.record import Record, Records
from infobip_exporter.model.time_range import TimeRange
from tests.feed.recording import BEGIN_MS, DELIVERED, PENDING, REJECTED, row

LATE_MS = BEGIN_MS + AUDIT_AGE_MS + 3_600_000
NOTHING = ByTime(Known())
KINDS = st.sampled_from([PENDING, DELIVERED, REJECTED])


def counted(records: list[Record], statuses: Statuses) -> Known:
    return count(
        Rows(Records.of(records)),
        Known(),
        Changes(),
        Caps(100),
        statuses,
        is_open=lambda sent_ms: sent_ms >= 0,
    ).known


def final(records: list[Record], reads: int = 2) -> tuple[Cell, Statuses]:
    """A cell of 100 s that has become final with these messages."""
    statuses = Statuses()
    known = counted(records, statuses)
    cell, _ = finalize(
        Cell(BEGIN_MS, BEGIN_MS + 100_000, reads=reads),
        known,
        Shown(Rows(Records.of(records)), statuses),
        statuses,
        recovered=0,
    )
    return cell, statuses


def audited(
    cell: Cell, statuses: Statuses, records: list[Record], asked_ms: int = LATE_MS
) -> tuple[Cell, Finding]:
    """The audit of a cell in which "d" is known to be in flight."""
    known = Known(in_flight={("d", BEGIN_MS + 60_000): InFlight("PENDING", ())})
    return audit(cell, known, Shown(Rows(Records.of(records)), statuses), asked_ms)


def differences(cell: Cell, statuses: Statuses, records: list[Record]) -> tuple[int, int]:
    found = audited(cell, statuses, records)[1].messages
    inside = sum(cell.range.holds(record.sent_ms) for record in records)
    assert found["verified"] == max(0, inside - found["missed"])
    return found["missed"], found["vanished"]


RECORDS = [row("a", 1), row("b", 2), row("c", 50, REJECTED), row("d", 60, PENDING)]


def test_a_log_that_is_as_it_was_counted_agrees() -> None:
    assert differences(*final(RECORDS), RECORDS[::-1]) == (0, 0)


@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        pytest.param([*RECORDS, row("late", 3)], (1, 0), id="one more"),
        pytest.param(RECORDS[1:], (0, 1), id="one less"),
        pytest.param([row("other", 1), *RECORDS[1:]], (1, 1), id="another id"),
        pytest.param([row("a", 1.001), *RECORDS[1:]], (1, 1), id="another sent time"),
        pytest.param([row("a", 1, REJECTED), *RECORDS[1:]], (1, 1), id="another outcome"),
        pytest.param([*RECORDS[:3], row("d", 60)], (1, 1), id="settled and not counted"),
    ],
)
def test_each_difference_is_reported_once(log: list[Record], wanted: tuple[int, int]) -> None:
    cell, statuses = final(RECORDS)
    assert differences(cell, statuses, log) == wanted
    after, _ = audited(cell, statuses, log)
    assert differences(after, statuses, log) == (0, 0)


def test_a_missed_message_is_reported_once_though_it_settles_later() -> None:
    cell, statuses = final(RECORDS)
    in_flight, settled = [*RECORDS, row("late", 3, PENDING)], [*RECORDS, row("late", 3)]
    assert differences(cell, statuses, in_flight) == (1, 0)
    after, _ = audited(cell, statuses, in_flight)
    assert differences(after, statuses, settled) == (0, 0)
    after, _ = audited(after, statuses, settled)
    changed = [row("a", 1, REJECTED), *settled[1:]]
    assert differences(after, statuses, changed) == (1, 1)


def test_only_a_read_that_sees_what_was_late_completes_the_audit() -> None:
    cell, statuses = final(RECORDS)
    early, _ = audited(cell, statuses, RECORDS, cell.until_ms + AUDIT_AGE_MS - 1)
    late, _ = audited(early, statuses, RECORDS, cell.until_ms + AUDIT_AGE_MS)
    assert (early.audited, late.audited) == (False, True)


def test_the_final_read_verifies_the_reads_before() -> None:
    statuses = Statuses()
    known = counted(RECORDS, statuses)
    cell = Cell(BEGIN_MS, BEGIN_MS + 100_000, reads=2)
    _, finding = finalize(cell, known, Shown(Rows(Records.of(RECORDS[:3])), statuses), statuses, recovered=1)
    assert finding is not None
    assert finding.messages == {"verified": 2, "recovered": 1, "vanished": 1}
    assert (
        finalize(
            cell._replace(reads=1), known, Shown(Rows(Records.of(RECORDS)), statuses), statuses, recovered=4
        )[1]
        is None
    )


@given(
    st.dictionaries(st.integers(0, 99), KINDS, max_size=12),
    st.dictionaries(st.integers(0, 99), KINDS, max_size=12),
    st.booleans(),
    st.lists(st.integers(1, 99), unique=True, max_size=3),
)
def test_a_cell_that_is_read_in_parts_agrees_where_all_of_it_would(
    counted: dict[int, object], log: dict[int, object], same: bool, cuts: list[int]
) -> None:
    records = [row(str(at_s), at_s, kind) for at_s, kind in counted.items()]  # type: ignore[arg-type]
    shown = records if same else [row(str(at_s), at_s, kind) for at_s, kind in log.items()]  # type: ignore[arg-type]
    whole, statuses = final(records)
    missed, vanished = differences(whole, statuses, shown)
    in_parts = [0, 0]
    rest = whole
    for cut in sorted(cuts):
        cut_ms = BEGIN_MS + 1000 * cut
        part, rest = divide(
            rest,
            TimeRange(rest.since_ms, cut_ms),
            Shown(Rows(Records.of(shown)), statuses),
            NOTHING,
            statuses,
        )
        assert part.messages >= 0
        assert rest.messages >= 0
        found = differences(part, statuses, shown)
        in_parts = [a + b for a, b in zip(in_parts, found, strict=True)]
    found = differences(rest, statuses, shown)
    in_parts = [a + b for a, b in zip(in_parts, found, strict=True)]
    assert (in_parts == [0, 0]) == ((missed, vanished) == (0, 0))
    assert in_parts[0] - in_parts[1] == missed - vanished


def test_a_part_from_the_middle_divides_nothing() -> None:
    cell, statuses = final(RECORDS)
    middle = TimeRange(BEGIN_MS + 10_000, BEGIN_MS + 20_000)
    assert divide(cell, middle, Shown(Rows(Records.of(RECORDS)), statuses), NOTHING, statuses) == [cell]
