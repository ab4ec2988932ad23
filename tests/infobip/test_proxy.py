import httpx
import pytest

from infobip_exporter.errors import ConfigError
from infobip_exporter.infobip.proxy import proxy_for

PROXY = "http://proxy.test:3128"


def proxy(url: str = "https://api.example.com", **environ: str) -> str | None:
    found = proxy_for(httpx.URL(url), environ)
    return None if found is None else str(found.url)


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, "https://api.example.com", None),
        ({"HTTPS_PROXY": ""}, "https://api.example.com", None),
        ({"HTTPS_PROXY": PROXY}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://api.example.com", None),
        ({"HTTP_PROXY": PROXY}, "http://api.example.com", PROXY),
        ({"ALL_PROXY": PROXY}, "http://api.example.com", PROXY),
        ({"all_proxy": PROXY}, "https://api.example.com", PROXY),
        ({"ALL_PROXY": "http://other", "HTTPS_PROXY": PROXY}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": "http://other", "https_proxy": PROXY}, "https://api.example.com", PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": "proxy.test:3128"}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": "https://proxy.test"}, "https://api.example.com", "https://proxy.test"),
        ({"HTTPS_PROXY": PROXY}, "https://localhost", None),
        ({"HTTPS_PROXY": PROXY}, "https://127.1.2.3", None),
        ({"HTTPS_PROXY": PROXY}, "https://[::1]", None),
    ],
)
def test_the_variable_for_the_scheme_goes_before_the_one_for_all(
    environ: dict[str, str], url: str, expected: str | None
) -> None:
    assert proxy(url, **environ) == expected


def test_user_and_password_of_the_proxy_are_kept() -> None:
    found = proxy_for(httpx.URL("https://api.example.com"), {"HTTPS_PROXY": "user:pass@proxy.test:3128"})
    assert found is not None
    assert found.raw_auth == (b"user", b"pass")


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "https://api.example.com"),
        ("example.com", "https://example.com"),
        ("example.com", "https://api.example.com"),
        (".example.com", "https://example.com"),
        (".example.com", "https://a.b.example.com"),
        ("*.example.com", "https://api.example.com"),
        ("Example.COM.", "https://api.EXAMPLE.com."),
        ("other.test,example.com", "https://api.example.com"),
        ("other.test  ,\texample.com", "https://api.example.com"),
        ("other.test example.com", "https://api.example.com"),
        ("api.example.com:443", "https://api.example.com"),
        ("*.example.com:8443", "https://api.example.com:8443"),
        ("*:80", "http://api.example.com"),
        ("192.0.2.7", "https://192.0.2.7"),
        ("192.0.2.7:443", "https://192.0.2.7"),
        ("192.0.2.0/24", "https://192.0.2.7"),
        ("192.0.2.99/24", "https://192.0.2.7"),
        ("2001:db8::1", "https://[2001:db8::1]"),
        ("[2001:db8::1]:443", "https://[2001:db8:0::1]"),
        ("2001:db8::/32", "https://[2001:db8::1]"),
    ],
)
def test_hosts_in_no_proxy_are_asked_directly(no_proxy: str, url: str) -> None:
    assert proxy(url, HTTPS_PROXY=PROXY, HTTP_PROXY=PROXY, NO_PROXY=no_proxy) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "https://api.example.com"),
        (",. :443 *. /8", "https://api.example.com"),
        ("example.com", "https://notexample.com"),
        ("*example.com", "https://notexample.com"),
        ("api.example.com", "https://example.com"),
        ("com.example", "https://api.example.com"),
        ("api.example.com:80", "https://api.example.com"),
        ("192.0.2.0/24", "https://192.0.3.7"),
        ("192.0.2.0/24", "https://api.example.com"),
        ("2.7", "https://192.0.2.7"),
        ("2001:db8::/32", "https://[2001:db9::1]"),
        ("2001:db8::/32", "https://192.0.2.7"),
        ("192.0.2.0/99", "https://192.0.2.7"),
    ],
)
def test_other_hosts_are_asked_through_the_proxy(no_proxy: str, url: str) -> None:
    assert proxy(url, HTTPS_PROXY=PROXY, NO_PROXY=no_proxy) == PROXY


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1080", "ftp://x", "http://", "http://x:port"])
def test_a_proxy_that_cannot_be_used_is_told_by_the_variable_that_names_it(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as error:
        proxy(**{name: value})
    assert error.value.problems == [f"{name}: can't be used; allowed are http:// and https:// proxies"]


def test_a_proxy_that_is_not_needed_may_be_of_any_kind() -> None:
    assert proxy("https://api.example.com", ALL_PROXY="socks5://x", NO_PROXY="example.com") is None
