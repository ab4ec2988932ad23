"""A password in the URL of a database is taken apart from what is shown."""

import pytest

from infobip_exporter.config.load import parse_config
from infobip_exporter.config.postgres_url import split_password
from infobip_exporter.config.schema import State


@pytest.mark.parametrize(
    ("url", "shown", "password"),
    [
        ("postgresql://u:p%40x@h:5/d?sslmode=require", "postgresql://u@h:5/d?sslmode=require", "p@x"),
        ("postgres://u@h1:1,h2:2/d?password=p%26q&port=3", "postgres://u@h1:1,h2:2/d?port=3", "p&q"),
        ("postgresql://u@h/d?password=secret", "postgresql://u@h/d", "secret"),
        ("postgresql:///d?host=/run/x&user=u", "postgresql:///d?host=/run/x&user=u", ""),
        ("postgresql://[::1]:5432/d", "postgresql://[::1]:5432/d", ""),
    ],
)
def test_the_password_is_split_off(url: str, shown: str, password: str) -> None:
    clean, found = split_password(url)
    assert (clean, found.reveal() if found else "") == (shown, password)


def test_a_configuration_does_not_show_it() -> None:
    text = (
        "accounts: [{name: a, base_url: 'https://x.api.infobip.com', api_key: k}]\n"
        "state: {url: 'postgresql://u:${PASSWORD}@h/d', lease: 30s}\n"
    )
    config = parse_config(text, {"PASSWORD": "hush"}, "config.yaml")
    assert "hush" not in repr(config)
    assert config.state.place == "postgresql://u@h/d"
    assert config.state.password is not None
    assert config.state.password.reveal() == "hush"
    assert config.state.lease_s == 30.0
    assert State().place == "sqlite:///infobip-exporter.db"
    assert State().password is None
