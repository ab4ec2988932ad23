"""The steady worlds of the report: arithmetic that agrees with itself, and one small case."""

from infobip_exporter.infobip.query import Query
from simulation.measure import Case, SteadyLog, measure
from simulation.report import line
from simulation.world import BEGINS_MS

CASE = Case(per_second=1.0, settle_s=2.0, warm_h=0.2, measured_h=0.2)


def test_a_message_is_found_where_it_was_sent() -> None:
    log = SteadyLog(CASE)
    for number in range(1, 2000):
        assert log.first_from(log.sent_ms(number)) == number
        assert log.first_from(log.sent_ms(number) + 1) == number + 1


def test_a_full_page_holds_the_newest_of_the_asked_time() -> None:
    log = SteadyLog(CASE)
    page = log.page(Query(BEGINS_MS, BEGINS_MS + 3_600_000), BEGINS_MS + 3_600_000)
    assert page.rows == 1000
    assert page.records[0].sent_ms == log.sent_ms(log.first_from(BEGINS_MS + 3_600_000) - 1)
    assert [record.sent_ms for record in page.records] == sorted(
        (record.sent_ms for record in page.records), reverse=True
    )


def test_a_quiet_account_is_exact_for_one_request_a_poll() -> None:
    measured = measure(CASE)
    assert measured.exact
    assert measured.requests <= 1.05
    assert measured.naive_sent > 1
    assert line(measured).startswith("| 1 | 2 s | 1.0")
