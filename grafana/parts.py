"""What the three dashboards share: their choices, links, annotations, and the ways to ask."""

from grafana.panels import DATASOURCE, SCHEMA_VERSION, Json, Row, Variable, lay_out

FEED = 'account=~"$account",channel=~"$channel"'
ALIVE = f"sum(infobip_exporter_backlog_seconds{{{FEED}}})"
"""There whenever the exporter is."""

MESSAGES = f'{FEED},entity_id=~"$entity",application_id=~"$application"'
FAILED = 'general_status=~"UNDELIVERABLE|EXPIRED|REJECTED"'

_VARIABLES = {
    "account": Variable("account", "Account", "infobip_up"),
    "channel": Variable("channel", "Channel", 'infobip_up{account=~"$account"}'),
    "entity_id": Variable("entity", "Entity", f"infobip_messages_sent_total{{{FEED}}}"),
    "application_id": Variable("application", "Application", f"infobip_messages_sent_total{{{FEED}}}"),
    "currency": Variable("currency", "Currency", f"infobip_cost_total{{{FEED}}}"),
}


def grown(metric: str, selector: str, window: str = "$__range", offset: str = "") -> str:
    """How much each counter grew, from its first sample in the window to its last.

    Whole messages, where increase() would stretch the figure to the window's ends. Right because these counters never
    fall and are shown at zero first; after a state was deleted it is wrong for windows that reach back to that.
    """
    series = f"{metric}{{{selector}}}[{window}]{f' offset {offset}' if offset else ''}"
    return f"max_over_time({series}) - min_over_time({series})"


def rate(metric: str, selector: str, offset: str = "") -> str:
    """Per second."""
    return f"rate({metric}{{{selector}}}[$__rate_interval]{f' offset {offset}' if offset else ''})"


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
    """`choices` are the labels that can be chosen at the top, besides the data source."""
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
        "timezone": "browser",
        "time": {"from": time_from, "to": "now"},
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "style": "dark",
        "weekStart": "",
        "links": [_siblings()],
        "annotations": {"list": [_alerts(), _restarts()]},
        "templating": {"list": [_datasource(), *(_VARIABLES[label].json(label) for label in choices)]},
        "panels": lay_out(rows),
    }


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


def _alerts() -> Json:
    expr = (
        'ALERTS{alertstate="firing",component=~"delivery|exporter",account=~"$account|",channel=~"$channel|"}'
    )
    return _annotation(
        "Alerts", "red", expr, "{{alertname}}", "{{account}} {{channel}} {{entity_id}} {{severity}}"
    )


def _restarts() -> Json:
    expr = 'process_start_time_seconds{job="infobip"} * 1000'
    return _annotation("Restarts", "blue", expr, "Exporter started", "{{instance}}") | {
        "useValueForTime": "on"
    }


def _annotation(name: str, colour: str, expr: str, title: str, text: str) -> Json:
    return {
        "name": name, "enable": True, "hide": False, "iconColor": colour, "datasource": DATASOURCE, "expr": expr,
        "step": "60s", "titleFormat": title, "textFormat": text,
    }  # fmt: skip
