"""What a client accepts: what it names is sent, and never what it gives a quality of zero."""

import pytest

from infobip_exporter.web.accept import accepts_gzip, wants_open_metrics


@pytest.mark.parametrize(
    ("accept", "open_metrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=nonsense", False),
        ("é;;=,", False),
        ("application/openmetrics-text;version=1.0.0;q=0,text/plain", False),
        ("application/openmetrics-text; q=0.0", False),
        ("application/openmetrics-text;q=0.001", True),
        ("text/plain;q=0,application/openmetrics-text;version=1.0.0", True),
        ("application/openmetrics-text;version=0.0.1;q=0,application/openmetrics-text;version=1.0.0", True),
    ],
)
def test_the_format_is_what_the_scraper_accepts(accept: str, open_metrics: bool) -> None:
    assert wants_open_metrics(accept) is open_metrics


@pytest.mark.parametrize(
    ("accept_encoding", "gzip"),
    [
        ("", False),
        ("identity", False),
        ("deflate, gzip;q=0.9", True),
        ("gzip;q=0", False),
        ("GZIP ; Q=0.000", False),
        ("gzip;q=0, *", False),
        ("br, gzip;q=0", False),
    ],
)
def test_compression_is_used_where_it_is_accepted(accept_encoding: str, gzip: bool) -> None:
    assert accepts_gzip(accept_encoding) is gzip
