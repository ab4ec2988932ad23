"""What tests and people use to look behind the sandbox and to stir it: everything under /sandbox/."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from infobip_sandbox.faults import FaultyLog
from infobip_sandbox.message import Defect, plain_message
from infobip_sandbox.replies import Reply, headers
from infobip_sandbox.settings import SettingError, changed
from infobip_sandbox.site import Site
from infobip_sandbox.traffic import Incident
from infobip_sandbox.truth import Truth

PREFIX = "/sandbox/"


class _Stir(msgspec.Struct, forbid_unknown_fields=True):
    """An incident that begins now."""

    seconds: float
    kind: Literal["rejected", "undeliverable", "slow"] = "rejected"
    entity_id: str | None = None
    share: float = 0.9
    extra_per_second: float = 0.0


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    """A message as `plain_message` takes it; without `sent_ms`, sent now."""

    message_id: str
    sent_ms: int | None = None
    group: Literal[
        "ACCEPTED", "PENDING", "UNDELIVERABLE", "DELIVERED", "EXPIRED", "REJECTED", "WITHDRAWN"
    ] = "DELIVERED"
    settles_after_ms: int = 1000
    late_ms: int = 0
    price: str | None = "0.15"
    currency: str = "EUR"
    entity_id: str = ""
    application_id: str = ""
    sender: str = "44113496000"
    parts: int = 1
    defect: Defect = ""


class _Messages(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_Given]


class _Call(NamedTuple):
    query: Mapping[str, str]
    body: bytes
    now_ms: int


class Control:
    """The control endpoints of `site`. Each takes `account` and `channel`; by default the first and instagram."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._routes = {
            ("GET", "now"): self._now,
            ("GET", "truth"): self._truth,
            ("GET", "requests"): self._requests,
            ("GET", "access"): self._access,
            ("POST", "access"): self._change_access,
            ("POST", "revoke"): self._revoke,
            ("POST", "faults"): self._faults,
            ("POST", "quirks"): self._quirks,
            ("POST", "incident"): self._incident,
            ("POST", "messages"): self._messages,
        }

    def answer(self, method: str, path: str, query: str, body: bytes, now_ms: int) -> Reply:
        """The reply to a request for a path under /sandbox/; what it does counts from `now_ms` on."""
        route = self._routes.get((method, path.removeprefix(PREFIX)))
        if route is None:
            return _json(
                404, {"error": f"only {', '.join(' '.join(route) for route in self._routes)}"}, now_ms
            )
        try:
            told = route(_Call(dict(parse_qsl(query)), body, now_ms))
        except KeyError as error:
            return _json(404, {"error": f"no account or channel {error}"}, now_ms)
        except (SettingError, msgspec.MsgspecError, ValueError) as error:
            return _json(400, {"error": str(error)}, now_ms)
        return _json(200, told, now_ms)

    def _log(self, query: Mapping[str, str]) -> FaultyLog:
        account = query.get("account") or next(iter(self._site.accounts))
        return self._site.log(account, query.get("channel") or "instagram")

    def _now(self, call: _Call) -> dict[str, Any]:
        return {"now_ms": call.now_ms, "begins_ms": self._site.begins_ms}

    def _truth(self, call: _Call) -> dict[str, Any]:
        """The truth at `now` of what was sent in [since, until), all in milliseconds."""
        now_ms = int(call.query.get("now", call.now_ms))
        since_ms = int(call.query.get("since", self._site.begins_ms))
        until_ms = int(call.query.get("until", now_ms + 1))
        return {"now_ms": now_ms} | truth_as_json(
            self._log(call.query).log.world.truth(now_ms, since_ms, until_ms)
        )

    def _requests(self, call: _Call) -> dict[str, Any]:
        log = self._log(call.query)
        return {
            "answered": dict(log.answered),
            "total": log.answered.total(),
            "over_limit": log.requests_over_limit,
            "most_in_a_minute": log.most_in_a_minute,
        }

    def _access(self, _call: _Call) -> dict[str, Any]:
        return {"token_requests": dict(self._site.access.token_requests)}

    def _change_access(self, call: _Call) -> dict[str, Any]:
        """Change the rules of access, for every account."""
        access = self._site.access
        access.rules = changed(access.rules, msgspec.json.decode(call.body, type=dict[str, Any]))
        return {}

    def _revoke(self, call: _Call) -> dict[str, Any]:
        """End the tokens and sessions of an account."""
        account = self._site.accounts[call.query.get("account") or next(iter(self._site.accounts))]
        return {"revoked": self._site.access.revoke(account.name)}

    def _faults(self, call: _Call) -> dict[str, Any]:
        """Change the faults of one log, or of all when neither account nor channel is named."""
        changes = msgspec.json.decode(call.body, type=dict[str, Any])
        if not call.query:
            self._site.faults = changed(self._site.faults, changes)
        else:
            log = self._log(call.query)
            log.faults = changed(log.faults, changes)
        return {}

    def _quirks(self, call: _Call) -> dict[str, Any]:
        """Change the quirks of one log, or of all when neither account nor channel is named."""
        changes = msgspec.json.decode(call.body, type=dict[str, Any])
        if not call.query:
            self._site.quirks = changed(self._site.quirks, changes)
        else:
            log = self._log(call.query).log
            log.quirks = changed(log.quirks, changes)
        return {}

    def _incident(self, call: _Call) -> dict[str, Any]:
        stir = msgspec.json.decode(call.body, type=_Stir)
        length_ms = int(stir.seconds * 1000)
        # The millisecond at hand may have been shown already: what was shown never changes.
        incident = Incident(
            call.now_ms + 1, length_ms, stir.kind, stir.entity_id, stir.share, stir.extra_per_second
        )
        self._log(call.query).log.world.add_incident(incident)
        return {"start_ms": incident.start_ms, "end_ms": incident.start_ms + length_ms}

    def _messages(self, call: _Call) -> dict[str, Any]:
        given = msgspec.json.decode(call.body, type=_Messages).messages
        messages = [
            plain_message(**{**msgspec.structs.asdict(each), "sent_ms": each.sent_ms or call.now_ms})
            for each in given
        ]
        self._log(call.query).log.world.add(messages)
        return {"added": len(messages)}


def truth_as_json(truth: Truth) -> dict[str, list[list[str | int]]]:
    """Each table of the truth as rows of its labels and the value; amounts of money as text."""
    counted: dict[str, Mapping[Any, Any]] = {
        "sent": truth.sent,
        "settled": truth.settled,
        "unresolved": truth.unresolved,
        "in_flight": truth.in_flight,
        "parts": truth.parts,
        "cost": {labels: format(cost, "f") for labels, cost in truth.cost.items()},
        "failures": truth.failures,
        "deliveries": truth.deliveries,
        "delivery_ms": truth.delivery_ms,
        "rejected": truth.rejected,
    }
    return {
        name: [
            [*((labels,) if isinstance(labels, str) else labels), value] for labels, value in table.items()
        ]
        for name, table in counted.items()
    }


def _json(status: int, body: dict[str, Any], now_ms: int) -> Reply:
    return Reply(status, headers(now_ms, "application/json"), msgspec.json.encode(body))
