"""Who may ask the simulated Infobip: API keys, users and passwords, session tokens, OAuth2 clients and their tokens."""

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from infobip_exporter.model.channels import LOG_PATHS
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.replies import Reply, error_reply, headers, html_reply

TOKEN_PATH = "/auth/1/oauth2/token"  # noqa: S105 - a path
SESSION_PATH = "/auth/1/session"


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """An account of the simulated Infobip, which may read the logs of `channels`; others answer 403.

    Its name and its key are user and password, and client id and client secret as well.
    """

    name: str = "demo"
    api_key: str = "sandbox-key"
    channels: tuple[str, ...] = tuple(LOG_PATHS)

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(
            f"{channel}:{right}" for channel in self.channels for right in ("logs:read", "manage")
        )


@dataclass(frozen=True, slots=True)
class AccessRules:
    """How long tokens live, sessions stay open without use, and what the token endpoint fails with."""

    token_life_s: float = 3600.0
    session_idle_s: float = 1800.0
    token_fault: Literal["", "403", "404", "429", "500", "html_200", "timeout", "reset"] = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do."""

    account: SandboxAccount
    scopes: frozenset[str]

    def may_read(self, channel: str) -> bool:
        return not self.scopes.isdisjoint({f"{channel}:logs:read", f"{channel}:manage"})


class Access:
    """Times are those of a clock that never steps, in milliseconds."""

    def __init__(self, accounts: Iterable[SandboxAccount], rules: AccessRules) -> None:
        self.rules = rules
        self.token_requests: Counter[str] = Counter()
        """By what came of them: the status, or the fault."""
        self._accounts = {account.name: account for account in accounts}
        self._account_of_key = {account.api_key: account for account in self._accounts.values()}
        self._tokens: dict[str, tuple[Grant, float]] = {}
        """With the end of their life."""
        self._sessions: dict[str, tuple[Grant, float]] = {}
        """With their last use."""

    def grant(self, authorization: str, at_ms: int) -> Grant | None:
        """What a request with this header may do; None where nobody knows it."""
        scheme, _, rest = authorization.partition(" ")
        secret = rest.strip()
        match scheme:
            case "App":
                account = self._account_of_key.get(secret)
            case "Basic":
                account = self._user(secret)
            case "IBSSO":
                return self._session(secret, at_ms)
            case "Bearer":
                grant, ends_ms = self._tokens.get(secret, (None, 0.0))
                return grant if at_ms < ends_ms else None
            case _:
                account = None
        return Grant(account, account.scopes) if account else None

    def revoke(self, account: str) -> int:
        """End all tokens and sessions of an account; how many there were."""
        before = len(self._tokens) + len(self._sessions)
        self._tokens = {key: kept for key, kept in self._tokens.items() if kept[0].account.name != account}
        self._sessions = {
            key: kept for key, kept in self._sessions.items() if kept[0].account.name != account
        }
        return before - len(self._tokens) - len(self._sessions)

    def answer(self, path: str, body: bytes, quirks: Quirks, now_ms: int, at_ms: int) -> Reply | None:
        """The reply to a POST of `body`; None where `path` is neither for tokens nor for sessions."""
        if path == TOKEN_PATH:
            reply = self._fault(quirks, now_ms) or self._token(body, now_ms, at_ms)
            self.token_requests[reply.fault or str(reply.status)] += 1
            return reply
        return self._open_session(body, quirks, now_ms, at_ms) if path == SESSION_PATH else None

    def _user(self, encoded: str) -> SandboxAccount | None:
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return self._known(name, password)

    def _known(self, name: str, secret: str) -> SandboxAccount | None:
        account = self._accounts.get(name)
        return account if account and account.api_key == secret else None

    def _session(self, token: str, at_ms: int) -> Grant | None:
        grant, used_ms = self._sessions.get(token, (None, 0.0))
        if grant is None or at_ms - used_ms > 1000 * self.rules.session_idle_s:
            self._sessions.pop(token, None)
            return None
        self._sessions[token] = grant, at_ms
        return grant

    def _token(self, body: bytes, now_ms: int, at_ms: int) -> Reply:
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        if form.get("grant_type") != "client_credentials":
            return _refusal(400, "unsupported_grant_type", "only client_credentials", now_ms)
        account = self._known(form.get("client_id", ""), form.get("client_secret", ""))
        if account is None:
            return _refusal(401, "invalid_client", "no such client, or another secret", now_ms)
        scopes = frozenset(form.get("scope", "").split()) or account.scopes
        if not scopes <= account.scopes:
            return _refusal(
                400, "invalid_scope", f"not granted: {' '.join(sorted(scopes - account.scopes))}", now_ms
            )
        token = token_urlsafe(32)
        self._tokens[token] = Grant(account, scopes), at_ms + 1000 * self.rules.token_life_s
        answer = {"access_token": token, "expires_in": round(self.rules.token_life_s), "token_type": "Bearer"}
        return _json(200, answer, now_ms)

    def _fault(self, quirks: Quirks, now_ms: int) -> Reply | None:
        match self.rules.token_fault:
            case "":
                return None
            case "html_200":
                return html_reply(200, "Please sign in", now_ms)
            case "timeout" | "reset" as fault:
                return Reply(200, headers(now_ms), b"", fault=fault)
            case status:
                return error_reply(int(status), quirks, now_ms)

    def _open_session(self, body: bytes, quirks: Quirks, now_ms: int, at_ms: int) -> Reply:
        try:
            given = msgspec.json.decode(body, type=dict[str, str])
        except (msgspec.MsgspecError, ValueError):
            return error_reply(400, quirks, now_ms)
        account = self._known(given.get("username", ""), given.get("password", ""))
        if account is None:
            return error_reply(401, quirks, now_ms)
        token = token_urlsafe(32)
        self._sessions[token] = Grant(account, account.scopes), at_ms
        return _json(200, {"token": token}, now_ms)


def _refusal(status: int, error: str, description: str, now_ms: int) -> Reply:
    """As RFC 6749, 5.2, has it."""
    return _json(status, {"error": error, "error_description": description}, now_ms)


def _json(status: int, body: Mapping[str, Any], now_ms: int) -> Reply:
    return Reply(status, headers(now_ms), msgspec.json.encode(body))
