"""What a client accepts: the headers Accept and Accept-Encoding, for prometheus_client, which knows no quality of zero."""

import re

from prometheus_client.exposition import choose_encoder
from prometheus_client.exposition import gzip_accepted as named_gzip

_NEVER = re.compile(r";\s*q\s*=\s*0(\.0*)?\s*(;|$)", re.IGNORECASE)


def wants_open_metrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics, as prometheus_client reads it; any other wish gets text."""
    try:
        _, content_type = choose_encoder(_allowed(accept))
    except (TypeError, ValueError):  # a version that is no number
        return False
    return bool(content_type.startswith("application/openmetrics-text"))


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header names gzip."""
    return bool(named_gzip(_allowed(accept_encoding)))


def _allowed(header: str) -> str:
    """The header without the parts whose quality is zero, which means never (RFC 9110, 12.4.2)."""
    return ",".join(part for part in header.split(",") if not _NEVER.search(part))
