"""What goes wrong in front of the log, in virtual time."""

from random import Random

import msgspec
import pytest

from infobip_sandbox.faults import FAULT_KINDS, FaultKind, Faults, FaultyLog, Outage
from tests.sandbox.worlds import NOW, log_of, sent_at


def faulty(faults: Faults, seed: int = 0) -> FaultyLog:
    return FaultyLog(log_of(sent_at(NOW - 1)), faults, Random(seed))


def scripted(*script: FaultKind) -> FaultyLog:
    return faulty(Faults(script=script))


def test_a_script_happens_in_order_and_then_all_is_well() -> None:
    log = faulty(Faults(script=("500", "", "reset")))
    replies = [log.answer({}, NOW) for _ in range(5)]
    assert [(reply.status, reply.fault) for reply in replies] == [
        (500, None), (200, None), (200, "reset"), (200, None), (200, None),
    ]  # fmt: skip
    assert log.answered == {"500": 1, "200": 3, "reset": 1}


@pytest.mark.parametrize("status", ["400", "401", "403", "429", "500"])
def test_error_statuses_carry_the_error_body_of_the_api(status: FaultKind) -> None:
    reply = scripted(status).answer({}, NOW)
    assert reply.status == int(status)
    assert msgspec.json.decode(reply.body)["errorCode"] == f"E{status}"


def test_proxies_answer_html() -> None:
    for kind, status in (("502_html", 502), ("html_200", 200)):
        reply = scripted(kind).answer({}, NOW)  # type: ignore[arg-type]
        assert reply.status == status
        assert reply.headers["Content-Type"] == "text/html"
        assert reply.body.startswith(b"<html>")


def test_a_cut_body_tells_the_length_of_the_whole() -> None:
    whole = scripted().answer({}, NOW)
    cut = scripted("cut").answer({}, NOW)
    assert cut.fault == "cut"
    assert cut.headers["Content-Length"] == str(len(whole.body))
    assert 0 < len(cut.body) < len(whole.body)
    assert whole.body.startswith(cut.body)


def test_a_garbled_body_is_never_json() -> None:
    for count in range(1, 30):
        log = FaultyLog(log_of(sent_at(*range(NOW - count, NOW))), Faults(shares={"garbled": 1.0}))
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(log.answer({}, NOW).body)


def test_timeouts_and_slow_answers_are_told_apart() -> None:
    assert scripted("timeout_before").answer({}, NOW).fault == "timeout"
    assert scripted("timeout_after").answer({}, NOW).fault == "timeout"
    slow = faulty(Faults(script=("slow",), slow_s=3, latency_s=0.5)).answer({}, NOW)
    assert (slow.fault, slow.delay_s) == (None, 3.5)


def test_an_outage_fails_every_request_from_its_start_until_its_end() -> None:
    log = faulty(Faults(outages=(Outage(NOW + 10, NOW + 20, "502_html"),)))
    assert [log.answer({}, NOW + after).status for after in (9, 10, 19, 20)] == [200, 502, 502, 200]


def test_shares_of_the_requests_fail_and_the_seed_says_which() -> None:
    faults = Faults(shares={"500": 0.2, "reset": 0.1}, requests_per_minute=0)

    def happened(seed: int) -> list[str]:
        log = faulty(faults, seed)
        return [reply.fault or str(reply.status) for reply in (log.answer({}, NOW) for _ in range(2000))]

    first = happened(1)
    assert first == happened(1) != happened(2)
    assert first.count("500") == pytest.approx(400, rel=0.2)
    assert first.count("reset") == pytest.approx(200, rel=0.25)


def test_more_than_the_limit_in_any_sixty_seconds_is_refused_and_counted() -> None:
    log = faulty(Faults(requests_per_minute=3))
    moments = (0, 10_000, 20_000, 59_999, 60_000, 60_001, 70_000)
    assert [log.answer({}, NOW + at).status for at in moments] == [200, 200, 200, 429, 200, 429, 200]
    assert log.requests_over_limit == 2
    assert log.most_in_a_minute == 5


def test_the_limit_goes_by_the_clock_that_never_steps() -> None:
    log = faulty(Faults(requests_per_minute=2))
    steps = [(NOW, 0), (NOW + 600_000, 1), (NOW, 2), (NOW, 60_001)]
    assert [log.answer({}, now, arrived).status for now, arrived in steps] == [200, 200, 429, 200]


def test_what_never_reaches_the_api_does_not_use_up_the_limit() -> None:
    log = faulty(Faults(script=("reset", "timeout_before", "502_html", "500"), requests_per_minute=1))
    outcomes = [log.answer({}, NOW + at) for at in range(5)]
    assert [outcome.fault or outcome.status for outcome in outcomes] == ["reset", "timeout", 502, 500, 429]


def test_retry_after_is_seconds_a_date_or_absent() -> None:
    def told(faults: Faults) -> str | None:
        return faulty(faults).answer({}, NOW).headers.get("Retry-After")

    assert told(Faults(script=("429",))) is None
    assert told(Faults(script=("429",), retry_after="seconds", retry_after_s=7)) == "7"
    dated = told(Faults(script=("429",), retry_after="date", retry_after_s=7))
    assert dated == "Tue, 14 Nov 2023 22:13:27 GMT"


def test_every_kind_of_fault_happens_to_a_log_without_rows_too() -> None:
    for kind in FAULT_KINDS:
        log = FaultyLog(log_of([]), Faults(script=(kind,)))
        log.answer({}, NOW)
        assert log.answered.total() == 1
