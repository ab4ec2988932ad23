"""Exporter health: whether the numbers can be trusted, and what reading them costs."""

from grafana.panels import BLUE, GREEN, RED, YELLOW, Json, Query, Row, lines, stat, timeline, values
from grafana.parts import (
    ALIVE,
    FEED,
    PROCESS,
    counted,
    current,
    dashboard,
    exporter_up,
    grown,
    lost,
    quantile,
    rate,
    total,
    what_fires,
    zero_where,
)

_EACH = "{{account}} {{channel}}"
_BY = "account, channel"
_REQUESTS = "infobip_exporter_api_requests_total"
_LATENCY = "infobip_exporter_api_request_duration_seconds_bucket"
_BUDGET = f"max by ({_BY}) (infobip_exporter_api_requests_per_minute_limit{{{FEED}}})"


def _of_each(metric: str, of: str = "max") -> Query:
    """Of each feed."""
    return Query(f"{of} by ({_BY}) ({metric}{{{FEED}}})", _EACH)


def _rare(metric: str, by: str, legend: str) -> Query:
    return Query(counted(metric, FEED, by), legend)


_FRESHNESS = "infobip_exporter_freshness_seconds_bucket"
_AUDITED = "infobip_exporter_audit_messages_total"


def _audited(result: str) -> str:
    return zero_where(ALIVE, total(grown(_AUDITED, f'{FEED},result="{result}"')))


_FIGURES = Row(
    "Now",
    4,
    (
        exporter_up(),
        current(),
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
        lost("Sent time given up in the time chosen."),
        stat(
            "Last success", "Age of the last poll that succeeded: the worst feed.", "s",
            f"time() - min(infobip_exporter_last_success_timestamp_seconds{{{FEED}}})",
            steps=((None, GREEN), (600, YELLOW), (86400, RED)), decimals=0, width=6,
        ),
        stat(
            "Rejected records", "Rows of the log that could not be counted, in the time chosen.", "short",
            zero_where(ALIVE, total(grown("infobip_exporter_records_rejected_total", FEED))), steps=((None, GREEN), (1, YELLOW)),
            decimals=0, width=6,
        ),
        stat(
            "Feeds", "How many are configured.", "short", f"count(infobip_exporter_feed_info{{{FEED}}})", decimals=0, width=6,
        ),
        stat(
            "Configuration", "Whether the last reload took the configuration.", "none",
            f"min(infobip_exporter_config_last_reload_successful{{{PROCESS}}})", steps=((None, RED), (1, GREEN)),
            mappings=values(v0=("refused", RED), v1=("loaded", GREEN)), width=6,
        ),
    ),
)  # fmt: skip

_FRESH = Row(
    "How fresh",
    8,
    (
        lines(
            "Freshness", "From a message being sent, or settled, to its being counted here. The alert CountsLate looks at p90 of sent.",
            "s", *(quantile(each, _FRESHNESS, FEED, "of, le", "{{of}} p") for each in (0.5, 0.9, 0.99)), steps=((None, GREEN), (300, RED)), width=16,
        ),
        lines(
            "Final age", "How long records may turn up late and still be counted.", "s",
            _of_each("infobip_exporter_final_age_seconds"), width=8,
        ),
    ),
)  # fmt: skip

_AUDIT = Row(
    "Audit: final time, read again and compared",
    5,
    (
        stat(
            "Verified up to", "Sent time up to which every message has been verified: the feed that is least far. No data where the "
            "request budget leaves no room.", "dateTimeAsIso",
            f"1000 * min(infobip_exporter_audit_verified_timestamp_seconds{{{FEED}}})", width=8,
        ),
        stat("Verified", "Messages that were counted as the log has them.", "short", _audited("verified"), decimals=0),
        stat(
            "Recovered", "Messages that earlier reads had missed; the last one counted them.", "short", _audited("recovered"), decimals=0,
        ),
        stat(
            "Missed", "Messages in the log that no count has.", "short", _audited("missed"), decimals=0,
            steps=((None, GREEN), (1, RED)),
        ),
        stat(
            "Vanished", "Messages that were counted and are no longer in the log.", "short", _audited("vanished"), decimals=0,
            steps=((None, GREEN), (1, YELLOW)),
        ),
    ),
)  # fmt: skip

_READING = Row(
    "Reading",
    8,
    (
        timeline(
            "State of each feed", "Red while polls fail.", _of_each("infobip_up", "min"),
            mappings=values(v0=("failing", RED), v1=("up", GREEN)),
        ),
        timeline(
            "Caught up", "Yellow while the feed is far behind or catches up. Delivery alerts wait until their window is green.",
            _of_each("feed:infobip_exporter_current:bool", "min"),
            mappings=values(v0=("behind", YELLOW), v1=("current", GREEN)),
        ),
        lines(
            "Lag", "Now less the moment up to which everything has been read.", "s",
            _of_each("infobip_exporter_lag_seconds"), steps=((None, GREEN), (600, YELLOW)),
        ),
        lines(
            "Backlog", "Sent time still to be read. What is older than 48 h leaves the log.", "s",
            _of_each("infobip_exporter_backlog_seconds"), steps=((None, GREEN), (600, YELLOW)),
        ),
        lines(
            "Lost", "Sent time that left the log unread (expired) or can't be read whole (too_dense).", "s",
            _rare("infobip_exporter_lost_seconds_total", f"{_BY}, reason", f"{_EACH} {{{{reason}}}}"), bars=True,
        ),
        lines(
            "In flight", "Messages whose status is still asked for.", "short",
            _of_each("infobip_messages_in_flight", "sum"), stacked=True,
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
        lines("Latency", "How long requests take.", "s", *(quantile(each, _LATENCY, FEED) for each in (0.5, 0.95, 0.99))),
        lines(
            "Failed requests", "Rare events: counted, not per second.", "short",
            Query(counted(_REQUESTS, f'{FEED},code!="200"', f"{_BY}, code"), f"{_EACH} {{{{code}}}}"),
            bars=True,
        ),
    ),
)  # fmt: skip

_ODD = Row(
    "Oddities",
    8,
    (
        lines(
            "Rejected records", "Rows without an id, a readable sentAt or a status; and messages counted without a duration.", "short",
            _rare("infobip_exporter_records_rejected_total", "reason", "{{reason}}"),
            _rare("infobip_exporter_durations_rejected_total", _BY, "no duration"), bars=True, width=6,
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
            Query(f"infobip_exporter_clock_skew_seconds{{{FEED}}}", _EACH), width=6, minimum=None,
        ),
        lines(
            "Log lines dropped", "Log lines that could not be written.", "short",
            Query(counted("infobip_exporter_log_lines_dropped_total", PROCESS, "instance"), "{{instance}}"), bars=True, width=12,
        ),
        lines(
            "Feeds by replica", "How many feeds each process owns, and stands by for.", "short",
            Query(f"sum by (instance, state) (infobip_exporter_feeds{{{PROCESS}}})", "{{instance}} {{state}}"), width=12,
        ),
    ),
)  # fmt: skip

_KNOWN = f"on (job, instance) infobip_exporter_build_info{{{PROCESS}}}"
"""Of all processes that Prometheus scrapes, the exporters."""

_PROCESS = Row(
    "The process",
    7,
    (
        stat(
            "Version", "What runs.", "none", f"max by (version) (infobip_exporter_build_info{{{PROCESS}}})", legend="{{version}}", text="name",
            steps=((None, BLUE),),
        ),
        lines(
            "Memory", "Resident.", "bytes", Query(f"process_resident_memory_bytes{{{PROCESS}}} and {_KNOWN}", "{{instance}}"), width=7,
        ),
        lines(
            "CPU", "Of one core.", "percentunit",
            Query(f"{rate('process_cpu_seconds_total', PROCESS)} and {_KNOWN}", "{{instance}}"), width=6,
        ),
        lines(
            "Scrape duration", "How long Prometheus waits for the metrics.", "s",
            Query(f"scrape_duration_seconds{{{PROCESS}}} and {_KNOWN}", "{{instance}}"), width=7,
        ),
    ),
)  # fmt: skip


def exporter() -> Json:
    return dashboard(
        "infobip-exporter",
        "Infobip / Exporter health",
        "Whether the numbers can be trusted, and what reading them costs.",
        ("account", "channel"),
        (_FIGURES, what_fires(), _READING, _FRESH, _AUDIT, _API, _ODD, _PROCESS),
        "now-6h",
    )
