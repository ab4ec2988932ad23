import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.config.duration import FORM, format_duration, parse_duration

READ = {"30s": 30, "500ms": 0.5, "1h30m": 5400, "1d": 86400, "1w2d": 777600, "0": 0, "0s": 0}
READ |= {"2m": 120, "1m1ms": 60.001, "48h": 172800, "007s": 7}


@pytest.mark.parametrize(("text", "seconds"), READ.items())
def test_a_duration_is_read_as_prometheus_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "s", "1.5h", "-1s", "30 s", "1m1h", "1s1s", "30S", "5y", "30s ", "٣s", "1e3s", "00"]
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="larger units first") as error:
        parse_duration(text)
    assert str(error.value) == FORM


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (5400, "1h30m"), (0.25, "250ms"), (172800, "48h"), (90.5, "1m30s500ms")]
)
def test_a_duration_is_written_with_the_largest_units_up_to_hours(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**12))
def test_what_is_written_reads_back_the_same(ms: int) -> None:
    assert parse_duration(format_duration(ms / 1000)) == ms / 1000
