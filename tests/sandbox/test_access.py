"""Who the sandbox lets in, and for how long."""

import base64
import json
from typing import Any

import pytest

from infobip_sandbox.access import SESSION_PATH, TOKEN_PATH, AccessRules, SandboxAccount
from infobip_sandbox.site import Site, SiteOptions

NOW_MS = 1_790_000_000_000
LOG = "/instagram/1/logs"
FORM = "grant_type=client_credentials&client_id=main&client_secret=the-key"


class World:
    def __init__(self, **rules: Any) -> None:
        account = SandboxAccount("main", "the-key", ("instagram", "sms"))
        self.site = Site(SiteOptions(accounts=(account,), access=AccessRules(**rules)), NOW_MS)
        self.at_ms = 0

    def get(self, authorization: str, path: str = LOG) -> int:
        return self.site.answer(path, "limit=1", authorization, NOW_MS, self.at_ms).status

    def post(self, path: str, body: str) -> tuple[int, Any]:
        reply = self.site.answer_post(path, body.encode(), NOW_MS, self.at_ms)
        return reply.status, json.loads(reply.body)

    def token(self, more: str = "") -> str:
        status, body = self.post(TOKEN_PATH, FORM + more)
        assert status == 200
        return f"Bearer {body['access_token']}"


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("App the-key", 200),
        ("App another", 401),
        (basic("main:the-key"), 200),
        (basic("main:another"), 401),
        (basic("other:the-key"), 401),
        ("Basic ***", 401),
        ("Bearer the-key", 401),
        ("IBSSO the-key", 401),
        ("the-key", 401),
        ("", 401),
    ],
)
def test_keys_and_passwords_are_checked(authorization: str, status: int) -> None:
    assert World().get(authorization) == status


def test_a_token_serves_until_it_expires_or_is_revoked() -> None:
    world = World(token_life_s=100)
    first, second = world.token(), world.token()
    world.at_ms = 99_999
    assert world.get(first) == 200
    world.at_ms = 100_000
    assert world.get(second) == 401
    third = world.token()
    assert world.site.access.revoke("main") == 3
    assert world.get(third) == 401


def test_a_token_reads_the_logs_of_its_scopes_alone() -> None:
    world = World()
    of_all, of_one = world.token(), world.token("&scope=sms:logs:read")
    of_manage = world.token("&scope=sms:logs:read+instagram:manage")
    assert [world.get(token) for token in (of_all, of_one, of_manage)] == [200, 403, 200]
    assert world.get(of_one, "/sms/3/logs") == 200
    assert world.get(of_all, "/viber/2/logs") == 403


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ("", 400, "unsupported_grant_type"),
        (FORM.replace("client_credentials", "password"), 400, "unsupported_grant_type"),
        (FORM.replace("the-key", "x"), 401, "invalid_client"),
        (FORM.replace("main", "x"), 401, "invalid_client"),
        (FORM + "&scope=viber:logs:read", 400, "invalid_scope"),
    ],
)
def test_a_token_request_that_is_wrong_is_refused_as_rfc_6749_has_it(
    form: str, status: int, error: str
) -> None:
    world = World()
    told, body = world.post(TOKEN_PATH, form)
    assert (told, body["error"]) == (status, error)
    assert world.site.access.token_requests == {str(status): 1}


def test_a_session_ends_after_a_time_without_use() -> None:
    world = World(session_idle_s=10)
    assert world.post(SESSION_PATH, '{"username": "main", "password": "x"}')[0] == 401
    assert world.post(SESSION_PATH, "x")[0] == 400
    _, body = world.post(SESSION_PATH, '{"username": "main", "password": "the-key"}')
    session = f"IBSSO {body['token']}"
    for world.at_ms in (9_000, 18_000, 28_000):
        assert world.get(session) == 200
    world.at_ms = 38_001
    assert world.get(session) == 401
    world.at_ms = 38_002
    assert world.get(session) == 401


@pytest.mark.parametrize("fault", ["403", "404", "429", "500", "html_200", "timeout", "reset"])
def test_the_token_endpoint_fails_as_it_is_told_to(fault: Any) -> None:
    world = World(token_fault=fault)
    reply = world.site.answer_post(TOKEN_PATH, FORM.encode(), NOW_MS, 0)
    expected = fault if fault in ("timeout", "reset") else None
    assert (reply.fault, str(reply.status)) == (expected, fault if fault.isdigit() else "200")
    assert b"access_token" not in reply.body


def test_nothing_else_can_be_posted() -> None:
    assert World().post(LOG, FORM)[0] == 404
