from pathlib import Path

import pytest

from infobip_exporter.config.addresses import split_listen_address, unix_socket
from infobip_exporter.config.load import load_config, parse_config, warnings
from infobip_exporter.config.schema import (
    Account,
    Authorization,
    BasicAuth,
    Config,
    Log,
    Metrics,
    OAuth2,
    Poll,
    State,
    TlsConfig,
    Web,
)
from infobip_exporter.model.secret import Secret

KEY = "0123456789abcdef-SECRET"
SMALLEST = "accounts: [{name: main, base_url: https://x.api.infobip.com, api_key: '${KEY}'}]\n"


def parse(text: str, **env: str) -> Config:
    return parse_config(text, {"KEY": KEY} | env, "config.yaml")


def only_account(keys: str) -> Account:
    return parse(f"accounts: [{{name: main, base_url: https://x.api.infobip.com, {keys}}}]").accounts[0]


def test_one_account_is_enough() -> None:
    account = Account("main", "https://x.api.infobip.com", api_key=Secret(KEY))
    assert parse(SMALLEST) == Config((account,))
    assert account.channels == ("instagram",)


def test_a_section_without_anything_in_it_is_as_none() -> None:
    assert only_account("api_key: k, tls_config: , filters: {}") == only_account("api_key: k")
    assert parse(SMALLEST + "poll:\nweb: {}\n") == parse(SMALLEST)


def test_everything_can_be_set(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    (tmp_path / "web.yml").touch()
    file.write_text(
        """
        accounts:
          - name: a
            base_url: HTTPS://X.api.infobip.com:8443/
            api_key_file: keys/a
            channels: [sms, rcs]
            requests_per_minute: 60
            filters: {sender: 447, destination: yes, bulkId: [b, c], entityId: e, applicationId: a, campaignReferenceId: [c, 007]}
          - {name: b, base_url: "http://[::1]:8080", api_key: literal, filters: }
        poll: {interval: 1m, lookback: 48h, late_arrival: 0, timeout: 1500ms}
        metrics: {zero_hold: 0s, max_label_values: 5, max_series: 100, labels: [campaign, entity_id], duration_labels: []}
        state: {url: "sqlite:////var/lib/x.db"}
        web: {listen_address: ":9000", config_file: web.yml, allowed_hosts: [a.example, "*.b.example", "::1"]}
        log: {level: debug, format: json, failures: true}
        """
    )
    filters = {"sender": "447", "destination": "yes", "entityId": "e", "applicationId": "a"}
    filters["bulkId"] = "b,c"
    filters["campaignReferenceId"] = "c,007"
    key_file = tmp_path / "keys" / "a"
    assert load_config(str(file), {}) == Config(
        accounts=(
            Account(
                "a",
                "https://x.api.infobip.com:8443",
                api_key_file=key_file,
                channels=("sms", "rcs"),
                requests_per_minute=60,
                filters=filters,
            ),
            Account("b", "http://[::1]:8080", api_key=Secret("literal")),
        ),
        poll=Poll(60, 172800, 0, 1.5),
        metrics=Metrics(0, 5, 100, ("campaign", "entity_id")),
        state=State("sqlite:////var/lib/x.db"),
        web=Web((":9000",), tmp_path / "web.yml", ("a.example", "*.b.example", "::1")),
        log=Log("debug", "json", failures=True),
    )


@pytest.mark.parametrize("host", ["127.0.0.1:80", "127.9.9.9", "localhost:8080", "LOCALHOST", "[::1]:1"])
def test_plain_http_is_for_loopback(host: str) -> None:
    config = parse(SMALLEST.replace("https://x.api.infobip.com", f'"http://{host}"'))
    assert config.accounts[0].base_url == f"http://{host.lower()}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "1"),
        ("x${A}${B}y", "x1${A}y"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$1"),
        ("a$", "a$"),
        ("$1", "$1"),
    ],
)
def test_variables_are_filled_in(text: str, value: str) -> None:
    config = parse(SMALLEST.replace("main", f"'{text}'"), A="1", B="${A}")
    assert config.accounts[0].name == value


def test_a_variable_sets_numbers_and_durations_too() -> None:
    config = parse(SMALLEST + "poll: {interval: '${I}'}\nmetrics: {max_label_values: '${M}'}", I="5s", M="7")
    assert (config.poll.interval_s, config.metrics.max_label_values) == (5, 7)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("0.0.0.0:10470", "0.0.0.0", 10470),
        (":0", "", 0),
        ("[::1]:65535", "::1", 65535),
        ("[::]:80", "::", 80),
        ("my-host.example:9", "my-host.example", 9),
    ],
)
def test_where_to_listen(address: str, host: str, port: int) -> None:
    assert split_listen_address(address) == (host, port)
    assert parse(SMALLEST + f"web: {{listen_address: '{address}'}}").web.listen_address == (address,)


def test_a_unix_socket_to_listen_on_is_a_path() -> None:
    web = parse(SMALLEST + "web: {listen_address: [127.0.0.1:80, '${A}']}", A="unix:/run/x.sock").web
    assert web.listen_address == ("127.0.0.1:80", "unix:/run/x.sock")
    assert unix_socket("unix:/run/x.sock") == Path("/run/x.sock")
    assert unix_socket("unix:x.sock") == Path("x.sock")
    assert unix_socket("unix:" + "/" * 106 + "x") is not None


def test_a_host_named_unix_is_a_host() -> None:
    assert unix_socket("unix:10470") is None
    assert split_listen_address("unix:10470") == ("unix", 10470)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_line_ends_behind_the_value_of_a_variable_are_dropped(end: str) -> None:
    text = "accounts: [{name: main, base_url: '${URL}', api_key: '${KEY}'}]"
    config = parse(text, URL=f"https://x.api.infobip.com{end}", KEY=KEY + end)
    assert config == parse(SMALLEST)


MERGED = """
x-limits: &limits
  requests_per_minute: 50
x-default: &default
  <<: *limits
  base_url: https://x.api.infobip.com
  channels: [sms]
x-unused: {whatever: [1, {2: 3}]}
accounts:
  - name: one
    <<: *default
    api_key: one
  - {<<: [{channels: [rcs]}, *default], name: two, api_key: two}
log:
  <<: {level: warn, format: json}
  level: error
"""


def test_anchors_and_merge_keys_work_as_in_compose_files() -> None:
    """What is written in a mapping comes before what is merged into it, and the first merged before the others."""
    url = "https://x.api.infobip.com"
    one = Account("one", url, api_key=Secret("one"), channels=("sms",), requests_per_minute=50)
    two = Account("two", url, api_key=Secret("two"), channels=("rcs",), requests_per_minute=50)
    assert parse(MERGED) == Config((one, two), log=Log("error", "json"))


def test_more_requests_than_the_api_allows_are_warned_of() -> None:
    config = parse(SMALLEST.replace("}]", ", requests_per_minute: 121}]"))
    told = "account main: requests_per_minute is 121, but the API allows 120: expect refusals (429)"
    assert warnings(config) == [told]
    assert warnings(parse(SMALLEST.replace("}]", ", requests_per_minute: 120}]"))) == []


def test_each_way_to_authenticate_is_read_as_in_prometheus(tmp_path: Path) -> None:
    text = """
accounts:
  - name: basic
    base_url: &url https://x.api.infobip.com
    basic_auth: {username: Aladdin, password_file: secrets/password}
  - name: oauth2
    base_url: *url
    oauth2:
      client_id: shop
      client_secret: ${KEY}
      token_url: https://login.example.com/token?tenant=a
      scopes: ["instagram:logs:read", "sms:logs:read"]
      endpoint_params: {audience: https://x.api.infobip.com}
    proxy_url: http://user:pass%20word@proxy:3128
    no_proxy: login.example.com,10.0.0.0/8
    tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: /k.pem, server_name: api, min_version: TLS13,
      insecure_skip_verify: true}
  - name: session
    base_url: *url
    authorization: {type: IBSSO, credentials: "${KEY}"}
    proxy_from_environment: false
"""
    basic, oauth2, session = parse_config(text, {"KEY": KEY}, str(tmp_path / "config.yaml")).accounts
    assert basic.basic_auth == BasicAuth("Aladdin", password_file=tmp_path / "secrets/password")
    assert oauth2.oauth2 == OAuth2(
        "shop",
        client_secret=Secret(KEY),
        token_url="https://login.example.com/token?tenant=a",
        scopes=("instagram:logs:read", "sms:logs:read"),
        endpoint_params={"audience": Secret("https://x.api.infobip.com")},
    )
    assert oauth2.tls_config == TlsConfig(
        tmp_path / "ca.pem", tmp_path / "c.pem", Path("/k.pem"), "api", "TLS13", insecure_skip_verify=True
    )
    assert (oauth2.no_proxy, oauth2.proxy_from_environment) == ("login.example.com,10.0.0.0/8", True)
    assert session.authorization == Authorization("IBSSO", Secret(KEY))
    assert not session.proxy_from_environment
    told = {secret.reveal() for each in (basic, oauth2, session) for secret in each.secrets}
    assert told == {KEY, "https://x.api.infobip.com", "http://user:pass%20word@proxy:3128", "pass word"}
    assert not [secret for secret in (KEY, "pass%20word") if secret in repr((basic, oauth2, session))]
