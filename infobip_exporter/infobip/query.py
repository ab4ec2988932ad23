"""A question to the log, and the query parameters that put it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.model.channels import MAX_LIST_LENGTH as MAX_LIST_LENGTH  # noqa: PLC0414 - many take it from here

PAGE_LIMIT = 1000
"""The most rows the API gives in a call (reference page, `limit`)."""

STATUS_GROUPS = ("ACCEPTED", "PENDING", "UNDELIVERABLE", "DELIVERED", "EXPIRED", "REJECTED")
"""The values that `generalStatus` takes (reference page)."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to ask the log for.

    `since_ms` and `until_ms` bound the sent time wanted, half open, in milliseconds; both are None in a question
    for message ids. `cursor` is None without a cursor, "" for the first page of a read by cursor, else the
    `nextCursor` of the page before. The bounds are asked wider than the span, see `parameters`; `tight_since` and
    `tight_until` ask them as they are, where the API was seen to include the moment that a bound names.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    message_ids: tuple[str, ...] = ()
    general_status: str | None = None
    entity_id: str | None = None
    application_id: str | None = None
    sender: str | None = None
    cursor: str | None = None
    limit: int = PAGE_LIMIT
    tight_since: bool = False
    tight_until: bool = False

    @property
    def special(self) -> bool:
        """Whether it asks in a way that some servers may not know, where another question may serve as well."""
        narrowed = (self.general_status, self.entity_id, self.application_id, self.sender, self.cursor)
        return bool(self.message_ids) or any(value is not None for value in narrowed)

    def holds(self, sent_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether it asks for messages that were sent at these moments."""
        holds = np.ones(len(sent_ms), np.bool_)
        if self.since_ms is not None:
            holds &= sent_ms >= self.since_ms
        if self.until_ms is not None:
            holds &= sent_ms < self.until_ms
        return holds

    def parameters(self, filters: Mapping[str, str]) -> dict[str, str]:
        """The query parameters: these and the account's `filters`.

        The first and the last millisecond of the span are asked with a millisecond beyond each, for nobody has
        written down whether the API's `sentSince` ("after") and `sentUntil` ("before") include the moment they name.
        """
        parameters = dict(filters)
        if self.since_ms is not None:
            parameters["sentSince"] = format_moment(self.since_ms if self.tight_since else self.since_ms - 1)
        if self.until_ms is not None:
            parameters["sentUntil"] = format_moment(self.until_ms - 1 if self.tight_until else self.until_ms)
        if self.message_ids:
            parameters["messageId"] = ",".join(self.message_ids)
        named = {
            "generalStatus": self.general_status,
            "entityId": self.entity_id,
            "applicationId": self.application_id,
            "sender": self.sender,
        }
        parameters.update({name: value for name, value in named.items() if value is not None})
        if self.cursor is not None:
            parameters["useCursor"] = "true"
            if self.cursor:
                parameters["cursor"] = self.cursor
        parameters["limit"] = str(self.limit)
        return parameters


def format_moment(ms: int) -> str:
    """`ms` since the epoch as the API writes it: 2020-02-22T17:42:05.390+0000."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}+0000"
