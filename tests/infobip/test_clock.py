"""The API's now, from Date headers that may be wrong."""

from infobip_exporter.infobip.clock import ApiClock, Bounds

API_S = 1_790_000_000


class Told:
    """Answers a poll apart. The machine's monotonic clock began at 0, its wall clock is right."""

    def __init__(self) -> None:
        self.clock = ApiClock()
        self.now_s = 0.0
        self.slept_s = 0.0
        self.wall_off_s = 0.0

    def answers(self, how_many: int, off_s: float = 0.0) -> None:
        for _ in range(how_many):
            self.now_s += 30
            date_ms = int(API_S + self.now_s + self.slept_s + off_s) * 1000
            self.clock.saw(date_ms, self.now_s - 0.1, self.now_s, self.wall_s + self.wall_off_s)

    @property
    def wall_s(self) -> float:
        return API_S + self.now_s + self.slept_s

    @property
    def bounds(self) -> Bounds:
        return self.clock.bounds(self.now_s, self.wall_s)

    @property
    def right(self) -> bool:
        now_ms = round(self.wall_s * 1000)
        return (
            self.bounds.certain and now_ms - 1500 < self.bounds.earliest_ms <= now_ms <= self.bounds.latest_ms
        )


def test_a_date_bounds_the_time_to_a_second_and_the_time_of_travel() -> None:
    told = Told()
    told.answers(10)
    assert told.right


def test_a_burst_of_dates_days_ahead_makes_nothing_certain_and_is_forgotten() -> None:
    told = Told()
    told.answers(10)
    told.answers(50, off_s=5 * 86400)
    assert not told.bounds.certain
    told.answers(20)
    assert told.right


def test_a_machine_that_slept_for_two_days_knows_the_time_after_a_few_answers() -> None:
    told = Told()
    told.answers(10)
    told.slept_s = 48.1 * 3600
    told.answers(3)
    assert told.right


def test_a_wall_clock_that_was_set_while_answers_agreed_confirms_that_the_machine_slept_all_the_same() -> (
    None
):
    told = Told()
    told.answers(10)
    told.wall_off_s = -240.0
    told.answers(10)
    told.slept_s = 3600.0
    told.answers(3)
    assert told.right


def test_two_servers_8_s_apart_taking_turns_stay_certain_and_the_slower_one_is_the_lower_bound() -> None:
    told = Told()
    for number in range(40):
        told.answers(1, off_s=8.0 * (number % 2))
        assert told.bounds.certain
    assert told.wall_s * 1000 - 1500 < told.bounds.earliest_ms <= told.wall_s * 1000


def test_after_a_start_answers_that_all_contradict_our_own_clock_leave_both_times_possible() -> None:
    told = Told()
    told.answers(5, off_s=-400)
    wall_ms = round(told.wall_s * 1000)
    assert not told.bounds.certain
    assert told.bounds.earliest_ms < wall_ms - 399_000 < wall_ms <= told.bounds.latest_ms


def test_without_any_date_our_own_clock_stands_in() -> None:
    told = Told()
    told.clock.saw(None, 0.0, 0.1, told.wall_s)
    assert told.right
