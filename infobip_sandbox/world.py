"""The truth of a simulated account's channel: every message there is, generated when somebody looks."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from infobip_sandbox.generator import Generator
from infobip_sandbox.message import Message
from infobip_sandbox.traffic import Incident, Traffic
from infobip_sandbox.truth import Truth, tell

NO_TRAFFIC = Traffic(per_second=0.0)


class Chunk:
    """A chunk's messages in the order they were sent, with their sent times beside them for searching."""

    __slots__ = ("by_id", "messages", "sent_ms")

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.sent_ms = [message.sent_ms for message in messages]
        self.by_id: dict[str, list[Message]] | None = None

    def slice(self, since_ms: int, until_ms: int) -> tuple[int, int]:
        """Where the messages sent in [since_ms, until_ms) begin and end."""
        return bisect_left(self.sent_ms, since_ms), bisect_left(self.sent_ms, until_ms)

    def with_id(self, message_id: str) -> list[Message]:
        if self.by_id is None:
            self.by_id = {}
            for message in self.messages:
                self.by_id.setdefault(message.message_id, []).append(message)
        return self.by_id.get(message_id, [])


class World:
    """Messages of `traffic` sent in [begins_ms, ends_ms), those of `messages`, and those added later.

    The same `seed` gives the same messages, in whatever order one looks. At most about `keep` generated messages are
    kept; the others are made again when needed. Without traffic the world holds the explicit messages alone.
    """

    def __init__(
        self,
        traffic: Traffic = NO_TRAFFIC,
        seed: int | str = 0,
        *,
        begins_ms: int = 0,
        ends_ms: int | None = None,
        messages: Iterable[Message] = (),
        keep: int = 100_000,
    ) -> None:
        self.traffic = traffic
        self._generator = Generator(traffic, seed)
        self.chunk_ms = self._generator.chunk_ms
        self._begins_ms = begins_ms
        self._ends_ms = ends_ms
        self._incidents = list(traffic.incidents)
        self._silent = traffic.per_second <= 0 and not traffic.dense and not traffic.incidents
        self._keep = keep
        self._kept = 0
        self._chunks: OrderedDict[int, Chunk] = OrderedDict()
        self._explicit: dict[int, list[Message]] = {}
        self._explicit_chunks_of_id: dict[str, set[int]] = {}
        self._explicit_chunks_of_bulk: dict[str, set[int]] = {}
        self.add(messages)

    def add(self, messages: Iterable[Message]) -> None:
        """Put explicit messages into the world."""
        for message in messages:
            number = message.sent_ms // self.chunk_ms
            self._explicit.setdefault(number, []).append(message)
            self._explicit_chunks_of_id.setdefault(message.message_id, set()).add(number)
            if message.bulk_id:
                self._explicit_chunks_of_bulk.setdefault(message.bulk_id, set()).add(number)
            self._forget(number)

    def add_incident(self, incident: Incident) -> None:
        """Let something go wrong from `incident.start_ms` on; messages sent outside of it stay as they are."""
        self._incidents.append(incident)
        self._silent = False
        for number in [n for n in self._chunks if (n + 1) * self.chunk_ms > incident.start_ms]:
            self._forget(number)

    def between(self, since_ms: int, until_ms: int) -> Iterator[Message]:
        """The messages sent in [since_ms, until_ms), oldest first."""
        for chunk in self.chunks(since_ms, until_ms):
            first, last = chunk.slice(since_ms, until_ms)
            yield from chunk.messages[first:last]

    def chunks(self, since_ms: int, until_ms: int, *, newest_first: bool = False) -> Iterator[Chunk]:
        """The chunks that hold the messages sent in [since_ms, until_ms); also others, at the ends."""
        numbers = self._numbers(since_ms, until_ms)
        for number in reversed(numbers) if newest_first else numbers:
            chunk = self._chunk(number)
            if chunk.messages:
                yield chunk

    def with_id(self, message_id: str) -> list[Message]:
        """The messages with this id, oldest first: senders may use an id again."""
        numbers = set(self._explicit_chunks_of_id.get(message_id, ()))
        generated = None if self._silent else self._generator.chunk_of_id(message_id)
        if generated is not None and self._exists(generated):
            numbers.add(generated)
        return [message for number in sorted(numbers) for message in self._chunk(number).with_id(message_id)]

    def with_bulk(self, bulk_id: str) -> list[Message]:
        """The messages of a bulk, oldest first."""
        numbers = set(self._explicit_chunks_of_bulk.get(bulk_id, ()))
        generated = None if self._silent else self._generator.chunk_of_bulk(bulk_id)
        if generated is not None and self._exists(generated):
            numbers.add(generated)
        return [
            message
            for number in sorted(numbers)
            for message in self._chunk(number).messages
            if message.bulk_id == bulk_id
        ]

    def truth(self, now_ms: int, since_ms: int, until_ms: int) -> Truth:
        """What an exact count of the messages sent in [since_ms, until_ms) says at `now_ms`."""
        return tell(self.between(since_ms, until_ms), now_ms)

    def _numbers(self, since_ms: int, until_ms: int) -> range:
        first, last = since_ms // self.chunk_ms, (until_ms - 1) // self.chunk_ms
        begins, ends = [], []
        if not self._silent:
            begins.append(self._begins_ms // self.chunk_ms)
            ends.append(last if self._ends_ms is None else (self._ends_ms - 1) // self.chunk_ms)
        if self._explicit:
            begins.append(min(self._explicit))
            ends.append(max(self._explicit))
        return range(max(first, min(begins)), min(last, max(ends)) + 1) if begins else range(0)

    def _exists(self, number: int) -> bool:
        if number in self._explicit:
            return True
        begin_ms = number * self.chunk_ms
        in_time = self._ends_ms is None or begin_ms < self._ends_ms
        return not self._silent and in_time and begin_ms + self.chunk_ms > self._begins_ms

    def _chunk(self, number: int) -> Chunk:
        chunk = self._chunks.get(number)
        if chunk is not None:
            self._chunks.move_to_end(number)
            return chunk
        chunk = self._chunks[number] = Chunk(self._make(number))
        self._kept += 1 + len(chunk.messages)
        while self._kept > self._keep and len(self._chunks) > 1:
            self._forget(next(iter(self._chunks)))
        return chunk

    def _make(self, number: int) -> list[Message]:
        explicit = self._explicit.get(number, [])
        if self._silent:
            return sorted(explicit, key=lambda message: message.sent_ms)
        messages: list[Message] = []
        if self._exists(number):
            messages = self._generator.chunk(number, self._incidents)
            begin_ms = number * self.chunk_ms
            end_ms = self._ends_ms
            if begin_ms < self._begins_ms or (end_ms is not None and begin_ms + self.chunk_ms > end_ms):
                messages = [
                    message
                    for message in messages
                    if message.sent_ms >= self._begins_ms and (end_ms is None or message.sent_ms < end_ms)
                ]
        return sorted([*messages, *explicit], key=lambda message: message.sent_ms) if explicit else messages

    def _forget(self, number: int) -> None:
        chunk = self._chunks.pop(number, None)
        if chunk is not None:
            self._kept -= 1 + len(chunk.messages)
