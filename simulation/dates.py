"""How answers tell the API's time: Date headers that are missing or wrong, and servers whose clocks differ."""

from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple


class Burst(NamedTuple):
    """From `at_s` on (seconds of true time) so many answers have a Date that is `ahead_s` ahead, or behind."""

    at_s: float
    answers: int
    ahead_s: float


@dataclass(frozen=True, slots=True)
class Dates:
    """`missing_share` and `wrong_share` are shares of the answers: without a Date, with one that is wrong by hours.

    Every Date is `offset_s` ahead of the clock that stamps sent times. Where `servers` take turns, the second is
    `apart_s` ahead of the first.
    """

    missing_share: float = 0.0
    wrong_share: float = 0.0
    bursts: tuple[Burst, ...] = ()
    servers: Literal["one", "turns", "random"] = "one"
    apart_s: float = 0.0
    offset_s: float = 0.0

    @property
    def error_ms(self) -> int:
        """How far the time that answers tell may be from the clock that stamps sent times."""
        return round((abs(self.offset_s) + self.apart_s + 1) * 1000)

    @property
    def told(self) -> bool:
        """Whether any answer has a Date."""
        return self.missing_share < 1


BELIEVED_BY = 20
BELIEVED_AFTER_MS = 1_785_000
"""So many answers, over so long, are believed against our own clock (infobip/clock.py, CONFIRMED_ALONE_BY); less by how
long an answer may take to come back, for that clock goes by when answers arrive."""

CONTRADICTION_S = 60.0
"""Clocks that differ by less agree (infobip/clock.py, CONTRADICTION_MS)."""


@dataclass(slots=True)
class Knowable:
    """Whether answers can have told the API's time since it jumped beside our monotonic clock.

    Where our own clock shows the same as before, beside the API's, a few answers are enough. Else only many answers, for
    long, tell the new time: nothing is proven of what was sent after the old one meanwhile, and nothing is final.
    """

    _api_s: float | None = None
    """The API's time less our monotonic clock's."""
    _wall_s: float = 0.0
    """The API's time less our own, when it was known."""
    _jumped_s: float = 0.0
    _answers: int = 0
    known: bool = True

    def process_began(self, run_s: float, answers: int) -> None:
        """What answers told the process before is forgotten."""
        self._jumped_s, self._answers = run_s, answers

    def polled(self, api_s: float, wall_s: float, run_s: float, answers: int) -> None:
        """A poll has ended; the clocks show this, and so many answers were good."""
        ahead_s = api_s - wall_s
        if self._api_s is None or abs(api_s - run_s - self._api_s) >= CONTRADICTION_S:
            self._jumped_s, self._answers = run_s, answers
            self.known = min(abs(ahead_s), abs(ahead_s - self._wall_s)) < CONTRADICTION_S
        elif answers - self._answers > BELIEVED_BY and (run_s - self._jumped_s) * 1000 > BELIEVED_AFTER_MS:
            self.known = True
        self._api_s = api_s - run_s
        if self.known:
            self._wall_s = ahead_s


@dataclass(slots=True)
class Told:
    """The Dates of one feed's answers, one after the other."""

    dates: Dates
    rng: Random
    answers: int = 0
    wrong: dict[Burst, tuple[int, int, int]] = field(default_factory=dict)
    """For each burst so far, when by the API's clock its first and its last Date were told, and how many they were."""

    def date_ms(self, api_ms: int, now_s: float) -> int | None:
        """The Date of the next answer, whole seconds; the API's clock shows `api_ms`, `now_s` of true time have passed."""
        dates, rng = self.dates, self.rng
        self.answers += 1
        told_ms = api_ms + round(dates.offset_s * 1000)
        if dates.servers == "turns":
            told_ms += self.answers % 2 * round(dates.apart_s * 1000)
        elif dates.servers == "random":
            told_ms += rng.randrange(2) * round(dates.apart_s * 1000)
        for burst in dates.bursts:
            first_ms, _, answers = self.wrong.get(burst, (api_ms, 0, 0))
            if now_s >= burst.at_s and answers < burst.answers:
                self.wrong[burst] = (first_ms, api_ms, answers + 1)
                told_ms += round(burst.ahead_s * 1000)
        if dates.wrong_share and rng.random() < dates.wrong_share:
            told_ms += rng.choice((-1, 1)) * rng.randrange(3_600_000, 172_800_000)
        if dates.missing_share and rng.random() < dates.missing_share:
            return None
        return told_ms // 1000 * 1000

    @property
    def is_wrong(self) -> bool:
        """Whether a burst of wrong Dates is under way."""
        return any(answers < burst.answers for burst, (_, _, answers) in self.wrong.items())

    def misled(self) -> list[tuple[int, int, int]]:
        """Bursts of wrong Dates so long that they may have been believed: first and last moment, and how far ahead."""
        return [
            (first_ms, last_ms, round(burst.ahead_s * 1000))
            for burst, (first_ms, last_ms, answers) in self.wrong.items()
            if answers >= BELIEVED_BY and last_ms - first_ms >= BELIEVED_AFTER_MS
        ]
