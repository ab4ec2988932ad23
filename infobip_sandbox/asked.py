"""What a request asks of the log, read from its query parameters as strictly as the API reads them."""

from collections.abc import Mapping
from dataclasses import dataclass

from infobip_exporter.infobip.query import STATUS_GROUPS
from infobip_sandbox.message import Message
from infobip_sandbox.moments import read_moment
from infobip_sandbox.quirks import Quirks

DEFAULT_LIMIT = 50
MOST_ROWS = 1000
LONGEST_LIST = 2048
"""Of the reference page, not of the exporter: what asks for more is to be found out."""
_LISTS = ("messageId", "bulkId", "campaignReferenceId")
_PLAIN = ("sender", "destination", "entityId", "applicationId", "generalStatus")
KNOWN = frozenset((*_LISTS, *_PLAIN, "sentSince", "sentUntil", "limit", "useCursor", "cursor"))


class BadRequest(Exception):
    """The API would answer 400. `parameter` is the one to blame."""

    def __init__(self, parameter: str, text: str) -> None:
        super().__init__(f"{parameter}: {text}")
        self.parameter = parameter
        self.text = text


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's parameters as values: `since_ms` and `until_ms` half open, whatever the API's own bounds are."""

    limit: int
    since_ms: int | None
    until_ms: int | None
    message_ids: tuple[str, ...]
    bulk_ids: tuple[str, ...]
    campaigns: tuple[str, ...]
    sender: str | None
    destination: str | None
    entity_id: str | None
    application_id: str | None
    general_status: str | None
    cursor: str | None
    """None without a cursor, "" for the first page of a read by cursor."""
    only_within_ms: int | None = None
    """Of the messages of this millisecond only those sent within it are meant,"""
    none_within_ms: int | None = None
    """and of this one those sent at its beginning."""

    @property
    def picks(self) -> bool:
        """Whether anything but the sent time decides which records are shown."""
        return any(
            (
                self.message_ids, self.bulk_ids, self.campaigns, self.sender is not None,
                self.destination is not None, self.entity_id is not None, self.application_id is not None,
                self.general_status is not None, self.only_within_ms is not None, self.none_within_ms is not None,
            )
        )  # fmt: skip

    def picks_message(self, message: Message, now_ms: int) -> bool:
        """Whether the filters let `message` through, its sent time aside."""
        return (
            (not self.message_ids or (message.message_id in self.message_ids and message.defect != "no_id"))
            and (not self.bulk_ids or message.bulk_id in self.bulk_ids)
            and (not self.campaigns or message.campaign in self.campaigns)
            and self.sender in (None, message.sender)
            and self.destination in (None, message.destination)
            and self.entity_id in (None, message.entity_id)
            and self.application_id in (None, message.application_id)
            and (self.general_status is None or self._has_status(message, now_ms))
            and (self.only_within_ms != message.sent_ms or message.within)
            and (self.none_within_ms != message.sent_ms or not message.within)
        )

    def _has_status(self, message: Message, now_ms: int) -> bool:
        return (
            message.defect != "no_status"
            and message.state_at(now_ms).status.group_name == self.general_status
        )


def read_parameters(parameters: Mapping[str, str], quirks: Quirks) -> Asked:
    """The question in `parameters`. Raises BadRequest where the API would answer 400."""
    if quirks.strict:
        for name in parameters:
            if name not in KNOWN:
                raise BadRequest(name, "unknown parameter")
    status = parameters.get("generalStatus")
    if status is not None and status not in STATUS_GROUPS:
        raise BadRequest("generalStatus", f"must be one of {', '.join(STATUS_GROUPS)}")
    since_ms, until_ms = _moment(parameters, "sentSince", quirks), _moment(parameters, "sentUntil", quirks)
    only_within_ms = since_ms if quirks.microseconds and not quirks.since_inclusive else None
    none_within_ms = until_ms if quirks.microseconds and quirks.until_inclusive else None
    if since_ms is not None and not quirks.since_inclusive and not quirks.microseconds:
        since_ms += 1
    if until_ms is not None and quirks.until_inclusive:
        until_ms += 1
    return Asked(
        limit=_limit(parameters),
        since_ms=since_ms,
        until_ms=until_ms,
        message_ids=_list(parameters, "messageId"),
        bulk_ids=_list(parameters, "bulkId"),
        campaigns=_list(parameters, "campaignReferenceId"),
        sender=parameters.get("sender"),
        destination=parameters.get("destination"),
        entity_id=parameters.get("entityId"),
        application_id=parameters.get("applicationId"),
        general_status=status,
        cursor=_cursor(parameters, quirks),
        only_within_ms=only_within_ms,
        none_within_ms=none_within_ms,
    )


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_ROWS):
        raise BadRequest("limit", f"must be between 1 and {MOST_ROWS}")
    return int(text)


def _moment(parameters: Mapping[str, str], name: str, quirks: Quirks) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    moment = read_moment(text, accept_z=quirks.accept_z)
    if moment is None:
        raise BadRequest(name, "must have the format yyyy-MM-dd'T'HH:mm:ss.SSSZ")
    return moment


def _list(parameters: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = parameters.get(name)
    if text is None:
        return ()
    if len(text) > LONGEST_LIST:
        raise BadRequest(name, f"must not be longer than {LONGEST_LIST} characters")
    return tuple(text.split(","))


def _cursor(parameters: Mapping[str, str], quirks: Quirks) -> str | None:
    use, cursor = parameters.get("useCursor"), parameters.get("cursor")
    if quirks.cursor == "rejected" and (use is not None or cursor is not None):
        raise BadRequest("useCursor" if use is not None else "cursor", "unknown parameter")
    if quirks.cursor == "ignored" or use is None:
        return None
    if use not in ("true", "false"):
        raise BadRequest("useCursor", "must be true or false")
    return (cursor or "") if use == "true" else None
