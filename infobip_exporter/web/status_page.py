"""The status page: how each feed is, for a person at a phone or a desk. Plain HTML, no script, everything escaped."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.gauges import lag_s
from infobip_exporter.metrics.snapshot import FeedOwner, FeedSnapshot, PastIncident
from infobip_exporter.web.chart import chart, tone, totals
from infobip_exporter.web.feed_state import WAITING, FeedState, feed_state
from infobip_exporter.web.replicas import replicas
from infobip_exporter.web.words import duration, machine_moment, moment, whole

_STYLE = resources.files("infobip_exporter.web").joinpath("status.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style sheet and nothing else."""


def render(
    feeds: Sequence[FeedSnapshot],
    now_s: float,
    version: str,
    docs_url: str,
    owners: Sequence[FeedOwner] | None = None,
) -> str:
    """The page as HTML; `now_s` is our wall clock. With `owners`, who runs the feeds, over all replicas."""
    states = [feed_state(feed) for feed in feeds]
    cards = "".join(
        _card(place, feed, state, now_s)
        for place, (feed, state) in enumerate(zip(feeds, states, strict=True))
    )
    docs = f'<a href="{escape(docs_url)}">Docs</a>' if docs_url else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_title(states)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>infobip-exporter</h1><nav aria-label="Pages"><a href="/metrics">Metrics</a>'
        f'<a href="/-/ready">Ready</a><a href="/-/healthy">Healthy</a>{docs}</nav>'
        f'<p class="summary">{_summary(states)}</p></header>\n'
        f'<main>{_glance(feeds, states)}<div class="cards">{cards}</div>{replicas(owners)}</main>\n'
        f"<footer>Version {escape(version)}. As of {_time(now_s, moment(now_s))}; reload for newer figures. "
        "Counts are exact; the hours of the charts are UTC.</footer>\n</body>\n</html>\n"
    )


def _title(states: Sequence[FeedState]) -> str:
    in_need = sum(state.needs_a_look for state in states)
    return f"({in_need}) infobip-exporter" if in_need else "infobip-exporter"


def _summary(states: Sequence[FeedState]) -> str:
    if not states:
        return "No feed runs here."
    counted = "1 feed" if len(states) == 1 else f"{len(states)} feeds"
    in_need = sum(state.needs_a_look for state in states)
    if in_need:
        return f"{in_need} of {counted} {'needs' if in_need == 1 else 'need'} a look."
    waiting = states.count(WAITING)
    if waiting:
        return f"{waiting} of {counted} still {'waits' if waiting == 1 else 'wait'} for the first answer."
    return f"{counted}, nothing wrong."


def _glance(feeds: Sequence[FeedSnapshot], states: Sequence[FeedState]) -> str:
    """Every feed's state before any card; one feed alone says it itself."""
    if len(feeds) < 2:
        return ""
    entries = "".join(
        f'<li><a class="{state.tone}" href="#feed-{place}">{_name(feed)}<strong>{state.word}</strong></a></li>'
        for place, (feed, state) in enumerate(zip(feeds, states, strict=True))
    )
    return f'<ul class="glance">{entries}</ul>'


def _name(feed: FeedSnapshot) -> str:
    return escape(f"{feed.account} / {feed.channel}")


def _card(place: int, feed: FeedSnapshot, state: FeedState, now_s: float) -> str:
    return (
        f'<section class="card" id="feed-{place}"><div class="title"><h2>{_name(feed)}</h2>'
        f'<span class="state {state.tone}">{state.word}</span></div>'
        f'{_incident(feed, state, now_s)}<dl class="figures">{_figures(feed, now_s)}</dl>'
        f"{_last_day(feed, now_s)}</section>\n"
    )


def _incident(feed: FeedSnapshot, state: FeedState, now_s: float) -> str:
    if feed.incident is None:
        return _past_incident(feed.last_incident, now_s)
    since = _time(feed.incident.since_s, f"For {duration(now_s - feed.incident.since_s)}")
    return f'<p class="incident {state.tone}">{since}: {escape(feed.incident.text)}</p>'


def _past_incident(past: PastIncident | None, now_s: float) -> str:
    if past is None:
        return ""
    over = _time(past.ended_s, f"{duration(now_s - past.ended_s)} ago")
    lasted = duration(past.ended_s - past.since_s)
    return f'<p class="past">Last incident, over {over} after {lasted}: {escape(past.text)}</p>'


def _figures(feed: FeedSnapshot, now_s: float) -> str:
    lag = lag_s(feed, now_s)
    lost = _lost(feed)
    lost_s = sum(lost.values())
    allowed = feed.requests_per_minute
    used = f"{feed.requests_last_minute / allowed:.0%}" if allowed else "–"
    return "".join(
        [
            _figure("Last poll", _ago(feed.last_poll_s, now_s), _last_success(feed, now_s)),
            _figure("Lag", "–" if lag is None else duration(lag), "" if lag is None else "behind now"),
            _figure(
                "Backlog",
                _backlog(feed),
                "of sent time to read" if feed.backlog_ms else "",
            ),
            _figure(
                "Lost",
                duration(lost_s) if lost_s else "nothing",
                ", ".join(f"{escape(reason)} {duration(seconds)}" for reason, seconds in lost.items()),
                alarm=bool(lost_s),
            ),
            _figure(
                "Budget used",
                used,
                f"{whole(feed.requests_last_minute)} of {allowed:,g} requests a minute",
            ),
            _figure("Messages", whole(_sent(feed)), f"{whole(sum(feed.in_flight.values()))} in flight"),
            _audit(feed),
        ]
    )


def _audit(feed: FeedSnapshot) -> str:
    """Up to when every message has been verified by a second read, and what the audit has found."""
    found = {
        series.label("result"): int(value)
        for series, value in feed.counters.items()
        if series.family == catalog.AUDIT.name
    }
    wrong = {result: found.get(result, 0) for result in ("missed", "vanished") if found.get(result)}
    differs = ", ".join(f"{whole(count)} {result}" for result, count in wrong.items()) or "0 missed"
    up_to = feed.verified_up_to_ms
    return _figure(
        "Verified up to",
        "–"
        if up_to is None
        else _time(up_to / 1000, f"{datetime.fromtimestamp(up_to / 1000, UTC):%H:%M} UTC"),
        f"{whole(found.get('verified', 0))} messages, {differs}",
        alarm=bool(wrong),
    )


def _figure(name: str, value: str, note: str, *, alarm: bool = False) -> str:
    small = f"<small>{note}</small>" if note else ""
    kind = ' class="alarm"' if alarm else ""
    return f"<div><dt>{name}</dt><dd{kind}>{value}{small}</dd></div>"


def _last_day(feed: FeedSnapshot, now_s: float) -> str:
    heading = "<h3>Settled in the last day</h3>"
    by_status = totals(feed.by_hour, now_s)
    settled = sum(by_status.values())
    if not settled:
        return f'{heading}<p class="none">No message settled in the last day.</p>'
    title = f"Messages of {feed.account} / {feed.channel} settled in each hour of the last day, by status"
    rows = "".join(
        f'<tr><th scope="row">{_key(status)}{escape(status)}</th><td>{whole(count)}</td>'
        f"<td>{_share(count, settled)}</td></tr>"
        for status, count in by_status.items()
    )
    return (
        f'{heading}<div class="day">{chart(feed.by_hour, now_s, title)}'
        '<table><thead><tr><th scope="col">Status</th><th scope="col">Messages</th><th scope="col">Share</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _key(status: str) -> str:
    return f'<svg class="key {tone(status)}" viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" rx="2"/></svg>'


def _share(count: int, settled: int) -> str:
    share = count / settled
    return "&lt;0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def _sent(feed: FeedSnapshot) -> int:
    return int(sum(value for series, value in feed.counters.items() if series.family == catalog.SENT.name))


def _lost(feed: FeedSnapshot) -> dict[str, float]:
    lost = [(series, value) for series, value in feed.counters.items() if series.family == catalog.LOST.name]
    return {series.label("reason"): float(value) for series, value in lost if value}


def _last_success(feed: FeedSnapshot, now_s: float) -> str:
    if feed.up or feed.last_poll_s is None:
        return ""
    return (
        "none succeeded yet"
        if feed.last_success_s is None
        else f"succeeded {_ago(feed.last_success_s, now_s)}"
    )


def _backlog(feed: FeedSnapshot) -> str:
    if feed.backlog_ms:
        return duration(feed.backlog_ms / 1000)
    # What waits at an API that does not answer is not known.
    return "none" if feed.up else "–"


def _ago(at_s: float | None, now_s: float) -> str:
    return "never" if at_s is None else _time(at_s, f"{duration(now_s - at_s)} ago")


def _time(at_s: float, said: str) -> str:
    return f'<time datetime="{machine_moment(at_s)}" title="{moment(at_s)}">{said}</time>'
