"""The simulated log keeps to the reference page, whichever way its open points are read."""

from decimal import Decimal
from itertools import product
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_sandbox import statuses
from infobip_sandbox.message import Message, Step, plain_message
from infobip_sandbox.quirks import Quirks
from tests.sandbox.worlds import HOUR, NOW, ids, log_of, moment, refused, rows, sent_at


@pytest.mark.parametrize(("since", "until"), list(product([True, False], repeat=2)))
def test_bounds_include_the_moment_they_name_or_not(since: bool, until: bool) -> None:
    log = log_of(sent_at(NOW - 30, NOW - 20, NOW - 10), Quirks(since_inclusive=since, until_inclusive=until))
    shown = set(ids(log, sentSince=moment(NOW - 30), sentUntil=moment(NOW - 10)))
    assert shown == {"m1"} | ({"m0"} if since else set()) | ({"m2"} if until else set())


def test_without_a_limit_the_latest_fifty_are_shown() -> None:
    log = log_of(sent_at(*range(NOW - 100, NOW)))
    assert ids(log) == [f"m{place}" for place in range(99, 49, -1)]


def test_a_full_answer_keeps_the_end_of_the_range_that_the_quirk_says() -> None:
    messages = sent_at(NOW - 3, NOW - 2, NOW - 1)
    assert ids(log_of(messages), limit="2") == ["m2", "m1"]
    assert ids(log_of(messages, Quirks(keeps="oldest")), limit="2") == ["m1", "m0"]
    assert ids(log_of(messages, Quirks(keeps="oldest", order="oldest_first")), limit="2") == ["m0", "m1"]


def test_a_shuffled_page_shows_the_same_records_in_other_orders() -> None:
    log = log_of(sent_at(*range(NOW - 40, NOW)), Quirks(order="shuffled"))
    orders = [ids(log) for _ in range(5)]
    assert len({tuple(order) for order in orders}) > 1
    assert {frozenset(order) for order in orders} == {frozenset(f"m{place}" for place in range(40))}


def test_ties_at_the_cut_are_the_same_each_time_or_any() -> None:
    messages = sent_at(*[NOW - 2] * 20, NOW - 1)
    stable, random = log_of(messages), log_of(messages, Quirks(ties="random"))
    assert len({frozenset(ids(stable, limit="5")) for _ in range(20)}) == 1
    pages = [ids(random, limit="5") for _ in range(100)]
    assert all(len(set(page)) == 5 and page[0] == "m20" for page in pages)
    assert set().union(*pages) == {f"m{place}" for place in range(21)}


def test_random_ties_never_push_out_a_record_above_the_cut() -> None:
    messages = sent_at(NOW - 1, NOW - 2, NOW - 3, NOW - 3)
    log = log_of(messages, Quirks(ties="random"))
    assert all(ids(log, limit="2") == ["m0", "m1"] for _ in range(20))


def test_records_leave_the_log_48_hours_after_they_were_sent() -> None:
    log = log_of(sent_at(NOW))
    assert ids(log, NOW + LOG_KEEPS_MS - 1) == ["m0"]
    assert ids(log, NOW + LOG_KEEPS_MS) == []
    assert ids(log, NOW + LOG_KEEPS_MS, messageId="m0") == []


def test_a_late_record_is_not_shown_before_it_is_visible() -> None:
    log = log_of([plain_message("late", NOW, late_ms=5000)])
    for question in ({}, {"messageId": "late"}):
        assert ids(log, NOW + 4999, **question) == []
        assert ids(log, NOW + 5000, **question) == ["late"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "ten"},
        {"limit": "-5"},
        {"limit": ""},
        {"generalStatus": "OK"},
        {"generalStatus": "DELIVERED,REJECTED"},
        {"sentSince": "2023-02-01"},
        {"sentSince": "2023-02-01T23:15:03.379Z"},
        {"sentUntil": "2023-02-01T23:15:03.379 0000"},
        {"sentUntil": "2023-02-31T23:15:03.379+0000"},
        {"messageId": "x" * 2049},
        {"bulkId": "x" * 2049},
        {"campaignReferenceId": "x" * 2049},
        {"sentBefore": "2023-02-01T23:15:03.379+0000"},
    ],
)
def test_a_parameter_that_the_api_does_not_take_is_refused_by_name(parameters: dict[str, str]) -> None:
    body = refused(log_of([]), **parameters)
    assert body["errorCode"] == "E400"
    assert body["violations"][0]["property"] in parameters


def test_the_largest_limit_and_the_longest_list_are_taken() -> None:
    assert ids(log_of([]), limit="1000", messageId="x" * 2048) == []


def test_offsets_with_and_without_colon_are_taken_and_z_where_the_quirk_allows() -> None:
    messages = sent_at(NOW - 20, NOW - 10)
    for text in ("2023-11-14T22:13:19.990+0000", "2023-11-14T23:13:19.990+01:00"):
        assert ids(log_of(messages), sentSince=text) == ["m1"]
    z = "2023-11-14T22:13:19.990Z"
    assert ids(log_of(messages, Quirks(accept_z=True)), sentSince=z) == ["m1"]


def test_an_unknown_parameter_passes_where_the_api_is_not_strict() -> None:
    assert ids(log_of(sent_at(NOW), Quirks(strict=False)), sentBefore="x") == ["m0"]


def test_the_older_error_body_is_told_where_the_quirk_says() -> None:
    body = refused(log_of([], Quirks(error_body="old")), limit="0")
    assert body["requestError"]["serviceException"]["messageId"] == "BAD_REQUEST"


def test_each_filter_shows_what_it_names() -> None:
    one = plain_message("one", NOW - 2, "REJECTED", entity_id="e", application_id="a", sender="s")
    one = one._replace(destination="d", bulk_id="b", campaign="c")
    two = plain_message("two", NOW - 1)
    log = log_of([one, two])
    for name, value in {
        "sender": "s", "destination": "d", "bulkId": "x,b", "campaignReferenceId": "c,x", "entityId": "e",
        "applicationId": "a", "messageId": "one,none", "generalStatus": "REJECTED",
    }.items():  # fmt: skip
        assert ids(log, NOW + 5000, **{name: value}) == ["one"], name
    assert ids(log, NOW + 5000, messageId="two,one") == ["two", "one"]
    assert ids(log, NOW + 5000, messageId="two,one", entityId="e") == ["one"]
    assert ids(log, NOW + 5000, bulkId="b", messageId="two") == []


def test_the_status_filter_goes_by_the_status_of_the_moment() -> None:
    log = log_of([plain_message("m", NOW, settles_after_ms=1000)])
    assert ids(log, NOW + 999, generalStatus="PENDING") == ["m"]
    assert ids(log, NOW + 1000, generalStatus="PENDING") == []
    assert ids(log, NOW + 1000, generalStatus="DELIVERED") == ["m"]


def test_a_record_has_the_fields_of_the_reference_page_in_the_time_zone_of_the_account() -> None:
    message = plain_message("m", NOW, price="0.00787679", entity_id="e", application_id="a")
    message = message._replace(bulk_id="b")
    reply = log_of([message], Quirks(utc_offset_minutes=-330)).answer({}, NOW + 1500)
    assert b'"pricePerMessage":0.00787679,' in reply.body
    [row] = msgspec.json.decode(reply.body)["results"]
    assert row == {
        "sender": "44113496000",
        "destination": "66855538125",
        "bulkId": "b",
        "messageId": "m",
        "campaignReferenceId": "",
        "sentAt": "2023-11-14T16:43:20.000-0530",
        "doneAt": "2023-11-14T16:43:21.000-0530",
        "messageCount": 1,
        "price": {"pricePerMessage": pytest.approx(0.00787679), "currency": "EUR"},
        "status": {
            "groupId": 3,
            "groupName": "DELIVERED",
            "id": 5,
            "name": "DELIVERED_TO_HANDSET",
            "description": "Message delivered to handset",
        },
        "error": {
            "groupId": 0,
            "groupName": "OK",
            "id": 0,
            "name": "NO_ERROR",
            "description": "No Error",
            "permanent": False,
        },
        "platform": {"entityId": "e", "applicationId": "a"},
        "content": {"text": "Sent text", "type": "TEXT"},
    }


def test_what_a_record_lacks_is_missing_null_or_empty() -> None:
    bare = plain_message("m", NOW, price=None, error=None)
    lacking = ("bulkId", "doneAt", "price", "error", "platform")
    [missing] = rows(log_of([bare], Quirks(absent="missing")))
    [null] = rows(log_of([bare], Quirks(absent="null")))
    [empty] = rows(log_of([bare], Quirks(absent="empty")))
    assert not missing.keys() & set(lacking)
    assert [null[name] for name in lacking] == [None] * 5
    assert [empty[name] for name in lacking] == ["", "", {}, {}, {}]


def test_mixed_absence_is_the_same_each_time_for_a_message_and_differs_between_messages() -> None:
    log = log_of(sent_at(*range(NOW - 40, NOW)))
    first, second = rows(log), rows(log)
    assert first == second
    assert {str(row.get("platform", "missing")) for row in first} == {"missing", "None", "{}"}


def test_half_a_platform_is_shown_as_it_is() -> None:
    messages = [
        plain_message("e", NOW - 1, entity_id="e"),
        plain_message("a", NOW - 2, application_id="a"),
    ]
    assert [row["platform"] for row in rows(log_of(messages))] == [{"entityId": "e"}, {"applicationId": "a"}]


def test_done_at_stays_the_first_final_moment() -> None:
    message = Message(
        "m",
        NOW,
        NOW,
        (
            Step(NOW, statuses.ENROUTE, price=Decimal(1), currency="EUR"),
            Step(NOW + 1000, statuses.TO_OPERATOR),
            Step(NOW + 2000, statuses.TO_HANDSET),
        ),
    )
    log = log_of([message], Quirks(absent="null"))
    assert [rows(log, NOW + after)[0]["doneAt"] for after in (999, 1000, 2000)] == [
        None,
        "2023-11-14T22:13:21.000+0000",
        "2023-11-14T22:13:21.000+0000",
    ]


def test_bad_rows_lack_what_they_are_said_to_lack_and_are_not_found_by_it() -> None:
    messages = [
        plain_message("1", NOW - 3, defect="no_id"),
        plain_message("2", NOW - 2, defect="no_sent_at"),
        plain_message("3", NOW - 1, defect="no_status"),
    ]
    no_status, no_sent_at, no_id = rows(log_of(messages))
    assert "messageId" not in no_id
    assert no_sent_at["sentAt"] == "yesterday"
    assert no_status["status"] == {}
    assert ids(log_of(messages), messageId="1,2") == ["2"]
    assert rows(log_of(messages), generalStatus="PENDING") == [no_sent_at, no_id]


def test_new_fields_and_missing_content_turn_up_as_often_as_said() -> None:
    messages = sent_at(*range(NOW - 900, NOW))
    quirks = Quirks(new_field_share=0.3, without_content_share=0.3, absent="missing")
    shown = rows(log_of(messages, quirks), limit="1000")
    assert 180 < sum("network" in row for row in shown) < 360
    assert 180 < sum("content" not in row for row in shown) < 360


def test_strays_lie_outside_of_the_range_and_take_places_of_a_full_answer() -> None:
    log = log_of(sent_at(*range(NOW - 50, NOW)), Quirks(stray_share=1.0))
    shown = ids(log, sentSince=moment(NOW - 40), sentUntil=moment(NOW - 11), limit="10")
    outside = [name for name in shown if not 10 <= int(name[1:]) <= 39]
    assert len(shown) == 10
    assert len(outside) == 3


def test_duplicates_are_shown_twice_and_never_hide_the_only_row() -> None:
    log = log_of(sent_at(*range(NOW - 50, NOW)), Quirks(duplicate_share=1.0))
    shown = ids(log, limit="20")
    assert len(shown) == 20
    assert len(set(shown)) == 17
    assert ids(log, limit="1") == ["m49"]


def test_a_short_answer_leaves_rows_out() -> None:
    log = log_of(sent_at(*range(NOW - 50, NOW)), Quirks(short_share=1.0))
    assert all(len(ids(log, limit="40")) < 40 for _ in range(10))


def test_the_date_header_is_the_clock_of_the_api_in_whole_seconds() -> None:
    reply = log_of([]).answer({}, NOW + 999)
    assert reply.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def read_by_cursor(quirks: Quirks, moments: list[int], limit: int) -> list[list[str]]:
    log = log_of(sent_at(*moments), quirks)
    pages: list[list[str]] = []
    token: str | None = ""
    while token is not None:
        parameters = {"useCursor": "true", "limit": str(limit)} | ({"cursor": token} if token else {})
        answer = msgspec.json.decode(log.answer(parameters, NOW + len(pages)).body)
        assert answer["cursor"]["limit"] == limit
        pages.append([row["messageId"] for row in answer["results"]])
        token = answer["cursor"]["nextCursor"]
    return pages


@given(
    st.lists(st.integers(0, 6), max_size=30),
    st.integers(1, 7),
    st.sampled_from(["newest", "oldest"]),
    st.sampled_from(["newest_first", "oldest_first", "shuffled"]),
    st.sampled_from(["stable", "random"]),
)
@settings(max_examples=150, deadline=None)
def test_a_read_by_cursor_shows_each_record_once(
    offsets: list[int], limit: int, keeps: str, order: str, ties: str
) -> None:
    quirks = Quirks(cursor="offered", keeps=keeps, order=order, ties=ties)  # type: ignore[arg-type]
    pages = read_by_cursor(quirks, [NOW - offset for offset in offsets], limit)
    shown = [name for page in pages for name in page]
    assert sorted(shown) == sorted(f"m{place}" for place in range(len(offsets)))
    assert len(pages) == max(1, -(-len(offsets) // limit))


def test_a_read_by_cursor_does_not_show_what_came_after_it_began() -> None:
    messages = [*sent_at(NOW - 3, NOW - 2, NOW - 1), plain_message("late", NOW - 2, late_ms=10)]
    log = log_of(messages, Quirks(cursor="offered"))
    first = msgspec.json.decode(log.answer({"useCursor": "true", "limit": "1"}, NOW).body)
    token = first["cursor"]["nextCursor"]
    second = msgspec.json.decode(log.answer({"useCursor": "true", "cursor": token}, NOW + HOUR).body)
    assert [row["messageId"] for row in second["results"]] == ["m1", "m0"]


def test_a_cursor_that_breaks_off_does_so_after_the_second_page() -> None:
    moments = list(range(NOW - 9, NOW))
    assert [len(page) for page in read_by_cursor(Quirks(cursor="empty_midway"), moments, 2)] == [2, 2, 0]
    log, token = log_of(sent_at(*moments), Quirks(cursor="fails_midway")), ""
    for _ in range(2):
        parameters = {"useCursor": "true", "limit": "2"} | ({"cursor": token} if token else {})
        token = msgspec.json.decode(log.answer(parameters, NOW).body)["cursor"]["nextCursor"]
    assert log.answer({"useCursor": "true", "limit": "2", "cursor": token}, NOW).status == 500


def test_a_cursor_is_ignored_refused_or_not_ours() -> None:
    messages = sent_at(NOW - 1)
    ignored = log_of(messages).answer({"useCursor": "true"}, NOW)
    assert "cursor" not in msgspec.json.decode(ignored.body)
    assert refused(log_of([], Quirks(cursor="rejected")), useCursor="true")
    for token in ("nonsense", "MTox", "é"):
        assert refused(log_of([], Quirks(cursor="offered")), useCursor="true", cursor=token)


def test_the_same_seed_leaves_the_same_to_chance() -> None:
    quirks = Quirks(order="shuffled", ties="random", stray_share=0.5, duplicate_share=0.5)
    messages = sent_at(*[NOW - 5] * 20, *range(NOW - 20, NOW))
    question = {"sentSince": moment(NOW - 15), "limit": "12"}
    one, two = (log_of(messages, quirks, seed=7) for _ in range(2))
    assert [one.answer(question, NOW) for _ in range(9)] == [two.answer(question, NOW) for _ in range(9)]


def test_an_id_used_twice_names_both_messages() -> None:
    log = log_of([plain_message("m", NOW - HOUR), plain_message("m", NOW - 1000)])
    found = rows(log, messageId="m")
    assert [row["sentAt"] for row in found] == [moment(NOW - 1000), moment(NOW - HOUR)]


def test_a_message_that_moved_is_shown_at_one_place_at_a_time() -> None:
    before = plain_message("m", NOW - 5000)._replace(gone_ms=NOW - 1000)
    after = plain_message("m", NOW - 3000)._replace(visible_ms=NOW - 1000)
    log = log_of([before, after])
    for now_ms, sent_ms in ((NOW - 1001, NOW - 5000), (NOW - 1000, NOW - 3000)):
        assert [row["sentAt"] for row in rows(log, now_ms)] == [moment(sent_ms)]
    assert log.world.truth(NOW, NOW - HOUR, NOW).sent.total() == 1


def test_a_row_that_cannot_be_shown_makes_every_answer_that_holds_it_an_error() -> None:
    log = log_of([plain_message("a", NOW - 2000), plain_message("b", NOW - 1000)._replace(unshowable=True)])
    assert log.answer({}, NOW).status == 500
    assert log.answer({"sentSince": moment(NOW - 1001)}, NOW).status == 500
    assert ids(log, sentUntil=moment(NOW - 1002)) == ["a"]


@pytest.mark.parametrize(("how", "status"), [("500", 500), ("400", 400)])
def test_a_broken_parameter_is_refused(how: Literal["500", "400"], status: int) -> None:
    log = log_of(sent_at(NOW), Quirks(broken=("messageId",), broken_how=how))
    assert log.answer({"messageId": "m0"}, NOW).status == status
    assert ids(log) == ["m0"]


def test_a_broken_parameter_may_time_out_or_be_ignored() -> None:
    log = log_of(sent_at(NOW, NOW - 1), Quirks(broken=("messageId",), broken_how="timeout"))
    assert log.answer({"messageId": "m0"}, NOW).fault == "timeout"
    log.quirks = Quirks(broken=("messageId",), broken_how="ignored")
    assert ids(log, messageId="m1") == ["m0", "m1"]


def test_a_price_may_lack_its_currency_and_a_done_time_may_be_absurd() -> None:
    message = plain_message("m", NOW - 2000, currency="")._replace(done_ms=253_402_300_799_999)
    (row,) = rows(log_of([message]))
    assert row["price"] == {"pricePerMessage": 0.15}
    assert row["doneAt"].startswith("9999-12-31T23:59:59.999")


def test_bounds_of_microseconds_tell_what_was_sent_within_a_millisecond() -> None:
    messages = [plain_message(f"m{n}", NOW - 10) for n in range(8)]
    within = [each.message_id for each in messages if each.within]
    first = [each.message_id for each in messages if not each.within]
    at = moment(NOW - 10)
    assert within
    assert first
    after = log_of(messages, Quirks(microseconds=True, since_inclusive=False))
    before = log_of(messages, Quirks(microseconds=True, until_inclusive=True))
    assert sorted(ids(after, sentSince=at)) == within
    assert sorted(ids(before, sentUntil=at)) == first
    assert len(ids(before, sentSince=at)) == len(ids(after, sentUntil=moment(NOW - 9))) == 8


def test_only_the_first_ids_of_a_list_are_heeded_where_the_quirk_says() -> None:
    log = log_of(sent_at(NOW - 2, NOW - 1), Quirks(ids_heeded=1))
    assert ids(log, messageId="m1,m0") == ["m1"]
