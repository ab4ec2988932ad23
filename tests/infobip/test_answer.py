import json
import tracemalloc
from contextlib import suppress
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.infobip.answer import MOST_ROWS, InvalidBody, decode_page
from infobip_exporter.infobip.lenient import parse_json, read_row
from infobip_exporter.model.record import Kind, Page, Record, Records, RejectedRow

SENT_MS = 1_675_293_303_379

REFERENCE_ROW: dict[str, Any] = {
    "sender": "44113496000",
    "destination": "66855538125",
    "bulkId": "2034072219640523072",
    "messageId": "2250be2d4219-3af1-78856-aabe-1362af1edfd2",
    "sentAt": "2023-02-01T23:15:03.379+0000",
    "doneAt": "2023-02-01T23:16:34.582+0000",
    "messageCount": 1,
    "price": {"pricePerMessage": 0.15, "currency": "EUR"},
    "status": {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "DELIVERED_TO_HANDSET"},
    "error": {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR", "permanent": False},
    "platform": {
        "entityId": "promotional-traffic-entity",
        "applicationId": "marketing-automation-application",
    },
    "content": {"text": "Sent text", "type": "TEXT"},
}
REFERENCE_RECORD = Record(
    "2250be2d4219-3af1-78856-aabe-1362af1edfd2",
    SENT_MS,
    1_675_293_394_582,
    Kind(
        "DELIVERED",
        "OK",
        "DELIVERED_TO_HANDSET",
        "NO_ERROR",
        "false",
        "promotional-traffic-entity",
        "marketing-automation-application",
        "EUR",
        Decimal("0.15"),
        1,
    ),
    "44113496000",
)


def row(**changes: Any) -> dict[str, Any]:
    """The reference row with fields changed (`price__currency` is the currency in price); ... takes a field out."""
    changed = deepcopy(REFERENCE_ROW)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = changed
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[name]
        else:
            place[name] = value
    return changed


def page_of(*rows: Any, **others: Any) -> Page:
    return decode_page(json.dumps({"results": list(rows), **others}).encode())


def record_of(value: Any) -> Record:
    page = page_of(value)
    assert page.rejected == []
    return page.records[0]


def rejected_of(value: Any) -> RejectedRow:
    page = page_of(value)
    assert page.records == []
    return page.rejected[0]


def test_the_reference_row_is_read() -> None:
    assert page_of(row()) == Page(Records.of([REFERENCE_RECORD]), rows=1)


def test_an_empty_page_has_no_rows() -> None:
    assert page_of() == Page(Records.of([]), rows=0)


def test_rows_that_count_alike_share_their_kind() -> None:
    page = page_of(row(), row(messageId="b", sender="x"), row(messageId="c", messageCount=2))
    first, second, third = (record.kind for record in page.records)
    assert first is second
    assert third.cost == Decimal("0.30")


def test_eight_and_more_decimals_stay_exact() -> None:
    body = json.dumps({"results": [row(messageCount=3)]}).replace("0.15", "0.12345678901234567890123456789")
    assert decode_page(body.encode()).records[0].kind.cost == Decimal("0.37037036703703703670370370367")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"doneAt": ...}, {"done_ms": None}),
        ({"doneAt": None}, {"done_ms": None}),
        ({"doneAt": ""}, {"done_ms": None}),
        ({"doneAt": {}}, {"done_ms": None}),
        ({"doneAt": 5}, {"done_ms": None}),
        ({"sender": ...}, {"sender": ""}),
        ({"sender": None}, {"sender": ""}),
        ({"sender": []}, {"sender": ""}),
        ({"sender": 44113496000}, {"sender": "44113496000"}),
        ({"messageId": 123456789012345678901234567890}, {"message_id": "123456789012345678901234567890"}),
        ({"messageId": 1.50}, {"message_id": "1.5"}),
        ({"brand_new": {"a": [1]}}, {}),
    ],
)
def test_a_field_that_is_not_what_it_should_be_costs_only_itself(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert record_of(row(**changes)) == REFERENCE_RECORD._replace(**expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"error": ...}, {"error_group": "", "error": "", "permanent": ""}),
        ({"error": None}, {"error_group": "", "error": "", "permanent": ""}),
        ({"error": {}}, {"error_group": "", "error": "", "permanent": ""}),
        ({"error": "none"}, {"error_group": "", "error": "", "permanent": ""}),
        ({"error__name": "EC_ABSENT_SUBSCRIBER"}, {"error": "EC_ABSENT_SUBSCRIBER"}),
        ({"error__name": None}, {"error": ""}),
        ({"error__permanent": True}, {"permanent": "true"}),
        ({"error__permanent": "yes"}, {"permanent": ""}),
        ({"status__name": "DELIVERED_TO_OPERATOR"}, {"status": "DELIVERED_TO_OPERATOR"}),
        ({"status__name": ...}, {"status": ""}),
        ({"status__name": []}, {"status": ""}),
        ({"error__groupName": 0}, {"error_group": ""}),
        ({"error__groupName": "Client errors"}, {"error_group": "CLIENT_ERRORS"}),
        ({"platform": ...}, {"entity_id": "", "application_id": ""}),
        ({"platform": None}, {"entity_id": "", "application_id": ""}),
        ({"platform": {}}, {"entity_id": "", "application_id": ""}),
        ({"platform": []}, {"entity_id": "", "application_id": ""}),
        ({"platform__entityId": 17}, {"entity_id": "17"}),
        ({"platform__entityId": True}, {"entity_id": ""}),
        ({"platform__applicationId": None}, {"application_id": ""}),
        ({"price": ...}, {"cost": None, "currency": ""}),
        ({"price": {}}, {"cost": None, "currency": ""}),
        ({"price": 0.15}, {"cost": None, "currency": ""}),
        ({"price__pricePerMessage": None}, {"cost": None}),
        ({"price__pricePerMessage": {}}, {"cost": None}),
        ({"price__pricePerMessage": "cheap"}, {"cost": None}),
        ({"price__pricePerMessage": "sNaN"}, {"cost": Decimal(0)}),
        ({"price__pricePerMessage": float("inf")}, {"cost": None}),
        ({"price__pricePerMessage": float("nan")}, {"cost": None}),
        ({"price__pricePerMessage": -1}, {"cost": Decimal(0)}),
        ({"price__pricePerMessage": 1e300}, {"cost": Decimal(0)}),
        ({"price__pricePerMessage": "0.00787679"}, {"cost": Decimal("0.00787679")}),
        ({"price__pricePerMessage": 2}, {"cost": Decimal(2)}),
        ({"price__currency": 978}, {"currency": ""}),
        ({"messageCount": ...}, {"parts": 1}),
        ({"messageCount": None}, {"parts": 1}),
        ({"messageCount": 0}, {"parts": 0, "cost": Decimal(0)}),
        ({"messageCount": -3}, {"parts": 1}),
        ({"messageCount": True}, {"parts": 1}),
        ({"messageCount": "many"}, {"parts": 1}),
        ({"messageCount": "Infinity"}, {"parts": 1}),
        ({"messageCount": "NaN"}, {"parts": 1}),
        ({"messageCount": "2"}, {"parts": 2, "cost": Decimal("0.30")}),
        ({"messageCount": 2.0}, {"parts": 2, "cost": Decimal("0.30")}),
        ({"messageCount": 2.5}, {"parts": 1}),
        ({"messageCount": 2**31 + 1}, {"parts": 1}),
        ({"messageCount": 10**4200}, {"parts": 1}),
        ({"messageCount": [1]}, {"parts": 1}),
    ],
)
def test_where_a_message_counts_survives_any_field(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    assert record_of(row(**changes)) == REFERENCE_RECORD._replace(
        kind=REFERENCE_RECORD.kind._replace(**expected)
    )


def test_an_absurd_count_costs_no_time() -> None:
    body = json.dumps({"results": [row()]}).replace('"messageCount": 1', '"messageCount": 1e999999999')
    assert decode_page(body.encode()).records == [REFERENCE_RECORD]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"messageId": ...}, "no_id"),
        ({"messageId": None}, "no_id"),
        ({"messageId": ""}, "no_id"),
        ({"messageId": {}}, "no_id"),
        ({"messageId": True}, "no_id"),
        ({"sentAt": ...}, "no_sent_at"),
        ({"sentAt": None}, "no_sent_at"),
        ({"sentAt": 1675293303379}, "no_sent_at"),
        ({"sentAt": "2023-02-01T23:15:03.379"}, "no_sent_at"),
        ({"sentAt": "9999-12-31T23:59:59.999-0100"}, "no_sent_at"),
        ({"status": ...}, "no_status"),
        ({"status": None}, "no_status"),
        ({"status": {}}, "no_status"),
        ({"status": "DELIVERED"}, "no_status"),
        ({"status__groupName": 3}, "no_status"),
        ({"status__groupName": "--"}, "no_status"),
        ({"messageId": ..., "sentAt": ..., "status": ...}, "no_id"),
        ({"sentAt": ..., "status": ...}, "no_sent_at"),
    ],
)
def test_a_row_that_cannot_be_counted_says_why(changes: dict[str, Any], reason: str) -> None:
    assert rejected_of(row(**changes)).reason == reason


@pytest.mark.parametrize("value", [None, True, 5, "x", [], {}, [[]]])
def test_a_row_that_is_no_row_is_rejected(value: Any) -> None:
    assert rejected_of(value).reason == "no_id"


def test_one_bad_row_spoils_no_other() -> None:
    page = page_of(
        row(messageId="a"), None, row(messageId="b", sentAt="?"), row(messageId="c", messageCount="x")
    )
    assert [record.message_id for record in page.records] == ["a", "c"]
    assert [rejected.reason for rejected in page.rejected] == ["no_id", "no_sent_at"]
    assert page.rows == 4


def test_a_bad_row_keeps_its_fingerprint_while_its_status_changes() -> None:
    later = {
        "status": {"groupName": "DELIVERED"},
        "error": None,
        "doneAt": "now",
        "price": {"pricePerMessage": 9},
    }
    without_id = row(messageId=...)
    assert rejected_of(without_id).fingerprint == rejected_of({**without_id, **later}).fingerprint
    without_time = row(sentAt=...)
    changed = {**without_time, **later, "messageCount": 5}
    assert rejected_of(without_time).fingerprint == rejected_of(changed).fingerprint


def test_different_bad_rows_have_different_fingerprints() -> None:
    rows = [
        *(row(messageId=..., destination=number) for number in ("1", "2")),
        *(row(messageId=name, sentAt=...) for name in ("a", "b")),
        None,
        "id:a",
    ]
    fingerprints = {rejected_of(value).fingerprint for value in rows}
    assert len(fingerprints) == len(rows)
    assert {len(fingerprint) for fingerprint in fingerprints} == {8}


def test_the_order_of_fields_does_not_change_a_fingerprint() -> None:
    without_id = row(messageId=...)
    assert rejected_of(without_id) == rejected_of(dict(reversed(without_id.items())))


@pytest.mark.parametrize("status", ["PENDING", None])
def test_no_depth_of_nesting_takes_the_reading_down(status: str | None) -> None:
    for depth in range(900, 1000):
        body = json.dumps({"results": [row(messageId=..., status=status, x="?")]})
        with suppress(InvalidBody):
            decode_page(body.replace('"?"', "[" * depth + "]" * depth).encode())


def test_the_same_id_has_the_same_fingerprint_whatever_is_wrong() -> None:
    assert rejected_of(row(sentAt=...)).fingerprint == rejected_of(row(status=...)).fingerprint


@pytest.mark.parametrize(
    ("cursor", "offered", "next_cursor"),
    [
        (None, False, None),
        ("abc", False, None),
        ([], False, None),
        ({}, True, None),
        ({"limit": 1000, "nextCursor": "abc"}, True, "abc"),
        ({"limit": 1000, "nextCursor": ""}, True, None),
        ({"limit": 1000, "nextCursor": None}, True, None),
        ({"limit": 1000, "nextCursor": 5}, True, None),
    ],
)
@pytest.mark.parametrize("rows", [[row()], [row(), None]], ids=["good", "one bad row"])
def test_the_cursor_is_read(rows: list[Any], cursor: Any, offered: bool, next_cursor: str | None) -> None:
    page = page_of(*rows, cursor=cursor)
    assert (page.cursor_offered, page.next_cursor) == (offered, next_cursor)


def test_no_cursor_is_none_offered() -> None:
    assert not page_of(row()).cursor_offered


def body_with(old: bytes, new: bytes) -> bytes:
    body = json.dumps({"results": [row(), row(messageId="other")], "cursor": {"nextCursor": "c"}}).encode()
    assert old in body
    return body.replace(old, new, 1)


@pytest.mark.parametrize(
    "body",
    [
        body_with(b"Sent text", b"cut emoji \\ud83d"),
        body_with(b"0.15", b'0.15, "x": NaN'),
        b"\xef\xbb\xbf" + body_with(b"Sent text", b"after a byte order mark"),
        body_with(b"Sent text", b'"' + b", " + b'"long": ' + b"9" * 5000 + b', "y": "'),
        body_with(b'"messageCount": 1', b'"messageCount": "?", "messageCount": 1'),
    ],
)
def test_a_body_that_is_almost_json_is_read_whole(body: bytes) -> None:
    page = decode_page(body)
    assert page.records == [REFERENCE_RECORD, REFERENCE_RECORD._replace(message_id="other")]
    assert page.next_cursor == "c"


def test_text_that_no_label_can_carry_is_replaced() -> None:
    body = body_with(b"promotional-traffic-entity", b"\\ud83d entity")
    assert decode_page(body).records[0].kind.entity_id == "? entity"


@pytest.mark.parametrize("garbage", [b"\x00\xff\x01", b"\xff", b"a\x01b"])
@pytest.mark.parametrize("where", [b"2250be2d4219", b"DELIVERED", b"promotional-traffic-entity"])
def test_bytes_garbled_on_the_way_make_up_no_message(where: bytes, garbage: bytes) -> None:
    with pytest.raises(InvalidBody):
        decode_page(body_with(where, garbage))


GOOD_ROW = json.dumps(REFERENCE_ROW).encode()


@pytest.mark.parametrize("last", [GOOD_ROW, b"{}", b'{"x": NaN}'], ids=["typed", "a bad row", "almost JSON"])
def test_no_more_rows_than_several_pages_are_read(last: bytes) -> None:
    rows = [b"{}"] * (MOST_ROWS - 1) if last != GOOD_ROW else [GOOD_ROW] * (MOST_ROWS - 1)
    assert decode_page(b'{"results": [%s]}' % b",".join([*rows, last])).rows == MOST_ROWS
    with pytest.raises(InvalidBody, match="the answer has more than 5000 rows, 1000 were asked for"):
        decode_page(b'{"results": [%s]}' % b",".join([*rows, last, last]))


@pytest.mark.parametrize("value", [b"{}", b"1", b"[]", b'""'])
@pytest.mark.parametrize("where", [b'{"results": [%s]}', b'{"results": [], "cursor": [%s]}'])
def test_millions_of_values_are_not_made_into_objects(where: bytes, value: bytes) -> None:
    body = where % b",".join([value] * (16 * 2**20 // (len(value) + 1)))
    tracemalloc.start()
    with pytest.raises(InvalidBody, match="more than 5000 rows"):
        decode_page(body)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"<!doctype html><title>Sign in</title>", "HTML"),
        (b'{"results": [', "not whole"),
        (b'{"results": []} x', "not whole"),
        (b"\x1f\x8b\x08\x00", "not whole"),
        (b"null", "without a list"),
        (b"[]", "without a list"),
        (b"{}", "without a list"),
        (b'{"results": null}', "without a list"),
        (b'{"results": {}}', "without a list"),
        (b'{"requestError": {}}', "without a list"),
        (b"[" * 100_000, "not whole"),
        (b'{"results": [' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]}", "not whole"),
    ],
)
def test_a_body_that_is_no_page_is_told_without_what_it_holds(body: bytes, says: str) -> None:
    with pytest.raises(InvalidBody, match=says) as failure:
        decode_page(body)
    assert isinstance(failure.value, ValueError)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["DELIVERED", "2023-02-01T23:15:03.379+0000", "\ud83d", "1e400", "NaN", "7"]),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(sorted(REFERENCE_ROW)), values, max_size=4)
    ),
    max_leaves=8,
)
broken_rows = st.dictionaries(st.sampled_from(sorted(REFERENCE_ROW)), json_values, max_size=4).map(
    lambda changes: {**REFERENCE_ROW, **changes}
)


@given(st.lists(json_values | broken_rows, max_size=4), json_values)
def test_every_row_of_any_page_is_counted_or_rejected(rows: list[Any], cursor: Any) -> None:
    page = page_of(*rows, cursor=cursor)
    assert page.rows == len(page.records) + len(page.rejected) == len(rows)
    for record in page.records:
        "".join([record.message_id, record.sender, *record.kind[:8]]).encode()
        assert record.kind.cost is None or record.kind.cost.is_finite()


@given(json_values)
def test_no_json_raises_anything_but_invalid_body(value: Any) -> None:
    body = json.dumps(value).encode()
    with suppress(InvalidBody):
        decode_page(body)


@given(st.binary() | st.binary().map(lambda noise: b'{"results": [' + noise + b"]}"))
def test_no_bytes_raise_anything_but_invalid_body(body: bytes) -> None:
    with suppress(InvalidBody):
        decode_page(body)


@given(st.integers(min_value=0, max_value=500), st.binary(max_size=3))
def test_a_garbled_page_raises_nothing_but_invalid_body(at: int, noise: bytes) -> None:
    body = json.dumps({"results": [row()]}).encode()
    with suppress(InvalidBody):
        decode_page(body[:at] + noise + body[at + len(noise) :])


texts = st.none() | st.text()
good_rows = st.fixed_dictionaries(
    {
        "messageId": st.text(min_size=1),
        "sentAt": st.sampled_from(["2023-02-01T23:15:03.379+0000", "2023-02-01T23:15:03Z"]),
        "status": st.fixed_dictionaries(
            {"groupName": st.text(min_size=1) | st.sampled_from(["PENDING", "Ok"])}
        ),
    },
    optional={
        "doneAt": texts | st.just("2023-02-01T23:15:04.379+0300"),
        "sender": texts,
        "messageCount": st.none() | st.integers(),
        "error": st.none() | st.fixed_dictionaries({}, optional={"groupName": texts}),
        "platform": st.none()
        | st.fixed_dictionaries({}, optional={"entityId": texts, "applicationId": texts}),
        "price": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "currency": texts,
                "pricePerMessage": st.none() | st.floats() | st.decimals().map(str) | st.integers(),
            },
        ),
    },
)


@given(st.lists(good_rows, max_size=5))
def test_the_fast_and_the_lenient_reading_agree(rows: list[Any]) -> None:
    page = page_of(*rows)
    lenient = [read_row(parse_json(json.dumps(value).encode())) for value in rows]
    assert page.records == [value for value in lenient if isinstance(value, Record)]
    assert page.rejected == [value for value in lenient if isinstance(value, RejectedRow)]


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("messageId", 256), ("sender", 256), ("platform.entityId", 256), ("platform.applicationId", 256),
        ("status.groupName", 128), ("status.name", 128), ("error.groupName", 128), ("error.name", 128),
        ("price.currency", 128),
    ],
)  # fmt: skip
def test_a_field_longer_than_any_of_the_api_s_makes_its_row_a_rejected_one(field: str, most: int) -> None:
    def page_with(text: str) -> Page:
        row: dict[str, Any] = json.loads(GOOD_ROW)
        where = row
        *parents, name = field.split(".")
        for parent in parents:
            where = where.setdefault(parent, {})
        where[name] = text
        return decode_page(json.dumps({"results": [row, json.loads(GOOD_ROW)]}).encode())

    assert not page_with("x" * most).rejected
    [rejected] = page_with("x" * (most + 1)).rejected
    assert (rejected.reason, rejected.field) == ("too_long", field)
    assert len(rejected.message_id) <= 256


def test_a_cursor_longer_than_a_url_may_be_is_refused() -> None:
    body = b'{"results": [], "cursor": {"nextCursor": "%s"}}'
    assert decode_page(body % (b"x" * 2048)).next_cursor
    with pytest.raises(InvalidBody, match="cursor has more than 2048 characters"):
        decode_page(body % (b"x" * 2049))
