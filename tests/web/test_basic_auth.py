"""Who is let in, and what it costs: passwords are checked beside the event loop, few at a time, the right ones once."""

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable

import bcrypt
import pytest

from infobip_exporter.model.secret import Secret
from infobip_exporter.web import basic_auth, check_line
from infobip_exporter.web.basic_auth import (
    MOST_ASKING,
    BasicAuth,
    Verdict,
    credentials,
)

HERE = "192.0.2.1"


def hashed(password: str) -> Secret:
    return Secret(bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode())


class Checks:
    """In place of bcrypt: notes what it is asked, and can be held up."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.threads: set[str] = set()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.threads.add(threading.current_thread().name)
        self.asked.append((password, hashed))
        assert self.go_on.wait(10)
        return hashed == b"hash of " + password


USERS = {name: Secret(f"hash of {name}'s") for name in ("alice", "bob", "carol")}


@pytest.fixture
def checks() -> Checks:
    return Checks()


@pytest.fixture
def auth(checks: Checks) -> BasicAuth:
    return BasicAuth(USERS, checks)


def test_a_real_hash_tells_right_from_wrong() -> None:
    async def scenario() -> list[Verdict]:
        auth = BasicAuth({"alice": hashed("rabbit"), "Bär": hashed("hönig")})
        return [
            await auth.verdict(user.encode(), password.encode(), HERE)
            for user, password in (
                ("alice", "rabbit"), ("Bär", "hönig"), ("alice", "Rabbit"), ("alice", ""), ("alice", "rabbit\0"),
                ("bob", "rabbit"), ("Alice", "rabbit"), ("", ""), ("alice", "hönig"),
            )
        ]  # fmt: skip

    right, wrong = Verdict.RIGHT, Verdict.WRONG
    assert asyncio.run(scenario()) == [right, right, *[wrong] * 7]


def test_each_kind_of_bcrypt_hash_is_understood() -> None:
    async def scenario() -> list[Verdict]:
        plain = hashed("rabbit").reveal()
        users = {kind: Secret(plain.replace("$2b$", kind)) for kind in ("$2a$", "$2b$", "$2y$")}
        auth = BasicAuth(users)
        return [await auth.verdict(kind.encode(), b"rabbit", HERE) for kind in users]

    assert asyncio.run(scenario()) == [Verdict.RIGHT] * 3


def test_of_a_long_password_the_first_72_bytes_count_as_for_whoever_made_the_hash() -> None:
    async def scenario() -> list[Verdict]:
        auth = BasicAuth({"alice": hashed("x" * 72)})
        return [await auth.verdict(b"alice", b"x" * length, HERE) for length in (71, 72, 73, 10_000)]

    assert asyncio.run(scenario()) == [Verdict.WRONG, *[Verdict.RIGHT] * 3]


async def test_a_right_password_is_checked_once(auth: BasicAuth, checks: Checks) -> None:
    for _ in range(100):
        for name in (b"alice", b"bob"):
            assert await auth.verdict(name, name + b"'s", HERE) is Verdict.RIGHT
    assert len(checks.asked) == 2
    assert checks.threads == {"passwords_0"}


async def test_a_wrong_password_is_checked_once_also_after_a_right_one(
    auth: BasicAuth, checks: Checks
) -> None:
    await auth.verdict(b"alice", b"alice's", HERE)
    for _ in range(3):
        assert await auth.verdict(b"alice", b"wrong", HERE) is Verdict.WRONG
        assert await auth.verdict(b"bob", b"alice's", HERE) is Verdict.WRONG
    assert len(checks.asked) == 3


async def test_only_so_many_wrong_passwords_are_remembered(
    monkeypatch: pytest.MonkeyPatch, auth: BasicAuth, checks: Checks
) -> None:
    monkeypatch.setattr(basic_auth, "MOST_WRONG", 2)

    for word in (b"1", b"2", b"3", b"3", b"2", b"1"):
        assert await auth.verdict(b"alice", word, HERE) is Verdict.WRONG
    assert [password for password, _ in checks.asked] == [b"1", b"2", b"3", b"1"]


async def test_changed_users_keep_what_is_known_of_those_whose_hash_is_the_same(
    auth: BasicAuth, checks: Checks
) -> None:
    for name in (b"alice", b"bob"):
        assert await auth.verdict(name, name + b"'s", HERE) is Verdict.RIGHT
    assert await auth.verdict(b"dave", b"dave's", HERE) is Verdict.WRONG
    auth.change_users(
        {"alice": USERS["alice"], "bob": Secret("hash of new"), "dave": Secret("hash of dave's")}
    )
    checks.asked.clear()
    assert await auth.verdict(b"alice", b"alice's", HERE) is Verdict.RIGHT
    assert checks.asked == []
    assert await auth.verdict(b"bob", b"bob's", HERE) is Verdict.WRONG
    assert await auth.verdict(b"dave", b"dave's", HERE) is Verdict.RIGHT
    assert await auth.verdict(b"carol", b"carol's", HERE) is Verdict.WRONG


async def test_a_check_that_the_users_change_under_lets_nobody_in(auth: BasicAuth, checks: Checks) -> None:
    async def change() -> None:
        auth.change_users({"alice": Secret("hash of new")})

    assert await held_up(auth, checks, [(b"alice", b"alice's", HERE)], change) == [Verdict.WRONG]
    assert await auth.verdict(b"alice", b"alice's", HERE) is Verdict.WRONG


async def test_a_costly_hash_holds_up_nobody_else() -> None:
    go_on = threading.Event()
    costly = "$2b$15$" + "x" * 53

    def check(password: bytes, hashed: bytes) -> bool:
        assert hashed != costly.encode() or go_on.wait(10)
        return password == b"rabbit"

    auth = BasicAuth({"slow": Secret(costly), "alice": hashed("rabbit")}, check)
    slow = [asyncio.create_task(auth.verdict(b"slow", b"%d" % n, HERE)) for n in range(4)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(auth.verdict(b"alice", b"rabbit", HERE), 5) is Verdict.RIGHT
    go_on.set()
    for each in slow:
        each.cancel()


async def test_user_and_password_are_not_run_together(auth: BasicAuth, checks: Checks) -> None:
    assert await auth.verdict(b"alice", b"alice's", HERE) is Verdict.RIGHT
    assert await auth.verdict(b"alic", b"ealice's", HERE) is Verdict.WRONG
    assert await auth.verdict(b"alicealice's", b"", HERE) is Verdict.WRONG


async def test_an_unknown_user_costs_a_check_against_always_the_same_hash(
    monkeypatch: pytest.MonkeyPatch, auth: BasicAuth, checks: Checks
) -> None:
    monkeypatch.setattr(check_line, "REST", 0.0)

    for _ in range(2):
        auth._wrong.clear()
        for name in map(str, range(20)):
            # Even with the password that the hash is of.
            for password in (b"alice's", b"bob's", b"carol's"):
                assert await auth.verdict(name.encode(), password, HERE) is Verdict.WRONG
    tried = [against for _, against in checks.asked]
    assert tried[:60] == tried[60:]
    assert all(len(set(tried[i : i + 3])) == 1 for i in range(0, 60, 3))
    assert set(tried) == {each.reveal().encode() for each in USERS.values()}


async def held_up(
    auth: BasicAuth,
    checks: Checks,
    asked: list[tuple[bytes, bytes, str]],
    then: Callable[[], Awaitable[None]],
) -> list[Verdict]:
    """The verdicts of all that were asked while no check came to an end, and what was to be done then was done."""
    checks.go_on.clear()
    verdicts = [asyncio.create_task(auth.verdict(*each)) for each in asked]
    await asyncio.sleep(0)
    await then()
    checks.go_on.set()
    return list(await asyncio.gather(*verdicts))


async def nothing() -> None:
    pass


async def test_the_same_password_asked_many_times_at_once_is_checked_once(
    auth: BasicAuth, checks: Checks
) -> None:
    verdicts = await held_up(auth, checks, [(b"alice", b"alice's", HERE)] * 50, nothing)
    assert verdicts == [Verdict.RIGHT] * 50
    assert len(checks.asked) == 1


async def test_a_check_under_way_is_only_shared_by_the_same_user(auth: BasicAuth, checks: Checks) -> None:
    asked = [(b"alice", b"alice's", HERE), (b"alic", b"ealice's", HERE), (b"alicealice's", b"", HERE)]
    assert await held_up(auth, checks, asked, nothing) == [Verdict.RIGHT, Verdict.WRONG, Verdict.WRONG]


async def test_only_so_many_wait_for_the_same_check(auth: BasicAuth, checks: Checks) -> None:
    verdicts = await held_up(auth, checks, [(b"x", b"y", HERE)] * 400, nothing)
    assert verdicts.count(Verdict.WRONG) == MOST_ASKING
    assert verdicts.count(Verdict.BUSY) == 400 - MOST_ASKING


async def test_a_request_that_is_given_up_does_not_end_the_check_that_others_wait_for(
    auth: BasicAuth, checks: Checks
) -> None:
    checks.go_on.clear()
    one, other = (asyncio.create_task(auth.verdict(b"alice", b"alice's", HERE)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.sleep(0)
    checks.go_on.set()
    assert await other is Verdict.RIGHT
    assert one.cancelled()
    assert auth._asking == 0


async def test_a_check_that_breaks_does_not_keep_the_others_waiting_for_ever() -> None:
    answers = iter((RuntimeError("broken"), True))

    def check(_: bytes, __: bytes) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    auth = BasicAuth(USERS, check)
    with pytest.raises(RuntimeError):
        await auth.verdict(b"alice", b"alice's", HERE)
    assert await asyncio.wait_for(auth.verdict(b"alice", b"alice's", HERE), 5) is Verdict.RIGHT


def basic(text: bytes, scheme: bytes = b"Basic ") -> bytes:
    return scheme + base64.b64encode(text)


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (basic(b"alice:rabbit"), (b"alice", b"rabbit")),
        (basic(b"alice:a:b:", b"bAsIc   "), (b"alice", b"a:b:")),
        (basic("Bär:hönig".encode()), ("Bär".encode(), "hönig".encode())),
        (basic(b":"), (b"", b"")),
        (basic(b"alice"), None),
        (b"Basic", None),
        (b"Basic !!!!", None),
        (basic(b"alice:rabbit") + b"!", None),
        (b"Basic YWxpY2U6cg", None),
        (b"Basic \xff\xff", None),
        (b"Bearer YWxpY2U6cg==", None),
        (b"", None),
    ],
)
def test_what_is_read_from_a_header(header: bytes, read: tuple[bytes, bytes] | None) -> None:
    assert credentials([(b"accept", b"*/*"), (b"authorization", header)]) == read


def test_no_header_and_two_of_them_are_none() -> None:
    header = (b"authorization", basic(b"alice:rabbit"))
    assert credentials([]) is None
    assert credentials([header, header]) is None
