"""Each kind of mistake, and the whole line that tells it."""

import re
from pathlib import Path

import pytest

from infobip_exporter.config.load import load_config, parse_config
from infobip_exporter.config.problems import MOST_TOLD
from infobip_exporter.errors import ConfigError

SECRET = "0123456789abcdef-SECRET"
ENV = {"KEY": SECRET, "EMPTY": "", "SPACED": f"{SECRET} x", "PREFIXED": f"App {SECRET}"}
ENV |= {"QUOTED": f'"{SECRET}"', "SINGLE": f"'{SECRET}'\n", "QUOTED_URL": '"https://x.api.infobip.com"'}
SOUND = "accounts: [{name: main, base_url: https://x.api.infobip.com, api_key: '${KEY}'}]\n"
KINDS = "api_key, api_key_file, basic_auth, oauth2, authorization"
ACCOUNT_KEYS = (
    f"name, base_url, {KINDS}, proxy_url, no_proxy, proxy_from_environment, tls_config, "
    "channels, requests_per_minute, filters"
)
BESIDE = {
    "basic_auth": {"username": "a", "password": "b"},
    "oauth2": {"client_id": "a", "client_secret": "b"},
    "authorization": {"credentials": "x"},
}
"""What a way to authenticate needs."""


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


def with_value(told: str, value: str) -> tuple[str, str]:
    """What is `told` of the `value` with its place, and a configuration that is sound but for it.

    The key that it begins with is one of the account's behind a dot, else one of a section.
    """
    key, *parts = re.findall(r"[a-z][\w-]*|\[", told.partition(": ")[0], re.IGNORECASE)
    for part in reversed(parts):
        members = BESIDE.get(key, {}) if part == parts[0] else {}
        inside = ", ".join(f"{name}: {each}" for name, each in (members | {part: value}).items())
        value = f"[{value}]" if part == "[" else f"{{{inside}}}"
    if not told.startswith("."):
        return f"config.yaml:2: {told}", f"{SOUND}{key}: {value}"
    text = account(**({"api_key": None} if key in KINDS.split(", ") else {}) | {key: value})
    line = next(number for number, line in enumerate(text.splitlines(), 1) if f"{key}:" in line)
    return f"config.yaml:{line}: accounts[0]{told}", text


LISTEN = (
    "must be host:port, :port or [IPv6]:port with a port from 0 to 65535, such as 0.0.0.0:10470, "
    "or unix: and the path of a socket"
)
SOCKET = (
    "must be unix: and the path of a socket, in at most 107 bytes, such as unix:/run/infobip-exporter.sock"
)
STATE_URL = (
    "must be sqlite:/// and a file, such as sqlite:///infobip-exporter.db, "
    "or with four slashes an absolute one, such as sqlite:////var/lib/infobip-exporter/state.db, "
    "or a postgresql:// URL"
)
LABELS = "must be one of status, error, entity_id, application_id, sender, campaign, content_type, mcc_mnc, country"
CHANNELS = (
    "instagram, messenger, tiktok, apple-mfb, kakao-alim, kakao-chingu, kakao-sangdam, "
    "viber, viber-bot, rcs, push, sms, mms, email"
)
OVER_TLS = "must be an https:// URL (plain http only on loopback)"
NO_HOST = "must name a host, such as https://xxxxx.api.infobip.com"
PATH = "must be a path of printable characters"
FILTER = "must be 1 to 2048 printable characters"
HOST = "must be a host without a port, such as exporter.example.com or *.example.com"
DURATION = (
    "whole numbers with a unit, larger units first, such as 500ms, 30s, 2m, 1h30m (units: w, d, h, m, s, ms)"
)

SHOWN = {
    f".base_url: {OVER_TLS}": ["http://example.com", "http://10.0.0.1", "ftp://localhost"],
    ".base_url: must begin with https://": ["x.api.infobip.com", "${KEY}"],
    ".base_url: must be scheme and host alone, without a path, ? or #": [
        "https://x.com/sms",
        "https://x.com?a=b",
        '"https://x.com#a"',
    ],
    f".base_url: {NO_HOST}": ["https://", "https://xn--a", "https://-x-", "https://1.2.3"],
    ".base_url: must be a URL with a sound host and port": [
        "https://x:65536",
        '"https://x:"',
        "https://x:0",
        '"https://[::1"',
    ],
    ".base_url: must be a URL of ASCII characters without spaces": ["https://x y", r'"https://x.com\n"'],
    ".name: must be 1 to 64 printable characters": [r'"a\tb"'],
    f".api_key_file: {PATH}": [r'"a\nb"', r'"\udcff"'],
    ".channels: must be a list": ["instagram"],
    '.channels[0]: is unknown (did you mean "instagram"?)': ["instagramm"],
    f".channels[0]: is unknown (allowed: {CHANNELS})": ["WhatsUpp"],
    ".requests_per_minute: must be a whole number from 1 to 6000": ["0", "6001", "1.5", "many"],
    f".filters.sender: {FILTER}": [r'"a\nb"'],
    ".basic_auth.username: must hold no colon: HTTP's basic authentication ends the user's name with it": [
        "'a:b'"
    ],
    ".oauth2.scopes: must be a list": ["instagram:manage"],
    ".oauth2.scopes[0]: must be a scope without spaces, such as instagram:logs:read": ["'a b'"],
    f".oauth2.token_url: {OVER_TLS}": ["http://example.com/token"],
    ".authorization.type: must not be Basic; use basic_auth": ["basic"],
    ".authorization.type: must be one word, such as Bearer or IBSSO": ["'a b'"],
    ".proxy_from_environment: must be true or false": ["maybe"],
    ".tls_config.min_version: is obsolete and not supported (RFC 8996); must be TLS12 or TLS13": ["TLS11"],
    ".tls_config.min_version: must be one of TLS12, TLS13": ["'1.2'"],
    ".tls_config.server_name: must be the host name that the certificate is for": ["'https://x'"],
    f"poll.interval: must be a duration from 1s to 1h: {DURATION}": ["30"],
    "poll.interval: must be a duration from 1s to 1h": ["999ms", "1h1ms"],
    "poll.lookback: must be a duration from 0s to 48h": ["49h"],
    "poll.late_arrival: must be a duration from 0s to 24h": ["2d"],
    "poll.timeout: must be a duration from 1s to 5m": ["0s", "6m"],
    "metrics.zero_hold: must be a duration from 0s to 1h": ["2h"],
    "metrics.max_label_values: must be a whole number from 1 to 1000000": ["0", "1_000"],
    f"metrics.labels[0]: {LABELS}": ["destination"],
    "metrics.labels: must be a list": ["entity_id"],
    f"state.url: {STATE_URL}": ["mysql://h/db", "sqlite://x.db", "'sqlite:///'", "sqlite:////var/"],
    "state.lease: must be a duration from 3s to 10m": ["1s"],
    f"web.allowed_hosts[0]: {HOST}": ["a.example:80", "'*'", "https://a.example", "'[::1]'"],
    f"web.listen_address: {LISTEN}": ["localhost", "':65536'", "'::1:80'", "'[x]:80'", "'a b:80'"],
    f"web.listen_address: {SOCKET}": ["'unix:'", "'unix:/run/'", r'"unix:/a\nb"', r'"unix:/\udcff"'],
    "log.level: must be one of debug, info, warn, error": ["warning"],
    "log.format: must be one of logfmt, json, console": ["xml"],
    "log.failures: must be true or false": ["1"],
}
"""What is wrong, and values that are, which are shown."""


@pytest.mark.parametrize(("told", "value"), [(told, value) for told in SHOWN for value in SHOWN[told]])
def test_a_wrong_value_is_told_and_shown_as_the_file_has_it(told: str, value: str) -> None:
    told, text = with_value(told, value)
    shown = value.strip("\"'")
    assert mistakes(text) == [f'{told}, got "{shown}"']


BRACES = "a variable is written ${NAME}, a dollar sign $$"
IN_QUOTES = (
    "the environment variable {} holds a value in quotes; remove the quotes: docker --env-file keeps them"
)
ASCII = "must be printable ASCII without spaces"
SINGLE = "must be a single value, not a list or a mapping"
SOME_FILTERS = "must list at least one, in 2048 characters with the commas"
WITH_KEYS = "must be a mapping with the keys"
POSTGRES_URL = "must be a PostgreSQL URL, such as postgresql://user@host:5432/database?sslmode=verify-full"
TLS_KEYS = "ca_file, cert_file, key_file, server_name, min_version, insecure_skip_verify"
FILTERS = "sender, destination, bulkId, entityId, applicationId, campaignReferenceId"

HIDDEN = {
    ".base_url: must hold no user and no password; the key belongs into api_key": [
        f"https://u:{SECRET}@x.com"
    ],
    f".base_url: {IN_QUOTES.format('QUOTED_URL')}": ["${QUOTED_URL}"],
    ".api_key: must not be empty": ["${EMPTY}", "''"],
    f".api_key: {ASCII}": ["${SPACED}", f"{SECRET}é"],
    '.api_key: must be the key alone; leave out "App " at its beginning': ["${PREFIXED}", f"APP  {SECRET}"],
    ".api_key: must be the key alone, without the quotes around it": [f"'\"{SECRET}\"'"],
    f".api_key: {SINGLE}": [f"[{SECRET}]", f"{{{SECRET}: x}}"],
    ".api_key: tags such as !this are not understood; put quotes around the value": [f"!secret {SECRET}"],
    f".api_key: {BRACES}": [f"{SECRET}${{", f"{SECRET}${{a-b}}", "$KEY", f"{SECRET}$KEY"],
    f".api_key: {IN_QUOTES.format('QUOTED')}": ["${QUOTED}"],
    f".api_key: {IN_QUOTES.format('SINGLE')}": ["${SINGLE}"],
    ".api_key: the environment variable NOT_SET is not set": ["${NOT_SET}"],
    ".api_key: has no value": [""],
    ".name: must be 1 to 64 printable characters": ["''"],
    f".api_key_file: {PATH}": ["''"],
    ".channels: must list at least one, or be left out for instagram": ["[]"],
    f".filters: {WITH_KEYS} {FILTERS}": ["sender"],
    '.filters.sendr: unknown key; did you mean "sender"?': ["x"],
    f".filters.sender: {FILTER}": ["''"],
    ".filters.sender: has no value": [""],
    f".filters.sender: {SINGLE}": ["[a]"],
    f".filters.campaignReferenceId: {SOME_FILTERS}": ["[]", f"[{'a' * 1024}, {'b' * 1024}]"],
    ".basic_auth: has no value": [""],
    f".basic_auth: {WITH_KEYS} username, password, password_file": [SECRET],
    ".basic_auth: has no username": ["{password: x}"],
    ".basic_auth: has no secret; give one of password, password_file": ["{username: a}"],
    ".basic_auth: has more than one secret: password, password_file; keep one": [
        "{username: a, password: b, password_file: c}"
    ],
    ".basic_auth.password: must not be empty": ["''"],
    ".basic_auth.password: must be printable characters": [f'"{SECRET}\\n"'],
    ".basic_auth.username: must be 1 to 256 printable characters": ["''"],
    ".oauth2: has no client_id": ["{client_secret: x}"],
    ".oauth2: has no secret; give one of client_secret, client_secret_file": ["{client_id: x}"],
    ".oauth2.token_url: must hold no user and no password; they belong into client_id and client_secret": [
        f"'https://u:{SECRET}@x.com/'"
    ],
    ".oauth2.endpoint_params.grant_type: is set by the exporter; leave it out": ["x"],
    ".oauth2.endpoint_params: must be a mapping of parameters of the token request; is a space missing after a colon?": [
        f"{{'{SECRET}:': x}}"
    ],
    ".oauth2.tls_config: unknown key; allowed: client_id, client_secret, client_secret_file, token_url, scopes, endpoint_params": [
        "{}"
    ],
    ".authorization: has no secret; give one of credentials, credentials_file": ["{}"],
    f".authorization.credentials: {ASCII}": [f"'IBSSO {SECRET}'"],
    ".proxy_url: must be http:// or https:// and the proxy's host and port; SOCKS is not supported": [
        f"socks5://u:{SECRET}@proxy:1"
    ],
    ".proxy_url: must be a URL of ASCII characters without spaces": [f"'http://u:{SECRET} @h'"],
    f".tls_config: {WITH_KEYS} {TLS_KEYS}": ["[]"],
    ".tls_config: has no key_file": ["{cert_file: x}"],
    ".tls_config: has no cert_file": ["{key_file: x}"],
    '.base-url: unknown key; did you mean "base_url"?': ["x"],
    f".password: unknown key; allowed: {ACCOUNT_KEYS}": ["x"],
    "poll.every: unknown key; allowed: interval, lookback, late_arrival, timeout": ["30s"],
    f"poll: {WITH_KEYS} interval, lookback, late_arrival, timeout": ["[30s]"],
    "state.url: must begin with sqlite:/// or postgresql://": ["'mysql://u:secret@h/db'"],
    f"state.url: {POSTGRES_URL}": ["'postgresql://u:se%zzcret@h/db'"],
    f'state.url: {POSTGRES_URL} (invalid URI query parameter: "sllmode")': [
        "'postgresql://u:secret@h/db?sllmode=require'"
    ],
    "state.url: must hold no sslpassword: use a client key without one, readable for this user alone": [
        "'postgresql://h/db?sslpassword=secret'"
    ],
    f"state.url: {BRACES}": ["sqlite:///$HOME/x.db"],
    "web.listen_address: must list at least one address": ["[]"],
    f"web.listen_address: {SINGLE}": ["{a: b}"],
    "log.x-a: unknown key; allowed: level, format, failures": ["b"],
    'pol: unknown key; did you mean "poll"?': ["{}"],
    "zzz: unknown key; allowed: accounts, poll, metrics, state, web, log": ["{}"],
}
"""What is wrong, and values that are, which are not shown: they may be secrets, or are more than one text."""


@pytest.mark.parametrize(("told", "value"), [(told, value) for told in HIDDEN for value in HIDDEN[told]])
def test_a_wrong_value_that_may_be_secret_is_not_shown(told: str, value: str) -> None:
    told, text = with_value(told, value)
    assert mistakes(text) == [told]


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
    ("told", "value", "shown"),
    [
        (".name: must be 1 to 64 printable characters", "x" * 65, "x" * 59 + "…"),
        (".name: must be 1 to 64 printable characters", r'"\e[31m"', r"\u001b[31m"),
        (f".filters.sender: {FILTER}", "1" * 2049, "1" * 59 + "…"),
        (f".base_url: {NO_HOST}", f"https://{'x.' * 126}xx", f"https://{'x.' * 25}x…"),
        (f"web.listen_address: {SOCKET}", f"unix:/{'x' * 107}", f"unix:/{'x' * 53}…"),
    ],
)
def test_a_long_value_is_cut_and_nothing_reaches_a_terminal(told: str, value: str, shown: str) -> None:
    told, text = with_value(told, value)
    assert mistakes(text) == [f'{told}, got "{shown}"']


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": None}, "has no name; it becomes the label `account`, such as main"),
        (
            {"base_url": None},
            "has no base_url; it is the account's own, such as https://xxxxx.api.infobip.com",
        ),
        ({"api_key": None}, f"has no way to authenticate; give one of {KINDS}"),
        (
            {"api_key_file": "key"},
            "has more than one way to authenticate: api_key, api_key_file; keep one",
        ),
        (
            {"proxy_url": "http://proxy:3128", "proxy_from_environment": "true"},
            "has proxy_url and proxy_from_environment: true; keep one",
        ),
        ({"no_proxy": "example.com"}, "has no_proxy without proxy_url; the environment has NO_PROXY"),
    ],
)
def test_what_an_account_lacks_or_has_too_much_of_is_told(changed: dict[str, str | None], told: str) -> None:
    assert mistakes(account(**changed)) == [f"config.yaml:2: accounts[0]: {told}"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metrics: {labels: [sender, sender]}", 'metrics.labels[1]: is listed twice, got "sender"'),
        ("web: {listen_address: [':1', x]}", f'web.listen_address[1]: {LISTEN}, got "x"'),
        ("x-a: [*b]", "is not valid YAML: a value that begins with * must be in quotes"),
        ("log: {<<: json}", "<<: must be a mapping or a list of mappings, such as <<: *defaults"),
        ("log: {<<: [json]}", "<<: must be a mapping or a list of mappings, such as <<: *defaults"),
        ("log: &a {<<: *a}", "<<: must not bring a mapping into itself"),
        ("log: {<<: {levle: info}}", 'log.levle: unknown key; did you mean "level"?'),
        ("log: {<<: {level: x}}", 'log.level: must be one of debug, info, warn, error, got "x"'),
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


@pytest.mark.parametrize("made", [MOST_TOLD, MOST_TOLD + 1, 1000])
def test_a_hundred_mistakes_are_told_and_a_word_on_more(made: int) -> None:
    told = mistakes("x: 1\n" * made)
    more = f"config.yaml: there are more mistakes; these are the first {MOST_TOLD}"
    assert len(told) == min(made, MOST_TOLD + 1)
    assert [line for line in told if "more" in line] == ([more] if made > MOST_TOLD else [])


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


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "no.yaml",
            "there is no such file; copy config.example.yaml, or name another with --config.file",
        ),
        (".", "can't be read: Is a directory"),
        ("/dev/zero", "can't be read: not a regular file"),
        ("utf-16", "is not UTF-8 text"),
    ],
)
def test_a_file_that_can_not_be_read(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "utf-16").write_bytes("name: é".encode("utf-16"))
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / name, ENV)
    assert error.value.problems == [f"{tmp_path / name}: {told}"]
