"""Who makes room where there are too many connections or answers, on a loop whose clock is real and whose limits are small."""

import asyncio

import pytest

from infobip_exporter.web.crowd import Crowd, Limits, network_of

LIMITS = Limits(
    connections=4,
    of_an_address=2,
    handshakes=3,
    answers=2,
    answers_bytes=1000,
    grace_s=0.02,
    long_s=0.2,
    turn_s=0.3,
)


class Client:
    """A connection as the crowd sees it."""

    def __init__(self, crowd: Crowd, network: str = "", *, waiting_since: float | None = None) -> None:
        self.network = network
        self.waiting_since = waiting_since
        self.shaking_hands = False
        self.task = asyncio.ensure_future(asyncio.Event().wait())
        crowd.admit(self, self.task)  # type: ignore[arg-type]

    def abort(self) -> None:
        self.waiting_since = None


class Taking(Client):
    """One that takes some of its answer all the time."""

    @property  # type: ignore[override]
    def waiting_since(self) -> float | None:
        return asyncio.get_running_loop().time() if self._waiting else None

    @waiting_since.setter
    def waiting_since(self, since: float | None) -> None:
        self._waiting = since is not None


@pytest.fixture
def crowd() -> Crowd:
    return Crowd(LIMITS)


async def test_the_longest_waiting_makes_room_and_one_that_is_being_served_does_not(crowd: Crowd) -> None:
    clients = [Client(crowd, str(n), waiting_since=since) for n, since in enumerate((None, 3.0, 2.0, 4.0))]
    await crowd.make_room("new")
    assert [client in crowd.tasks for client in clients] == [True, True, False, True]


async def test_an_address_makes_room_for_itself(crowd: Crowd) -> None:
    oldest = Client(crowd, "other", waiting_since=1.0)
    own = [Client(crowd, "own", waiting_since=since) for since in (5.0, 4.0)]
    await crowd.make_room("own")
    assert oldest in crowd.tasks
    assert [client in crowd.tasks for client in own] == [True, False]


async def test_unix_sockets_have_no_address(crowd: Crowd) -> None:
    clients = [Client(crowd, "", waiting_since=1.0) for _ in range(3)]
    await crowd.make_room("")
    assert all(client in crowd.tasks for client in clients)


async def test_handshakes_are_bounded_by_themselves(crowd: Crowd) -> None:
    clients = [Client(crowd, str(n), waiting_since=float(n)) for n in range(3)]
    for client in clients:
        client.shaking_hands = True
    await crowd.make_room("new")
    assert [client in crowd.tasks for client in clients] == [False, True, True]


async def test_nobody_makes_room_before_its_grace_is_over(crowd: Crowd) -> None:
    began_s = asyncio.get_running_loop().time()
    for n in range(4):
        Client(crowd, str(n), waiting_since=began_s)
    await crowd.make_room("new")
    assert asyncio.get_running_loop().time() >= began_s + LIMITS.grace_s
    assert len(crowd.tasks) == 3


async def answered(crowd: Crowd, client: Client, body: bytes, begun: list[Client] | None = None) -> bool:
    """An answer that is never taken: whether it had its turn."""
    async with crowd.turn(client) as is_ours:  # type: ignore[arg-type]
        if is_ours and begun is not None:
            begun.append(client)
            client.waiting_since = asyncio.get_running_loop().time()
            crowd.hold(client, body)  # type: ignore[arg-type]
            await client.task
        return is_ours


async def have_begun(begun: list[Client], count: int) -> None:
    for _ in range(500):
        if len(begun) >= count:
            return
        await asyncio.sleep(0.01)


async def test_an_answer_that_is_not_taken_makes_room_for_one_that_waits(crowd: Crowd) -> None:
    begun: list[Client] = []
    clients = [Client(crowd, str(n)) for n in range(4)]
    answers = [asyncio.create_task(answered(crowd, client, b"x", begun)) for client in clients]
    await have_begun(begun, 4)
    assert begun == clients
    assert [client in crowd.tasks for client in clients] == [False, False, True, True]
    await asyncio.sleep(3 * LIMITS.grace_s)
    assert clients[3] in crowd.tasks  # nobody waits for its place
    for answer in answers:
        answer.cancel()


async def test_an_answer_that_is_being_taken_may_take_longer_but_not_for_ever(crowd: Crowd) -> None:
    loop = asyncio.get_running_loop()
    begun: list[Client] = []
    busy = [Taking(crowd, str(n)) for n in range(2)]
    answers = [asyncio.create_task(answered(crowd, client, b"x", begun)) for client in busy]
    await asyncio.sleep(0)
    late = Client(crowd, "late")
    answers.append(asyncio.create_task(answered(crowd, late, b"x", begun)))
    began_s = loop.time()
    await have_begun(begun, 3)
    assert loop.time() >= began_s + LIMITS.long_s - 0.05
    for answer in answers:
        answer.cancel()


async def test_who_has_no_turn_in_time_is_told(crowd: Crowd) -> None:
    crowd._turns = asyncio.Semaphore(0)
    assert not await answered(crowd, Client(crowd), b"x")


async def test_answers_hold_only_so_many_bytes_and_a_page_for_several_counts_once(crowd: Crowd) -> None:
    begun: list[Client] = []
    page, newer = b"a" * 600, b"b" * 600
    clients = [Client(crowd, str(n)) for n in range(2)]
    answers = [asyncio.create_task(answered(crowd, client, page, begun)) for client in clients]
    await asyncio.sleep(0.01)
    assert begun == clients
    answers.append(asyncio.create_task(answered(crowd, Client(crowd, "new"), newer, begun)))
    await asyncio.sleep(0.01)
    assert not any(client in crowd.tasks for client in clients)
    assert len(begun) == 3
    for answer in answers:
        answer.cancel()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_network_are_one(address: str, network: str) -> None:
    assert network_of(address) == network
