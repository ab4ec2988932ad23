"""Whatever a configuration file says is a Config that works, or a ConfigError of one plain line for each mistake."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
from hypothesis import example, given
from hypothesis import strategies as st

from infobip_exporter.config import addresses, rules
from infobip_exporter.config.duration import parse_duration
from infobip_exporter.config.load import load_config, parse_config
from infobip_exporter.config.schema import FILTERS, KINDS, Account, Config
from infobip_exporter.errors import ConfigError
from infobip_exporter.infobip.proxy import proxy_of
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.model.labels import optional_labels
from infobip_exporter.web.web_config import WebConfig, load_web_config
from tests.fuzz.effort import fuzzed
from tests.fuzz.sound import check_mistakes
from tests.fuzz.yaml_text import (
    ACCOUNT,
    CONFIG,
    HASH,
    REACHED,
    SECRET,
    WAYS,
    WEB_CONFIG,
    durations,
    flow,
    texts,
    urls,
)

ENV = {"KEY": SECRET, "E": ""}
SOUND = "accounts: [{name: main, base_url: https://x.api.infobip.com, api_key: '${KEY}'}]\n"


def config_of(text: str, env: Mapping[str, str] = ENV) -> Config | None:
    """The configuration, checked; None where the text is none."""
    try:
        config = parse_config(text, env, "config.yaml")
    except ConfigError as error:
        check_mistakes(error, SECRET)
        return None
    check_config(config)
    return config


def check_config(config: Config) -> None:
    """What everything behind the loading takes for granted."""
    assert config.accounts
    names = [account.name for account in config.accounts]
    assert len(set(names)) == len(names)
    for account in config.accounts:
        check_account(account)
    poll = config.poll
    assert 1 <= poll.interval_s <= 3600
    assert 0 <= poll.lookback_s <= 48 * 3600
    assert 0 <= poll.late_arrival_s <= 24 * 3600
    assert 1 <= poll.timeout_s <= 300
    assert 0 <= config.metrics.zero_hold_s <= 3600
    assert 1 <= config.metrics.max_label_values <= 1_000_000
    assert 100 <= config.metrics.max_series <= 1_000_000
    for names in (config.metrics.labels, config.metrics.duration_labels):
        assert len(set(names)) == len(names)
        assert set(names) <= set(optional_labels())
    assert config.state.url.startswith("sqlite:///")
    assert config.web.listen_address
    for address in config.web.listen_address:
        assert addresses.unix_socket(address) or addresses.split_listen_address(address)
    assert (config.log.level in rules.LOG_LEVELS, config.log.format in rules.LOG_FORMATS) == (True, True)


def check_account(account: Account) -> None:
    assert account.name.isprintable()
    assert 1 <= len(account.name) <= 64
    assert sum(getattr(account, kind) is not None for kind in KINDS) == 1
    for secret in account.secrets:
        assert secret.reveal()
        assert SECRET not in secret.reveal() or SECRET not in repr(account)
    for file in files_of(account):
        assert str(file).isprintable()
    check_header(account)
    check_reached(account)
    assert account.channels
    assert set(account.channels) <= LOG_PATHS.keys()
    assert len(set(account.channels)) == len(account.channels)
    assert 1 <= account.requests_per_minute <= 6000
    assert account.filters.keys() <= set(FILTERS)
    check_asks(account)


def files_of(account: Account) -> list[Path]:
    """Every file that an account names."""
    sections = (account, account.basic_auth, account.oauth2, account.authorization, account.tls_config)
    found = [
        getattr(section, field.name, None)
        for section in sections
        if section
        for field in fields(section)
        if field.name.endswith("_file")
    ]
    return [file for file in found if file is not None]


def check_header(account: Account) -> None:
    """What goes into the header Authorization is fit for one."""
    way = account.authorization
    if account.api_key or (way and way.credentials):
        secret = account.api_key or (way and way.credentials)
        assert secret
        assert re.fullmatch("[!-~]+", secret.reveal())
    if way:
        assert re.fullmatch("[^ ]+", way.type)
    if account.basic_auth:
        assert ":" not in account.basic_auth.username


def check_reached(account: Account) -> None:
    """Secrets go to where the file says, over TLS unless it is this machine."""
    if account.oauth2 and account.oauth2.token_url:
        url = httpx.URL(account.oauth2.token_url)
        assert url.host
        assert url.scheme == "https" or addresses.is_loopback(url.host)
        assert not url.userinfo
    if account.proxy_url:
        assert account.proxy_from_environment
        proxy = proxy_of(replace(account, no_proxy=""), httpx.URL(account.base_url))
        assert proxy
        assert proxy.url.host
    tls = account.tls_config
    assert (tls.cert_file is None) == (tls.key_file is None)


def check_asks(account: Account) -> None:
    """The requests go to the host that the file names, over TLS unless it is this machine."""
    with httpx.Client() as client:
        request = client.build_request(
            "GET", account.base_url + LOG_PATHS["sms"], params=dict(account.filters)
        )
    named = urlsplit(account.base_url)
    assert request.url.raw_host.decode("ascii") == (named.hostname or "").lower()
    assert request.url.port == (
        named.port if named.port != {"http": 80, "https": 443}[named.scheme] else None
    )
    assert request.url.scheme == "https" or addresses.is_loopback(request.url.host)
    assert request.url.path == LOG_PATHS["sms"]
    assert dict(request.url.params) == account.filters
    assert not request.url.userinfo


@given(texts(CONFIG))
@fuzzed(350)
def test_any_text_is_a_sound_configuration_or_plain_mistakes(text: str) -> None:
    config_of(text)


@given(texts({name: section for name, section in CONFIG.items() if name != "accounts"}))
@fuzzed(80)
def test_whatever_follows_a_sound_account_is_told_plainly(text: str) -> None:
    config_of(SOUND + text)


@given(st.lists(flow({**ACCOUNT, "oauth2": WAYS["oauth2"], **REACHED}), min_size=2, max_size=4))
@fuzzed(100)
def test_any_accounts_beside_each_other_are_sound_or_told_plainly(accounts: list[str]) -> None:
    config_of(f"accounts: [{', '.join(accounts)}]")


@example(f"https://u:{SECRET}@x.com")
@given(urls | st.text(max_size=40))
@fuzzed(200)
def test_an_address_that_is_taken_is_the_one_asked(url: str) -> None:
    config_of(SOUND.replace("https://x.api.infobip.com", "'${URL}'"), ENV | {"URL": url})


@given(
    st.text(st.characters(), max_size=80) | st.text("${}$KEY_E", max_size=20),
    st.sampled_from(
        ["name", "base_url", *KINDS, "proxy_url", "no_proxy", "tls_config", "requests_per_minute", "filters"]
    ),
    st.booleans(),
)
@fuzzed(250)
def test_any_variable_in_any_place_is_sound_or_told_plainly(content: str, key: str, whole: bool) -> None:
    value = "'${V}'" if whole else "'a${V}$$${E}'"
    text = f"accounts: [{{name: a, base_url: https://h, {key}: {value}}}]"
    config_of(text, ENV | {"V": content})
    config_of(text, ENV | {"V": SECRET})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10))
@fuzzed(100)
def test_no_content_of_a_variable_is_filled_in_again(content: str) -> None:
    text = SOUND.replace("name: main", "name: '${V}'")
    config = config_of(text, ENV | {"V": "${KEY}" + content})
    if config:
        assert config.accounts[0].name == "${KEY}" + content


@given(durations | st.text("0123456789wdhms", max_size=12))
@fuzzed(400)
def test_any_duration_is_seconds_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds < 10**22


@given(st.binary(max_size=60) | texts(CONFIG).map(lambda text: text.encode("utf-8", "surrogatepass")))
@fuzzed(80)
def test_any_bytes_in_a_file_are_sound_or_told_plainly(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    file.write_bytes(content)
    try:
        check_config(load_config(file, ENV))
    except ConfigError as error:
        check_mistakes(error, SECRET)


# --- the web configuration ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    server = trustme.CA().issue_cert("localhost")
    server.private_key_pem.write_to_path(folder / "server.key")
    (folder / "server.crt").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    (folder / "junk").write_text("-----BEGIN JUNK-----\nAAAA\n-----END JUNK-----\n")
    return folder


def check_web_config(config: WebConfig) -> None:
    for user, hashed in config.users.items():
        assert ":" not in user
        assert hashed.reveal().startswith("$2")
        assert len(hashed.reveal()) == 60
    for name, value in config.headers.items():
        assert f"{name}{value}".isascii()
        assert f"{name}{value}".isprintable()
    assert config.rate_limit is None or (config.rate_limit.interval_s > 0 and config.rate_limit.burst > 0)
    assert HASH not in repr(config)


@given(texts(WEB_CONFIG).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60))
@fuzzed(250)
def test_any_web_config_is_sound_or_told_plainly(folder: Path, content: bytes) -> None:
    file = folder / "web.yml"
    file.write_bytes(content)
    try:
        check_web_config(load_web_config(file))
    except ConfigError as error:
        check_mistakes(error, SECRET, HASH)
