"""Several accounts and channels in one exporter: what befalls one of them does not touch the others."""

from functools import partial

from tests.alerting.servers import HTTP, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import value
from tests.end_to_end.programs import NO_LIMIT, QUICK, account, sandbox, wait_for_truth

CHANNELS = ("instagram", "sms")
ACCOUNTS = ("--account", "good:good-key", "--account", "hangs:hangs-key", "--account", "revoked:right-key")
UP = "infobip_up"


def test_a_refused_and_a_hanging_account_are_down_and_never_delay_the_others(
    make_exporter: MakeExporter,
) -> None:
    with sandbox(*QUICK, *NO_LIMIT, *ACCOUNTS) as api:
        api.control("POST", "faults", {"shares": {"timeout_before": 1}}, account="hangs", channel="instagram")
        for channel in CHANNELS:
            api.lively_for(5, 50, account="good", channel=channel)
        accounts = [
            account(api, name="good", api_key="good-key", channels=list(CHANNELS)),
            account(api, name="hangs", api_key="hangs-key", channels=["instagram"]),
            account(api, name="revoked", api_key="wrong-key-1234", channels=["instagram"]),
        ]
        exporter = make_exporter({"accounts": accounts})
        exporter.start()

        def only_the_hanging_one_is_waited_for() -> bool:
            # It has been asked, but no answer has come, nor has its time run out.
            answer = HTTP.get(f"{exporter.url}/-/ready")
            waited_for = [name for name in ("good/", "hangs/instagram", "revoked/") if name in answer.text]
            return (answer.status_code, waited_for) == (503, ["hangs/instagram"])

        until(only_the_hanging_one_is_waited_for)
        for channel in CHANNELS:
            wait_for_truth(exporter, api, "good", channel)
        until(lambda: HTTP.get(f"{exporter.url}/-/ready").status_code == 200)
        assert value(exporter.counts(), UP, account="good") == 2
        for name, code in (("hangs", "timeout"), ("revoked", "401")):
            requests = partial(value, name="infobip_exporter_api_requests_total", account=name)
            until(lambda code=code, requests=requests: requests(exporter.counts(), code=code) >= 1)
            assert requests(exporter.counts(), code="200") == 0
            assert f'infobip_up{{account="{name}",channel="instagram"}} 0' in exporter.scrape()
        page = HTTP.get(f"{exporter.url}/").text
        assert "wrong-key-1234" not in exporter.log + exporter.scrape() + page
        assert all(name in page for name in ("good", "hangs", "revoked"))
