"""The simulated log: the API's answer to a question, as a function of the world and the time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random
from typing import Any

import msgspec

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_sandbox.asked import Asked, BadRequest, read_parameters
from infobip_sandbox.cursor import Place, read_token
from infobip_sandbox.message import Message
from infobip_sandbox.quirks import DOCUMENTED, Quirks
from infobip_sandbox.replies import Reply, error_reply, headers
from infobip_sandbox.rows import row
from infobip_sandbox.world import World

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_ODD_ROWS = 3
_BESIDE_MS = 60_000


class _BreaksOff(Exception):
    """An answer that the API does not manage: a read by cursor that breaks off, a row that can't be shown."""


@dataclass(slots=True)
class SimulatedLog:
    """The log of one channel. `rng` decides what the quirks leave to chance, and nothing else."""

    world: World
    quirks: Quirks = DOCUMENTED
    rng: Random = field(default_factory=lambda: Random(0))
    withheld: set[tuple[str, int]] = field(default_factory=set)
    """Messages, by id and sent time, that an answer should have shown and did not (`Quirks.short_share`)."""

    def answer(self, parameters: Mapping[str, str], now_ms: int) -> Reply:
        """The answer at `now_ms` by the API's clock. Never raises: what is wrong is answered with its status."""
        if broken := [name for name in self.quirks.broken if name in parameters]:
            if self.quirks.broken_how != "ignored":
                return self._refused(broken[0], now_ms)
            parameters = {name: value for name, value in parameters.items() if name not in broken}
        try:
            asked = read_parameters(parameters, self.quirks)
            if self.quirks.most_rows:
                asked = replace(asked, limit=min(asked.limit, self.quirks.most_rows))
            if self.quirks.ids_heeded:
                asked = replace(asked, message_ids=asked.message_ids[: self.quirks.ids_heeded])
            if asked.cursor is not None:
                body = self._page_by_cursor(asked, asked.cursor, now_ms)
            else:
                body = {"results": self._rows(self._page(asked, now_ms), now_ms)}
        except BadRequest as error:
            violations = [{"property": error.parameter, "violation": error.text}]
            return error_reply(400, self.quirks, now_ms, violations=violations)
        except _BreaksOff:
            return error_reply(500, self.quirks, now_ms)
        return Reply(200, headers(now_ms), _ENCODER.encode(body))

    def _refused(self, parameter: str, now_ms: int) -> Reply:
        """What a request with a parameter gets that the API can't serve."""
        match self.quirks.broken_how:
            case "timeout":
                return Reply(200, headers(now_ms), b"", fault="timeout")
            case "400":
                violation = {"property": parameter, "violation": "is not supported"}
                return error_reply(400, self.quirks, now_ms, violations=[violation])
            case _:
                return error_reply(500, self.quirks, now_ms)

    def _page(self, asked: Asked, now_ms: int) -> list[Message]:
        """The messages that the answer shows, in its order, all quirks included."""
        rng, quirks = self.rng, self.quirks
        room = asked.limit
        strays: list[Message] = []
        if quirks.stray_share and rng.random() < quirks.stray_share:
            strays = self._strays(asked, now_ms)[: room - 1]
            room -= len(strays)
        twice = 0
        if quirks.duplicate_share and rng.random() < quirks.duplicate_share:
            twice = min(_ODD_ROWS, room - 1)
            room -= twice
        shown = self._kept(asked, now_ms, room)
        if quirks.short_share and rng.random() < quirks.short_share:
            shown = shown[: int(len(shown) * rng.random())]
            there = {(message.message_id, message.sent_ms) for message in self._matching(asked, now_ms)}
            self.withheld |= there.difference((message.message_id, message.sent_ms) for message in shown)
        again = [rng.choice(shown) for _ in range(twice)] if shown else []
        return self._ordered(shown + again + strays)

    def _kept(self, asked: Asked, now_ms: int, room: int) -> list[Message]:
        """At most `room` messages from the end of the range that a full answer keeps."""
        matching = self._matching(asked, now_ms)
        kept = list(islice(matching, room))
        if self.quirks.ties == "stable" or len(kept) < room or not kept:
            return kept
        # Of those that share the last millisecond, any may be among the ones shown.
        cut_ms = kept[-1].sent_ms
        tied = [message for message in kept if message.sent_ms == cut_ms]
        places = len(tied)
        for message in matching:
            if message.sent_ms != cut_ms:
                break
            tied.append(message)
        return kept[: room - places] + self.rng.sample(tied, places)

    def _ordered(self, messages: list[Message]) -> list[Message]:
        if self.quirks.order == "shuffled":
            return self.rng.sample(messages, len(messages))
        newest_first = self.quirks.order == "newest_first"
        return sorted(messages, key=lambda message: message.sent_ms, reverse=newest_first)

    def _matching(self, asked: Asked, now_ms: int) -> Iterator[Message]:
        """All that the question is about, from the end of the range that a full answer keeps."""
        since_ms = now_ms - LOG_KEEPS_MS + 1
        until_ms = now_ms + 1
        if asked.since_ms is not None:
            since_ms = max(since_ms, asked.since_ms)
        if asked.until_ms is not None:
            until_ms = min(until_ms, asked.until_ms)
        if since_ms >= until_ms:
            return iter(())
        if asked.message_ids or asked.bulk_ids:
            return self._named(asked, since_ms, until_ms, now_ms)
        return self._sent_between(asked, since_ms, until_ms, now_ms)

    def _sent_between(self, asked: Asked, since_ms: int, until_ms: int, now_ms: int) -> Iterator[Message]:
        newest = self.quirks.keeps == "newest"
        picks = asked.picks
        for chunk in self.world.chunks(since_ms, until_ms, newest_first=newest):
            first, last = chunk.slice(since_ms, until_ms)
            messages = chunk.messages
            for place in range(last - 1, first - 1, -1) if newest else range(first, last):
                message = messages[place]
                if message.shown_at(now_ms) and (not picks or asked.picks_message(message, now_ms)):
                    yield message

    def _named(self, asked: Asked, since_ms: int, until_ms: int, now_ms: int) -> Iterator[Message]:
        """The messages asked for by id or bulk: found without going through the whole log."""
        found: dict[tuple[str, int], Message] = {}
        for message_id in asked.message_ids:
            for message in self.world.with_id(message_id):
                found[message.message_id, message.sent_ms] = message
        if not asked.message_ids:
            for bulk_id in asked.bulk_ids:
                for message in self.world.with_bulk(bulk_id):
                    found[message.message_id, message.sent_ms] = message
        picked = [
            message
            for message in found.values()
            if since_ms <= message.sent_ms < until_ms
            and message.shown_at(now_ms)
            and asked.picks_message(message, now_ms)
        ]
        return iter(
            sorted(picked, key=lambda message: message.sent_ms, reverse=self.quirks.keeps == "newest")
        )

    def _strays(self, asked: Asked, now_ms: int) -> list[Message]:
        """A few records from just beside the asked range, if it is bounded."""
        beside: list[tuple[int, int]] = []
        if asked.since_ms is not None:
            beside.append((asked.since_ms - _BESIDE_MS, asked.since_ms))
        if asked.until_ms is not None:
            beside.append((asked.until_ms, min(asked.until_ms + _BESIDE_MS, now_ms + 1)))
        oldest_ms = now_ms - LOG_KEEPS_MS + 1
        strays = [
            message
            for since_ms, until_ms in beside
            for message in self.world.between(max(since_ms, oldest_ms), until_ms)
            if message.shown_at(now_ms)
        ]
        return self.rng.sample(strays, min(_ODD_ROWS, len(strays)))

    def _page_by_cursor(self, asked: Asked, token: str, now_ms: int) -> dict[str, Any]:
        """A page of a read by cursor: it shows the records that were there when the read began, each once."""
        place = read_token(token) if token else Place(0, now_ms, -1, 0)
        if place.page >= 2:
            if self.quirks.cursor == "fails_midway":
                raise _BreaksOff
            if self.quirks.cursor == "empty_midway":
                return {"results": [], "cursor": {"limit": asked.limit, "nextCursor": None}}
        rest = self._matching(self._beyond(asked, place), place.as_of_ms)
        page = list(islice(rest, place.given, place.given + asked.limit))
        more = next(rest, None) is not None
        cursor = {"limit": asked.limit, "nextCursor": place.after(page).token() if more else None}
        return {"results": self._rows(self._ordered(page), now_ms), "cursor": cursor}

    def _beyond(self, asked: Asked, place: Place) -> Asked:
        """The question narrowed to what is still to show, and to all of the millisecond that was begun."""
        if place.page == 0:
            return asked
        if self.quirks.keeps == "newest":
            return replace(asked, until_ms=place.sent_ms + 1)
        return replace(asked, since_ms=place.sent_ms)

    def _rows(self, messages: list[Message], now_ms: int) -> list[dict[str, Any]]:
        quirks = self.quirks
        if any(message.unshowable for message in messages):
            raise _BreaksOff
        return [row(message, now_ms, quirks) for message in messages]
