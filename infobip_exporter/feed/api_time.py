"""Knowing the API's time before it is polled: what is new begins at its now."""

from structlog.typing import FilteringBoundLogger

from infobip_exporter.feed.asker import Asker, GaveUp
from infobip_exporter.feed.recorder import Recorder
from infobip_exporter.feed.time import Time
from infobip_exporter.feed.trouble import Troubles
from infobip_exporter.infobip.query import Query

MOST_TIMES_ASKED = 5
"""How many answers may fail to agree on the API's time before it is done without them."""
UNDATED_POLLS = 3
"""For how many polls answers that used to tell the time may not do so before it is done without them."""


class ApiTime:
    """Sees to it that the clock of `asker` can be relied on, and tells when the API's clock was set back."""

    def __init__(
        self,
        asker: Asker,
        recorder: Recorder,
        troubles: Troubles,
        time: Time,
        log: FilteringBoundLogger,
        *,
        late_ms: int,
    ) -> None:
        self._asker = asker
        self._recorder = recorder
        self._troubles = troubles
        self._time = time
        self._log = log
        self._late_ms = late_ms
        self._timeless = False
        self._undated_polls = 0
        self._set_back = False

    def ask(self) -> None:
        """Ask until answers agree on the time, whatever else they hold. Raises GaveUp where they do not.

        So too where a date that is doubted would keep time from going on: with nothing to ask, it would stay.

        Answers that tell no time at all leave it to our own clock, after a while where they used to tell it; with
        answers that contradict each other there is no telling what has been read.
        """
        clock = self._asker.clock
        asked = 0
        while clock.disputed or not (clock.known or self._timeless) or self._stands_still():
            if asked == MOST_TIMES_ASKED:
                break
            self._asker.ask(Query(limit=1))
            asked += 1
        if clock.disputed:
            self._troubles.began("api", "the Date headers of its answers contradict each other")
            raise GaveUp(too_much=False)
        if clock.known:
            self._undated_polls = 0
            self._recorder.move(dated=True)
            return
        self._undated_polls += 1
        if self._recorder.progress.dated and self._undated_polls < UNDATED_POLLS:
            self._troubles.began("api", "its answers no longer tell the time")
            raise GaveUp(too_much=False)
        self._timeless = True

    def _stands_still(self) -> bool:
        clock = self._asker.clock
        return clock.torn and clock.earliest_ms(self._time.monotonic()) <= self._frontier_ms

    def tell_if_set_back(self) -> None:
        """Time that the API's clock repeats has been read, and is not read again: what is sent in it now is missed."""
        clock = self._asker.clock
        back_ms = self._frontier_ms - clock.latest_ms(self._time.monotonic())
        was_set_back = clock.known and back_ms > self._late_ms
        if was_set_back and not self._set_back:
            self._log.warning(
                "the API's clock was set back: messages sent in the time that it repeats may be missed",
                seconds=back_ms / 1000,
            )
        self._set_back = was_set_back

    @property
    def _frontier_ms(self) -> int:
        return self._recorder.progress.frontier_ms or 0
