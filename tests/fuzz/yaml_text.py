"""Configurations as texts: of the right form with wrong values, of the wrong form, and no YAML at all."""

import json
from collections.abc import Mapping
from typing import TypeAlias

from hypothesis import strategies as st

SECRET = "0123456789abcdef0123456789abcdef-01234567-89ab-cdef-0123-SECRET"
"""As long as a key is: a word as short as ours is told as a key that nobody knows."""
HASH = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze"

Tree: TypeAlias = st.SearchStrategy[str] | Mapping[str, "Tree"] | list["Tree"]
"""What a place may hold when nothing is wrong."""

plain = st.sampled_from(
    [
        *"a 007 0x1F 1_000 1e5 .inf .nan yes No null ~ 2023-02-01 12:30:45 = << ${KEY} '${KEY}' '${E}' '${NONE}' '${' '$$' '${}' "
        '\'${KEY\' "\\ud800" "\\0" "\\n" \'\' "" !x !!int !!python/name:os.system !!binary '
        "!!python/object/apply:os.system *a *b &a &b | > % @ ` \" ' [ ] { } , # ? - : --- ... \\ 9e999999".split(),
        "!!set {a}",
        "!!omap [a: b]",
        "!<tag:x> y",
        "&a [*a]",
        "&a {a: *a}",
        "&a {<<: *a}",
        "{<<: &a {a: b}, <<: [*a, *a]}",
        "{<<: [x]}",
        "a b",
        "a: b",
        "é",
        "\u2028",
        "\x85",
        "\x00",
        "\t",
    ]
)
numbers = st.one_of(
    st.integers().map(str), st.floats().map(str), st.integers(1, 6000).map(lambda length: "9" * length)
)
durations = st.lists(
    st.tuples(
        st.integers(-1, 10**18).map(str) | st.sampled_from(["1", "30", "٣", "1.5"]),
        st.sampled_from(["w", "d", "h", "m", "s", "ms", "y", ""]),
    ),
    max_size=4,
).map(lambda parts: "".join(amount + unit for amount, unit in parts))
quoted = st.text(max_size=30).map(json.dumps) | st.text(max_size=30).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
bombs = st.integers(2, 40).map(
    lambda depth: (
        "["
        + ", ".join([f"&b{n} [{', '.join([f'*b{n - 1}' if n else 'x'] * 9)}]" for n in range(depth)])
        + "]"
    )
)
nested = st.builds(
    lambda opened, depth: opened * depth,
    st.sampled_from(["[", "{a: ", "- ", "[{", "? "]),
    st.integers(1, 60),
)
wrong = st.one_of(plain, plain, numbers, durations, quoted, bombs, nested)

hosts = st.sampled_from(
    [
        *"x.api.infobip.com localhost 127.0.0.1 [::1] [::1 [fe80::1%25eth0] 1.2.3 256.1.1.1 xn--a xn--80akhbyknj4f -a a- a..b "
        "_x é.com a".split(),
        "",
        "a" * 254,
        "a.xn--",
        "x:0",
        "x:65536",
        "x:",
        "x/",
        "x/y",
        "x?a",
        "x#a",
        "x\\y",
        "[::1]:80",
    ]
)
urls = st.builds(
    "{}{}".format, st.sampled_from(["https://", "HTTPS://", "http://", "ftp://", "", "//", "https:"]), hosts
)


odd = st.one_of(
    numbers,
    durations,
    quoted,
    st.sampled_from(
        [
            "",
            "~",
            "''",
            "[]",
            "{}",
            "[a]",
            "{a: b}",
            "!x y",
            "&a b",
            "[[]]",
            "'${E}'",
            "'${NONE}'",
            "? a",
            "!!set {a}",
            "&c [*c]",
            "&d {a: *d}",
            "!!binary aGk=",
            "!!python/name:os.system x",
            "<<",
        ]
    ),
)
"""Wrong values that leave the document one."""


def mostly(good: st.SearchStrategy[str], other: st.SearchStrategy[str], of: int) -> st.SearchStrategy[str]:
    """`good`, but for one in `of`. (`|` would give each part of `other` the same share.)"""
    return st.integers(1, of).flatmap(lambda number: other if number == of else good)


def flow(tree: Tree) -> st.SearchStrategy[str]:
    """`tree` in one line, each value of it sometimes wrong, each key sometimes gone, doubled or misspelt."""
    return mostly(mostly(_sound(tree), odd, 8), wrong, 60)


def _sound(tree: Tree) -> st.SearchStrategy[str]:
    if isinstance(tree, st.SearchStrategy):
        return tree
    if isinstance(tree, list):
        items = st.one_of([flow(item) for item in tree])
        return st.lists(items, max_size=3).map(lambda texts: f"[{', '.join(texts)}]")
    members = [mostly(_member(key, value), _no_member(key, value), 5) for key, value in tree.items()]
    return st.tuples(*members).map(lambda parts: "{" + ", ".join(part for part in parts if part) + "}")


def _member(key: str, value: Tree) -> st.SearchStrategy[str]:
    return flow(value).map(lambda text: f"{key}: {text}")


def _no_member(key: str, value: Tree) -> st.SearchStrategy[str]:
    forms = st.sampled_from(["", "", "", "{0}: {1}, {0}: x", "{0}:{1}", "{2}: {1}", "{0}"])
    return st.builds(lambda form, text: form.format(key, text, key[:-1]), forms, flow(value))


def words(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


KEY = words(
    "'${KEY}'",
    SECRET,
    f"'{SECRET} x'",
    f"[{SECRET}]",
    f"!x {SECRET}",
    f'"{SECRET}\\n"',
    f"'App {SECRET}'",
    f"|\n {SECRET}",
)
FILE = words("keys/a", "/run/key", "''", '"a\\0b"')
# Of the ways to authenticate each account has one, most often.
WAYS: Mapping[str, Tree] = {
    "api_key": KEY,
    "api_key_file": FILE,
    "basic_auth": {"username": words("me", "'a:b'", "''"), "password": KEY, "password_file": FILE},
    "oauth2": {
        "client_id": words("shop", "''"),
        "client_secret": KEY,
        "client_secret_file": FILE,
        "token_url": urls.map(lambda url: json.dumps(f"{url}/token?a=b")),
        "scopes": [words("instagram:logs:read", "'a b'", "a")],
        "endpoint_params": {"audience": KEY, "scope": words("x"), SECRET: words("x")},
    },
    "authorization": {"type": words("IBSSO", "Basic", "'a b'"), "credentials": KEY, "credentials_file": FILE},
}
REACHED: Mapping[str, Tree] = {
    "proxy_url": words(f"'http://me:{SECRET}@proxy:3128'", f"'socks5://me:{SECRET}@h'", "proxy:3128") | urls,
    "no_proxy": words("'example.com,10.0.0.0/8'", "'*'", "''"),
    "proxy_from_environment": words("true", "no"),
    "tls_config": {
        "ca_file": FILE,
        "cert_file": FILE,
        "key_file": FILE,
        "server_name": words("api.example.com", "'https://x'") | hosts.map(json.dumps),
        "min_version": words("TLS12", "TLS13", "TLS10"),
        "insecure_skip_verify": words("true", "1"),
    },
}


ACCOUNT: Tree = {
    "name": words("main", "other", "'${E}'"),
    "base_url": words("https://x.api.infobip.com") | urls.map(json.dumps),
    "channels": [words("sms", "instagram", "smss")],
    "requests_per_minute": words("1", "100", "6000", "6001"),
    "filters": {
        "sender": words("447"),
        "destination": words("'+447'"),
        "bulkId": [words("b", "'${E}'")],
        "entityId": words("e"),
        "campaignReferenceId": [words("c", "007")],
    },
}
labels = words("entity_id", "campaign", "campaigns", "''")
CONFIG: Mapping[str, Tree] = {
    "accounts": [*({**ACCOUNT, kind: tree} for kind, tree in WAYS.items()), {**ACCOUNT, **WAYS, **REACHED}],
    "poll": {
        "interval": words("1m", "30s") | durations,
        "lookback": words("48h") | durations,
        "timeout": durations,
    },
    "metrics": {
        "zero_hold": durations,
        "max_label_values": words("5") | numbers,
        "max_series": words("100") | numbers,
        "labels": [labels],
        "duration_labels": [labels],
    },
    "state": {"url": words("sqlite:///x.db", "sqlite:////x.db", "sqlite:///", "'sqlite:///\\n'")},
    "web": {
        "listen_address": words("':9000'", "'[::1]:0'", "'unix:/run/x'", "'unix:'", "'unix:9'", "'::1:1'")
        | hosts.map(lambda host: json.dumps(host + ":1")),
        "config_file": words("web.yml"),
    },
    "log": {"level": words("debug", "x"), "format": words("json"), "failures": words("true", "no", "1")},
}
WEB_CONFIG: Mapping[str, Tree] = {
    "tls_server_config": {
        "cert_file": words("server.crt", "junk", "no"),
        "key_file": words("server.key", "junk"),
        "client_ca_file": words("server.crt", "junk"),
        "client_auth_type": words("RequireAndVerifyClientCert", "NoClientCert", "RequestClientCert"),
        "client_allowed_sans": [words("a", "::1", "''")],
        "min_version": words("TLS12", "TLS13", "TLS10"),
        "max_version": words("TLS12", "TLS13"),
        "cipher_suites": [words("TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "x")],
        "prefer_server_cipher_suites": words("true", "off"),
        "curve_preferences": [words("X25519", "CurveP256")],
    },
    "http_server_config": {
        "http2": words("true", "no"),
        "headers": {
            "Content-Security-Policy": words("default-src", '"a\\r\\nX-Evil: 1"'),
            "X-Frame-Options": words("deny", "''"),
            "X-Content-Type-Options": words("nosniff"),
        },
    },
    "basic_auth_users": {
        "admin": words(
            f"'{HASH}'", f"[{HASH}]", f"'{HASH}x'", HASH.replace("10", "31"), SECRET, f"!x {SECRET}"
        ),
        '"a:b"': words(f"'{HASH}'"),
        SECRET[:10]: words(SECRET),
    },
    "rate_limit": {"interval": words("1s", "0") | durations, "burst": words("1", "0") | numbers},
}


def documents(sections: Mapping[str, Tree]) -> st.SearchStrategy[str]:
    """Files with `sections`, a line each, some missing; and around them what does not belong there."""
    lines = [
        mostly(_member(key, value).map(lambda text: text + "\n"), st.just(""), 3)
        for key, value in sections.items()
    ]
    strange = words("---\n", "%YAML 1.1\n---\n", "\ufeff", "# x\n", "&a\n", "...\n", "\t", "x:\n") | wrong
    around = mostly(st.just(""), strange, 8)
    return st.tuples(around, *lines, around).map("".join)


BREAKS = [
    ": ",
    ":\n  ",
    "\n",
    "\n- ",
    "- ",
    ", ",
    "&a ",
    "!x ",
    "!!int ",
    "? ",
    "---\n",
    "\t",
    "\x85",
    "\ufeff",
    "\0",
]
"""What gives a text its form."""
PIECES = [
    *"accounts name base_url api_key filters poll interval web headers basic_auth_users url https:// [::1 30s é << = [ ] { } ' \" ${KEY} ${ ~ *a % # \\U0011 \\ud800 1 | > | @ `".split(),
    *BREAKS,
    SECRET,
]
scraps = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


def _changed(text: str, at: int, noise: str, gone: int) -> str:
    at %= len(text) + 1
    return text[:at] + noise + text[at + gone :]


def texts(sections: Mapping[str, Tree]) -> st.SearchStrategy[str]:
    """Any text, most often one that is a configuration or nearly."""
    good = documents(sections)
    cut = st.builds(_changed, good, st.integers(0, 3000), st.text(max_size=2), st.integers(0, 5))
    return mostly(mostly(good, cut, 3), st.one_of(scraps, st.text()), 4)
