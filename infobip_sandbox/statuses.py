"""The statuses and errors that the simulated API knows, spelled as Infobip spells them."""

import msgspec


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """A record's `status` object."""

    group_id: int
    group_name: str
    id: int
    name: str
    description: str


class Error(msgspec.Struct, frozen=True, rename="camel"):
    """A record's `error` object."""

    group_id: int
    group_name: str
    id: int
    name: str
    description: str
    permanent: bool


ACCEPTED = Status(0, "ACCEPTED", 0, "MESSAGE_ACCEPTED", "Message accepted")
WAITING_DELIVERY = Status(
    1, "PENDING", 3, "PENDING_WAITING_DELIVERY", "Message sent, waiting for delivery report"
)
ENROUTE = Status(1, "PENDING", 7, "PENDING_ENROUTE", "Message sent to next instance")
PENDING_ACCEPTED = Status(1, "PENDING", 26, "PENDING_ACCEPTED", "Pending Accepted")
REJECTED_OPERATOR = Status(
    2, "UNDELIVERABLE", 4, "UNDELIVERABLE_REJECTED_OPERATOR", "Message rejected by operator"
)
NOT_DELIVERED = Status(2, "UNDELIVERABLE", 9, "UNDELIVERABLE_NOT_DELIVERED", "Message sent not delivered")
TO_OPERATOR = Status(3, "DELIVERED", 2, "DELIVERED_TO_OPERATOR", "Message delivered to operator")
TO_HANDSET = Status(3, "DELIVERED", 5, "DELIVERED_TO_HANDSET", "Message delivered to handset")
EXPIRED = Status(4, "EXPIRED", 15, "EXPIRED_EXPIRED", "Message expired")
DLR_UNKNOWN = Status(4, "EXPIRED", 29, "EXPIRED_DLR_UNKNOWN", "Expired without a delivery report")
REJECTED_NETWORK = Status(5, "REJECTED", 6, "REJECTED_NETWORK", "Network is forbidden")
NOT_ENOUGH_CREDITS = Status(5, "REJECTED", 12, "REJECTED_NOT_ENOUGH_CREDITS", "Not enough credits")
WITHDRAWN = Status(9, "WITHDRAWN", 91, "WITHDRAWN_BY_SENDER", "A group that no document names")

NO_ERROR = Error(0, "OK", 0, "NO_ERROR", "No Error", False)
LEGACY_NO_ERROR = Error(0, "Ok", 0, "NO_ERROR", "No Error", False)
ABSENT = Error(1, "HANDSET_ERRORS", 27, "EC_ABSENT_SUBSCRIBER", "Absent Subscriber", False)
UNKNOWN_USER = Error(2, "USER_ERRORS", 1, "EC_UNKNOWN_SUBSCRIBER", "Unknown Subscriber", True)
OPERATOR_DOWN = Error(3, "OPERATOR_ERRORS", 34, "EC_SYSTEM_FAILURE", "System Failure", False)
OUTSIDE_WINDOW = Error(
    4, "Client errors", 7001, "EC_OUTSIDE_MESSAGING_WINDOW", "Outside of the messaging window", True
)
PROVIDER_LIMIT = Error(5, "Provider errors", 7032, "EC_PROVIDER_RATE_LIMIT", "Provider's rate limit", False)

DEFAULT_OF_GROUP = {
    status.group_name: status
    for status in (
        ACCEPTED, ENROUTE, NOT_DELIVERED, TO_HANDSET, EXPIRED, REJECTED_NETWORK, WITHDRAWN,
    )
}  # fmt: skip
"""A typical status of each group, for messages written by hand."""
