"""The status page in a real browser: readable on any screen in both colour schemes, without scripts, and what is text stays text."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from infobip_exporter.metrics.snapshot import FeedSnapshot, Incident, PastIncident
from infobip_exporter.model.series import Series
from infobip_exporter.web.app import create_app
from infobip_exporter.web.server import Server
from tests.web.views import NOW_S, FakeView, all_states, lively
from tools import screenshot
from tools.browser import CHROMIUM, Browser, Page, Screen, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on this machine")

PHONE = Screen(360, 740, touch=True)
DESK = Screen(1280, 800)
SCHEMES = ["light", "dark"]

ENDLESS = "x" * 64
HOSTILE = [
    '<img src=x onerror="document.title=1">',
    '"><script>document.title = 2</script>',
    "' onmouseover='document.title=3",
    '</style></title></svg><svg onload="document.title=4">&lt;b>',
    '<img src="https://foreign.example/x.png">',
]

# Every element with text of its own: its colour on the first ground below it, its size as it is seen, and where it is.
TEXTS = """(() => {
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *")].flatMap((element) => {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("").trim();
    if (!own || element.tagName === "title") return [];
    const style = getComputedStyle(element), svg = element.closest("svg"), box = element.getBoundingClientRect();
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    return [{
      text: own, ink: svg ? style.fill : style.color, ground: ground(element),
      size: parseFloat(style.fontSize) * scale, left: box.left, right: box.right,
    }];
  });
})()"""

LINKS = """[...document.querySelectorAll("a")].map((link) => {
  const box = link.getBoundingClientRect();
  return {text: link.textContent, width: box.width, height: box.height};
})"""

WIDTHS = """({
  screen: document.documentElement.clientWidth, page: document.documentElement.scrollWidth,
  beyond: [...document.querySelectorAll("body *")].filter(
    (each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
      || each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== "inline" && !each.closest("svg")
  ).map((each) => each.outerHTML.slice(0, 200)),
})"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@contextmanager
def served(feeds: Sequence[FeedSnapshot]) -> Iterator[str]:
    """The address of a status page of `feeds`, as the exporter serves it."""
    server = Server(create_app(FakeView(list(feeds))), ("127.0.0.1:0",))
    server.start()
    try:
        yield f"http://{server.address}/"
    finally:
        server.stop(timeout_s=1.0)


@contextmanager
def shown(
    chromium: Browser, feeds: Sequence[FeedSnapshot], screen: Screen, *, scripts: bool = True
) -> Iterator[Page]:
    with served(feeds) as address, chromium.page(screen, scripts=scripts) as page:
        page.open(address)
        yield page


def many(number: int = 20) -> list[FeedSnapshot]:
    """Feeds with long names, with and without places to break them, and every state among them."""
    states = all_states()
    named = []
    for place in range(number):
        each = states[place % len(states)]
        account = (
            f"{ENDLESS[: 60 + place % 5]}{place:02d}" if place % 2 else f"an account of many words {place}"
        )
        named.append(
            FeedSnapshot(
                account,
                "apple-messages-for-business",
                **{name: getattr(each, name) for name in FeedSnapshot.__slots__[2:]},
            )
        )
    return named


def excessive() -> list[FeedSnapshot]:
    """Feeds whose every text and figure is as long as it gets."""
    hour = int(NOW_S // 3600)
    return [
        lively(
            ENDLESS,
            ENDLESS,
            incident=Incident(f"401: {ENDLESS * 10}", NOW_S - 40 * 86_400),
            up=False,
            backlog_ms=3_000_000_000,
            requests_per_minute=100_000.5,
            requests_last_minute=99_999,
            last_poll_s=NOW_S - 1e8,
            last_success_s=NOW_S - 1e8,
            read_up_to_ms=0,
            by_hour={hour - back: {ENDLESS: 10**9, ENDLESS.upper(): 1} for back in range(24)},
            counters={
                Series.of("infobip_messages_sent_total", entity_id="a", application_id="b"): 10**15,
                Series.of("infobip_exporter_lost_seconds_total", reason=ENDLESS): 10**9,
            },
        )
    ]


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(text: dict[str, Any]) -> float:
    """The contrast ratio of WCAG 2.2."""
    dark, bright = sorted((luminance(text["ink"]), luminance(text["ground"])))
    return (bright + 0.05) / (dark + 0.05)


def assert_fits(page: Page) -> None:
    widths = page.evaluate(WIDTHS)
    assert widths["beyond"] == []
    assert widths["page"] == widths["screen"]


FEEDS = {"states": all_states, "many": many, "excessive": excessive, "none": list}


@pytest.mark.parametrize("feeds", FEEDS)
def test_no_screen_has_to_be_scrolled_sideways_even_zoomed_in(chromium: Browser, feeds: str) -> None:
    # 320 pixels are also what a desk has at 400 %, 640 at 200 % (WCAG 2.2, 1.4.10).
    with shown(chromium, FEEDS[feeds](), PHONE) as page:
        for width in (320, 360, 640, 1280):
            page.show_on(Screen(width, 740, touch=width < 640))
            assert_fits(page)


@pytest.mark.parametrize(("width", "letters"), [(360, "150%"), (640, "200%"), (1280, "200%")])
def test_larger_letters_fit_too(chromium: Browser, width: int, letters: str) -> None:
    with shown(chromium, many(), Screen(width, 740)) as page:
        page.evaluate(f"document.documentElement.style.fontSize = '{letters}'")
        assert_fits(page)


@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_has_contrast_and_size_enough(chromium: Browser, screen: Screen, scheme: str) -> None:
    with shown(chromium, all_states(), screen._replace(scheme=scheme)) as page:
        texts = page.evaluate(TEXTS)
        assert len(texts) > 100
        assert [each for each in texts if contrast(each) < 4.5] == []
        assert [each for each in texts if each["size"] < 11] == []
        bodies = [each for each in texts if each["text"].startswith(("503:", ": 503", "DELIVERED", "12 s"))]
        assert bodies
        assert all(each["size"] >= 14 for each in bodies)
        darker, lighter = ("ground", "ink") if scheme == "dark" else ("ink", "ground")
        assert all(luminance(each[darker]) < luminance(each[lighter]) for each in texts)


def test_a_finger_hits_each_link_on_a_phone(chromium: Browser) -> None:
    with shown(chromium, many(), PHONE) as page:
        links = page.evaluate(LINKS)
        assert [each for each in links if each["height"] < 40 or each["width"] < 40] == []


def test_on_a_phone_the_feeds_are_below_each_other_at_a_desk_beside(chromium: Browser) -> None:
    cards = "new Set([...document.querySelectorAll('.card')].map((card) => card.offsetLeft)).size"
    with shown(chromium, all_states(), PHONE) as page:
        assert page.evaluate(cards) == 1
        page.show_on(DESK)
        assert page.evaluate(cards) == 2


@pytest.mark.parametrize("feeds", [all_states, many], ids=["few", "many"])
def test_the_state_of_each_feed_is_on_the_first_screen_and_leads_to_its_card(
    chromium: Browser, feeds: Any
) -> None:
    with shown(chromium, feeds(), DESK) as page:
        glance = page.evaluate(
            "[...document.querySelectorAll('.glance a')].map((each) => "
            "[each.innerText, each.getBoundingClientRect().bottom, each.hash])"
        )
        assert len(glance) == len(feeds())
        assert all(bottom <= DESK.height for _, bottom, _ in glance)
        for feed, (text, _, target) in zip(feeds(), glance, strict=True):
            assert f"{feed.account} / {feed.channel}" in text
            card = page.evaluate(f"document.querySelector('{target}').innerText")
            assert card.startswith(f"{feed.account} / {feed.channel}")
            assert card.splitlines()[1].strip() in text


def test_without_scripts_everything_is_there_and_nothing_foreign_is_asked_for(chromium: Browser) -> None:
    with shown(chromium, all_states(), DESK, scripts=False) as page:
        said = page.evaluate("document.body.innerText").replace("\u00a0", " ")
        for words in (
            "reading",
            "catching up",
            "waiting for the first answer",
            "refused",
            "failing",
            "12 s ago",
            "401: the API does not accept the key",
            "1 h 30 min",
            "Last incident, over 2 h ago after 30 s: timeout: no answer within 30 s",
            "100 of 100 requests a minute",
            "5 h",
            "DELIVERED",
        ):
            assert words in said
        assert page.evaluate("document.querySelectorAll('svg.chart rect').length") > 50
        hrefs = page.evaluate("[...document.querySelectorAll('nav a')].map((link) => link.href)")
        base = page.requested()[0]
        assert hrefs == [f"{base}metrics", f"{base}-/ready", f"{base}-/healthy", "https://docs.example/"]
        assert page.evaluate("document.scripts.length") == 0
        assert page.complaints() == []
        assert page.requested() == [base]


def test_its_metrics_can_be_opened_from_it(chromium: Browser) -> None:
    with shown(chromium, [lively()], DESK) as page:
        metrics = page.evaluate("document.querySelector('nav a').href")
        page.open(metrics)
        assert page.answered()[metrics] == 200


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_that_are_code_run_nothing_and_are_shown_as_text(chromium: Browser, hostile: str) -> None:
    feeds = [
        lively(
            hostile,
            hostile,
            up=False,
            incident=Incident(hostile, NOW_S - 60),
            by_hour={int(NOW_S // 3600): {hostile: 5}},
            counters={Series.of("infobip_exporter_lost_seconds_total", reason=hostile): 5},
        ),
        lively(last_incident=PastIncident(hostile, NOW_S - 60, NOW_S - 50)),
    ]
    with served(feeds) as address, chromium.page(PHONE) as page:
        page.open(address)
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=100, y=300)
        assert page.evaluate("document.title") == "(1) infobip-exporter"
        # at a glance and in the heading twice (account, channel); both troubles, lost, the chart's bar, table
        assert page.evaluate("document.body.textContent").count(hostile) == 2 * 2 + 5
        assert page.evaluate("document.querySelectorAll('script, img, b, iframe, object').length") == 0
        handlers = (
            "[...document.querySelectorAll('*')].flatMap((each) => each.getAttributeNames())"
            ".filter((name) => name.startsWith('on') || name === 'style')"
        )
        assert page.evaluate(handlers) == []
        assert page.complaints() == []
        assert page.requested() == [address]
        assert_fits(page)


def test_a_script_in_the_page_would_be_refused(chromium: Browser) -> None:
    with shown(chromium, [lively()], DESK) as page:
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}),"
            " Object.assign(new Image(), {src: 'https://foreign.example/x.png'}))"
        )
        assert page.evaluate("document.title") == "infobip-exporter"
        refused = [said for said in page.complaints() if "Content Security Policy" in said]
        assert any("script" in said for said in refused)
        assert any("foreign.example" in said for said in refused)


def test_the_pictures_of_the_docs_can_be_taken_anew() -> None:
    for path, png in screenshot.take().items():
        assert screenshot.hash_in(png) == screenshot.page_hash(), path


def test_it_can_be_printed_dark_on_white_with_no_card_torn(chromium: Browser) -> None:
    with shown(chromium, many(), DESK._replace(scheme="dark")) as page:
        printed = page.printed()
        assert printed.startswith(b"%PDF")
        assert 5 <= len(re.findall(rb"/Type /Page\b", printed)) <= 20
        page.show_on(Screen(720, 1000, "dark"), media="print")
        assert [each for each in page.evaluate(TEXTS) if luminance(each["ink"]) > 0.2] == []
        assert page.evaluate("getComputedStyle(document.querySelector('.card')).breakInside") == "avoid"
        assert_fits(page)
