"""From what the planner wants to queries: the parts of a range that can be asked for, the ids that fit a list."""

from dataclasses import dataclass

from infobip_exporter.feed.avoided import Avoided
from infobip_exporter.feed.clock import Clock
from infobip_exporter.feed.learnt import Learnt
from infobip_exporter.feed.writer import Writer
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.range_read import Part
from infobip_exporter.planning.requests import AskNow, LookUp, ReadRange, ReadStatus, Request, Why


@dataclass(frozen=True, slots=True)
class Job:
    """A request that is to be sent: what it is for, and what its answer is about."""

    why: Why
    query: Query
    request: Request
    part: Part | None = None
    ids: frozenset[str] = frozenset()
    looked: tuple[int, ...] = ()
    """Cells of which all messages in flight are asked for."""
    suspect_rows: int = 0
    """How many rows the answer had that made the exporter ask for less: perhaps the server's cap."""
    postponed: bool = False
    """Whether it is asked for because a message could not be told from one with the same id."""


class Jobs:
    """Makes the jobs of one feed."""

    def __init__(self, writer: Writer, avoided: Avoided, learnt: Learnt, clock: Clock) -> None:
        self._writer = writer
        self._avoided = avoided
        self._learnt = learnt
        self._clock = clock

    async def of(self, request: Request) -> list[Job]:
        """The jobs of a request; a range that is asked for in parts, the newest first. Empty where all of it rests."""
        match request:
            case ReadRange():
                return self.of_range(request)[::-1]
            case AskNow():
                return self.of_head(request)
            case ReadStatus(general_status=status, range=wanted):
                query = Query(*wanted, general_status=status, limit=self._learnt.page_limit)
                return [Job(request.why, query, request)]
            case LookUp():
                job = await self._of_list(request)
                return [job] if job.ids else []

    def of_head(self, request: ReadRange | AskNow) -> list[Job]:
        if isinstance(request, ReadRange):
            return self.of_range(request)
        query = Query(request.range.since_ms, limit=self._learnt.page_limit)
        return [Job(request.why, query, request)]

    def of_range(self, request: ReadRange) -> list[Job]:
        """A job for each part of the range in which it can be asked for, oldest first."""
        parts = [Part(each) for each in self._avoided.parts(request.range, self._clock.monotonic_s())]
        if request.open_ended:
            parts[-1:] = [Part(parts[-1].range if parts else request.range, open_ended=True)]
        return [self.of_part(request.why, each) for each in parts]

    def of_part(self, why: Why, part: Part) -> Job:
        until_ms = None if part.open_ended else part.range.until_ms
        query = Query(part.range.since_ms, until_ms, limit=self._learnt.page_limit)
        return Job(why, query, ReadRange(why, part.range, part.open_ended), part)

    async def _of_list(self, request: LookUp) -> Job:
        """A query for the messages in flight of these cells, as many as fit a list."""
        table = self._writer.ledger.cells
        wanted = [
            cell for since_ms in request.cells for cell in table.between(TimeRange(since_ms, since_ms + 1))
        ]
        known = await self._writer.known_in(wanted)
        by_cell: dict[int, list[str]] = {
            cell.since_ms: [who for who, at_ms in known.in_flight if cell.range.holds(at_ms)]
            for cell in wanted
        }
        ids: dict[str, None] = {}
        looked: list[int] = []
        for since_ms, of_cell in by_cell.items():
            new = [each for each in of_cell if each not in ids]
            if not self._learnt.fits([*ids, *new]):
                new = new if not ids else []
                while new and not self._learnt.fits(new):
                    new.pop()
                ids.update(dict.fromkeys(new))
                break
            ids.update(dict.fromkeys(new))
            looked.append(since_ms)
        if ids:
            self._learnt.asked_for(list(ids))
        query = Query(message_ids=tuple(ids), limit=self._learnt.page_limit)
        return Job(request.why, query, request, ids=frozenset(ids), looked=tuple(looked))
