"""config.example.yaml is what a newcomer copies: it has every key, and tells the true defaults."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import yaml

from infobip_exporter.config.load import load_config, warnings
from infobip_exporter.config.schema import FILTERS, Account, Config
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.model.secret import Secret

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def test_the_example_loads_and_shows_the_defaults() -> None:
    config = load_config(EXAMPLE, {"INFOBIP_API_KEY": "k"})
    account = Account(name="main", base_url="https://xxxxx.api.infobip.com", api_key=Secret("k"))
    assert config == Config(accounts=(account,))
    assert warnings(config) == []


def test_no_key_is_missing_from_the_example() -> None:
    optional = (
        "api_key_file|password_file|basic_auth|oauth2|authorization|proxy_url|no_proxy|tls_config|config_file"
    )
    with_optional_keys = re.sub(rf"# ({optional}): ", r"\1: ", EXAMPLE.read_text())
    written = yaml.safe_load(with_optional_keys)
    for field in fields(Config):
        section = written[field.name]
        members = section[0] if field.name == "accounts" else section
        schema = Account if field.name == "accounts" else get_type_hints(Config)[field.name]
        assert isinstance(schema, type)
        assert set(members) == {member.name.removesuffix("_s") for member in fields(schema)}


def test_the_example_names_every_channel_and_filter() -> None:
    text = EXAMPLE.read_text()
    assert [word for word in (*LOG_PATHS, *FILTERS) if word not in text] == []
