"""The `check` command: one small question to each feed, and a line each on what works and what to do about the rest."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from infobip_exporter.config.duration import format_duration
from infobip_exporter.config.schema import Account, Config
from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.credentials import credentials_of
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.model.record import Answer

CLOCK_TOLERANCE_S = 60.0
_PROXY_STEP = "look at HTTPS_PROXY, or name the host in NO_PROXY"


class Feed(NamedTuple):
    """A feed to ask: a channel of an account, and how long it may take."""

    account: Account
    channel: str
    timeout_s: float


Ask = Callable[[Feed], Awaitable[Answer]]


async def ask_newest(feed: Feed) -> Answer:
    """The newest record of the feed's log. Raises RequestFailed."""
    account = feed.account
    client = Client(
        account.base_url, LOG_PATHS[feed.channel], credentials_of(account), account.filters, feed.timeout_s
    )
    try:
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
    feeds = [
        Feed(account, channel, config.poll.timeout_s)
        for account in config.accounts
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
    match failure.code:
        case "":
            return "put the key there and nothing else, readable for the user that the exporter runs as"
        case "400":
            return "look at the account's filters"
        case "401":
            place = "api_key" if account.api_key_file is None else str(account.api_key_file)
            return f"make a key in the Infobip portal (Developer Tools, API keys) and put it into {place}"
        case "403":
            return (
                f"in the Infobip portal, give the key the scope {feed.channel}:logs:read, "
                "and this machine's address if the key is limited to some"
            )
        case "407":
            return _PROXY_STEP
        case "429":
            return "try again in a minute; if it stays, another program uses this log too: lower requests_per_minute"
        case "timeout":
            return (
                f"is poll.timeout ({format_duration(feed.timeout_s)}) enough? "
                f"Does a firewall between here and {account.base_url} drop packets?"
            )
        case "connection":
            return _connection_step(account, text)
        case code if code.startswith("5"):
            return (
                "try again in a few minutes: the fault is on the API's side, and run goes on trying by itself"
            )
        case _:
            own_host = (
                "set base_url to the account's own host, which the Infobip portal shows beside the API keys"
            )
            return f"try again; if it stays, {own_host}" if "not whole" in text else own_host


def _connection_step(account: Account, text: str) -> str:
    url = account.base_url
    if text.startswith("the proxy answered"):
        return _PROXY_STEP
    if "certificate" in text:
        return _certificate_step(url, text)
    if "ssl" in text or "tls" in text:
        return f"does {url} speak TLS on this port? Look at base_url, and at what may be in between (HTTPS_PROXY)"
    if "name" in text:
        return f"is the host of {url} spelled right? Does DNS work here?"
    if "closed" in text or "disconnected" in text or "not proper http" in text:
        return f"try again; if it stays: is base_url right, and does a proxy or a firewall on the way to {url} cut answers?"
    return f"can this machine reach {url}? Look at the firewall, and at HTTPS_PROXY"


def _certificate_step(url: str, text: str) -> str:
    if "mismatch" in text:
        return f"another host answers in place of {url}: look at base_url, DNS and HTTPS_PROXY"
    if "expired" in text or "not yet valid" in text:
        return "is this machine's clock right? Set it by NTP; if it is, a proxy or base_url with an old certificate answers"
    return "if a proxy opens TLS on the way, name its CA file in SSL_CERT_FILE; else look at base_url"
