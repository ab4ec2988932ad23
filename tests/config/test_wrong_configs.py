"""Each kind of mistake, and the whole line that tells it."""

import os
from pathlib import Path

import pytest

from infobip_exporter.config.load import load_config, parse_config
from infobip_exporter.config.problems import MOST_TOLD
from infobip_exporter.errors import ConfigError

SECRET = "0123456789abcdef-SECRET"
ENV = {"KEY": SECRET, "EMPTY": "", "SPACED": f"{SECRET} x", "PREFIXED": f"App {SECRET}"}
ENV |= {"QUOTED": f'"{SECRET}"', "SINGLE": f"'{SECRET}'\n", "QUOTED_URL": '"https://x.api.infobip.com"'}
SOUND = "accounts: [{name: main, base_url: https://x.api.infobip.com, api_key: '${KEY}'}]\n"
DURATION = (
    "whole numbers with a unit, larger units first, such as 500ms, 30s, 2m, 1h30m (units: w, d, h, m, s, ms)"
)
CHANNELS = (
    "instagram, messenger, tiktok, apple-mfb, kakao-alim, kakao-chingu, kakao-sangdam, "
    "viber, viber-bot, rcs, push, sms, mms, email"
)
STATE_URL = (
    "must be sqlite:/// and a file, such as sqlite:///infobip-exporter.db, "
    "or with four slashes an absolute one, such as sqlite:////var/lib/infobip-exporter/state.db, "
    "or a postgresql:// URL"
)
POSTGRES_URL = "must be a PostgreSQL URL, such as postgresql://user@host:5432/database?sslmode=verify-full"
LISTEN = (
    "must be host:port, :port or [IPv6]:port with a port from 0 to 65535, such as 0.0.0.0:10470, "
    "or unix: and the path of a socket"
)
SOCKET = (
    "must be unix: and the path of a socket, in at most 107 bytes, such as unix:/run/infobip-exporter.sock"
)
PATH = "must be a path of printable characters"
ALONE = "must be scheme and host alone, without a path, ? or #"
EXAMPLE = "https://xxxxx.api.infobip.com"
URL = "must be a URL with a sound host and port"
FILTER = "must be 1 to 2048 printable characters"
LABELS = "must be one of status, error, entity_id, application_id, sender, campaign, content_type, mcc_mnc, country"
FILTERS = "sender, destination, bulkId, entityId, applicationId, campaignReferenceId"
BRACES = "a variable is written ${NAME}, a dollar sign $$"
IN_QUOTES = (
    "the environment variable {name} holds a value in quotes; remove the quotes: docker --env-file keeps them"
)
KINDS = "api_key, api_key_file, basic_auth, oauth2, authorization"
ACCOUNT_KEYS = (
    f"name, base_url, {KINDS}, proxy_url, no_proxy, proxy_from_environment, tls_config, "
    "channels, requests_per_minute, filters"
)


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_config(text, ENV, "config.yaml")
    assert str(error.value) == "\n".join(error.value.problems)
    assert SECRET not in str(error.value)
    return error.value.problems


def account(**changed: str | None) -> str:
    """A configuration whose one account has these values, a key a line: name 2, base_url 3, api_key 4, others 5."""
    keys = {"name": "main", "base_url": "https://x.api.infobip.com", "api_key": "${KEY}"} | changed
    lines = [f"{key}: {value}" for key, value in keys.items() if value is not None]
    return "accounts:\n  - " + "\n    ".join(lines) + "\n"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            "http://example.com",
            'must be an https:// URL (plain http only on loopback), got "http://example.com"',
        ),
        ("http://10.0.0.1", 'must be an https:// URL (plain http only on loopback), got "http://10.0.0.1"'),
        ("ftp://localhost", 'must be an https:// URL (plain http only on loopback), got "ftp://localhost"'),
        ("x.api.infobip.com", 'must begin with https://, got "x.api.infobip.com"'),
        ("https://x.com/sms", f'{ALONE}, got "https://x.com/sms"'),
        ("https://x.com?a=b", f'{ALONE}, got "https://x.com?a=b"'),
        ('"https://x.com#a"', f'{ALONE}, got "https://x.com#a"'),
        (f"https://u:{SECRET}@x.com", "must hold no user and no password; the key belongs into api_key"),
        ("https://", 'must name a host, such as https://xxxxx.api.infobip.com, got "https://"'),
        ("https://xn--a", 'must name a host, such as https://xxxxx.api.infobip.com, got "https://xn--a"'),
        ("https://-x-", 'must name a host, such as https://xxxxx.api.infobip.com, got "https://-x-"'),
        ("https://1.2.3", 'must name a host, such as https://xxxxx.api.infobip.com, got "https://1.2.3"'),
        (f"https://{'x.' * 126}xx", f'must name a host, such as {EXAMPLE}, got "https://{"x." * 25}x…"'),
        ("https://x:65536", f'{URL}, got "https://x:65536"'),
        ('"https://x:"', f'{URL}, got "https://x:"'),
        ("https://x:0", f'{URL}, got "https://x:0"'),
        ('"https://[::1"', f'{URL}, got "https://[::1"'),
        ("https://x y", 'must be a URL of ASCII characters without spaces, got "https://x y"'),
        ('"https://x.com\\n"', 'must be a URL of ASCII characters without spaces, got "https://x.com\\n"'),
        ("", "has no value"),
    ],
)
def test_a_wrong_base_url(value: str, told: str) -> None:
    assert mistakes(account(base_url=value)) == [f"config.yaml:3: accounts[0].base_url: {told}"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("${EMPTY}", "must not be empty"),
        ("''", "must not be empty"),
        ("${SPACED}", "must be printable ASCII without spaces"),
        (f"{SECRET}é", "must be printable ASCII without spaces"),
        ("${PREFIXED}", 'must be the key alone; leave out "App " at its beginning'),
        (f"APP  {SECRET}", 'must be the key alone; leave out "App " at its beginning'),
        (f"[{SECRET}]", "must be a single value, not a list or a mapping"),
        (f"{{{SECRET}: x}}", "must be a single value, not a list or a mapping"),
        (f"!secret {SECRET}", "tags such as !this are not understood; put quotes around the value"),
        (f"{SECRET}${{", "a variable is written ${NAME}, a dollar sign $$"),
        (f"{SECRET}${{a-b}}", "a variable is written ${NAME}, a dollar sign $$"),
        ("$KEY", BRACES),
        (f"{SECRET}$KEY", BRACES),
        ("${QUOTED}", IN_QUOTES.format(name="QUOTED")),
        ("${SINGLE}", IN_QUOTES.format(name="SINGLE")),
        (f"'\"{SECRET}\"'", "must be the key alone, without the quotes around it"),
        ("${NOT_SET}", "the environment variable NOT_SET is not set"),
        ("", "has no value"),
    ],
)
def test_a_wrong_key_is_told_without_showing_it(value: str, told: str) -> None:
    assert mistakes(account(api_key=value)) == [f"config.yaml:4: accounts[0].api_key: {told}"]


@pytest.mark.parametrize(
    "text",
    [
        f"accounts: [{{api_key:{SECRET}}}]",
        f"accounts: [api_key={SECRET}]",
        f"api_key: *{SECRET}",
        f"api_key: !{SECRET}!x y",
        f"api_key: {SECRET}\n  api_key: {SECRET}: x",
        f"api_key: '{SECRET}",
        f"{SECRET}{SECRET}",
        f"? {SECRET} {SECRET}",
    ],
)
def test_a_key_in_the_wrong_place_is_not_shown_either(text: str) -> None:
    mistakes(text)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("state: {url: sqlite:///$HOME/x.db}", f"state.url: {BRACES}"),
        ("log: {level: '${QUOTED_URL}'}", f"log.level: {IN_QUOTES.format(name='QUOTED_URL')}"),
    ],
)
def test_variables_are_read_the_same_way_everywhere(section: str, told: str) -> None:
    assert mistakes(SOUND + section) == [f"config.yaml:2: {told}"]


def test_a_variable_without_braces_is_told_by_the_environment_of_the_process_too() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(account(api_key="$HOME"), os.environ, "config.yaml")
    assert error.value.problems == [f"config.yaml:4: accounts[0].api_key: {BRACES}"]


def test_a_url_in_quotes() -> None:
    told = f"config.yaml:3: accounts[0].base_url: {IN_QUOTES.format(name='QUOTED_URL')}"
    assert mistakes(account(base_url="${QUOTED_URL}")) == [told]


def test_a_variable_in_the_wrong_place_is_shown_as_the_file_has_it() -> None:
    told = 'config.yaml:3: accounts[0].base_url: must begin with https://, got "${KEY}"'
    assert mistakes(account(base_url="${KEY}")) == [told]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "''"}, "2: accounts[0].name: must be 1 to 64 printable characters"),
        ({"name": "x" * 65}, f'2: accounts[0].name: must be 1 to 64 printable characters, got "{"x" * 59}…"'),
        ({"name": '"a\\tb"'}, '2: accounts[0].name: must be 1 to 64 printable characters, got "a\\tb"'),
        (
            {"name": '"\\e[31m"'},
            '2: accounts[0].name: must be 1 to 64 printable characters, got "\\u001b[31m"',
        ),
        ({"name": None}, "2: accounts[0]: has no name; it becomes the label `account`, such as main"),
        (
            {"base_url": None},
            "2: accounts[0]: has no base_url; it is the account's own, such as https://xxxxx.api.infobip.com",
        ),
        ({"api_key": None}, f"2: accounts[0]: has no way to authenticate; give one of {KINDS}"),
        (
            {"api_key_file": "key"},
            "2: accounts[0]: has more than one way to authenticate: api_key, api_key_file; keep one",
        ),
        ({"api_key": None, "api_key_file": "''"}, f"4: accounts[0].api_key_file: {PATH}"),
        ({"api_key": None, "api_key_file": r'"a\nb"'}, rf'4: accounts[0].api_key_file: {PATH}, got "a\nb"'),
        (
            {"api_key": None, "api_key_file": r'"\udcff"'},
            rf'4: accounts[0].api_key_file: {PATH}, got "\udcff"',
        ),
        ({"channels": "instagram"}, '5: accounts[0].channels: must be a list, got "instagram"'),
        ({"channels": "[]"}, "5: accounts[0].channels: must list at least one, or be left out for instagram"),
        (
            {"channels": "[instagramm]"},
            '5: accounts[0].channels[0]: is unknown (did you mean "instagram"?), got "instagramm"',
        ),
        (
            {"channels": "[WhatsUpp]"},
            f'5: accounts[0].channels[0]: is unknown (allowed: {CHANNELS}), got "WhatsUpp"',
        ),
        ({"channels": "[sms, rcs, sms]"}, '5: accounts[0].channels[2]: is listed twice, got "sms"'),
        ({"requests_per_minute": "0"}, '5: accounts[0].requests_per_minute: {whole}, got "0"'),
        ({"requests_per_minute": "6001"}, '5: accounts[0].requests_per_minute: {whole}, got "6001"'),
        ({"requests_per_minute": "1.5"}, '5: accounts[0].requests_per_minute: {whole}, got "1.5"'),
        ({"requests_per_minute": "true"}, '5: accounts[0].requests_per_minute: {whole}, got "true"'),
        ({"requests_per_minute": "many"}, '5: accounts[0].requests_per_minute: {whole}, got "many"'),
        ({"filters": "{sendr: x}"}, '5: accounts[0].filters.sendr: unknown key; did you mean "sender"?'),
        ({"filters": "{sender: ''}"}, f"5: accounts[0].filters.sender: {FILTER}"),
        ({"filters": "{sender: }"}, "5: accounts[0].filters.sender: has no value"),
        ({"filters": '{sender: "a\\nb"}'}, f'5: accounts[0].filters.sender: {FILTER}, got "a\\nb"'),
        (
            {"filters": f"{{sender: {'1' * 2049}}}"},
            f'5: accounts[0].filters.sender: {FILTER}, got "{"1" * 59}…"',
        ),
        (
            {"filters": "{sender: [a]}"},
            "5: accounts[0].filters.sender: must be a single value, not a list or a mapping",
        ),
        (
            {"filters": "{campaignReferenceId: []}"},
            "5: accounts[0].filters.campaignReferenceId: must list at least one, in 2048 characters with the commas",
        ),
        (
            {"filters": f"{{campaignReferenceId: [{'a' * 1024}, {'b' * 1024}]}}"},
            "5: accounts[0].filters.campaignReferenceId: must list at least one, in 2048 characters with the commas",
        ),
        (
            {"filters": "{bulkId: []}"},
            "5: accounts[0].filters.bulkId: must list at least one, in 2048 characters with the commas",
        ),
        (
            {"filters": "sender"},
            f"5: accounts[0].filters: must be a mapping with the keys {FILTERS}",
        ),
        ({"base-url": "x"}, '5: accounts[0].base-url: unknown key; did you mean "base_url"?'),
        ({"password": "x"}, f"5: accounts[0].password: unknown key; allowed: {ACCOUNT_KEYS}"),
    ],
)
def test_a_wrong_account(changed: dict[str, str | None], told: str) -> None:
    whole = "must be a whole number from 1 to 6000"
    assert mistakes(account(**changed)) == ["config.yaml:" + told.replace("{whole}", whole)]


URL_TAKEN = "must be an https:// URL (plain http only on loopback)"
ONE_SECRET = "has no secret; give one of {0}, {0}_file"
TLS_KEYS = "ca_file, cert_file, key_file, server_name, min_version, insecure_skip_verify"


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("basic_auth", "", "basic_auth: has no value"),
        (
            "basic_auth",
            SECRET,
            "basic_auth: must be a mapping with the keys username, password, password_file",
        ),
        ("basic_auth", "{password: x}", "basic_auth: has no username"),
        ("basic_auth", "{username: a}", f"basic_auth: {ONE_SECRET.format('password')}"),
        (
            "basic_auth",
            "{username: a, password: b, password_file: c}",
            "basic_auth: has more than one secret: password, password_file; keep one",
        ),
        ("basic_auth", "{username: a, password: ''}", "basic_auth.password: must not be empty"),
        (
            "basic_auth",
            f'{{username: a, password: "{SECRET}\\n"}}',
            "basic_auth.password: must be printable characters",
        ),
        (
            "basic_auth",
            "{username: 'a:b', password: c}",
            "basic_auth.username: must hold no colon: HTTP's basic authentication ends the user's name with it, "
            'got "a:b"',
        ),
        (
            "basic_auth",
            "{username: '', password: c}",
            "basic_auth.username: must be 1 to 256 printable characters",
        ),
        ("oauth2", "{client_secret: x}", "oauth2: has no client_id"),
        ("oauth2", "{client_id: x}", f"oauth2: {ONE_SECRET.format('client_secret')}"),
        (
            "oauth2",
            "{client_id: a, client_secret: b, scopes: instagram:manage}",
            'oauth2.scopes: must be a list, got "instagram:manage"',
        ),
        (
            "oauth2",
            "{client_id: a, client_secret: b, scopes: ['a b']}",
            'oauth2.scopes[0]: must be a scope without spaces, such as instagram:logs:read, got "a b"',
        ),
        (
            "oauth2",
            "{client_id: a, client_secret: b, token_url: http://example.com/token}",
            f'oauth2.token_url: {URL_TAKEN}, got "http://example.com/token"',
        ),
        (
            "oauth2",
            f"{{client_id: a, client_secret: b, token_url: 'https://u:{SECRET}@x.com/'}}",
            "oauth2.token_url: must hold no user and no password; they belong into client_id and client_secret",
        ),
        (
            "oauth2",
            "{client_id: a, client_secret: b, endpoint_params: {grant_type: x}}",
            "oauth2.endpoint_params.grant_type: is set by the exporter; leave it out",
        ),
        (
            "oauth2",
            f"{{client_id: a, client_secret: b, endpoint_params: {{'{SECRET}:': x}}}}",
            "oauth2.endpoint_params: must be a mapping of parameters of the token request; "
            "is a space missing after a colon?",
        ),
        (
            "oauth2",
            "{client_id: a, client_secret: b, tls_config: {}}",
            "oauth2.tls_config: unknown key; allowed: client_id, client_secret, client_secret_file, token_url, "
            "scopes, endpoint_params",
        ),
        ("authorization", "{}", f"authorization: {ONE_SECRET.format('credentials')}"),
        (
            "authorization",
            "{type: basic, credentials: x}",
            'authorization.type: must not be Basic; use basic_auth, got "basic"',
        ),
        (
            "authorization",
            "{type: 'a b', credentials: x}",
            'authorization.type: must be one word, such as Bearer or IBSSO, got "a b"',
        ),
        (
            "authorization",
            f"{{credentials: 'IBSSO {SECRET}'}}",
            "authorization.credentials: must be printable ASCII without spaces",
        ),
    ],
)
def test_a_wrong_way_to_authenticate(kind: str, value: str, told: str) -> None:
    problems = mistakes(account(api_key=None, **{kind: value}))
    assert [problem.partition(": accounts[0].")[2] for problem in problems] == [told]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"proxy_url": f"socks5://u:{SECRET}@proxy:1"},
            ".proxy_url: must be http:// or https:// and the proxy's host and port; SOCKS is not supported",
        ),
        (
            {"proxy_url": f"'http://u:{SECRET} @h'"},
            ".proxy_url: must be a URL of ASCII characters without spaces",
        ),
        (
            {"proxy_url": "http://proxy:3128", "proxy_from_environment": "true"},
            ": has proxy_url and proxy_from_environment: true; keep one",
        ),
        ({"no_proxy": "example.com"}, ": has no_proxy without proxy_url; the environment has NO_PROXY"),
        ({"proxy_from_environment": "maybe"}, '.proxy_from_environment: must be true or false, got "maybe"'),
        ({"tls_config": "[]"}, f".tls_config: must be a mapping with the keys {TLS_KEYS}"),
        ({"tls_config": "{cert_file: x}"}, ".tls_config: has no key_file"),
        ({"tls_config": "{key_file: x}"}, ".tls_config: has no cert_file"),
        (
            {"tls_config": "{min_version: TLS11}"},
            '.tls_config.min_version: is obsolete and not supported (RFC 8996); must be TLS12 or TLS13, got "TLS11"',
        ),
        (
            {"tls_config": "{min_version: '1.2'}"},
            '.tls_config.min_version: must be one of TLS12, TLS13, got "1.2"',
        ),
        (
            {"tls_config": "{server_name: 'https://x'}"},
            '.tls_config.server_name: must be the host name that the certificate is for, got "https://x"',
        ),
        (
            {"tls_config": "{insecure_skip_verify: 1}"},
            '.tls_config.insecure_skip_verify: must be true or false, got "1"',
        ),
    ],
)
def test_a_wrong_proxy_or_tls(changed: dict[str, str | None], told: str) -> None:
    problems = mistakes(account(**changed))
    assert [problem.partition(": accounts[0]")[2] for problem in problems] == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("poll: {interval: 30}", f'poll.interval: must be a duration from 1s to 1h: {DURATION}, got "30"'),
        ("poll: {interval: 999ms}", 'poll.interval: must be a duration from 1s to 1h, got "999ms"'),
        ("poll: {interval: 1h1ms}", 'poll.interval: must be a duration from 1s to 1h, got "1h1ms"'),
        ("poll: {interval: }", "poll.interval: has no value"),
        ("poll: {lookback: 49h}", 'poll.lookback: must be a duration from 0s to 48h, got "49h"'),
        ("poll: {late_arrival: 2d}", 'poll.late_arrival: must be a duration from 0s to 24h, got "2d"'),
        ("poll: {timeout: 0s}", 'poll.timeout: must be a duration from 1s to 5m, got "0s"'),
        ("poll: {timeout: 6m}", 'poll.timeout: must be a duration from 1s to 5m, got "6m"'),
        ("poll: {every: 30s}", "poll.every: unknown key; allowed: interval, lookback, late_arrival, timeout"),
        ("poll: [30s]", "poll: must be a mapping with the keys interval, lookback, late_arrival, timeout"),
        ("metrics: {zero_hold: 2h}", 'metrics.zero_hold: must be a duration from 0s to 1h, got "2h"'),
        (
            "metrics: {max_label_values: 0}",
            'metrics.max_label_values: must be a whole number from 1 to 1000000, got "0"',
        ),
        (
            "metrics: {max_label_values: 1_000}",
            'metrics.max_label_values: must be a whole number from 1 to 1000000, got "1_000"',
        ),
        ("metrics: {labels: [campaign, destination]}", f'metrics.labels[1]: {LABELS}, got "destination"'),
        ("metrics: {labels: entity_id}", 'metrics.labels: must be a list, got "entity_id"'),
        (
            "metrics: {duration_labels: [sender, sender]}",
            'metrics.duration_labels[1]: is listed twice, got "sender"',
        ),
        ("state: {url: mysql://h/db}", f'state.url: {STATE_URL}, got "mysql://h/db"'),
        ("state: {url: 'mysql://u:secret@h/db'}", "state.url: must begin with sqlite:/// or postgresql://"),
        (
            "state: {url: 'postgresql://u:secret@h/db?sllmode=require'}",
            f'state.url: {POSTGRES_URL} (invalid URI query parameter: "sllmode")',
        ),
        ("state: {url: 'postgresql://u:se%zzcret@h/db'}", f"state.url: {POSTGRES_URL}"),
        (
            "state: {url: 'postgresql://h/db?sslpassword=secret'}",
            "state.url: must hold no sslpassword: use a client key without one, readable for this user alone",
        ),
        ("state: {lease: 1s}", 'state.lease: must be a duration from 3s to 10m, got "1s"'),
        ("state: {url: sqlite://x.db}", f'state.url: {STATE_URL}, got "sqlite://x.db"'),
        ("state: {url: 'sqlite:///'}", f'state.url: {STATE_URL}, got "sqlite:///"'),
        ("state: {url: sqlite:////var/}", f'state.url: {STATE_URL}, got "sqlite:////var/"'),
        *(
            (
                f"web: {{allowed_hosts: ['{host}']}}",
                "web.allowed_hosts[0]: must be a host without a port, such as exporter.example.com or *.example.com, "
                f'got "{host}"',
            )
            for host in ("a.example:80", "*", "https://a.example", "[::1]")
        ),
        ("web: {listen_address: localhost}", f'web.listen_address: {LISTEN}, got "localhost"'),
        ("web: {listen_address: 'unix:'}", f'web.listen_address: {SOCKET}, got "unix:"'),
        ("web: {listen_address: 'unix:/run/'}", f'web.listen_address: {SOCKET}, got "unix:/run/"'),
        (r'web: {listen_address: "unix:/a\nb"}', rf'web.listen_address: {SOCKET}, got "unix:/a\nb"'),
        (r'web: {listen_address: "unix:/\udcff"}', rf'web.listen_address: {SOCKET}, got "unix:/\udcff"'),
        (
            f"web: {{listen_address: 'unix:/{'x' * 107}'}}",
            f'web.listen_address: {SOCKET}, got "unix:/{"x" * 53}…"',
        ),
        ("web: {listen_address: ':65536'}", f'web.listen_address: {LISTEN}, got ":65536"'),
        ("web: {listen_address: '::1:80'}", f'web.listen_address: {LISTEN}, got "::1:80"'),
        ("web: {listen_address: '[x]:80'}", f'web.listen_address: {LISTEN}, got "[x]:80"'),
        ("web: {listen_address: 'a b:80'}", f'web.listen_address: {LISTEN}, got "a b:80"'),
        ("web: {allowed_hosts: [a, a]}", 'web.allowed_hosts[1]: is listed twice, got "a"'),
        ("log: {level: warning}", 'log.level: must be one of debug, info, warn, error, got "warning"'),
        ("log: {format: xml}", 'log.format: must be one of logfmt, json, console, got "xml"'),
        ("log: {failures: 1}", 'log.failures: must be true or false, got "1"'),
        ("web: {listen_address: []}", "web.listen_address: must list at least one address"),
        ("web: {listen_address: [':1', x]}", f'web.listen_address[1]: {LISTEN}, got "x"'),
        ("web: {listen_address: [':1', ':1']}", 'web.listen_address[1]: is listed twice, got ":1"'),
        (
            "web: {listen_address: {a: b}}",
            "web.listen_address: must be a single value, not a list or a mapping",
        ),
        ("x-a: [*b]", "is not valid YAML: a value that begins with * must be in quotes"),
        ("log: {x-a: b}", "log.x-a: unknown key; allowed: level, format, failures"),
        ("log: {<<: json}", "<<: must be a mapping or a list of mappings, such as <<: *defaults"),
        ("log: {<<: [json]}", "<<: must be a mapping or a list of mappings, such as <<: *defaults"),
        ("log: &a {<<: *a}", "<<: must not bring a mapping into itself"),
        ("log: {<<: {levle: info}}", 'log.levle: unknown key; did you mean "level"?'),
        ("log: {<<: {level: x}}", 'log.level: must be one of debug, info, warn, error, got "x"'),
        ("log: {format: [json]}", "log.format: must be a single value, not a list or a mapping"),
        ("pol: {}", 'pol: unknown key; did you mean "poll"?'),
        ("zzz: {}", "zzz: unknown key; allowed: accounts, poll, metrics, state, web, log"),
        ("1: {}", "1: unknown key; allowed: accounts, poll, metrics, state, web, log"),
        ("poll: {timeout: 1s, timeout: 2s}", "poll.timeout: is given twice, first in line 2"),
        ("accounts: []", "accounts: is given twice, first in line 1"),
        ("? [a, b]\n: c", "a key that is no word; is a space missing after a colon?"),
        ("interval:30s: x", "a key that is no word; is a space missing after a colon?"),
    ],
)
def test_a_wrong_section(text: str, told: str) -> None:
    assert mistakes(SOUND + text) == [f"config.yaml:2: {told}"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": is empty; at least `accounts` is needed, see config.example.yaml"),
        ("# nothing\n", ": is empty; at least `accounts` is needed, see config.example.yaml"),
        ("{}", ":1: has no accounts; at least one is needed, see config.example.yaml"),
        ("accounts: []", ":1: accounts: must list at least one account"),
        ("accounts:", ":1: accounts: must be a list"),
        ("accounts: main", ':1: accounts: must be a list, got "main"'),
        ("accounts: [main]", f":1: accounts[0]: must be a mapping with the keys {ACCOUNT_KEYS}"),
        ("accounts: [~]", ":1: accounts[0]: has no value"),
        ("accounts: &a [*a]", f":1: accounts[0]: must be a mapping with the keys {ACCOUNT_KEYS}"),
        ("- accounts", ":1: must be a mapping with the keys accounts, poll, metrics, state, web, log"),
        ("accounts:\n\t- a", ":2: is not valid YAML: a tab where only spaces may indent"),
        ("a: 'b", ":1: is not valid YAML: found unexpected end of stream"),
        ("a: {b: ${C}}", ":1: is not valid YAML: inside {...} and [...] a ${VARIABLE} must be in quotes"),
        ("a: [1, 2", ":1: is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", ":1: is not valid YAML: mapping values are not allowed here"),
        ("a: *b", ":1: is not valid YAML: a value that begins with * must be in quotes"),
        ("a: 1\n---\nb: 2", ":2: is not valid YAML: more than one document"),
        ('a: "\\U00110000"', ": is not valid YAML: an escape such as \\U00110000 names no character"),
        ("a: 1\n\x00", ":2: is not text: the character U+0000 can't be in YAML"),
        ("[" * 5000, ": is nested too deeply"),
        ("#" * (256 * 1024 + 1), ": is too large for a configuration: more than 256 KiB"),
    ],
)
def test_a_file_that_is_no_configuration(text: str, told: str) -> None:
    assert mistakes(text) == [f"config.yaml{told}"]


def test_two_accounts_of_one_name() -> None:
    two = SOUND.replace("]", ", {name: main, base_url: https://y.api.infobip.com, api_key: '${KEY}'}]")
    told = 'accounts[1].name: is the name of an account before, too; names are unique, got "main"'
    assert mistakes(two) == [f"config.yaml:1: {told}"]


def test_an_account_of_no_name_after_one_whose_name_is_wrong() -> None:
    text = "accounts: [{name: ''}, {base_url: x}]"
    assert [line.split(" ")[1:4] for line in mistakes(text)] == [
        ["accounts[0].name:", "must", "be"],
        ["accounts[0]:", "has", "no"],
        ["accounts[0]:", "has", "no"],
        ["accounts[1].base_url:", "must", "begin"],
        ["accounts[1]:", "has", "no"],
        ["accounts[1]:", "has", "no"],
    ]


def test_a_thousand_mistakes_are_not_told_one_by_one() -> None:
    told = mistakes("x: 1\n" * 1000)
    assert len(told) == MOST_TOLD + 1
    assert told[-1] == f"config.yaml: there are more mistakes; these are the first {MOST_TOLD}"


@pytest.mark.parametrize("most", [MOST_TOLD - 1, MOST_TOLD])
def test_a_hundred_mistakes_are_told_without_a_word_on_more(most: int) -> None:
    told = mistakes("x: 1\n" * most)
    assert len(told) == most
    assert "more" not in told[-1]


@pytest.mark.parametrize("list_of", ["channels: [%s]", "filters: {campaignReferenceId: [%s]}"])
def test_a_small_file_that_aliases_blow_up_is_refused_at_once(list_of: str) -> None:
    """Some 10^9 values, were each alias walked to its end."""
    one = "&a {name: a, base_url: https://x, api_key: k, " + list_of % ("sms," * 32_000) + "}"
    assert len(mistakes(f"accounts:\n- {one}\n" + "- *a\n" * 25_000)) == MOST_TOLD + 1


@pytest.mark.parametrize(
    "text",
    [
        # Each mapping brings in all members of the one before, and has one more.
        "x-0: &m0 {k0: v}\n" + "".join(f"x-{n}: &m{n} {{<<: *m{n - 1}, k{n}: v}}\n" for n in range(1, 5000)),
        # A long list of mappings, and a long list of those who bring it in.
        f"x-m: &m [{', '.join(f'{{k{n}: v}}' for n in range(8000))}]\n"
        f"x-n: [{', '.join(['{<<: *m}'] * 8000)}]\n",
    ],
)
def test_merges_that_blow_a_small_file_up_are_refused_at_once(text: str) -> None:
    told = "config.yaml: <<: brings in more than 100000 values in all"
    assert mistakes(text + SOUND) == [told]


def test_every_mistake_is_told_at_once_in_the_order_of_the_file() -> None:
    text = (
        account(base_url="x", api_key="${NOT_SET}", name="''") + "log: {level: x}\npoll: {timeout: x}\nlgo:\n"
    )
    assert [line.split(": ")[:2] for line in mistakes(text)] == [
        ["config.yaml:2", "accounts[0].name"],
        ["config.yaml:3", "accounts[0].base_url"],
        ["config.yaml:4", "accounts[0].api_key"],
        ["config.yaml:5", "log.level"],
        ["config.yaml:6", "poll.timeout"],
        ["config.yaml:7", "lgo"],
    ]


def test_a_web_config_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SOUND + "web: {config_file: web.yml}")
    with pytest.raises(ConfigError) as error:
        load_config(file, ENV)
    told = f'web.config_file: must be an existing file (relative paths start at {tmp_path}), got "web.yml"'
    assert error.value.problems == [f"{file}:2: {told}"]


def test_a_web_config_whose_name_is_too_long_is_not_there() -> None:
    assert "must be an existing file" in mistakes(SOUND + f"web: {{config_file: {'x' * 5000}}}")[0]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "no.yaml", ENV)
    told = "there is no such file; copy config.example.yaml, or name another with --config.file"
    assert error.value.problems == [f"{tmp_path}/no.yaml: {told}"]


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path, ENV)
    assert error.value.problems == [f"{tmp_path}: can't be read: Is a directory"]


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        load_config("/dev/zero", ENV)
    assert error.value.problems == ["/dev/zero: can't be read: not a regular file"]


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes("name: é".encode("utf-16"))
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "c.yaml", ENV)
    assert error.value.problems == [f"{tmp_path}/c.yaml: is not UTF-8 text"]
