"""Loading the configuration: YAML to `Config`, or every mistake in it at once."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from infobip_exporter.config import rules
from infobip_exporter.config.accounts import read_accounts
from infobip_exporter.config.files import read_file
from infobip_exporter.config.problems import Problems
from infobip_exporter.config.schema import Config, Log, Metrics, Poll, State, Web
from infobip_exporter.config.tree import MAX_CHARACTERS, Value, parse_tree
from infobip_exporter.errors import ConfigError
from infobip_exporter.model.labels import optional_labels

API_REQUESTS_PER_MINUTE = 120
"""Requests a minute that the API allows an account (reference page)."""

_MINUTE_S, _HOUR_S = 60, 3600

SHORTEST_LEASE_S = 3
"""A renewal a second; a database that is restarted takes about as long."""

_IGNORED = "x-"
"""How top-level keys begin that hold anchors for the rest of the file, as in Compose files."""

# For each section: the key in the file, the schema's field, what it may be.
Keys = Mapping[str, tuple[str, Callable[[str], object]]]
_POLL: Keys = {
    "interval": ("interval_s", rules.duration(1, _HOUR_S)),
    "lookback": ("lookback_s", rules.duration(0, 48 * _HOUR_S)),
    "late_arrival": ("late_arrival_s", rules.duration(0, 24 * _HOUR_S)),
    "timeout": ("timeout_s", rules.duration(1, 5 * _MINUTE_S)),
}
_METRICS: Keys = {
    "zero_hold": ("zero_hold_s", rules.duration(0, _HOUR_S)),
    "max_label_values": ("max_label_values", rules.whole(1, 1_000_000)),
    "max_series": ("max_series", rules.whole(100, 1_000_000)),
}
_LABEL_LISTS = ("labels", "duration_labels")
_LOG: Keys = {
    "level": ("level", rules.one_of(rules.LOG_LEVELS)),
    "format": ("format", rules.one_of(rules.LOG_FORMATS)),
    "failures": ("failures", rules.boolean),
}


def _metrics(section: Value | None) -> Metrics:
    given = section.members([*_METRICS, *_LABEL_LISTS]) if section else {}
    lists = {name: given.pop(name) for name in _LABEL_LISTS if name in given}
    values = _checked(given, _METRICS)
    for name, value in lists.items():
        values[name] = _each_once(value.items(), rules.one_of(optional_labels()))
    return Metrics(**values)


def _state(folder: Path) -> Keys:
    return {
        "url": ("url", rules.state_url),
        "lease": ("lease_s", rules.duration(SHORTEST_LEASE_S, 10 * _MINUTE_S)),
        "password_file": ("password_file", rules.existing_file_in(folder)),
    }


def _web(section: Value | None, folder: Path) -> Web:
    given = section.members(["listen_address", "config_file", "allowed_hosts"]) if section else {}
    web = Web()
    if "listen_address" in given:
        web = replace(web, listen_address=_listen_addresses(given["listen_address"]))
    if "config_file" in given:
        web = replace(web, config_file=given["config_file"].checked(rules.existing_file_in(folder)))
    if "allowed_hosts" in given:
        read = [each.checked(rules.host_pattern) for each in given["allowed_hosts"].items() or ()]
        web = replace(web, allowed_hosts=tuple(host for host in read if host))
    return web


def _listen_addresses(value: Value) -> tuple[str, ...]:
    """One address, or a list of them."""
    values = value.items() if value.is_list else [value]
    if not values:
        value.wrong("must list at least one address")
    return _each_once(values, rules.listen_address)


def _each_once(values: list[Value] | None, rule: Callable[[str], str]) -> tuple[str, ...]:
    """The values of a list, all different, each as `rule` has it."""
    read: list[str] = []
    for each in values or ():
        text = each.checked(rule)
        if text in read:
            each.wrong("is listed twice")
        elif text:
            read.append(text)
    return tuple(read)


def load_config(path: str | Path, env: Mapping[str, str]) -> Config:
    """The configuration in the file `path`, with `${VARIABLE}` from `env`. ConfigError tells every mistake."""
    return parse_config(_read(path), env, str(path))


def load_state(path: str | Path, env: Mapping[str, str]) -> State:
    """The section `state` of the file `path`. Variables and files that other sections name need not be there."""
    problems = Problems(str(path))
    given = _sections(_read(path), env, problems)
    state = State(**_fields(given.get("state"), _state(Path(path).parent)))
    problems.raise_if_any()
    return state


def _read(path: str | Path) -> str:
    """The file's text. ConfigError where there is none."""
    try:
        return read_file(path, 4 * MAX_CHARACTERS + 1).decode()
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: there is no such file; copy config.example.yaml, or name another with --config.file"]
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None


def parse_config(text: str, env: Mapping[str, str], where: str) -> Config:
    """The configuration that the YAML `text` is. ConfigError tells every mistake.

    `where` is the file's name: for the texts of the mistakes, and for paths that start at the file's folder.
    """
    problems = Problems(where)
    folder = Path(where).parent
    given = _sections(text, env, problems)
    if not given:
        problems.raise_if_any()  # To miss the accounts as well would be noise.
    config = Config(
        accounts=read_accounts(given.get("accounts"), problems, folder),
        poll=Poll(**_fields(given.get("poll"), _POLL)),
        metrics=_metrics(given.get("metrics")),
        state=State(**_fields(given.get("state"), _state(folder))),
        web=_web(given.get("web"), folder),
        log=Log(**_fields(given.get("log"), _LOG)),
    )
    problems.raise_if_any()
    return config


def warnings(config: Config) -> list[str]:
    """What works but is hardly meant, a line each."""
    return [
        f"account {account.name}: requests_per_minute is {account.requests_per_minute}, "
        f"but the API allows {API_REQUESTS_PER_MINUTE}: expect refusals (429)"
        for account in config.accounts
        if account.requests_per_minute > API_REQUESTS_PER_MINUTE
    ]


def _sections(text: str, env: Mapping[str, str], problems: Problems) -> dict[str, Value]:
    """The sections that the YAML `text` has, by name."""
    top = parse_tree(text, env, problems)
    return top.members([field.name for field in fields(Config)], ignored=_IGNORED) if top else {}


def _fields(section: Value | None, keys: Keys) -> dict[str, Any]:
    """The schema's fields that are given and sound; the others keep their defaults."""
    return _checked(section.members(list(keys)), keys) if section else {}


def _checked(given: Mapping[str, Value], keys: Keys) -> dict[str, Any]:
    values = {keys[key][0]: value.checked(keys[key][1]) for key, value in given.items()}
    return {field: value for field, value in values.items() if value is not None}
