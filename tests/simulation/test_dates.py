"""When a world's answers can have told the API's time."""

from simulation.dates import BELIEVED_AFTER_MS, BELIEVED_BY, Knowable

LONG_S = BELIEVED_AFTER_MS / 1000 + 1


def test_time_that_jumps_with_our_own_clock_is_known() -> None:
    time = Knowable()
    time.polled(api_s=1000, wall_s=1000, run_s=0, answers=1)
    time.polled(api_s=9000, wall_s=9000, run_s=30, answers=2)
    assert time.known


def test_time_that_our_own_clock_contradicts_is_known_after_many_answers_over_long() -> None:
    for answers, after_s, known in (
        (BELIEVED_BY, LONG_S, False),
        (BELIEVED_BY + 1, LONG_S - 10, False),
        (BELIEVED_BY + 1, LONG_S, True),
    ):
        time = Knowable()
        time.polled(api_s=1000, wall_s=1000, run_s=0, answers=0)
        time.polled(api_s=9000, wall_s=1000, run_s=0, answers=0)
        assert not time.known
        time.polled(api_s=9000 + after_s, wall_s=1000 + after_s, run_s=after_s, answers=answers)
        assert time.known is known


def test_a_process_that_begins_learns_an_unknown_time_anew() -> None:
    time = Knowable()
    time.polled(api_s=9000, wall_s=1000, run_s=0, answers=0)
    time.process_began(run_s=1000, answers=20)
    time.polled(api_s=9000 + LONG_S, wall_s=1000 + LONG_S, run_s=LONG_S, answers=40)
    assert not time.known
