"""Series start at zero, and never fall afterwards: whatever is scraped, saved, lost or set back meanwhile."""

import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from infobip_exporter.metrics.zero_start import RELEASE_AHEAD_S, Moment, ZeroStart
from infobip_exporter.model.series import Series

A, B, C = (Series.of("infobip_messages_sent_total", entity_id=name, application_id="") for name in "abc")
START = Moment(1_700_000_000.0, 5_000.0)


def after(seconds: float, *, wall_step_s: float = 0.0) -> Moment:
    return Moment(START.wall_s + seconds + wall_step_s, START.monotonic_s + seconds)


def save(zero_start: ZeroStart, now: Moment) -> set[Series]:
    released = zero_start.unsaved(now)
    zero_start.saved(released)
    return released


def shown_and_released(hold_s: float = 60.0) -> ZeroStart:
    zero_start = ZeroStart(hold_s, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    save(zero_start, after(hold_s - RELEASE_AHEAD_S))
    return zero_start


def test_a_new_series_is_held_until_the_hold_has_passed_since_its_first_showing() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    assert zero_start.held(after(1000)) == {A}
    zero_start.shown([A], after(1000))
    zero_start.shown([A], after(1030))
    save(zero_start, after(1058))
    assert zero_start.held(after(1059.9)) == {A}
    assert zero_start.held(after(1060)) == set()


def test_a_scrape_that_was_not_answered_shows_nothing() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    zero_start.held(START)
    assert zero_start.unsaved(after(59)) == set()
    assert zero_start.held(after(1000)) == {A}


def test_the_release_is_offered_a_little_before_the_hold_ends_and_not_earlier() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    assert zero_start.unsaved(after(57.9)) == set()
    assert zero_start.unsaved(after(58)) == {A}


def test_a_hold_shorter_than_that_is_offered_for_release_at_once() -> None:
    zero_start = ZeroStart(1, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    assert save(zero_start, START) == {A}
    assert zero_start.held(after(0.9)) == {A}
    assert zero_start.held(after(1)) == set()


def test_zero_goes_on_being_shown_while_the_release_is_not_saved() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    zero_start.unsaved(after(59))
    assert zero_start.held(after(600)) == {A}
    save(zero_start, after(600))
    assert zero_start.held(after(600)) == set()


def test_a_release_is_offered_until_it_is_saved_and_then_no_more() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    assert zero_start.unsaved(after(58)) == zero_start.unsaved(after(65)) == {A}
    save(zero_start, after(65))
    assert zero_start.unsaved(after(66)) == set()


def test_adding_a_series_again_does_not_hold_it_again() -> None:
    zero_start = shown_and_released()
    assert zero_start.held(after(60)) == set()
    zero_start.add([A, B])
    assert zero_start.held(after(61)) == {B}


def test_after_a_restart_a_series_is_held_anew_until_it_is_released() -> None:
    """Whatever the clocks say of the time between: another machine may have shown the series before."""
    zero_start = ZeroStart(60, [B])
    zero_start.add([A, B])
    assert zero_start.held(after(10_000)) == {A}
    zero_start.shown([A], after(10_000))
    save(zero_start, after(10_058))
    assert zero_start.held(after(10_059.9)) == {A}
    assert zero_start.held(after(10_060)) == set()


def test_the_hold_runs_by_the_monotonic_clock() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    save(zero_start, after(58, wall_step_s=-86_400))
    assert zero_start.held(after(59, wall_step_s=86_400)) == {A}
    assert zero_start.held(after(60, wall_step_s=-86_400)) == set()


def test_without_a_hold_nothing_is_held_and_a_later_run_with_one_is_told() -> None:
    zero_start = ZeroStart(0, [])
    zero_start.add([A])
    assert zero_start.held(START) == set()
    assert save(zero_start, START) == {A}
    assert zero_start.unsaved(after(1)) == set()


def test_a_series_shown_without_a_hold_is_not_held_when_a_hold_comes() -> None:
    zero_start = ZeroStart(0, [])
    zero_start.add([A])
    zero_start.change_hold(60)
    zero_start.add([B])
    assert zero_start.held(after(1)) == {B}
    assert save(zero_start, after(1)) == {A}


def test_a_longer_hold_holds_what_is_held_and_nothing_that_was_released() -> None:
    zero_start = shown_and_released(10)
    assert zero_start.held(after(10)) == set()
    zero_start.add([B])
    zero_start.shown([B], after(11))
    zero_start.change_hold(60)
    save(zero_start, after(69))
    assert zero_start.held(after(70)) == {B}
    assert zero_start.held(after(71)) == set()


def test_a_shorter_hold_ends_as_soon_as_the_release_is_saved() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    zero_start.change_hold(10)
    assert zero_start.held(after(20)) == {A}
    save(zero_start, after(20))
    assert zero_start.held(after(20)) == set()


def test_when_the_hold_is_taken_away_zero_is_shown_until_the_release_is_saved() -> None:
    """A later run may have a hold again, and would show 0 after the real value."""
    zero_start = ZeroStart(60, [])
    zero_start.add([A])
    zero_start.shown([A], START)
    zero_start.change_hold(0)
    assert zero_start.held(after(1)) == {A}
    save(zero_start, after(1))
    assert zero_start.held(after(1)) == set()
    assert zero_start.unsaved(after(2)) == set()


def test_threads_can_use_it_at_once() -> None:
    zero_start = ZeroStart(60, [])
    failures: list[BaseException] = []

    def commit() -> None:
        try:
            for i in range(3000):
                zero_start.add(
                    [Series.of("infobip_messages_sent_total", entity_id=str(i), application_id="")]
                )
                zero_start.saved(zero_start.unsaved(START) if i % 500 == 0 else ())
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    committing = threading.Thread(target=commit)
    committing.start()
    while committing.is_alive():
        zero_start.shown(zero_start.held(START), START)
    committing.join()
    assert not failures
    assert len(zero_start.held(START)) == 3000


class Run(RuleBasedStateMachine):
    """A feed's exporter over restarts, and the scraper that must never see a counter fall."""

    @initialize(hold_s=st.sampled_from([0.5, 2.0, 10.0, 60.0]))
    def start(self, hold_s: float) -> None:
        self.hold_s = hold_s
        self.ledger: set[Series] = set()
        self.totals: dict[Series, int] = {}
        self.seen: dict[Series, int] = {}
        self.unheld: set[Series] = set()
        """Those that were there while there was no hold."""
        self.now = START
        self.restart()

    def restart(self) -> None:
        self.zero_start = ZeroStart(self.hold_s, self.ledger)
        self.zero_start.add(self.totals)
        self.real_from: dict[Series, float] = {}
        """By the monotonic clock: when the hold of a series has passed in this run at the latest."""
        self.released_by_save: set[Series] = set()
        if self.hold_s == 0:
            self.unheld.update(self.totals)

    @rule(series=st.sampled_from([A, B, C]), count=st.integers(1, 5))
    def commit(self, series: Series, count: int) -> None:
        if self.hold_s == 0 and series not in self.totals:
            self.unheld.add(series)
        self.totals[series] = self.totals.get(series, 0) + count
        self.zero_start.add([series])

    @rule(answered=st.booleans())
    def scrape(self, answered: bool) -> None:
        held = self.zero_start.held(self.now)
        values = {series: 0 if series in held else total for series, total in self.totals.items()}
        for series, value in values.items():
            assert value >= self.seen.get(series, 0), "a counter fell"
            if series not in held and series not in self.unheld:
                assert series in self.ledger, "a later run could show 0"
            late = self.now.monotonic_s >= self.real_from.get(series, float("inf"))
            if late and series in self.released_by_save:
                assert series not in held, "held too long"
        if answered:
            self.seen.update(values)
            self.zero_start.shown(held, self.now)
            for series in held:
                self.real_from.setdefault(series, self.now.monotonic_s + self.hold_s)

    @rule(seconds=st.sampled_from([0.1, 1.0, 1.9, 5.0, 15.0, 58.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now = Moment(self.now.wall_s + seconds, self.now.monotonic_s + seconds)

    @rule(hold_s=st.sampled_from([0.0, 0.5, 10.0, 60.0]))
    def reload(self, hold_s: float) -> None:
        self.ledger |= save(self.zero_start, self.now)  # as the service does before it reloads
        self.zero_start.change_hold(hold_s)
        self.hold_s = hold_s
        if hold_s == 0:
            self.unheld.update(self.totals)
        # Holds that run have another end now.
        for series, at in self.real_from.items():
            self.real_from[series] = max(at, self.now.monotonic_s + hold_s)
        self.released_by_save.clear()

    @rule(seconds=st.sampled_from([-86_400.0, -600.0, 600.0, 86_400.0]))
    def step_the_clock(self, seconds: float) -> None:
        self.now = self.now._replace(wall_s=self.now.wall_s + seconds)

    @rule(then=st.sampled_from(["saved", "failed", "committed, then killed"]))
    def save_released(self, then: str) -> None:
        released = self.zero_start.unsaved(self.now)
        if then != "failed":
            self.ledger |= released
        if then == "saved":
            self.zero_start.saved(released)
            for series, at in self.real_from.items():
                if self.now.monotonic_s >= at - RELEASE_AHEAD_S:
                    self.released_by_save.add(series)
        if then == "committed, then killed":
            self.crash(0.5, 100.0)

    @rule(down_s=st.sampled_from([0.1, 30.0, 3600.0]), monotonic_s=st.sampled_from([0.0, 100.0, 9e9]))
    def crash(self, down_s: float, monotonic_s: float) -> None:
        self.now = Moment(self.now.wall_s + down_s, monotonic_s)
        self.restart()

    @precondition(lambda self: hasattr(self, "ledger"))
    @invariant()
    def what_is_released_was_shown(self) -> None:
        assert all(series in self.seen or series in self.unheld for series in self.ledger)


Run.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRun = Run.TestCase
