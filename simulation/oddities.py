"""What is strange about single messages of a world: ids used again, moved sent times, late records, prices that come later."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from infobip_sandbox.message import Message, Step

MOVES_BY_MS = 9_000
"""A message that moves by less, while its time is provisional, is the same message (counting/moved.py, MOVED_MS)."""
YEAR_9999_MS = 253_402_214_400_000


class Lateness(NamedTuple):
    """`share` of the records turn up `late_s` after being sent, give or take a tenth."""

    share: float
    late_s: float


@dataclass(frozen=True, slots=True)
class Oddities:
    """How likely each is for a message. `used_again_s` is how long after a message its id is used for another."""

    used_again: float = 0.0
    used_again_s: float = 3600.0
    moved: float = 0.0
    late: tuple[Lateness, ...] = ()
    price_later: float = 0.0
    without_currency: float = 0.0
    absurd_done: float = 0.0
    unshowable: int = 0
    """How many rows the API can't show."""


class Strange(NamedTuple):
    """The messages of a world. `moved` are the ids of those that the log shows at two places, one after the other."""

    messages: list[Message]
    moved: frozenset[str]


def make_strange(messages: Sequence[Message], oddities: Oddities, until_ms: int, rng: Random) -> Strange:
    """`messages` with oddities; none is sent at or after `until_ms`."""
    made: list[Message] = []
    moved: set[str] = set()
    unshowable = set(rng.sample(range(len(messages)), min(oddities.unshowable, len(messages))))
    for number, message in enumerate(messages):
        odd = _made_odd(message, oddities, rng)._replace(unshowable=number in unshowable)
        if rng.random() < oddities.moved and not odd.defect and not odd.unshowable:
            moved.add(odd.message_id)
            made += _moved(odd, until_ms, rng)
            continue
        made.append(odd)
        if rng.random() < oddities.used_again and not odd.defect:
            made += _used_again(odd, oddities.used_again_s, until_ms, rng)
    made.sort(key=lambda message: message.sent_ms)
    return Strange(made, frozenset(moved))


def _made_odd(message: Message, oddities: Oddities, rng: Random) -> Message:
    for share, late_s in oddities.late:
        if rng.random() < share:
            message = message._replace(
                visible_ms=message.sent_ms + round(late_s * 1000 * rng.uniform(0.9, 1.1))
            )
    if rng.random() < oddities.price_later:
        message = message._replace(steps=tuple(_priced_later(message.steps, rng)))
    if rng.random() < oddities.without_currency:
        message = message._replace(steps=tuple(step._replace(currency="") for step in message.steps))
    if rng.random() < oddities.absurd_done:
        message = message._replace(done_ms=rng.choice((YEAR_9999_MS, message.sent_ms - 5000)))
    return message


def _priced_later(steps: Iterable[Step], rng: Random) -> Iterable[Step]:
    """The message settles without a price, which is there a moment or an hour later."""
    for step in steps:
        if not step.final:
            yield step
            continue
        yield step._replace(price=None, currency="")
        yield step._replace(at_ms=step.at_ms + rng.choice((1_000, 100_000, 3_600_000)))
        return


def _moved(message: Message, until_ms: int, rng: Random) -> list[Message]:
    """The log shows the message with a sent time that is a little off at first, and corrects that within minutes."""
    by_ms = rng.choice((-1, 1)) * rng.randrange(1, MOVES_BY_MS)
    to_ms = message.sent_ms + by_ms
    if to_ms >= until_ms:
        return [message]
    moves_ms = max(message.visible_ms, to_ms) + rng.randrange(1_000, 600_000)
    return [message._replace(gone_ms=moves_ms), message._replace(sent_ms=to_ms, visible_ms=moves_ms)]


def _used_again(message: Message, after_s: float, until_ms: int, rng: Random) -> list[Message]:
    after_ms = round(after_s * 1000 * rng.uniform(0.5, 1.5))
    if message.sent_ms + after_ms >= until_ms:
        return []
    return [
        message._replace(
            sent_ms=message.sent_ms + after_ms,
            visible_ms=message.visible_ms + after_ms,
            steps=tuple(step._replace(at_ms=step.at_ms + after_ms) for step in message.steps),
            done_ms=None,
            unshowable=False,
        )
    ]
