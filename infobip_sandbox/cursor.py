"""The tokens of a read by cursor: where it stands, in a text that means nothing to the client."""

import base64
import binascii
from typing import NamedTuple

from infobip_sandbox.asked import BadRequest
from infobip_sandbox.message import Message


class Place(NamedTuple):
    """Where a read by cursor stands: `page` is next, of the log as it was at `as_of_ms`.

    The pages before ended with `given` records of the millisecond `sent_ms`.
    """

    page: int
    as_of_ms: int
    sent_ms: int
    given: int

    def after(self, page: list[Message]) -> "Place":
        """The place behind `page`, which must hold a record."""
        last_ms = page[-1].sent_ms
        given = sum(1 for message in page if message.sent_ms == last_ms)
        return Place(
            self.page + 1, self.as_of_ms, last_ms, given + (self.given if last_ms == self.sent_ms else 0)
        )

    def token(self) -> str:
        return base64.urlsafe_b64encode(":".join(map(str, self)).encode()).decode()


def read_token(token: str) -> Place:
    """The place that `token` stands for. Raises BadRequest when it is none of ours."""
    try:
        page, as_of_ms, sent_ms, given = (
            int(part) for part in base64.urlsafe_b64decode(token.encode()).decode().split(":")
        )
    except (ValueError, binascii.Error) as error:
        raise BadRequest("cursor", "is not valid") from error
    return Place(page, as_of_ms, sent_ms, given)
