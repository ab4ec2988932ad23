"""A world is the same from every side: by seed, by window, by id, and as its log shows it."""

from collections import Counter
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.record import NOT_FINAL
from infobip_sandbox import statuses
from infobip_sandbox.log import SimulatedLog
from infobip_sandbox.message import plain_message
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.traffic import DAY_MS, Dense, Incident, Traffic
from infobip_sandbox.truth import Truth, normalised
from infobip_sandbox.world import World
from tests.sandbox.worlds import HOUR, NOW, moment

MINUTE = 60_000


def test_the_same_seed_makes_the_same_messages_and_another_makes_others() -> None:
    one, two, other = (list(World(Traffic(), seed).between(NOW, NOW + HOUR)) for seed in (1, 1, 2))
    assert one == two
    assert not {m.message_id for m in one} & {m.message_id for m in other}


@given(st.lists(st.integers(0, 4 * 400_000), min_size=2, max_size=8), st.integers(1, 2000))
@settings(max_examples=25, deadline=None)
def test_any_window_can_be_read_on_its_own_and_in_any_order(cuts: list[int], keep: int) -> None:
    whole = list(World(Traffic(per_second=2), 1).between(NOW, NOW + 1_600_000))
    world = World(Traffic(per_second=2), 1, keep=keep)
    for low, high in pairwise([0, *sorted(cuts, reverse=True), 0]):
        since, until = NOW + min(low, high), NOW + max(low, high)
        assert list(world.between(since, until)) == [m for m in whole if since <= m.sent_ms < until]


def test_messages_are_in_the_order_they_were_sent_and_have_ids_of_their_own() -> None:
    messages = list(World(Traffic(per_second=20, burstiness=1), 3).between(NOW, NOW + 2 * HOUR))
    assert [m.sent_ms for m in messages] == sorted(m.sent_ms for m in messages)
    assert len({m.message_id for m in messages}) == len(messages) > 50_000


def test_every_message_is_found_by_its_id_and_its_bulk() -> None:
    incident = Incident(NOW + HOUR, MINUTE, extra_per_second=3)
    traffic = Traffic(bulk_share=0.3, dense=(Dense(NOW + 99, 50),), incidents=(incident,))
    world = World(traffic, 1)
    messages = list(world.between(NOW, NOW + 2 * HOUR))
    bulks = Counter(m.bulk_id for m in messages)
    assert 50 in bulks.values()
    for message in messages[::7]:
        assert world.with_id(message.message_id) == [message]
        assert len(world.with_bulk(message.bulk_id)) == bulks[message.bulk_id]


@pytest.mark.parametrize("stranger", ["", "x", "ffffffffffffff-0000", "2250be2d4219-3af1", "-1"])
def test_ids_of_no_message_find_nothing(stranger: str) -> None:
    for world in (World(Traffic(), 1, begins_ms=NOW), World(messages=[plain_message("m", NOW)])):
        assert world.with_id(stranger) == []
        assert world.with_bulk(stranger) == []


def test_traffic_begins_and_ends_when_it_is_told_to() -> None:
    world = World(Traffic(), 1, begins_ms=NOW + 1234, ends_ms=NOW + 300_001)
    whole = World(Traffic(), 1).between(NOW + 1234, NOW + 300_001)
    assert list(world.between(NOW - HOUR, NOW + HOUR)) == list(whole)


def test_messages_given_by_hand_lie_among_the_generated_ones_and_beyond_them() -> None:
    world = World(Traffic(), 1, begins_ms=NOW, ends_ms=NOW + HOUR)
    count = sum(1 for _ in world.between(NOW, NOW + HOUR))
    given_ms = [NOW - HOUR, NOW + 1000, NOW + 2 * HOUR]
    world.add(plain_message(f"m{sent_ms}", sent_ms)._replace(bulk_id="b") for sent_ms in given_ms)
    messages = list(world.between(NOW - 2 * HOUR, NOW + 3 * HOUR))
    assert len(messages) == count + 3
    assert messages == sorted(messages, key=lambda m: m.sent_ms)
    assert [m.sent_ms for m in world.with_bulk("b")] == given_ms
    assert all(world.with_id(f"m{sent_ms}") for sent_ms in given_ms)


def test_no_more_messages_are_kept_than_allowed() -> None:
    world = World(Traffic(per_second=10), 1, keep=2000)
    assert sum(1 for _ in world.between(NOW, NOW + HOUR)) > 20_000
    assert 1000 < sum(len(chunk.messages) for chunk in world._chunks.values()) <= 2000


def rate(traffic: Traffic, since_ms: int, hours: float = 1) -> float:
    messages = World(traffic, 1).between(since_ms, since_ms + int(hours * HOUR))
    return sum(1 for _ in messages) / hours / 3600


def test_traffic_follows_the_rate_the_day_and_the_dead_hours() -> None:
    midnight = NOW - NOW % DAY_MS
    traffic = Traffic(per_second=2, daily_swing=0.5, peak_hour=14, dead_hours=((3, 5),))
    assert rate(traffic, midnight + 13 * HOUR + HOUR // 2) == pytest.approx(3, rel=0.15)
    assert rate(traffic, midnight + 1 * HOUR + HOUR // 2) == pytest.approx(1, rel=0.15)
    assert rate(traffic, midnight + 3 * HOUR, 2) == 0
    assert rate(Traffic(per_second=0.002, burstiness=0), midnight, 24 * 20) == pytest.approx(0.002, rel=0.15)


def test_burstiness_spreads_the_counts_of_chunks() -> None:
    def spread(burstiness: float) -> float:
        traffic = Traffic(per_second=4, burstiness=burstiness, daily_swing=0, bulk_share=0)
        counts = [len(chunk.messages) for chunk in World(traffic, 1).chunks(NOW, NOW + 4 * HOUR)]
        return max(counts) / min(counts)

    assert spread(0) < 1.6
    assert spread(0.5) > 3


def test_dense_moments_and_ticks_put_many_messages_into_one_millisecond() -> None:
    world = World(Traffic(dense=(Dense(NOW + 5, 3000),)), 1)
    assert sum(1 for _ in world.between(NOW + 5, NOW + 6)) >= 3000
    ticking = World(Traffic(per_second=20, tick_ms=1000), 1)
    assert all(m.sent_ms % 1000 == 0 for m in ticking.between(NOW, NOW + HOUR))


def test_records_turn_up_soon_and_the_late_ones_within_their_limit() -> None:
    traffic = Traffic(per_second=10, late_share=0.1, late_max_ms=90_000, ingest_ms=1500)
    delays = [m.visible_ms - m.sent_ms for m in World(traffic, 1).between(NOW, NOW + HOUR)]
    assert min(delays) >= 0
    assert max(delays) < 90_000
    assert sum(d > 1500 for d in delays) / len(delays) == pytest.approx(0.1, abs=0.02)


def test_settling_times_have_the_median_asked_for() -> None:
    messages = World(Traffic(settle_median_s=20), 1).between(NOW, NOW + HOUR)
    delivered = sorted(
        m.steps[-1].at_ms - m.sent_ms for m in messages if len(m.steps) == 2 and m.steps[1].final
    )
    assert delivered[len(delivered) // 2] == pytest.approx(20_000, rel=0.15)


def test_some_messages_wait_until_they_expire_or_leave_the_log() -> None:
    world = World(Traffic(per_second=5), 1)
    truth = world.truth(NOW + 5 * DAY_MS, NOW, NOW + HOUR)
    assert truth.in_flight.total() == 0
    assert truth.unresolved.total() > 20
    assert {labels[0] for labels in truth.unresolved} >= {"PENDING"}
    assert any(labels[0] == "EXPIRED" for labels in truth.settled)


def test_an_incident_rejects_its_share_of_its_entity_while_it_lasts_and_touches_nothing_else() -> None:
    calm, struck = World(Traffic(), 1), World(Traffic(), 1)
    list(struck.between(NOW, NOW + HOUR))
    struck.add_incident(Incident(NOW + 10 * MINUTE, 10 * MINUTE, "rejected", "shop-germany", 0.8))
    hit = total = 0
    for before, after in zip(calm.between(NOW, NOW + HOUR), struck.between(NOW, NOW + HOUR), strict=True):
        inside = NOW + 10 * MINUTE <= before.sent_ms < NOW + 20 * MINUTE
        if not (inside and before.entity_id == "shop-germany"):
            assert before == after
        else:
            total += 1
            hit += after.steps[-1].status.group_name == "REJECTED"
            assert before.message_id == after.message_id
    assert hit / total == pytest.approx(0.8, abs=0.1)


def test_an_incident_may_add_traffic_and_come_back() -> None:
    incident = Incident(NOW, MINUTE, "undeliverable", "bank", 1.0, extra_per_second=5, every_ms=20 * MINUTE)
    world, calm = World(Traffic(incidents=(incident,)), 1), World(Traffic(), 1)
    for start in (NOW, NOW + 20 * MINUTE, NOW + 40 * MINUTE):
        during = [m for m in world.between(start, start + MINUTE) if m.entity_id == "bank"]
        assert len(during) > 200
        assert {m.steps[-1].status.group_name for m in during} == {"UNDELIVERABLE"}
    quiet = (NOW + MINUTE, NOW + 20 * MINUTE)
    assert list(world.between(*quiet)) == list(calm.between(*quiet))


def test_incidents_at_the_same_time_add_messages_with_ids_of_their_own() -> None:
    twice = [Incident(NOW, MINUTE, extra_per_second=20), Incident(NOW, MINUTE, "slow", extra_per_second=20)]
    messages = list(World(Traffic(incidents=tuple(twice)), 1).between(NOW, NOW + MINUTE))
    assert len({m.message_id for m in messages}) == len(messages) > 2000


def test_a_slow_incident_makes_settling_take_longer() -> None:
    traffic = Traffic(incidents=(Incident(NOW, HOUR, "slow", None, 1.0),))
    calm = World(Traffic(), 1).truth(NOW + HOUR, NOW, NOW + HOUR)
    slow = World(traffic, 1).truth(NOW + HOUR, NOW, NOW + HOUR)
    assert slow.in_flight.total() > 5 * calm.in_flight.total()


def test_prices_change_and_final_statuses_too_where_that_is_asked_for() -> None:
    traffic = Traffic(price_change_share=0.2, change_after_final_share=0.2, without_price_share=0)
    messages = list(World(traffic, 1).between(NOW, NOW + HOUR))
    repriced = sum(m.steps[0].price != m.steps[-1].price for m in messages)
    reversed_ = sum(
        m.steps[-1].status.group_name == "UNDELIVERABLE" and m.steps[-2].final
        for m in messages
        if len(m.steps) > 2
    )
    assert repriced / len(messages) == pytest.approx(0.2, abs=0.06)
    assert reversed_ / len(messages) == pytest.approx(0.16, abs=0.06)
    assert all(a.at_ms <= b.at_ms for m in messages for a, b in pairwise(m.steps))


@pytest.mark.parametrize(
    "quirks", [Quirks(), Quirks(keeps="oldest", order="shuffled", utc_offset_minutes=120)]
)
def test_the_truth_agrees_with_reading_the_log_row_by_row_once_all_has_settled(quirks: Quirks) -> None:
    traffic = Traffic(
        per_second=0.5, bad_share=0.01, settle_median_s=30, validities_ms=(HOUR,), price_change_share=0.1
    )
    world = World(traffic, 5, begins_ms=NOW, ends_ms=NOW + 6 * HOUR)
    log, now = SimulatedLog(world, quirks), NOW + 47 * HOUR
    told, read = world.truth(now, NOW, NOW + 6 * HOUR), Truth()
    for start in range(NOW, NOW + 6 * HOUR, 5 * MINUTE):
        question = {
            "sentSince": moment(start),
            "sentUntil": moment(start + 5 * MINUTE - 1),
            "limit": "1000",
        }
        answer = msgspec.json.decode(log.answer(question, now).body.replace(b'"pricePerMessage":', b'"p":'))
        for row in answer["results"]:
            count_row(read, row)
    assert read.sent.total() > 5000
    assert (read.sent, read.settled, read.parts, read.rejected) == (
        told.sent, told.settled, told.parts, told.rejected,
    )  # fmt: skip
    assert {k: v for k, v in read.cost.items() if v} == {k: v for k, v in told.cost.items() if v}
    assert told.in_flight.total() == told.unresolved.total() == 0
    assert read.deliveries == told.deliveries


def count_row(read: Truth, row: dict[str, object]) -> None:
    if "messageId" not in row:
        read.rejected["no_id"] += 1
    elif row["sentAt"] == "yesterday":
        read.rejected["no_sent_at"] += 1
    elif not row["status"]:
        read.rejected["no_status"] += 1
    else:
        count_good_row(read, row)


def count_good_row(read: Truth, row: dict[str, object]) -> None:
    typed = msgspec.convert(row, dict[str, object])
    parts = msgspec.convert(typed["messageCount"], int)
    platform, error, price, status = (
        msgspec.convert(typed.get(name) or {}, dict[str, object])
        for name in ("platform", "error", "price", "status")
    )
    where = (str(platform.get("entityId", "")), str(platform.get("applicationId", "")))
    group = normalised(str(status["groupName"]))
    assert group not in NOT_FINAL
    read.sent[where] += 1
    read.settled[group, normalised(str(error.get("groupName", ""))), *where] += 1
    read.parts[group, *where] += parts
    if price:
        read.cost[str(price["currency"]), group, *where] += Decimal(str(price["p"])) * parts
    if typed.get("doneAt"):
        read.deliveries[group] += 1


def test_the_truth_follows_a_message_from_hidden_to_settled() -> None:
    world = World(
        messages=[plain_message("m", NOW, "REJECTED", settles_after_ms=5000, late_ms=1000, parts=3)]
    )

    def at(after_ms: int) -> Truth:
        return world.truth(NOW + after_ms, NOW, NOW + 1)

    assert at(999) == Truth()
    assert at(1000).in_flight == {("PENDING", "", ""): 1}
    assert at(4999).settled == {}
    settled = at(5000)
    assert settled.in_flight == {}
    assert settled.sent == {("", ""): 1}
    assert settled.settled == {("REJECTED", "OK", "", ""): 1}
    assert settled.parts == {("REJECTED", "", ""): 3}
    assert settled.cost == {("EUR", "REJECTED", "", ""): Decimal("0.45")}
    assert settled.delivery_ms == {"REJECTED": 5000}
    assert at(10 * LOG_KEEPS_MS) == settled


@pytest.mark.parametrize(("settles_after", "seen"), [(LOG_KEEPS_MS - 1, True), (LOG_KEEPS_MS, False)])
def test_a_message_settled_after_it_left_the_log_is_unresolved(settles_after: int, seen: bool) -> None:
    world = World(messages=[plain_message("m", NOW, "EXPIRED", settles_after_ms=settles_after)])
    before = world.truth(NOW + LOG_KEEPS_MS - 2, NOW, NOW + 1)
    after = world.truth(NOW + LOG_KEEPS_MS, NOW, NOW + 1)
    assert before.in_flight == {("PENDING", "", ""): 1}
    assert after.settled.total() == seen
    assert after.unresolved == ({} if seen else {("PENDING", "", ""): 1})


def test_the_truth_takes_the_first_final_status_and_the_price_it_came_with() -> None:
    message = plain_message("m", NOW, "DELIVERED", price="0.1")
    later = plain_message("m", NOW, "UNDELIVERABLE", settles_after_ms=9000, price="0.7").steps[-1]
    truth = World(messages=[message._replace(steps=(*message.steps, later))]).truth(NOW + HOUR, NOW, NOW + 1)
    assert truth.settled == {("DELIVERED", "OK", "", ""): 1}
    assert truth.cost == {("EUR", "DELIVERED", "", ""): Decimal("0.1")}


def test_the_truth_spells_groups_as_the_labels_do() -> None:
    message = plain_message("m", NOW, "REJECTED", error=statuses.OUTSIDE_WINDOW)
    truth = World(messages=[message]).truth(NOW + HOUR, NOW, NOW + 1)
    assert truth.settled == {("REJECTED", "CLIENT_ERRORS", "", ""): 1}


def test_a_record_that_turns_up_after_its_48_hours_was_never_there() -> None:
    world = World(messages=[plain_message("m", NOW, late_ms=LOG_KEEPS_MS)])
    assert world.truth(NOW + 2 * LOG_KEEPS_MS, NOW, NOW + 1) == Truth()
