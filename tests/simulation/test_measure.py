"""The plain worlds of the report: a log that answers as the API does, and one small case."""

from infobip_exporter.infobip.query import Query
from simulation.measure import NEVER, Case, PlainLog, measure
from simulation.report import Goal, line
from simulation.world import BEGINS_MS

CASE = Case(per_second=1.0, settle_s=2.0, warm_h=0.2, measured_h=0.2)
LATER_MS = BEGINS_MS + 1_200_000


def test_a_page_holds_what_was_sent_in_the_asked_time_newest_first() -> None:
    log = PlainLog(CASE)
    page = log.page(Query(BEGINS_MS + 100_000, BEGINS_MS + 200_000), LATER_MS, LATER_MS)
    sent_ms = [record.sent_ms for record in page.records]
    assert sent_ms == sorted(sent_ms, reverse=True)
    first, last = log.sent_ms.searchsorted([BEGINS_MS + 100_000, BEGINS_MS + 200_000])
    assert page.rows - 2 <= last - first <= page.rows


def test_a_full_page_holds_the_newest() -> None:
    log = PlainLog(CASE)
    page = log.page(Query(BEGINS_MS, LATER_MS), LATER_MS, LATER_MS)
    assert page.rows == 1000
    assert page.records[0].sent_ms == log.sent_ms[log.visible_ms <= LATER_MS][-1]


def test_messages_are_shown_when_they_are_visible_and_settled_when_they_have() -> None:
    log = PlainLog(CASE)
    number = int(log.done_ms.argmax())
    before_ms, after_ms = int(log.done_ms[number]) - 1, int(log.done_ms[number])
    query = Query(message_ids=(f"{number:036d}",))
    assert not log.page(query, before_ms, before_ms).records[0].kind.final
    assert log.shown_final_ms[number] == NEVER
    assert log.page(query, after_ms, after_ms + 100).records[0].kind.final
    assert log.shown_final_ms[number] == after_ms + 100


def test_a_small_account_is_exact_and_fresh_for_one_request_a_poll() -> None:
    measured = measure(CASE)
    assert measured.problems == []
    assert measured.requests <= 1.1
    assert measured.sent[1] <= 40
    row = line(Goal(CASE, settled=(20.0, 60.0), requests=1.1), measured)
    assert row.startswith("| 1 | 2 s | 20 s / 60 s |")
    assert "**" not in row
