"""What keeps a feed from going on: told once when it begins, changes its nature, and ends."""

from structlog.typing import FilteringBoundLogger

from infobip_exporter.feed.time import Time
from infobip_exporter.metrics.snapshot import PastTrouble, Trouble


class Troubles:
    """The troubles of a feed by where they are: `api` or `state`. One log line a change of state, none a retry."""

    def __init__(self, log: FilteringBoundLogger, time: Time) -> None:
        self._log = log
        self._time = time
        self._now: dict[str, Trouble] = {}
        self.last: PastTrouble | None = None
        """The newest that is over."""

    @property
    def worst(self) -> Trouble | None:
        """The one that began first."""
        return min(self._now.values(), key=lambda trouble: trouble.since_s, default=None)

    def began(self, where: str, text: str, *, refused: bool = False) -> None:
        """Something is in the way, or still is. `refused`: the API does not take the key."""
        known = self._now.get(where)
        if known is not None and known.text == text:
            return
        since_s = known.since_s if known is not None else self._time.wall()
        self._now[where] = Trouble(text, since_s, refused)
        self._log.error(f"{where} trouble, trying again", error=text)

    def ended(self, where: str) -> None:
        known = self._now.pop(where, None)
        if known is not None:
            ended_s = self._time.wall()
            self.last = PastTrouble(known.text, known.since_s, ended_s)
            self._log.info(f"{where} trouble is over", lasted_s=round(ended_s - known.since_s, 1))
