"""Who runs each feed, over all replicas: a table of the status page."""

from collections.abc import Sequence
from html import escape

from infobip_exporter.metrics.snapshot import FeedOwner
from infobip_exporter.web.words import duration


def replicas(owners: Sequence[FeedOwner] | None) -> str:
    """The table as HTML; empty where one process runs all feeds."""
    if owners is None:
        return ""
    rows = "".join(_row(each) for each in owners)
    return (
        '<section class="card"><div class="title"><h2>Feeds of all replicas</h2></div>'
        '<table class="replicas"><thead><tr><th scope="col">Feed</th><th scope="col">Runs on</th>'
        '<th scope="col">Lease renewed</th><th scope="col">Lag</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>\n"
    )


def _row(feed: FeedOwner) -> str:
    where = f"{escape(feed.replica)} (this one)" if feed.is_own else escape(feed.replica) or "no replica"
    heard = "–" if feed.heard_s is None else f"{duration(max(0.0, feed.heard_s))} ago"
    lag = "–" if feed.behind_s is None else duration(max(0.0, feed.behind_s))
    return (
        f'<tr><th scope="row">{escape(f"{feed.account} / {feed.channel}")}</th><td>{where}</td>'
        f"<td>{heard}</td><td>{lag}</td></tr>"
    )
