"""The errors of this package: each says what is wrong, where, and what to do about it."""


class ExporterError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(ExporterError):
    """The configuration can't be used. `problems` holds one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LedgerError(ExporterError):
    """The ledger can't be opened, read or written; what was committed before is untouched."""


class LedgerAway(LedgerError):
    """The database can't be reached at the moment; waiting may help."""


class LeaseLost(ExporterError):
    """Another replica owns the feed now: this process may write nothing of it any more."""


class ListenError(ExporterError):
    """The web server can't listen: the port is taken, or the address is not this machine's."""


class RequestFailed(ExporterError):
    """A question to the API got no usable answer.

    `code` is the value of the label `code` of `infobip_exporter_api_requests_total`: the HTTP status, or
    `timeout`, `connection`, `invalid_body`; empty where no request was made. `retry_after_s` is what the answer's Retry-After asked for, in seconds.
    """

    def __init__(
        self, code: str, text: str, *, retry_after_s: float | None = None, took_s: float = 0.0
    ) -> None:
        super().__init__(": ".join(part for part in (code, text) if part))
        self.code = code
        self.text = text
        self.retry_after_s = retry_after_s
        self.took_s = took_s


class TokenFailed(RequestFailed):
    """No access token could be had, and so no request was made. `retry_after_s` is the time until the next try."""

    def __str__(self) -> str:
        return f"token request: {super().__str__()}"
