"""The `check` command: one small question to each feed, and a line each on what works and what to do about the rest."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from infobip_exporter.config.duration import format_duration
from infobip_exporter.config.schema import Account, Config
from infobip_exporter.errors import RequestFailed, TokenFailed
from infobip_exporter.infobip.access import Access
from infobip_exporter.infobip.credentials import IBSSO
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.record import Answer

CLOCK_TOLERANCE_S = 60.0


class Feed(NamedTuple):
    """A feed to ask: a channel of an account, how it is reached, and how long it may take."""

    account: Account
    channel: str
    timeout_s: float
    access: Access


Ask = Callable[[Feed], Awaitable[Answer]]


async def ask_newest(feed: Feed) -> Answer:
    """The newest record of the feed's log. Raises RequestFailed."""
    client = feed.access.client(feed.channel, feed.account.filters)
    try:
        await client.prepare()
        return await client.fetch(Query(limit=1))
    finally:
        await client.close()


def check(config: Config, *, ask: Ask = ask_newest, wall_s: Callable[[], float] = time.time) -> int:
    """Ask every feed of `config` at the same time, and print a line each in the order of the configuration.

    Returns the exit code: 1 if any failed, else 0. `ask` and `wall_s` (seconds since the epoch) replace the API and
    the clock.
    """
    return asyncio.run(_check(config, ask, wall_s))


async def _check(config: Config, ask: Ask, wall_s: Callable[[], float]) -> int:
    timeout_s = config.poll.timeout_s
    feeds = [
        Feed(account, channel, timeout_s, access)
        for account, access in [(each, Access(each, timeout_s)) for each in config.accounts]
        for channel in account.channels
    ]
    answers = [asyncio.create_task(_timed(ask, feed, wall_s)) for feed in feeds]
    code = 0
    for feed, answer in zip(feeds, answers, strict=True):
        try:
            lines = _answer_lines(feed, *await answer)
        except RequestFailed as failure:
            lines, code = [_failure_line(feed, failure)], 1
        print(*lines, sep="\n", flush=True)
    return code


async def _timed(ask: Ask, feed: Feed, wall_s: Callable[[], float]) -> tuple[Answer, float]:
    answer = await ask(feed)
    return answer, wall_s()  # at once: until its line is printed, others may be waited for


def _answer_lines(feed: Feed, answer: Answer, now_s: float) -> list[str]:
    place = f"{feed.account.name}/{feed.channel}"
    skew_s = _skew_s(answer, now_s)
    clock = "no clock told" if skew_s is None else f"clock off by {abs(skew_s):.1f} s"
    lines = [f"ok    {place}: the log answers (200), {clock}, took {answer.took_s:.2f} s"]
    if skew_s is not None and abs(skew_s) > CLOCK_TOLERANCE_S:
        side = "behind" if skew_s > 0 else "ahead of"
        lines.append(
            f"warn  {place}: this machine's clock is {abs(skew_s):.0f} s {side} the API's; counts are right anyway, "
            "but times look odd: set it by NTP"
        )
    return lines


def _skew_s(answer: Answer, now_s: float) -> float | None:
    """The API's clock less ours. Its date is cut to a second and was written while the request took its time."""
    return None if answer.date_ms is None else answer.date_ms / 1000 + 0.5 + answer.took_s / 2 - now_s


def _failure_line(feed: Feed, failure: RequestFailed) -> str:
    told = str(failure) if failure.code else failure.text
    return f"FAIL  {feed.account.name}/{feed.channel}: {told.rstrip('.')}. Next: {next_step(feed, failure)}"


def next_step(feed: Feed, failure: RequestFailed) -> str:  # noqa: PLR0911 - a table, in code for its values
    """What a person can do about `failure`."""
    account, text = feed.account, failure.text.lower()
    if isinstance(failure, TokenFailed) and (step := _token_step(account, failure)):
        return step
    match failure.code:
        case "":
            return "put the key there and nothing else, readable for the user that the exporter runs as"
        case "400":
            return "look at the account's filters"
        case "401":
            return _refused_step(account)
        case "403":
            return _scope_step(account, f"{feed.channel}:logs:read")
        case "407":
            return _proxy_step(account)
        case "429":
            return "try again in a minute; if it stays, another program uses this log too: lower requests_per_minute"
        case "timeout":
            return (
                f"is poll.timeout ({format_duration(feed.timeout_s)}) enough? "
                f"Does a firewall between here and {_asked_url(account, failure)} drop packets?"
            )
        case "connection":
            return _connection_step(account, _asked_url(account, failure), text)
        case code if code.startswith("5"):
            return (
                "try again in a few minutes: the fault is on the API's side, and run goes on trying by itself"
            )
        case _:
            own_host = (
                "set base_url to the account's own host, which the Infobip portal shows beside the API keys"
            )
            return f"try again; if it stays, {own_host}" if "not whole" in text else own_host


def _token_step(account: Account, failure: TokenFailed) -> str:
    """What can be done about a refused token request; "" where it is the same as for any request."""
    match failure.code:
        case "400" if "invalid_scope" in failure.text:
            return "take the scopes that the client does not have out of oauth2.scopes, or grant them to it"
        case "400" | "401" | "403":
            place = _place(account.oauth2.client_secret_file, "client_secret") if account.oauth2 else ""
            return f"compare oauth2.client_id and {place} with those that Infobip gave you"
        case "429":
            return "try again in a minute; if it stays, another program asks for tokens too"
        case "" | "407" | "timeout" | "connection":
            return ""
        case code if code.startswith("5"):
            return ""
        case _:
            return "leave oauth2.token_url out for Infobip's own, and look at base_url"


def _refused_step(account: Account) -> str:
    if account.basic_auth:
        place = _place(account.basic_auth.password_file, "basic_auth.password")
        return f"look at basic_auth.username and {place}: can this user sign in to the Infobip portal?"
    if account.oauth2:
        return "is the client of this account, and base_url the account's own? The token itself was given"
    if account.authorization:
        place = _place(account.authorization.credentials_file, "authorization.credentials")
        if account.authorization.type.upper() == IBSSO:
            return (
                f"open a new session and put its token into {place}; "
                "sessions end after a time without use, so take an API key or oauth2 to stay"
            )
        return f"put valid credentials into {place}, and look at authorization.type"
    place = _place(account.api_key_file, "api_key")
    return f"make a key in the Infobip portal (Developer Tools, API keys) and put it into {place}"


def _place(file: Path | None, key: str) -> str:
    return key if file is None else str(file)


def _scope_step(account: Account, scope: str) -> str:
    if account.oauth2:
        asked = ", and name it in oauth2.scopes" if account.oauth2.scopes else ""
        return f"in the Infobip portal, give the client the scope {scope}{asked}"
    if account.basic_auth or account.authorization:
        return f"in the Infobip portal, give the user a role that may read message logs ({scope})"
    return (
        f"in the Infobip portal, give the key the scope {scope}, "
        "and this machine's address if the key is limited to some"
    )


def _asked_url(account: Account, failure: RequestFailed) -> str:
    if isinstance(failure, TokenFailed) and account.oauth2 and account.oauth2.token_url:
        return account.oauth2.token_url
    return account.base_url


def _proxy(account: Account) -> str:
    """Where the proxy is named."""
    return "proxy_url" if account.proxy_url else "HTTPS_PROXY"


def _proxy_step(account: Account) -> str:
    return f"look at {_proxy(account)}, or name the host in {'no_proxy' if account.proxy_url else 'NO_PROXY'}"


def _connection_step(account: Account, url: str, text: str) -> str:  # noqa: PLR0911 - as above
    if text.startswith("the proxy answered"):
        return _proxy_step(account)
    if "certificate required" in text or "unknown ca" in text or "bad certificate" in text:
        return (
            "the server wants a client certificate that it trusts: look at tls_config.cert_file and key_file"
        )
    if "certificate" in text:
        return _certificate_step(account, url, text)
    if "ssl" in text or "tls" in text:
        return f"does {url} speak TLS on this port? Look at base_url, and at what may be in between ({_proxy(account)})"
    if "name" in text:
        return f"is the host of {url} spelled right? Does DNS work here?"
    if "closed" in text or "disconnected" in text or "not proper http" in text:
        return f"try again; if it stays: is base_url right, and does a proxy or a firewall on the way to {url} cut answers?"
    return f"can this machine reach {url}? Look at the firewall, and at {_proxy(account)}"


def _certificate_step(account: Account, url: str, text: str) -> str:
    if "mismatch" in text or "not valid for" in text:
        return f"another host answers in place of {url}: look at base_url, DNS, {_proxy(account)} and tls_config.server_name"
    if "expired" in text or "not yet valid" in text:
        return "is this machine's clock right? Set it by NTP; if it is, a proxy or base_url with an old certificate answers"
    if account.tls_config.ca_file:
        return f"is {account.tls_config.ca_file} the authority of {url}'s certificate?"
    return "if a proxy opens TLS on the way, name its CA file in tls_config.ca_file or SSL_CERT_FILE; else look at base_url"
