"""The channels that keep a log of the same shape: the same parameters, the same record, 48 h, 1000 rows a call."""

LOG_PATHS = {
    "instagram": "/instagram/1/logs",
    "messenger": "/messenger/1/logs",
    "tiktok": "/tiktok/1/logs",
    "apple-mfb": "/apple-mfb/1/logs",
    "kakao-alim": "/kakao-alim/1/logs",
    "kakao-chingu": "/kakao-chingu/1/logs",
    "kakao-sangdam": "/kakao-sangdam/1/logs",
    "viber": "/viber/2/logs",
    "viber-bot": "/viber-bot/1/logs",
    "rcs": "/rcs/2/logs",
    "push": "/push/3/logs",
    "sms": "/sms/3/logs",
    "mms": "/mms/2/logs",
    "email": "/email/4/logs",
}
"""Where each channel's log is. The `/reports` endpoints beside them are consumed by reading: never call them."""

BY_PHONE_NUMBER = frozenset({"sms", "mms", "viber", "rcs", "kakao-alim", "kakao-chingu"})
"""The channels whose destinations are phone numbers; elsewhere they are the channel's own ids of people."""

NETWORK_CHANNELS = frozenset({"sms", "mms"})
"""The channels whose rows tell the destination's network, `mccMnc`."""

LOG_KEEPS_MS = 48 * 3600 * 1000
"""How long a record stays in the log after it was sent, in milliseconds."""

MAX_LIST_LENGTH = 2048
"""The longest value of a comma-separated parameter, in characters (reference page, `messageId`)."""
