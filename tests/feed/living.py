"""A feed on the sandbox's log: with the API's ways, its failures, and messages that settle, move and turn up late."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.answer import decode_page
from infobip_exporter.infobip.query import Query
from infobip_exporter.metrics import catalog
from infobip_exporter.model.record import Answer
from infobip_sandbox.log import SimulatedLog
from infobip_sandbox.message import Message, plain_message
from infobip_sandbox.quirks import DOCUMENTED, Quirks
from infobip_sandbox.world import World
from tests.feed.polling import ANSWERS_AFTER_S, Polling
from tests.feed.recording import BEGIN_MS, StillClock


@dataclass
class SleepyClock(StillClock):
    """The monotonic clock stands still while the machine sleeps."""

    slept_s: float = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.slept_s


def message(
    message_id: str, at_s: float, group: str = "DELIVERED", settles_s: float = 1.0, late_s: float = 0.0
) -> Message:
    """A message sent so many seconds after `BEGIN_MS`; it settles, and turns up, so much later."""
    return plain_message(
        message_id,
        BEGIN_MS + round(at_s * 1000),
        group,
        settles_after_ms=round(settles_s * 1000),
        late_ms=round(late_s * 1000),
    )


@dataclass
class Living(Polling):
    """`fails` says with which code a request fails, "" for none. `takes_s` is how long each answer takes."""

    messages: Iterable[Message] = ()
    quirks: Quirks = DOCUMENTED
    fails: Callable[[Query], str] = lambda _: ""
    takes_s: float = ANSWERS_AFTER_S
    clock: SleepyClock = field(default_factory=SleepyClock)

    def __post_init__(self) -> None:
        self.log = SimulatedLog(World(messages=self.messages), self.quirks, Random(1))
        super().__post_init__()

    @property
    def now_s(self) -> float:
        """The API's time, in seconds after `BEGIN_MS`."""
        return self.clock.now_s + self.clock.slept_s

    def send(self, *messages: Message) -> None:
        """Put messages into the log."""
        self.log.world.add(messages)

    async def fetch(self, query: Query) -> Answer:
        asked_s = self.clock.now_s
        self.queries.append((asked_s, query))
        now_ms = BEGIN_MS + round(self.now_s * 1000)
        reply = self.log.answer(query.parameters({}), now_ms)
        code = self.fails(query) or reply.fault or ("" if reply.status == 200 else str(reply.status))
        await asyncio.sleep(0)
        self.clock.now_s += self.takes_s
        if code:
            raise RequestFailed(code, "it fails", took_s=self.takes_s)
        date_ms = (now_ms + round(self.date_off_s() * 1000)) // 1000 * 1000
        return Answer(decode_page(reply.body), date_ms, self.takes_s, asked_s, self.clock.now_s)

    async def live_for(self, seconds: float) -> None:
        until_s = self.clock.now_s + seconds
        while self.clock.now_s < until_s:
            await self.live(1)

    def lost_s(self, reason: str = "expired") -> float:
        return float(self.recording.total(catalog.LOST, reason=reason))

    def audited(self, result: str) -> int:
        return int(self.recording.total(catalog.AUDIT, result=result))

    @property
    def settled(self) -> int:
        return int(self.recording.total(catalog.MESSAGES))

    @property
    def unresolved(self) -> int:
        return int(self.recording.total(catalog.UNRESOLVED))

    @property
    def in_flight(self) -> int:
        return sum(self.ledger.in_flight.values())

    @property
    def lag_s(self) -> float:
        """How far behind the API's now all has been read."""
        read_up_to_ms = self.ledger.progress.read_up_to_ms
        assert read_up_to_ms is not None
        return self.now_s - (read_up_to_ms - BEGIN_MS) / 1000
