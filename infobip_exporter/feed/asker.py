"""Putting questions: within the budget, with patience when the API fails, and with every request counted."""

import random
from bisect import bisect_left
from decimal import Decimal
from typing import Protocol

from infobip_exporter.errors import RequestFailed
from infobip_exporter.feed.recorder import Recorder
from infobip_exporter.feed.time import Time
from infobip_exporter.feed.trouble import Troubles
from infobip_exporter.infobip.backoff import Backoff
from infobip_exporter.infobip.clock import ApiClock
from infobip_exporter.infobip.query import Query
from infobip_exporter.infobip.rate_limit import RateLimiter
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import Histogram, Series
from infobip_exporter.model.record import Answer
from infobip_exporter.reading.dialogue import QueryRefused, Reply

ATTEMPTS = 5
"""How often a question is put before the feed thinks again about what to ask."""
CURSOR_ATTEMPTS = 3
"""How often a cursor is tried before the walk does without."""

LOOK_FOR_KEY_EVERY_S = 5.0

REFUSED = ("401", "403")
TOO_MUCH = ("timeout", "500", "502", "503", "504", "invalid_body")
BAD_QUESTION = ("400", "414", "422")


class Api(Protocol):
    def ask(self, question: Query) -> Answer:
        """One request. Raises RequestFailed."""

    def has_new_key(self) -> bool:
        """Whether there may be another key than the last request had."""


class GaveUp(Exception):
    """A question found no answer in several attempts.

    `too_much` is whether it may have been too much to answer: each time the API took it and then failed or fell silent.
    """

    def __init__(self, *, too_much: bool) -> None:
        super().__init__()
        self.too_much = too_much


class Asker:
    """Asks the API for one feed. Waiting, counting and telling of failures happen here and nowhere else."""

    def __init__(
        self,
        api: Api,
        budget: RateLimiter,
        recorder: Recorder,
        troubles: Troubles,
        time: Time,
        rng: random.Random,
    ) -> None:
        self.clock = ApiClock(time.wall(), time.monotonic())
        self.budget = budget
        self.answered = False
        """Whether any request has been made and has come to an end, well or not."""
        self.requests = 0
        self._api = api
        self._recorder = recorder
        self._troubles = troubles
        self._time = time
        self._backoff = Backoff(rng, base_s=1.0, cap_s=60.0)
        self._refused_backoff = Backoff(rng, base_s=60.0, cap_s=300.0, floor_s=30.0)

    def ask(self, question: Query) -> Reply:
        """The reply. Raises QueryRefused where the API rejects this very question, GaveUp after several attempts."""
        attempts = CURSOR_ATTEMPTS if question.cursor is not None else ATTEMPTS
        too_much = True
        for _ in range(attempts):
            self._wait_for_budget()
            asked_ms = self.clock.earliest_ms(self._time.monotonic())
            try:
                answer = self._request(question)
            except RequestFailed as failure:
                if failure.code in BAD_QUESTION and question.special:
                    raise QueryRefused(str(failure)) from failure
                self._failed(failure)
                too_much &= failure.code in TOO_MUCH
                continue
            self._backoff.reset()
            self._refused_backoff.reset()
            self._troubles.ended("api")
            return Reply(answer.page, asked_ms)
        if question.cursor is not None:
            raise QueryRefused("the cursor got no answer")
        raise GaveUp(too_much=too_much)

    def _wait_for_budget(self) -> None:
        """Wait for a free request, and make durable that one may be under way before it is."""
        while (wait_s := self.budget.wait_s(self._time.monotonic())) > 0:
            self._time.sleep(wait_s)
        self._recorder.reserve()

    def _request(self, question: Query) -> Answer:
        self.budget.spend(self._time.monotonic())
        self._recorder.use_reservation()
        self.requests += 1
        try:
            answer = self._api.ask(question)
        except RequestFailed as failure:
            self.answered = True
            if failure.code:
                self._count(failure.code, failure.took_s)
            if failure.code == "429":
                self.budget.throttled(self._time.monotonic())
            raise
        self.answered = True
        now = self._time.monotonic()
        self._count("200", answer.took_s)
        self.budget.succeeded(now)
        self.clock.saw(answer.date_ms, now, answer.took_s)
        return answer

    def _count(self, code: str, took_s: float) -> None:
        buckets = catalog.REQUEST_DURATION.buckets
        counts = [0] * (len(buckets) + 1)
        counts[bisect_left(buckets, took_s)] = 1
        took = Decimal(round(took_s * 1_000_000)).scaleb(-6)
        self._recorder.later.add(Series(catalog.REQUESTS.name, (code,)), 1)
        self._recorder.later.observe(
            Series(catalog.REQUEST_DURATION.name, ()), Histogram(tuple(counts), took)
        )

    def _failed(self, failure: RequestFailed) -> None:
        refused = failure.code in (*REFUSED, "")
        self._troubles.began("api", str(failure), refused=refused)
        self._recorder.commit()
        if refused:
            self._wait_for_key(self._refused_backoff.next_s(failure.retry_after_s))
        else:
            self._time.sleep(self._backoff.next_s(failure.retry_after_s))

    def _wait_for_key(self, most_s: float) -> None:
        """A new key need not wait until the API may be asked again with the old one."""
        while most_s > 0 and not self._api.has_new_key():
            step_s = min(most_s, LOOK_FOR_KEY_EVERY_S)
            self._time.sleep(step_s)
            most_s -= step_s
