"""The `check` command: one small question to each feed, and a line each on what works and what to do about the rest."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
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
    clock, skew_s = "no clock told", 0.0
    if answer.date_ms is not None:
        # The API's date is cut to a second and was written while the request took its time.
        skew_s = answer.date_ms / 1000 + 0.5 + answer.took_s / 2 - now_s
        clock = f"clock off by {abs(skew_s):.1f} s"
    lines = [f"ok    {place}: the log answers (200), {clock}, took {answer.took_s:.2f} s"]
    if abs(skew_s) > CLOCK_TOLERANCE_S:
        side = "behind" if skew_s > 0 else "ahead of"
        lines.append(
            f"warn  {place}: this machine's clock is {abs(skew_s):.0f} s {side} the API's; counts are right anyway, "
            "but times look odd: set it by NTP"
        )
    return lines


def _failure_line(feed: Feed, failure: RequestFailed) -> str:
    told = str(failure) if failure.code else failure.text
    return f"FAIL  {feed.account.name}/{feed.channel}: {told.rstrip('.')}. Next: {next_step(feed, failure)}"


_OWN_HOST = "set base_url to the account's own host, which the Infobip portal shows beside the API keys"
_UNKNOWN_AUTHORITY = "if a proxy opens TLS on the way, name its CA file in tls_config.ca_file or SSL_CERT_FILE; else look at base_url"
_TOKEN_STEPS = {
    "400: .*invalid_scope": "take the scopes that the client does not have out of oauth2.scopes, or grant them to it",
    "40[013]:": "compare oauth2.client_id and {client_secret} with those that Infobip gave you",
    "429:": "try again in a minute; if it stays, another program asks for tokens too",
    "(?!407|timeout|connection|5|:)": "leave oauth2.token_url out for Infobip's own, and look at base_url",
}
"""What goes before `_STEPS` where no token could be had."""
_STEPS = {
    ":": "put the key there and nothing else, readable for the user that the exporter runs as",
    "400:": "look at the account's filters",
    "401:": "{refused}",
    "403:": "{forbidden}",
    "407:|connection: the proxy answered": "look at {proxy}, or name the host in {no_proxy}",
    "429:": "try again in a minute; if it stays, another program uses this log too: lower requests_per_minute",
    "timeout:": "is poll.timeout ({timeout}) enough? Does a firewall between here and {url} drop packets?",
    "connection: .*(certificate required|unknown ca|bad certificate)": (
        "the server wants a client certificate that it trusts: look at tls_config.cert_file and key_file"
    ),
    "connection: (?=.*certificate).*(mismatch|not valid for)": (
        "another host answers in place of {url}: look at base_url, DNS, {proxy} and tls_config.server_name"
    ),
    "connection: (?=.*certificate).*(expired|not yet valid)": (
        "is this machine's clock right? Set it by NTP; if it is, a proxy or base_url with an old certificate answers"
    ),
    "connection: .*certificate": "{authority}",
    "connection: .*(ssl|tls)": (
        "does {url} speak TLS on this port? Look at base_url, and at what may be in between ({proxy})"
    ),
    "connection: .*name": "is the host of {url} spelled right? Does DNS work here?",
    "connection: .*(closed|disconnected|not proper http)": (
        "try again; if it stays: is base_url right, and does a proxy or a firewall on the way to {url} cut answers?"
    ),
    "connection:": "can this machine reach {url}? Look at the firewall, and at {proxy}",
    "5": "try again in a few minutes: the fault is on the API's side, and run goes on trying by itself",
    ".*not whole": f"try again; if it stays, {_OWN_HOST}",
    "": _OWN_HOST,
}
"""By how a failure begins, its text in lower case, what to do. The first that fits counts."""


def next_step(feed: Feed, failure: RequestFailed) -> str:
    """What a person can do about `failure`."""
    account, oauth2 = feed.account, feed.account.oauth2
    has_no_token = oauth2 is not None and isinstance(failure, TokenFailed)
    url = (oauth2 and has_no_token and oauth2.token_url) or account.base_url
    ca_file = account.tls_config.ca_file
    step = next(
        step
        for beginning, step in ((*_TOKEN_STEPS.items(), *_STEPS.items()) if has_no_token else _STEPS.items())
        if re.match(beginning, f"{failure.code}: {failure.text.lower()}", re.DOTALL)
    )
    proxy, no_proxy = ("proxy_url", "no_proxy") if account.proxy_url else ("HTTPS_PROXY", "NO_PROXY")
    return step.format(
        authority=f"is {ca_file} the authority of {url}'s certificate?" if ca_file else _UNKNOWN_AUTHORITY,
        client_secret=(oauth2 and oauth2.client_secret_file) or "client_secret",
        forbidden=_forbidden_step(account, f"{feed.channel}:logs:read"),
        no_proxy=no_proxy,
        proxy=proxy,
        refused=_refused_step(account),
        timeout=format_duration(feed.timeout_s),
        url=url,
    )


def _refused_step(account: Account) -> str:
    if basic := account.basic_auth:
        place = basic.password_file or "basic_auth.password"
        return f"look at basic_auth.username and {place}: can this user sign in to the Infobip portal?"
    if account.oauth2:
        return "is the client of this account, and base_url the account's own? The token itself was given"
    if given := account.authorization:
        place = given.credentials_file or "authorization.credentials"
        if given.type.upper() == IBSSO:
            return (
                f"open a new session and put its token into {place}; "
                "sessions end after a time without use, so take an API key or oauth2 to stay"
            )
        return f"put valid credentials into {place}, and look at authorization.type"
    place = account.api_key_file or "api_key"
    return f"make a key in the Infobip portal (Developer Tools, API keys) and put it into {place}"


def _forbidden_step(account: Account, scope: str) -> str:
    if account.oauth2:
        asked = ", and name it in oauth2.scopes" if account.oauth2.scopes else ""
        return f"in the Infobip portal, give the client the scope {scope}{asked}"
    if account.basic_auth or account.authorization:
        return f"in the Infobip portal, give the user a role that may read message logs ({scope})"
    return (
        f"in the Infobip portal, give the key the scope {scope}, "
        "and this machine's address if the key is limited to some"
    )
