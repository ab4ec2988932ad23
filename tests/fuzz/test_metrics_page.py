"""From any answer of the API to a metrics page that Prometheus reads, and whose numbers add up."""

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from infobip_exporter.counting.caps import Caps
from infobip_exporter.counting.count import count
from infobip_exporter.counting.known import Known
from infobip_exporter.counting.rows import Rows
from infobip_exporter.counting.statuses import Statuses
from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.metrics.process import Process
from infobip_exporter.metrics.render import ALWAYS_THERE, Feed, Renderer
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.model.record import Record, Records
from tests.fuzz.effort import fuzzed
from tests.fuzz.json_text import STRANGE_TEXTS, rows

NOW = Moment(1_700_000_000.0, 100.0)
LARGEST_PAGE = 300_000


def records_of(texts: list[str]) -> list[Record]:
    """What can be counted of each row, read alone: one that is no JSON takes no other with it."""
    records: list[Record] = []
    for text in texts:
        try:
            records += decode_page(f'{{"results": [{text}]}}'.encode("utf-8", "surrogatepass")).records
        except InvalidBody:
            continue
    return records


def page_of(records: list[Record], *, open_metrics: bool = False) -> str:
    changes = Changes()
    count(
        Rows(Records.of(records)),
        Known(),
        changes,
        Caps(1000, ()),
        Statuses(()),
        is_open=lambda sent_ms: sent_ms < 1 << 62,
    )
    feed = FeedSnapshot(
        "main",
        "sms",
        counters=changes.counters,
        histograms=changes.histograms,
        in_flight=changes.in_flight,
        last_sent_ms=max((record.sent_ms for record in records), default=None),
    )
    series = (*changes.counters, *changes.histograms, *ALWAYS_THERE)
    shown = ZeroStart(60, series)
    page = Renderer("1.2.3", Process()).render([Feed(feed, shown)], NOW, open_metrics=open_metrics)
    return page.body.decode()


@pytest.mark.parametrize("open_metrics", [False, True])
@given(texts=st.lists(rows, min_size=1, max_size=6))
@fuzzed(60)
def test_whatever_was_counted_is_on_a_page_that_can_be_read(open_metrics: bool, texts: list[str]) -> None:
    records = records_of(texts)
    page = page_of(records, open_metrics=open_metrics)
    assert len(page) < LARGEST_PAGE
    families = list((parse_open_metrics if open_metrics else parse_text)(page))
    samples = [sample for family in families for sample in family.samples]
    sent = sum(sample.value for sample in samples if sample.name == "infobip_messages_sent_total")
    assert sent == len({(record.message_id, record.sent_ms) for record in records})


def row_of(number: int, text: str) -> str:
    named = {"messageId": f"id-{number}", "sentAt": "2023-02-01T23:15:03.379+0000", "doneAt": None}
    row = json.dumps(named | {"platform": {"entityId": "?", "applicationId": "a"}})[:-1].replace(
        '"?"', f'"{text}"'
    )
    group = f'{{"groupName": "x{text}"}}'
    return f'{row}, "status": {group}, "error": {group}, "price": {{"currency": "{text}", "pricePerMessage": 1e-50}}}}'


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
def test_promtool_has_nothing_to_say_about_labels_of_any_characters() -> None:
    characters = [chr(code) for code in (*range(0x20, 0x30), *range(0x3A, 0x60), *range(0x7B, 0xC0))]
    spelt = [rf"\u{code:04x}" for code in (*range(0x20), 0x22, 0x5C, 0x2028, 0xD83D, 0xFEFF, 0xFFFE, 0xFFFF)]
    plain = [text for text in characters if text not in '"\\'] + spelt + STRANGE_TEXTS + ["y" * 5000]
    records = records_of([row_of(number, text) for number, text in enumerate(plain)])
    assert len(records) > len(plain) - 10
    page = page_of(records)
    assert len(page) < LARGEST_PAGE
    told = subprocess.run(
        ["promtool", "check", "metrics"],
        input=page,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert (told.returncode, told.stderr) == (0, "")
