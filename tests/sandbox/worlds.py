"""Worlds and questions that the sandbox's tests share."""

from random import Random
from typing import Any

import msgspec

from infobip_exporter.infobip.query import format_moment
from infobip_sandbox.log import SimulatedLog
from infobip_sandbox.message import Message, plain_message
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.world import World

NOW = 1_700_000_000_000
HOUR = 3_600_000


def log_of(messages: list[Message], quirks: Quirks | None = None, seed: int = 0) -> SimulatedLog:
    return SimulatedLog(World(messages=messages), quirks or Quirks(), Random(seed))


def sent_at(*moments_ms: int) -> list[Message]:
    """A message for each moment, named m0, m1, ... in the order given."""
    return [plain_message(f"m{place}", moment) for place, moment in enumerate(moments_ms)]


def rows(log: SimulatedLog, now_ms: int = NOW, **parameters: str) -> list[dict[str, Any]]:
    reply = log.answer(parameters, now_ms)
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = msgspec.json.decode(reply.body)
    found: list[dict[str, Any]] = answer["results"]
    return found


def ids(log: SimulatedLog, now_ms: int = NOW, **parameters: str) -> list[str]:
    return [row["messageId"] for row in rows(log, now_ms, **parameters)]


def refused(log: SimulatedLog, **parameters: str) -> dict[str, Any]:
    """The body of the 400 that the question gets."""
    reply = log.answer(parameters, NOW)
    assert reply.status == 400
    body: dict[str, Any] = msgspec.json.decode(reply.body)
    return body


moment = format_moment
