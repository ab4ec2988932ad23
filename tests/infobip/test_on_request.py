"""Labels that are read only where they are chosen."""

import json
from typing import Any

import pytest

from infobip_exporter.infobip.answer import decode_page
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.model.labels import LABELS, optional_labels, read_on_request

ALL = read_on_request(optional_labels(), "sms")
ROW: dict[str, Any] = {
    "messageId": "a",
    "sentAt": "2026-11-26T12:00:00.000+0000",
    "status": {"groupName": "DELIVERED", "name": "DELIVERED_TO_HANDSET"},
    "error": {"name": "NO_ERROR"},
    "platform": {"entityId": "shop"},
    "sender": "acme",
    "destination": "4915112345678",
    "campaignReferenceId": "spring",
    "content": {"text": "Hello", "type": "TEXT"},
    "mccMnc": "26201",
}
READ = {
    "entity_id": "shop", "application_id": "", "status": "DELIVERED_TO_HANDSET", "error": "NO_ERROR", "sender": "acme",
    "campaign": "spring", "content_type": "TEXT", "mcc_mnc": "26201", "country": "DE",
}  # fmt: skip


def read(row: dict[str, Any], *others: dict[str, Any]) -> dict[str, str]:
    page = decode_page(json.dumps({"results": [row, *others]}).encode(), ALL)
    return {name: LABELS[name].of(page.records[0].kind) for name in optional_labels()}


def test_every_optional_label_is_read_from_a_row() -> None:
    assert read(ROW) == READ


def test_a_row_is_read_the_same_beside_one_that_is_odd() -> None:
    assert read(ROW, {"messageId": 7}) == READ
    assert read(ROW | {"doneAt": 7}) == READ


@pytest.mark.parametrize("odd", [None, {}, [], "", True])
def test_what_a_row_does_not_have_is_empty(odd: Any) -> None:
    fields = ("sender", "destination", "campaignReferenceId", "content", "mccMnc")
    asked = read(ROW | dict.fromkeys(fields, odd))
    assert asked == READ | dict.fromkeys(("sender", "campaign", "content_type", "mcc_mnc", "country"), "")


def test_a_number_is_taken_as_a_text() -> None:
    assert read(ROW | {"mccMnc": 26201})["mcc_mnc"] == "26201"
    assert read(ROW | {"mccMnc": 26201}, {"messageId": 7})["mcc_mnc"] == "26201"


def test_nothing_is_read_that_is_not_asked_for_and_the_destination_is_never_kept() -> None:
    body = json.dumps({"results": [ROW]}).encode()
    assert decode_page(body).records[0].kind.on_request == ()
    assert "4915112345678" not in repr(decode_page(body, ALL))


@pytest.mark.parametrize("channel", LOG_PATHS)
def test_networks_and_countries_are_read_where_rows_have_them(channel: str) -> None:
    names = {label.name for label in read_on_request(optional_labels(), channel)}
    assert ("mcc_mnc" in names) is (channel in {"sms", "mms"})
    assert ("country" in names) is (channel in {"sms", "mms", "viber", "rcs", "kakao-alim", "kakao-chingu"})
    assert {"sender", "campaign", "content_type"} <= names
