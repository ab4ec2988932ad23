"""Loading the configuration: YAML to `Config`, or every mistake in it at once."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import yaml

from infobip_exporter.config.files import read_text
from infobip_exporter.config.problems import Problems
from infobip_exporter.config.schema import Config, State
from infobip_exporter.config.sections import read
from infobip_exporter.config.tree import Value, parse_tree
from infobip_exporter.errors import ConfigError

API_REQUESTS_PER_MINUTE = 120
"""Requests a minute that the API allows an account (reference page)."""

_ABSENT = "there is no such file; copy config.example.yaml, or name another with --config.file"


def load_config(path: str | Path, env: Mapping[str, str]) -> Config:
    """The configuration in the file `path`, with `${VARIABLE}` from `env`. ConfigError tells every mistake."""
    return parse_config(read_text(path, _ABSENT), env, str(path))


def parse_config(text: str, env: Mapping[str, str], where: str) -> Config:
    """The configuration that the YAML `text` is. ConfigError tells every mistake.

    `where` is the file's name: for the texts of the mistakes, and for paths that start at the file's folder.
    """
    problems = Problems(where)
    config = read(Config, _top(text, env, problems))
    problems.raise_if_any()
    assert config is not None  # noqa: S101 - there would be a problem
    return config


def load_state(path: str | Path, env: Mapping[str, str]) -> State:
    """The section `state` of the file `path`. Variables and files that other sections name need not be there."""
    problems = Problems(str(path))
    top = _top(read_text(path, _ABSENT), env, problems)
    given = top.members([field.name for field in fields(Config)])
    state = read(State, given["state"]) if "state" in given else None
    problems.raise_if_any()
    return state or State()


def warnings(config: Config) -> list[str]:
    """What works but is hardly meant, a line each."""
    return [
        f"account {account.name}: requests_per_minute is {account.requests_per_minute}, "
        f"but the API allows {API_REQUESTS_PER_MINUTE}: expect refusals (429)"
        for account in config.accounts
        if account.requests_per_minute > API_REQUESTS_PER_MINUTE
    ]


def _top(text: str, env: Mapping[str, str], problems: Problems) -> Value:
    """What the YAML `text` holds. ConfigError where it is no YAML, or empty."""
    top = parse_tree(text, env, problems)
    problems.raise_if_any()
    if top is None:
        raise ConfigError(
            [f"{problems.where}: is empty; at least `accounts` is needed, see config.example.yaml"]
        )
    if isinstance(top.node, yaml.MappingNode):
        # These hold anchors for the rest of the file, as in Compose files.
        top.node.value = [
            (key, value) for key, value in top.node.value if not str(key.value).startswith("x-")
        ]
    return top
