"""Who owns which feed: divided evenly, never by two at once, and whoever lost a feed writes nothing of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from infobip_exporter.errors import LeaseLost, LedgerError
from infobip_exporter.ledger.leases import (
    Directory,
    FeedRow,
    Lease,
    Leases,
    ReplicaRow,
    decide,
)
from infobip_exporter.ledger.postgres import PostgresStore
from infobip_exporter.ledger.postgres_connections import Connections
from infobip_exporter.ledger.postgres_schema import migrate
from infobip_exporter.ledger.store import Held, Writes
from infobip_exporter.metrics.zero_start import Moment
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Series
from infobip_sandbox.postgres import Postgres
from tests.databases import needs_postgres, new_database

SENT = Series("infobip_messages_sent_total")


# How feeds are divided


def directory(owners: str, *, replicas: str = "ABC", wanted_by: str = "") -> Directory:
    """A feed for each letter, which is its owner; `.` for none."""
    asked = wanted_by.ljust(len(owners), ".")
    feeds = [
        FeedRow(number, "main", str(number), owner.strip("."), 1, by.strip("."), 0.0, None)
        for number, (owner, by) in enumerate(zip(owners, asked, strict=True))
    ]
    return Directory(feeds, {name: ReplicaRow(name, 0.0) for name in replicas})


def wanted(found: Directory) -> set[tuple[str, str]]:
    return {row.key for row in found.feeds}


def divided(owners: str, replicas: str) -> str:
    """What comes of it when each replica in turn decides, until nothing changes. Each letter is an owner."""
    found = directory(owners, replicas=replicas)
    for _ in range(20):
        before = found
        for me in replicas:
            decision = decide(me, wanted(found), found, 15)
            rows = {row.feed_id: row for row in found.feeds}
            for row in decision.give:
                rows[row.feed_id] = row._replace(owner="", wanted_by="")
            for row in decision.take:
                rows[row.feed_id] = row._replace(owner=me, wanted_by="")
            for row in decision.ask_for:
                rows[row.feed_id] = row._replace(wanted_by=me)
            found = Directory(list(rows.values()), found.replicas)
        if found == before:
            return "".join(row.owner for row in found.feeds)
    raise AssertionError("goes on for ever")


@pytest.mark.parametrize(
    ("owners", "replicas"),
    [
        ("..........", "A"),
        ("..........", "ABC"),
        ("AAAAAAAAAA", "AB"),
        ("AAAAAAAAAA", "ABC"),
        ("AAAAABBBBB", "ABC"),
        ("AAAABBB...", "AB"),
        ("A", "AB"),
        ("AB", "ABCD"),
        (".", "ABC"),
    ],
)
def test_feeds_are_divided_evenly_and_then_stay_where_they_are(owners: str, replicas: str) -> None:
    after = divided(owners, replicas)
    shares = sorted(after.count(each) for each in replicas)
    assert sum(shares) == len(owners)
    assert shares[-1] - shares[0] <= 1


def test_no_more_is_asked_for_than_makes_it_even() -> None:
    found = directory("AAAAAABBBB", replicas="ABC")
    assert len(decide("C", wanted(found), found, 15).ask_for) == 3
    asked = directory("AAAAAABBBB", replicas="ABC", wanted_by="CCC.......")
    assert decide("C", wanted(asked), asked, 15).ask_for == []
    assert len(decide("A", wanted(asked), asked, 15).give) == 3


def test_a_feed_that_nobody_takes_within_a_lease_is_taken_beyond_the_share() -> None:
    found = directory("AAA.", replicas="AB")
    assert decide("A", wanted(found), found, 15).take == []
    waited = Directory([row._replace(free_s=16.0) for row in found.feeds], found.replicas)
    assert [row.feed_id for row in decide("A", wanted(waited), waited, 15).take] == [3]


def test_a_feed_that_is_no_longer_configured_is_given_up_and_that_of_others_left_alone() -> None:
    found = directory("AB..", replicas="AB")
    decision = decide("A", {("main", "3")}, found, 15)
    assert [row.feed_id for row in decision.give] == [0]
    assert [row.feed_id for row in decision.take] == [3]


def test_what_the_dead_have_asked_for_is_not_given() -> None:
    found = directory("AAAA", replicas="AB", wanted_by="CC")
    assert decide("A", wanted(found), found, 15).give == []
    assert len(decide("B", wanted(found), found, 15).ask_for) == 2


# How long a process may be sure


@dataclass
class Clock:
    monotonic_s: float = 1000.0
    wall_s: float = 5000.0

    def now(self) -> Moment:
        return Moment(self.wall_s, self.monotonic_s)

    def passes(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_s += seconds


def test_a_lease_ends_by_the_time_since_it_was_asked_for() -> None:
    clock = Clock()
    lease = Lease(15, clock.now)
    assert not lease.holds()
    asked = lease.asking()
    clock.passes(14)  # the database took its time
    lease.renewed("A", asked)
    assert lease.holds()
    clock.passes(1)
    assert not lease.holds()


def test_a_machine_that_slept_is_found_out_by_the_wall_clock_and_a_clock_set_back_by_the_other() -> None:
    clock = Clock()
    lease = Lease(15, clock.now)
    lease.renewed("A", lease.asking())
    clock.wall_s += 16
    assert not lease.holds()
    lease.renewed("A", lease.asking())
    clock.wall_s -= 3600
    assert lease.holds()
    clock.monotonic_s += 16
    assert not lease.holds()


# In the database


@pytest.fixture
def connect() -> Iterator[Callable[[str], Connections]]:
    """Connections to the database of a URL that are closed at the end."""
    opened: list[Connections] = []

    def connections(url: str) -> Connections:
        opened.append(Connections(url))
        return opened[-1]

    yield connections
    for each in opened:
        each.close()


Connect = Callable[[str], Connections]


@dataclass
class Replica:
    connections: Connections
    name: str
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.lease = Lease(15, self.clock.now)
        self.leases = Leases(self.connections, self.lease, self.name)
        self.store = PostgresStore(self.connections, self.lease)
        self.leases.join()
        self.leases.add({("main", "sms")})

    def take(self) -> Held:
        """Own the feed if that is possible."""
        self.leases.take([row for row in self.leases.look().feeds if not row.owner])
        return self.store.load("main", "sms").held

    def expire(self) -> None:
        """The lease passes without being renewed."""
        self.connections.run(
            "UPDATE replica SET expires_at = now() WHERE id = %(id)s", {"id": self.lease.replica}
        )

    def owner(self) -> str:
        found = self.leases.look()
        owner = found.feeds[0].owner
        return found.replicas[owner].name if owner else ""


@pytest.fixture
def url(server: Postgres, connect: Connect) -> str:
    url = server.url(new_database(server))
    migrate(connect(url))
    return url


@pytest.fixture
def join(url: str, connect: Connect) -> Callable[[], Replica]:
    """Gives a new replica, in turn A, B and C."""
    names = iter("ABC")
    return lambda: Replica(connect(url), next(names))


Join = Callable[[], Replica]
pytestmark = needs_postgres


def test_a_feed_has_one_owner_and_stays_with_it_while_it_renews(join: Join) -> None:
    a, b = join(), join()
    a.take()
    assert a.leases.renew()
    with pytest.raises(LeaseLost):
        b.take()
    assert b.owner() == "A"


def test_whoever_does_not_renew_loses_everything_and_can_write_nothing(join: Join) -> None:
    a, b = join(), join()
    held = a.take()
    a.store.commit(held, Writes({SENT: 1}))
    a.expire()
    taken = b.take()
    assert b.owner() == "B"
    with pytest.raises(LeaseLost):
        a.store.commit(held, Writes({SENT: 2}, cells=[Cell(0, 1)], settled={0: b"x"}))
    with pytest.raises(LeaseLost):
        a.store.save_released(held, {SENT})
    with pytest.raises(LeaseLost):
        a.store.load("main", "sms")
    assert not a.leases.renew()
    b.store.commit(taken, Writes({SENT: 3}))
    after = b.store.load("main", "sms")
    assert (after.series, after.cells) == ({SENT: 3}, [])
    assert b.store.released(after.held) == set()


def test_a_replica_that_was_taken_for_dead_comes_back_as_a_new_one(join: Join) -> None:
    a, b = join(), join()
    a.take()
    a.expire()
    b.leases.look()
    assert not a.leases.renew()
    assert not a.lease.holds()
    a.leases.join()
    assert a.owner() == ""
    a.take()
    assert b.owner() == "A"


def test_an_expired_lease_that_nobody_has_noticed_is_renewed_and_loses_nothing(join: Join) -> None:
    a = join()
    held = a.take()
    a.expire()
    assert a.leases.renew()
    a.store.commit(held, Writes({SENT: 1}))


def test_of_two_that_see_a_free_feed_one_gets_it(join: Join) -> None:
    a, b = join(), join()
    seen_by_a, seen_by_b = a.leases.look(), b.leases.look()
    a.leases.take(seen_by_a.feeds)
    b.leases.take(seen_by_b.feeds)
    assert b.owner() == "A"
    with pytest.raises(LeaseLost):
        b.store.load("main", "sms")


def test_who_leaves_hands_over_at_once(join: Join) -> None:
    a, b = join(), join()
    held = a.take()
    assert b.leases.stirred() == (0, 0)
    a.leases.leave()
    assert b.leases.stirred() == (1, 0)
    assert not a.lease.holds()
    b.take()
    with pytest.raises(LeaseLost):
        a.store.commit(held, Writes({SENT: 1}))
    assert list(b.leases.look().replicas) == [b.lease.replica]


def test_a_feed_is_given_to_the_one_that_asks_for_it(join: Join) -> None:
    a, b = join(), join()
    a.take()
    b.leases.ask_for(b.leases.look().feeds)
    decision = decide(a.lease.replica, {("main", "sms")}, a.leases.look(), 15)
    a.leases.give(decision.give)
    assert a.owner() == ""
    b.take()
    assert a.owner() == "B"


def test_a_commit_that_was_done_though_its_answer_was_lost_can_be_done_again(join: Join) -> None:
    a = join()
    held = a.take()
    a.store.commit(held, Writes({SENT: 1}, rejected={b"row": 1}))
    a.store.commit(held, Writes({SENT: 1}, rejected={b"row": 1}))
    a.store.commit(held, Writes({SENT: 2}))
    assert a.store.load("main", "sms").series == {SENT: 2}


def test_a_commit_that_arrives_after_later_ones_changes_nothing(join: Join) -> None:
    a = join()
    held = a.take()
    late = Held(held.feed_id, held.epoch, held.commits)
    for sent in (1, 2):
        a.store.commit(held, Writes({SENT: sent}))
    with pytest.raises(LeaseLost):
        a.store.commit(late, Writes({SENT: 1}))
    assert a.store.load("main", "sms").series == {SENT: 2}


def test_a_commit_of_before_a_restart_of_the_feed_changes_nothing(join: Join) -> None:
    a = join()
    before = a.take()
    held = a.store.load("main", "sms").held
    with pytest.raises(LeaseLost):
        a.store.commit(before, Writes({SENT: 9}))
    a.store.commit(held, Writes({SENT: 1}))


def test_the_directory_tells_who_owns_what_and_how_far_each_feed_is(join: Join) -> None:
    a = join()
    held = a.take()
    [(now_s,)] = a.connections.run("SELECT extract(epoch FROM now())::float")
    a.store.commit(held, Writes(progress=b"{}", read_up_to_ms=round(now_s * 1000) - 60_000))
    found = a.leases.look()
    [row] = found.feeds
    assert (row.key, found.replicas[row.owner].name) == (("main", "sms"), "A")
    assert row.behind_s == pytest.approx(60, abs=5)
    assert found.replicas[row.owner].heard_s == pytest.approx(0, abs=5)


# The tables


def test_many_that_begin_at_once_create_the_tables_once(server: Postgres, connect: Connect) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    url = server.url(new_database(server))
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(migrate, connect(url)) for _ in range(8)]:
            done.result()
    Replica(connect(url), "A").take()


def test_a_migration_takes_every_feed_from_its_owner(
    join: Join, url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infobip_exporter.ledger import postgres_schema  # noqa: PLC0415

    a = join()
    held = a.take()
    a.store.commit(held, Writes({SENT: 1}))
    old = postgres_schema.MIGRATIONS
    monkeypatch.setattr(
        postgres_schema, "MIGRATIONS", (*old, ("ALTER TABLE feed ADD COLUMN note text NOT NULL DEFAULT ''",))
    )
    migrate(connect(url))
    a.leases.take(a.leases.look().feeds)  # it does not know yet that it is dead
    assert a.owner() == ""
    assert not a.leases.renew()
    b = join()
    b.take()
    assert b.store.load("main", "sms").series == {SENT: 1}
    with pytest.raises(LeaseLost):
        a.store.commit(held, Writes({SENT: 2}))
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", old)
    with pytest.raises(LedgerError, match=r"newer exporter \(schema 2, this one knows 1\)"):
        a.leases.join()
    with pytest.raises(LedgerError, match=r"newer exporter"):
        migrate(connect(url))


def test_tables_of_another_program_are_left_alone(server: Postgres, connect: Connect) -> None:
    name = new_database(server)
    server.run("CREATE TABLE series (a int)", name)
    with pytest.raises(LedgerError, match=r"is no ledger: the table series belongs to another program"):
        migrate(connect(server.url(name)))
    assert server.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [(1,)]


# What goes wrong


def test_what_is_wrong_with_the_database_is_told_in_a_line(
    server: Postgres, url: str, connect: Connect
) -> None:
    def told(url: str) -> str:
        with pytest.raises(LedgerError) as raised:
            connect(url).run("SELECT 1")
        return str(raised.value)

    assert "create the database, or name another one" in told(server.url("nobody"))
    away = told("postgresql:///x?host=/nonexistent")
    assert "the database can't be reached" in away
    assert "the exporter retries and resumes by itself" in away
    server.run("CREATE ROLE guest LOGIN")
    with pytest.raises(LedgerError, match="grant this user CREATE and USAGE on its schema"):
        connect(url.replace("user=postgres", "user=guest")).run("INSERT INTO ledger_version VALUES (1)")


def test_connections_that_were_cut_are_opened_anew(join: Join, server: Postgres) -> None:
    a = join()
    held = a.take()
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    a.store.commit(held, Writes({SENT: 1}))
    assert a.store.load("main", "sms").series == {SENT: 1}


def test_an_answer_that_never_comes_is_given_up(join: Join) -> None:
    a = join()
    with pytest.raises(LedgerError, match=r"no answer within 0\.2 s"):
        a.connections.run("SELECT pg_sleep(30)", within_s=0.2)
    a.take()
