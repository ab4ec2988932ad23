"""Exporter health: whether the numbers can be trusted, and what reading them costs."""

from grafana.panels import BLUE, GREEN, RED, YELLOW, Json, Query, Row, lines, stat, timeline, values
from grafana.parts import ALIVE, FEED, dashboard, grown, rate, total, zero_where

_EACH = "{{account}} {{channel}}"
_BY = "account, channel"
_REQUESTS = "infobip_exporter_api_requests_total"
_LATENCY = "infobip_exporter_api_request_duration_seconds_bucket"
_BUDGET = f"max by ({_BY}) (infobip_exporter_api_requests_per_minute_limit{{{FEED}}})"


def _latency(quantile: float) -> Query:
    return Query(
        f"histogram_quantile({quantile}, {total(rate(_LATENCY, FEED), 'le')})", f"p{quantile * 100:.0f}"
    )


def _rare(metric: str, by: str, legend: str) -> Query:
    return Query(total(f"increase({metric}{{{FEED}}}[$__rate_interval])", by), legend)


_FIGURES = Row(
    "Now",
    4,
    (
        stat(
            "Feeds up", "Whether each feed's last poll succeeded: the worst of those chosen.", "none",
            f"min(infobip_up{{{FEED}}})", steps=((None, RED), (1, GREEN)), mappings=values(v0=("failing", RED), v1=("up", GREEN)),
        ),
        stat(
            "Lag", "Now less the moment up to which everything has been read: the worst feed.", "s",
            f"max(infobip_exporter_lag_seconds{{{FEED}}})", steps=((None, GREEN), (600, YELLOW), (86400, RED)), decimals=0,
        ),
        stat(
            "Backlog", "Sent time that is still to be read: the worst feed.", "s",
            f"max(infobip_exporter_backlog_seconds{{{FEED}}})", steps=((None, GREEN), (600, YELLOW), (86400, RED)), decimals=0,
        ),
        stat(
            "Lost", "Sent time given up in the time chosen.", "s",
            zero_where(ALIVE, total(grown("infobip_exporter_lost_seconds_total", FEED))), steps=((None, GREEN), (0.001, RED)),
        ),
        stat(
            "Last success", "Age of the last poll that succeeded: the worst feed.", "s",
            f"time() - min(infobip_exporter_last_success_timestamp_seconds{{{FEED}}})",
            steps=((None, GREEN), (600, YELLOW), (86400, RED)), decimals=0,
        ),
        stat(
            "Rejected records", "Rows of the log that could not be counted, in the time chosen.", "short",
            zero_where(ALIVE, total(grown("infobip_exporter_records_rejected_total", FEED))), steps=((None, GREEN), (1, YELLOW)), decimals=0,
        ),
    ),
)  # fmt: skip

_READING = Row(
    "Reading",
    8,
    (
        timeline(
            "State of each feed", "Red while polls fail.", Query(f"min by ({_BY}) (infobip_up{{{FEED}}})", _EACH),
            mappings=values(v0=("failing", RED), v1=("up", GREEN)),
        ),
        timeline(
            "Caught up", "Yellow while more than 10 minutes of the log are unread. Delivery alerts wait for green.",
            Query(f"account_channel:infobip_exporter_current:bool{{{FEED}}}", _EACH),
            mappings=values(v0=("behind", YELLOW), v1=("current", GREEN)),
        ),
        lines(
            "Lag", "Now less the moment up to which everything has been read.", "s",
            Query(f"max by ({_BY}) (infobip_exporter_lag_seconds{{{FEED}}})", _EACH), steps=((None, GREEN), (600, YELLOW)),
        ),
        lines(
            "Backlog", "Sent time still to be read. What is older than 48 h leaves the log.", "s",
            Query(f"max by ({_BY}) (infobip_exporter_backlog_seconds{{{FEED}}})", _EACH), steps=((None, GREEN), (600, YELLOW)),
        ),
        lines(
            "Lost", "Sent time that left the log unread (expired) or can't be read whole (too_dense).", "s",
            _rare("infobip_exporter_lost_seconds_total", f"{_BY}, reason", f"{_EACH} {{{{reason}}}}"), bars=True,
        ),
        lines(
            "In flight", "Messages whose status is still asked for.", "short",
            Query(f"sum by ({_BY}) (infobip_messages_in_flight{{{FEED}}})", _EACH), stacked=True,
        ),
    ),
)  # fmt: skip

_API = Row(
    "Infobip's API",
    8,
    (
        lines(
            "Request budget used", "Requests of a minute, of those the exporter allows itself. At 100 % it falls behind.",
            "percentunit", Query(f"60 * {total(rate(_REQUESTS, FEED), _BY)} / {_BUDGET}", _EACH),
            steps=((None, GREEN), (0.9, RED)),
        ),
        lines(
            "Requests a minute by outcome", "HTTP status, or timeout, connection, invalid_body.", "suffix:/min",
            Query(f"60 * {total(rate(_REQUESTS, FEED), 'code')}", "{{code}}"), stacked=True,
        ),
        lines("Latency", "How long requests take.", "s", _latency(0.5), _latency(0.95), _latency(0.99)),
        lines(
            "Failed requests", "Rare events: counted, not per second.", "short",
            Query(total(f'increase({_REQUESTS}{{{FEED},code!="200"}}[$__rate_interval])', f"{_BY}, code"), f"{_EACH} {{{{code}}}}"),
            bars=True,
        ),
    ),
)  # fmt: skip

_ODD = Row(
    "Oddities",
    8,
    (
        lines(
            "Rejected records", "Rows without an id, a readable sentAt or a status.", "short",
            _rare("infobip_exporter_records_rejected_total", "reason", "{{reason}}"), bars=True, width=6,
        ),
        lines(
            "Changed after final", "A final status that changed later. The first one stays counted.", "short",
            _rare("infobip_exporter_status_changes_after_final_total", "from, to", "{{from}} to {{to}}"), bars=True, width=6,
        ),
        lines(
            "Label overflow", "Counted under __other__, because the label has metrics.max_label_values others.", "short",
            _rare("infobip_exporter_label_overflow_total", "label", "{{label}}"), bars=True, width=6,
        ),
        lines(
            "Clock skew", "Infobip's clock less the exporter's.", "s",
            Query(f"max by (account) (infobip_exporter_clock_skew_seconds{{{FEED}}})", "{{account}}"), width=6, minimum=None,
        ),
    ),
)  # fmt: skip

_JOB = 'job="infobip"'

_PROCESS = Row(
    "The process",
    7,
    (
        stat(
            "Version", "What runs.", "none", "max by (version) (infobip_exporter_build_info)", legend="{{version}}", text="name",
            steps=((None, BLUE),),
        ),
        lines(
            "Memory", "Resident.", "bytes", Query(f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}}"), width=7,
        ),
        lines(
            "CPU", "Of one core.", "percentunit",
            Query(f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])", "{{instance}}"), width=6,
        ),
        lines(
            "Scrape duration", "How long Prometheus waits for the metrics.", "s",
            Query(f"scrape_duration_seconds{{{_JOB}}}", "{{instance}}"), width=7,
        ),
    ),
)  # fmt: skip


def exporter() -> Json:
    return dashboard(
        "infobip-exporter",
        "Infobip / Exporter health",
        "Whether the numbers can be trusted, and what reading them costs.",
        ("account", "channel"),
        (_FIGURES, _READING, _API, _ODD, _PROCESS),
        "now-6h",
    )
