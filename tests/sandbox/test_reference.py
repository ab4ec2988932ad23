"""Requests against the reference page of `GET /instagram/1/logs`: what it allows, and what the sandbox therefore refuses.

The table repeats the page's query parameters. `useCursor` and `cursor` are of newer descriptions of the endpoint.
"""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.config.schema import FILTERS, LIST_FILTERS
from infobip_exporter.infobip.query import MAX_LIST_LENGTH, PAGE_LIMIT, STATUS_GROUPS, Query
from infobip_sandbox.access import SandboxAccount
from infobip_sandbox.asked import KNOWN
from infobip_sandbox.site import Site, SiteOptions

NOW_MS = 1_790_000_000_000
PARAMETERS = {
    "sender": "string",
    "destination": "string",
    "bulkId": "array of strings, comma-separated, at most 2048 characters",
    "messageId": "array of strings, comma-separated, at most 2048 characters",
    "generalStatus": "ACCEPTED, PENDING, UNDELIVERABLE, DELIVERED, EXPIRED or REJECTED",
    "sentSince": "yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    "sentUntil": "yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    "limit": "integer, at most 1000",
    "entityId": "string",
    "applicationId": "string",
    "campaignReferenceId": "array of strings, comma-separated",
}
NEWER = {"useCursor", "cursor"}
SITE = Site(SiteOptions(accounts=(SandboxAccount("main", "key"),), history_ms=0), NOW_MS)


def status(query: str) -> int:
    return SITE.answer("/instagram/1/logs", query, "App key", NOW_MS, NOW_MS).status


@pytest.fixture(autouse=True)
def _no_limit() -> None:
    SITE.faults = type(SITE.faults)(requests_per_minute=0)


def test_the_sandbox_knows_these_parameters_and_no_others() -> None:
    assert PARAMETERS.keys() | NEWER == KNOWN


def test_every_parameter_that_does_not_range_over_time_can_be_set_in_the_configuration_or_is_asked_for() -> (
    None
):
    own = {"messageId", "generalStatus", "sentSince", "sentUntil", "limit"}
    assert set(FILTERS) == PARAMETERS.keys() - own
    assert set(LIST_FILTERS) == {"bulkId", "campaignReferenceId"}
    assert tuple(PARAMETERS["generalStatus"].replace(" or ", ", ").split(", ")) == STATUS_GROUPS
    assert (PAGE_LIMIT, MAX_LIST_LENGTH) == (1000, 2048)


@pytest.mark.parametrize(
    "query",
    [
        "limit=1.5",
        "limit=1&limit=2",
        "generalStatus=FAILED",
        "sentSince=2020-02-22T17:42:05%2B0000",
        "sentUntil=1582389725390",
        "sentUntil=2020-02-22T17:42:05.390+0000",  # the + of a URL is a space
        "from=44113496000",
        "messageid=x",
    ],
)
def test_what_the_reference_forbids_is_refused_in_a_url_too(query: str) -> None:
    assert status(query) == 400


def test_the_example_of_the_reference_is_answered() -> None:
    example = (
        "bulkId=BULK-ID-123-xyz&messageId=MESSAGE-ID-123-xyz%2CMESSAGE-ID-124-xyz"
        "&sentSince=2020-02-22T17%3A42%3A05.390%2B01%3A00&sentUntil=2020-02-23T17%3A42%3A05.390%2B01%3A00"
        "&entityId=promotional-traffic-entity&applicationId=marketing-automation-application"
        "&campaignReferenceId=summersale"
    )
    assert status(example) == 200


texts = st.text(min_size=1, max_size=20)
moments = st.none() | st.integers(0, 2 * NOW_MS)


@given(
    st.builds(
        Query,
        since_ms=moments,
        until_ms=moments,
        message_ids=st.lists(texts, max_size=5).map(tuple),
        general_status=st.none() | st.sampled_from(STATUS_GROUPS),
        entity_id=st.none() | texts,
        application_id=st.none() | texts,
        sender=st.none() | texts,
        limit=st.integers(1, PAGE_LIMIT),
        tight_since=st.booleans(),
        tight_until=st.booleans(),
    ),
    st.dictionaries(st.sampled_from(FILTERS), texts),
)
def test_no_query_of_the_exporter_s_is_refused(query: Query, filters: dict[str, str]) -> None:
    assert status(urlencode(query.parameters(filters), quote_via=quote, errors="surrogatepass")) == 200
