"""What the dashboards share: their choices, links, annotations, and the ways to ask."""

from grafana.panels import (
    DATASOURCE,
    GREEN,
    RED,
    SCHEMA_VERSION,
    YELLOW,
    Json,
    Query,
    Row,
    lay_out,
    lines,
    stat,
    table,
    values,
)

EXPORTER = 'job=~"$job",instance=~"$instance"'
FEED = f'{EXPORTER},account=~"$account",channel=~"$channel"'
PROCESS = 'job=~"$job"'
"""For what is about the process: its `instance` is its address, that of a feed's series is constant."""
ALIVE = f"sum(infobip_exporter_backlog_seconds{{{FEED}}})"
"""There whenever the exporter is."""

MESSAGES = f'{FEED},entity_id=~"$entity",application_id=~"$application"'
FAILED = 'general_status!~"$fine"'
"""As for the alerts: everything but DELIVERED, also a group that nobody has heard of."""

FLOOR = 20
"""A ratio of fewer messages than this is chance, and not shown."""

RUNBOOKS = "https://github.com/infobip-exporter/infobip-exporter/blob/main/docs/runbooks"

_CHOICES = {
    "job": ("job", "infobip_up"),
    "instance": ("instance", 'infobip_up{job=~"$job"}'),
    "account": ("account", f"infobip_up{{{EXPORTER}}}"),
    "channel": ("channel", f'infobip_up{{{EXPORTER},account=~"$account"}}'),
    "entity_id": ("entity", f"infobip_messages_sent_total{{{FEED}}}"),
    "application_id": ("application", f"infobip_messages_sent_total{{{FEED}}}"),
    "campaign": ("campaign", f"infobip_messages_sent_total{{{FEED}}}"),
    "currency": ("currency", f"infobip_cost_total{{{FEED}}}"),
}
"""By label, the variable that its values can be chosen with, and the series that have them."""


def grown(metric: str, selector: str, offset: str = "") -> str:
    """How much each counter grew, from its first sample in the window to its last.

    Whole messages, where increase() would stretch the figure to the window's ends. Right because these counters never
    fall and are shown at zero first; after a state was deleted it is wrong for windows that reach back to that.
    """
    series = f"{metric}{{{selector}}}[$__range]{f' offset {offset}' if offset else ''}"
    return f"max_over_time({series}) - min_over_time({series})"


def rate(metric: str, selector: str) -> str:
    """Per second."""
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def counted(metric: str, selector: str, by: str = "") -> str:
    """How much the counters grew in each step of a graph: whole messages, and the steps add up to the whole.

    Also over a gap of up to an hour. What was not known a step before is new, or back after longer: increase() has it.
    """
    series = f"{metric}{{{selector}}}"
    before = total(f"last_over_time({series}[1h] offset $__interval)", by)
    new = total(f"increase({series}[$__rate_interval])", by)
    return f"(clamp_min({total(series, by)} - {before}, 0) or {new})"


def ratio_of_15_minutes(by: str = "", selector: str = MESSAGES) -> str:
    """The share of failures of the last 15 minutes, where so many messages settled that it means something."""
    everything, failed = (
        total(f"increase(infobip_messages_total{{{each}}}[15m])", by)
        for each in (selector, f"{selector},{FAILED}")
    )
    return f"{zero_where(everything, failed)} / ({everything} >= {FLOOR})"


def total(inner: str, by: str = "") -> str:
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def zero_where(known: str, part: str) -> str:
    """`part`, and 0 where there is none of it although there is `known`: nothing failed. No `known`, no data."""
    return f"({part} or 0 * {known})"


def share(part: str, whole: str) -> str:
    """`part` of `whole`: 0 where there is no part, nothing (not 0, not NaN) where there is no whole."""
    return f"{zero_where(whole, part)} / ({whole} > 0)"


def to_deliveries(application: str) -> str:
    """A table's link to the deliveries of the row's entity; `application` says which application is chosen there."""
    return (
        "/d/infobip-delivery?${datasource:queryparam}&var-account=${__data.fields.Account:percentencode}"
        "&var-channel=${__data.fields.Channel:percentencode}&var-entity=${__data.fields.Entity:percentencode}"
        f"&{application}&${{__url_time_range}}"
    )


def dashboard(
    uid: str, title: str, description: str, choices: tuple[str, ...], rows: tuple[Row, ...], time_from: str
) -> Json:
    """`choices` are the labels that can be chosen at the top, besides data source, job and instance."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["infobip"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "timezone": "utc",
        "time": {"from": time_from, "to": "now"},
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "style": "dark",
        "weekStart": "",
        "links": [_siblings(), _runbooks()],
        "annotations": {"list": [_alerts(), _restarts()]},
        "templating": {
            "list": [
                _datasource(),
                *(_choice(label) for label in ("job", "instance", *choices)),
                _fine(),
            ]
        },
        "panels": lay_out(rows),
    }


def _choice(label: str) -> Json:
    """The values of a label, several or all."""
    name, series = _CHOICES[label]
    query = f"label_values({series}, {label})"
    # `.*` also matches series without the label.
    everything = ".+" if name in {"job", "instance", "campaign"} else ".*"
    return {
        "type": "query", "name": name, "label": name.capitalize(), "datasource": DATASOURCE, "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"}, "refresh": 2, "sort": 1, "multi": True,
        "includeAll": True, "allValue": everything, "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [], "hide": 0, "skipUrlSync": False, "regex": "",
    }  # fmt: skip


def _datasource() -> Json:
    return {
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1,
        "regex": "", "multi": False, "includeAll": False, "current": {}, "options": [], "hide": 0, "skipUrlSync": False,
    }  # fmt: skip


def _siblings() -> Json:
    """Links to the other dashboards, with the choices and the time range."""
    return {
        "type": "dashboards", "title": "Infobip", "tags": ["infobip"], "asDropdown": False, "includeVars": True,
        "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
    }  # fmt: skip


def _runbooks() -> Json:
    return {
        "type": "link", "title": "Runbooks", "url": f"{RUNBOOKS}/README.md", "tags": [], "asDropdown": False,
        "includeVars": False, "keepTime": False, "targetBlank": True, "icon": "doc", "tooltip": "",
    }  # fmt: skip


def _fine() -> Json:
    """The final statuses that are no failure: where others than DELIVERED are, this and the recording rules say so."""
    return {
        "type": "constant", "name": "fine", "label": "Statuses that are fine", "query": "DELIVERED", "hide": 2,
        "skipUrlSync": True, "current": {"selected": False, "text": "DELIVERED", "value": "DELIVERED"},
        "options": [{"selected": True, "text": "DELIVERED", "value": "DELIVERED"}],
    }  # fmt: skip


FIRING = (
    'ALERTS{alertstate="firing",severity=~"critical|warning",component=~"delivery|exporter",job=~"$job|",'
    'account=~"$account|",channel=~"$channel|"}'
)
"""Also those without a job, an account or a channel."""


def what_fires() -> Row:
    alerts = table(
        "Firing alerts",
        "Since when each has held, to the start of its first sign. An alert is a link to its runbook.",
        [f"1000 * ALERTS_FOR_STATE and ignoring (alertstate) {FIRING}"],
        {
            "severity": ("Severity", ""), "alertname": ("Alert", ""), "account": ("Account", ""), "channel": ("Channel", ""),
            "entity_id": ("Entity", ""), "general_status": ("Status", ""), "Value": ("Since", "dateTimeAsIso"),
        },
        link=("Alert", "Its runbook", f"{RUNBOOKS}/${{__value.raw}}.md"),
        hidden=("__name__", "component", "job", "instance", "window", "reason", "code", "currency", "label"),
        empty="none",
    )  # fmt: skip
    return Row("What fires", 6, (alerts,))


def exporter_up() -> Json:
    return stat(
        "Exporter", "Whether Prometheus can scrape every exporter it knew in the last two days.", "none",
        f"min(up{{{PROCESS}}} and on (job, instance) max_over_time(infobip_exporter_build_info{{{PROCESS}}}[2d]))",
        steps=((None, RED), (1, GREEN)), mappings=values(v0=("down", RED), v1=("up", GREEN)),
    )  # fmt: skip


def current() -> Json:
    return stat(
        "Reading", "Whether the numbers are of now: 'catching up' means that they are of the past, and delivery alerts wait.",
        "none", f"min(feed:infobip_exporter_current:bool{{{FEED}}})", steps=((None, RED), (1, GREEN)),
        mappings=values(v0=("catching up", YELLOW), v1=("current", GREEN)),
    )  # fmt: skip


def lost(description: str) -> Json:
    expr = zero_where(ALIVE, total(grown("infobip_exporter_lost_seconds_total", FEED)))
    return stat("Lost", description, "s", expr, steps=((None, GREEN), (0.001, RED)))


def delivery_rate(selector: str, more: str = "") -> Json:
    delivered = total(grown("infobip_messages_total", f'{selector},general_status="DELIVERED"'))
    settled = total(grown("infobip_messages_total", selector))
    return stat(
        "Delivery rate", f"Delivered, of the messages that reached a final status.{more}", "percentunit",
        share(delivered, settled), decimals=2, steps=((None, RED), (0.9, YELLOW), (0.95, GREEN)),
    )  # fmt: skip


def in_flight(selector: str) -> Json:
    sent, waiting = (total(f"infobip_messages_{part}{{{selector}}}") for part in ("sent_total", "in_flight"))
    description = "Messages without a final status, at the end of the time chosen."
    return stat("In flight", description, "short", zero_where(sent, waiting), decimals=0)


def failure_ratio(name: str, label: str, selector: str = MESSAGES) -> Json:
    """The lines of the ten worst values of a label."""
    return lines(
        f"Failure ratio by {name}",
        "Failed, of all that settled in the last 15 minutes: the ten worst. No line below twenty messages.",
        "percentunit", Query(f"topk(10, {ratio_of_15_minutes(label, selector)})", f"{{{{{label}}}}}"),
        steps=((None, GREEN), (0.05, RED)),
    )  # fmt: skip


def quantile(quantile: float, buckets: str, selector: str, by: str = "le", legend: str = "p") -> Query:
    expr = f"histogram_quantile({quantile}, {total(rate(buckets, selector), by)})"
    return Query(expr, f"{legend}{quantile * 100:.0f}")


def _alerts() -> Json:
    text = "{{account}} {{channel}} {{entity_id}} {{severity}}"
    return _annotation("Alerts", "red", FIRING, "{{alertname}}", text)


def _restarts() -> Json:
    known = f"max_over_time(infobip_exporter_build_info{{{PROCESS}}}[2d])"
    expr = f"1000 * process_start_time_seconds{{{PROCESS}}} and on (job, instance) {known}"
    return _annotation("Restarts", "blue", expr, "Exporter started", "{{instance}}") | {
        "useValueForTime": "on"
    }


def _annotation(name: str, colour: str, expr: str, title: str, text: str) -> Json:
    return {
        "name": name, "enable": True, "hide": False, "iconColor": colour, "datasource": DATASOURCE, "expr": expr,
        "step": "60s", "titleFormat": title, "textFormat": text,
    }  # fmt: skip
