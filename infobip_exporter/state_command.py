"""The `state` command: what the state holds, whether it is sound, and a copy of it. The exporter may run meanwhile."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from infobip_exporter.config.schema import State
from infobip_exporter.errors import ConfigError
from infobip_exporter.ledger import copying, inspect, sqlite_contents
from infobip_exporter.ledger.contents import reading
from infobip_exporter.ledger.inspect import FeedHeld, StateHeld


def state(source: State, action: str | None = None, target: str = "", style: str = "text") -> int:
    """Show the state at `source`, or do the `action`: `check`, `backup` to the file or `copy` to the URL `target`.

    `style` is `text` or `json`. The exit code: 1 if the check finds something, else 0. Raises LedgerError for a state
    that can't be read, ConfigError for a target that does not fit.
    """
    wrong: list[str] = []
    value: object
    match action:
        case "check":
            with reading(source) as contents:
                wrong = list(inspect.findings(contents))
            value = {"path": contents.where, "findings": wrong}
            text = "\n".join(f"FAIL  {line}" for line in wrong) or f"ok    {contents.where}"
        case "backup":
            if source.is_postgres:
                raise ConfigError(["state backup: is for SQLite; pg_dump makes a backup of a database"])
            sqlite_contents.back_up(source.file, Path(target))
            value, text = {"backup": target}, f"ok    {target}"
        case "copy":
            place = State(url=target).place
            if place == source.place:
                raise ConfigError(["state copy: must name another place than state.url"])
            feeds = copying.copy(source, State(url=target))
            value, text = {"copy": place, "feeds": feeds}, f"ok    {place}, {feeds} feeds"
        case _:
            with reading(source) as contents:
                value = held = inspect.held(contents)
            text = _text(held)
    print(msgspec.json.format(msgspec.json.encode(value)).decode() if style == "json" else text)
    return 1 if wrong else 0


def _text(found: StateHeld) -> str:
    lines = [f"{found.path}: schema {found.schema}, {found.size_bytes / 1024:.0f} KiB"]
    for feed in found.feeds:
        lines += ["", f"{feed.account}/{feed.channel}"]
        lines += [f"  {name:<12} {text}" for name, text in _rows(feed)]
    if not found.feeds:
        lines.append("no feed has been counted yet")
    return "\n".join(lines)


def _rows(feed: FeedHeld) -> list[tuple[str, str]]:
    oldest_ms = feed.oldest_in_flight_ms
    oldest = "" if oldest_ms is None else f", the oldest sent {_moment(oldest_ms / 1000)}"
    return [
        ("sent", str(feed.sent)),
        ("settled", _by(feed.settled)),
        ("unresolved", _by(feed.unresolved)),
        ("in flight", _by(feed.in_flight) + oldest),
        ("lost", _by(feed.lost_s, unit=" s")),
        ("audit", _by(feed.audit)),
        ("unread", _ranges(feed.unread)),
        ("provisional", _ranges(feed.provisional)),
        ("read up to", _moment(feed.read_up_to_ms and feed.read_up_to_ms / 1000)),
        ("watermark", _moment(feed.watermark_ms and feed.watermark_ms / 1000)),
        ("last success", _moment(feed.last_success_s)),
    ]


def _by(amounts: Mapping[str, object], unit: str = "") -> str:
    if not amounts:
        return f"0{unit}"
    return ", ".join(f"{name} {amount}{unit}" for name, amount in sorted(amounts.items()))


def _ranges(ranges: list[list[int]]) -> str:
    if not ranges:
        return "0 s"
    total_s = sum(until - since for since, until in ranges) / 1000
    return f"{total_s:g} s in {len(ranges)}, from {_moment(ranges[0][0] / 1000)} to {_moment(ranges[-1][1] / 1000)}"


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
