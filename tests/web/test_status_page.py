"""The status page: every feed's state in words, everything escaped, nothing that its own policy would forbid."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.metrics.snapshot import FeedOwner, FeedSnapshot, Incident, PastIncident
from infobip_exporter.model.series import Series
from infobip_exporter.web import status_page
from infobip_exporter.web.chart import chart, totals
from infobip_exporter.web.feed_state import feed_state
from infobip_exporter.web.words import duration
from tests.web.views import NOW_S, all_states, lively

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Outline(HTMLParser):
    """The page's elements and text; complains about whatever is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(*feeds: FeedSnapshot, docs_url: str = "") -> str:
    return status_page.render(feeds, NOW_S, "1.2.3", docs_url)


def text_of(*feeds: FeedSnapshot) -> str:
    said = Outline(page_of(*feeds)).text.replace("\u00a0", " ")
    return re.sub(r"\s+", " ", said)


def test_each_feed_has_its_state_in_a_word() -> None:
    words = ["reading", "catching up", "waiting for the first answer", "refused", "failing"]
    assert [feed_state(feed).word for feed in all_states()] == words
    page = text_of(*all_states())
    assert all(word in page for word in words)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"backlog_ms": 59_999}, "reading"),
        ({"backlog_ms": 60_000}, "catching up"),
        ({"up": False}, "failing"),
        ({"up": None, "last_poll_s": None}, "waiting for the first answer"),
        ({"up": None, "incident": Incident("timeout", NOW_S)}, "failing"),
        ({"up": None, "incident": Incident("401", NOW_S, refused=True)}, "refused"),
        ({"up": True, "incident": Incident("the state's disk is full", NOW_S)}, "failing"),
    ],
)
def test_what_keeps_a_feed_from_reading_comes_first(changes: dict[str, object], word: str) -> None:
    assert feed_state(lively(**changes)).word == word


def test_the_figures_of_a_feed_are_there() -> None:
    lost = {
        Series.of("infobip_messages_sent_total", entity_id="a", application_id=""): 1000,
        Series.of("infobip_messages_sent_total", entity_id="b", application_id=""): 234,
        Series.of("infobip_exporter_lost_seconds_total", reason="expired"): 90,
        Series.of("infobip_exporter_lost_seconds_total", reason="too_dense"): 0,
    }
    page = text_of(lively(backlog_ms=7_260_000, counters=lost))
    for figure in (
        "Last poll12 s ago",
        "Lag14 s",
        "Backlog2 h 1 minof sent time to read",
        "Lost1 min 30 sexpired 1 min 30 s",
        "Budget used7%7 of 100 requests a minute",
        "Messages1,23442 in flight",
    ):
        assert figure in page, figure
    assert "too_dense" not in page


def test_a_trouble_is_told_with_its_age_and_when_it_last_went_well() -> None:
    page = text_of(*all_states())
    assert "For 3 min: 503: the API is not available; trying again in 40 s" in page
    assert "succeeded 3 min 20 s ago" in page
    assert "none succeeded yet" in text_of(lively(up=False, last_success_s=None))


def test_the_newest_trouble_that_is_over_is_told_while_there_is_no_other() -> None:
    past = PastIncident("timeout: no answer", NOW_S - 3900, NOW_S - 3600)
    assert "Last incident, over 1 h ago after 5 min: timeout: no answer" in text_of(
        lively(last_incident=past)
    )
    page = text_of(lively(last_incident=past, incident=Incident("503: down", NOW_S - 5)))
    assert "For 5 s: 503: down" in page
    assert "timeout" not in page


def test_what_waits_at_an_api_that_fails_is_not_said_to_be_none() -> None:
    assert "Backlognone" in text_of(lively())
    assert "Backlog–" in text_of(lively(up=False))


def test_a_feed_that_has_not_been_asked_claims_nothing() -> None:
    page = text_of(FeedSnapshot("main", "sms", requests_per_minute=100))
    assert "Last pollneverLag–Backlog–" in page
    assert "No message settled in the last day." in page


def test_the_summary_says_how_many_need_a_look_and_leads_to_each_feed() -> None:
    outline = Outline(page_of(*all_states()))
    assert "2 of 5 feeds need a look." in outline.text
    assert "second account / rcsrefused" in outline.text
    targets = {str(link["href"]) for link in outline.named("a") if str(link["href"]).startswith("#")}
    assert targets == {f"#feed-{place}" for place in range(5)}
    assert {f"#{each['id']}" for each in outline.named("section")} == targets
    assert "1 feed, nothing wrong." in text_of(lively())
    assert "1 of 1 feed needs a look" in text_of(all_states()[3])
    fresh = FeedSnapshot("main", "sms")
    assert "1 of 2 feeds still waits for the first answer." in text_of(lively(), fresh)
    assert "2 of 2 feeds still wait for the first answer." in text_of(fresh, fresh)


def test_one_feed_alone_is_told_of_once() -> None:
    assert "glance" not in re.sub("<style>.*</style>", "", page_of(lively()), flags=re.DOTALL)
    assert page_of(lively()).count("main / instagram</") == 1


def test_it_links_to_the_other_pages_and_to_the_documentation_where_there_is_one() -> None:
    def links(docs_url: str) -> list[str | None]:
        return [link["href"] for link in Outline(page_of(lively(), docs_url=docs_url)).named("a")]

    assert links("") == ["/metrics", "/-/ready", "/-/healthy"]
    assert links("https://docs.example/?a&b") == [*links(""), "https://docs.example/?a&b"]


def test_it_is_fit_for_phones_screen_readers_and_both_colour_schemes() -> None:
    page = page_of(*all_states())
    outline = Outline(page)
    assert outline.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in outline.named("meta")
    assert "prefers-color-scheme: dark" in page
    assert all(cell["scope"] in {"col", "row"} for cell in outline.named("th"))
    pictures = [svg for svg in outline.named("svg") if svg.get("aria-hidden") != "true"]
    assert len(pictures) == 3
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in pictures)
    assert page.count("<h1>") == 1


def test_its_colours_have_contrast_enough_to_be_read() -> None:
    css = status_page._STYLE
    for scheme in css.partition("@media print")[0].split("@media screen and (prefers-color-scheme: dark)"):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", scheme))
        pairs = [(tone, f"{tone}-bg") for tone in ("good", "busy", "calm", "warn", "bad")]
        pairs += [("ink", "card"), ("soft", "card"), ("soft", "page"), ("link", "page"), ("bad", "card")]
        for ink, ground in pairs:
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for bar in ("delivered", "rejected", "undeliverable", "expired", "other"):
            assert contrast(colours[bar], colours["card"]) >= 3, bar


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_its_policy_allows_its_own_style_and_it_uses_nothing_else() -> None:
    page = page_of(*all_states())
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert len(styles) == 1
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in status_page.POLICY
    assert "url(" not in styles[0]
    for tag, attributes in Outline(page).elements:
        assert tag not in {"script", "img", "iframe", "link", "form", "object"}
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


HOSTILE = "</p><script>alert(1)</script>\"'&<x onload=1>"


def test_what_comes_from_outside_is_text() -> None:
    feed = lively(
        HOSTILE,
        HOSTILE,
        incident=Incident(HOSTILE, NOW_S - 5),
        counters={Series.of("infobip_exporter_lost_seconds_total", reason=HOSTILE): 5},
        by_hour={int(NOW_S // 3600): {HOSTILE: 3}},
    )
    recovered = lively(last_incident=PastIncident(HOSTILE, NOW_S - 9, NOW_S - 5))
    page = status_page.render([feed, recovered], NOW_S, HOSTILE, HOSTILE)
    outline = Outline(page)
    assert not {"script", "x"} & {tag for tag, _ in outline.elements}
    # account and channel at a glance and in the heading; then both troubles, lost, status (title and row), version
    assert outline.text.count(HOSTILE) == 2 * 2 + 6
    assert not [name for _, attributes in outline.elements for name in attributes if name.startswith("on")]


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    count=st.integers(0, 10**15),
    back_s=st.floats(-1e6, 1e8),
)
@settings(max_examples=60, deadline=None)
def test_any_text_and_any_number_make_a_well_formed_page(text: str, count: int, back_s: float) -> None:
    feed = lively(
        text,
        text,
        incident=Incident(text, NOW_S - back_s),
        by_hour={int(NOW_S // 3600): {text: count, "DELIVERED": 1}},
        last_poll_s=NOW_S - back_s,
        backlog_ms=count,
        up=False,
    )
    Outline(page_of(feed))


def bars(by_hour: dict[int, dict[str, int]]) -> list[list[tuple[str, float, float]]]:
    drawn = ET.fromstring(chart(by_hour, NOW_S, "a & b"))
    return [
        [
            (bar.attrib["class"], float(bar.attrib["y"]), float(bar.attrib["height"]))
            for bar in group.iter("rect")
        ]
        for group in drawn.iter("g")
    ]


def test_the_chart_draws_the_last_day_and_what_is_rare_can_be_seen() -> None:
    hour = int(NOW_S // 3600)
    drawn = bars(
        {
            hour - 24: {"DELIVERED": 9},
            hour - 23: {"DELIVERED": 50_000, "REJECTED": 1},
            hour: {"DELIVERED": 100_000, "NEW": 0},
            hour + 1: {"DELIVERED": 9},
        }
    )
    assert [[name for name, _, _ in bar] for bar in drawn] == [["delivered", "rejected"], ["delivered"]]
    (_, _, half), (_, top, rare) = drawn[0]
    assert rare >= 1.5
    assert abs(half / drawn[1][0][2] - 0.5) < 0.02
    assert top >= 18
    assert drawn[1][0][1] >= 18


def test_totals_of_the_last_day_put_the_known_statuses_first() -> None:
    hour = int(NOW_S // 3600)
    by_hour = {
        hour - 24: {"OLD": 1},
        hour - 1: {"ZZZ": 1, "EXPIRED": 2},
        hour: {"AAA": 1, "DELIVERED": 3, "ZZZ": 1},
    }
    assert list(totals(by_hour, NOW_S).items()) == [("DELIVERED", 3), ("EXPIRED", 2), ("AAA", 1), ("ZZZ", 2)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (0.04, "0.1 s"),
        (0.26, "0.3 s"),
        (1, "1 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7200, "2 h"),
        (7205, "2 h"),
        (90_061, "1 d 1 h"),
        (172_800, "2 d"),
    ],
)
def test_durations_are_told_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == words


def test_a_replica_lists_the_feeds_of_all_with_who_runs_them() -> None:
    owners = [
        FeedOwner("main", "instagram", "node-1/7", is_own=True, heard_s=2.0, behind_s=14.0),
        FeedOwner("<b>", "sms", "node-2/9", is_own=False, heard_s=4.0, behind_s=None),
        FeedOwner("main", "viber", "", is_own=False, heard_s=None, behind_s=3600.0),
    ]
    page = Outline(status_page.render([lively()], NOW_S, "1", "", owners))
    for words in ("node-1/7 (this one)", "2 s ago", "14 s", "<b> / sms", "node-2/9", "no replica", "1 h"):
        assert words in page.text.replace("\xa0", " ")
    assert "Feeds of all replicas" not in Outline(status_page.render([lively()], NOW_S, "1", "")).text
    assert "No feed runs here." in Outline(status_page.render([], NOW_S, "1", "", owners)).text
