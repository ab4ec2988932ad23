"""What the documentation says of the configuration and the commands is so."""

import re
import tomllib
from dataclasses import fields
from typing import Any

import pytest
import yaml

from infobip_exporter.arguments import FLAGS_OF
from infobip_exporter.config.duration import parse_duration
from infobip_exporter.config.load import parse_config
from infobip_exporter.config.schema import FILTERS, Account, Config, TlsConfig
from infobip_exporter.errors import ConfigError
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.model.labels import optional_labels
from infobip_exporter.model.secret import Secret
from tests.docs.pages import DOCS, PAGES, README, REPOSITORY, blocks, name_of, rows, section

CONFIGURE = DOCS / "configure.md"
YAML = [(name_of(page), code) for page in PAGES for code in blocks(page, "yaml")]
CONFIGS = [(name, code) for name, code in YAML if code.startswith(("accounts:", "x-"))]
KEYS = {"INFOBIP_API_KEY": "k", "SHOP_KEY": "k", "CREDENTIALS_DIRECTORY": "/run/credentials"}


@pytest.mark.parametrize(("name", "code"), CONFIGS, ids=lambda value: value.split("\n", 1)[0])
def test_every_configuration_shown_loads(name: str, code: str) -> None:
    accounts = parse_config(code, KEYS, name).accounts
    assert accounts
    assert all(account.api_key in (Secret("k"), None) for account in accounts), "a key in an example"


def test_what_prometheus_is_to_scrape_is_called_as_the_rules_know_it() -> None:
    [scrape] = [yaml.safe_load(code) for code in blocks(README, "yaml") if not code.startswith("accounts:")]
    assert scrape["scrape_configs"][0]["job_name"] == "infobip"
    assert len(CONFIGS) >= 4


def defaults(section_name: str) -> dict[str, Any]:
    """The default of each key of a section, durations in seconds; None for a key without one."""
    account = Account("", "")
    values = account if section_name == "accounts" else getattr(Config(accounts=(account,)), section_name)
    told = {field.name: getattr(values, field.name) for field in fields(values)}
    empty = ("", TlsConfig())
    return {name.removesuffix("_s"): None if value in empty else value for name, value in told.items()}


def told(cell: str, default: Any) -> Any:
    """What a table's cell says, as the kind of value that `default` is."""
    text = cell.strip("`")
    if isinstance(default, float):
        return parse_duration(text)
    value = yaml.safe_load(text) if text else None
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("section_name", ["accounts", "poll", "metrics", "state", "web", "log"])
def test_the_tables_tell_every_key_with_its_default(section_name: str) -> None:
    table = {
        key.strip("`"): default for key, default, *_ in rows(section(CONFIGURE, f"### {section_name}"))[1:]
    }
    should_be = defaults(section_name)
    assert list(table) == list(should_be)
    assert {key: told(cell, should_be[key]) for key, cell in table.items()} == should_be


@pytest.mark.parametrize("section_name", ["poll", "metrics"])
def test_the_tables_tell_the_least_and_the_most_that_is_allowed(section_name: str) -> None:
    account = "accounts: [{name: a, base_url: https://a.example, api_key: k}]"
    for key, _, allowed, *_ in rows(section(CONFIGURE, f"### {section_name}"))[1:]:
        bounds = re.findall(r"[0-9]+\w*", allowed)
        for value in bounds:
            parse_config(f"{account}\n{section_name}: {{{key.strip('`')}: {value}}}", {}, "config.yaml")
        if bounds:
            beyond = f"{bounds[1]}1ms" if bounds[1][-1].isalpha() else f"{bounds[1]}0"
            with pytest.raises(ConfigError, match="must be"):
                parse_config(f"{account}\n{section_name}: {{{key.strip('`')}: {beyond}}}", {}, "config.yaml")


def test_every_channel_and_filter_is_named() -> None:
    text = CONFIGURE.read_text()
    assert [name for name in (*LOG_PATHS, *FILTERS) if not re.search(rf"`\[?{name}\]?`", text)] == []


def test_every_label_that_may_be_chosen_is_in_the_table() -> None:
    table = rows(section(CONFIGURE, "#### Labels"))
    assert sorted(row[0].strip("`") for row in table[1:]) == sorted(optional_labels())
    example = (REPOSITORY / "config.example.yaml").read_text()
    assert [name for name in optional_labels() if name not in example] == []


def test_every_flag_and_command_is_told_and_none_that_is_not_there() -> None:
    told = section(CONFIGURE, "## Commands and flags")
    flags = {f"--{flag}" for each in FLAGS_OF.values() for flag in each if "." in flag}
    assert set(re.findall(r"--[a-z]+\.[a-z.-]+", told)) == flags
    commands = set(re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE))
    assert commands == set(FLAGS_OF)
    for page in PAGES:
        assert set(re.findall(r"--(?:config|web|log)\.[a-z.-]*[a-z]", page.read_text())) <= flags


def test_every_make_target_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    command = re.compile(r"(?:`|^)make ([a-z-]+)(?=`|$| +[A-Z#])", re.MULTILINE)
    named = {target for page in PAGES for target in command.findall(page.read_text())}
    assert {"demo", "test", "lint", "sim", "bench", "lock"} <= named <= targets


def test_contributing_knows_every_folder() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    package = REPOSITORY / "infobip_exporter"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert [folder for folder in folders if f"`{folder}/`" not in text] == []


def test_the_changelog_begins_with_what_is_not_released() -> None:
    headings = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_the_wheel_carries_the_readme() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["readme"] == "README.md"
    assert "!README.md" in (REPOSITORY / ".dockerignore").read_text().splitlines()
