"""Several accounts and channels in one exporter: what befalls one of them does not touch the others."""

from tests.alerting.servers import HTTP, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, difference, true_counts, value
from tests.end_to_end.programs import NO_LIMIT, QUICK, Exporter, Sandbox, account, sandbox

CHANNELS = ("instagram", "sms")
ACCOUNTS = ("--account", "good:good-key", "--account", "hangs:hangs-key", "--account", "revoked:right-key")
UP = "infobip_up"


def truth_of(api: Sandbox, name: str, channel: str) -> Counts:
    return true_counts(api.control("GET", "truth", account=name, channel=channel), name, channel)


def shown_of(exporter: Exporter, name: str, channel: str) -> Counts:
    feed = {("account", name), ("channel", channel)}
    return {key: number for key, number in exporter.counts().items() if feed <= key[1]}


def test_a_refused_and_a_hanging_account_never_delay_the_others(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT, *ACCOUNTS) as api:
        for channel in CHANNELS:
            api.control("POST", "faults", {"shares": {"timeout_before": 1}}, account="hangs", channel=channel)
            api.lively_for(5, 50, account="good", channel=channel)
        accounts = [
            account(api, name="good", api_key="good-key", channels=list(CHANNELS)),
            account(api, name="hangs", api_key="hangs-key", channels=["instagram"]),
            account(api, name="revoked", api_key="wrong-key-1234", channels=["instagram"]),
        ]
        exporter = make_exporter({"accounts": accounts})
        exporter.start()
        until(lambda: value(exporter.counts(), UP, account="good") == 2)
        # The one that hangs has been asked, but no answer has come, nor has its time run out.
        waiting = HTTP.get(f"{exporter.url}/-/ready")
        assert waiting.status_code == 503
        assert "hangs/instagram" in waiting.text
        assert "good/" not in waiting.text
        until(lambda: api.now_ms() > api.quiet_from_ms)
        for channel in CHANNELS:
            until(
                lambda channel=channel: (
                    difference(shown_of(exporter, "good", channel), truth_of(api, "good", channel)) == []
                ),
                60.0,
            )
        until(lambda: HTTP.get(f"{exporter.url}/-/ready").status_code == 200)
        shown = exporter.counts()
        requests = "infobip_exporter_api_requests_total"
        assert value(shown, UP, account="good") == 2
        assert value(shown, requests, account="hangs", code="timeout") >= 1
        assert value(shown, requests, account="revoked", code="401") >= 1
        assert value(shown, requests, account="revoked", code="200") == 0
        assert "wrong-key-1234" not in exporter.log + exporter.scrape()
        page = HTTP.get(f"{exporter.url}/").text
        assert "wrong-key-1234" not in page
        assert all(name in page for name in ("good", "hangs", "revoked"))


def test_a_refused_key_and_a_hanging_api_are_told_as_down(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT, "--account", "hangs:hangs-key", "--account", "other:key") as api:
        api.control("POST", "faults", {"shares": {"timeout_before": 1}}, account="hangs")
        accounts = [
            account(api, name="hangs", api_key="hangs-key"),
            account(api, name="refused", api_key="wrong"),
        ]
        exporter = make_exporter({"accounts": accounts, "poll": {"interval": "1s", "timeout": "1s"}})
        exporter.start()

        def told() -> bool:
            page = exporter.scrape()
            return all(
                f'infobip_up{{account="{name}",channel="instagram"}} 0' in page
                for name in ("hangs", "refused")
            )

        until(told, 15.0)


def test_a_key_file_that_is_replaced_serves_from_the_next_request_on(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        key_file = exporter.folder / "key"
        key_file.write_text("not-yet-the-key\n")
        keyed = account(api) | {"api_key_file": str(key_file)}
        del keyed["api_key"]
        exporter.configure({"accounts": [keyed]})
        exporter.start()
        requests = "infobip_exporter_api_requests_total"
        until(lambda: api.requests() == 0 and "state" in exporter.log and "401" in exporter.log)
        new = key_file.with_suffix(".new")
        new.write_text("sandbox-key\n")
        new.replace(key_file)
        until(lambda: value(exporter.counts(), UP) == 1, 60.0)
        until(lambda: value(exporter.counts(), requests, code="401") >= 1)
        assert "not-yet-the-key" not in exporter.log
        assert "sandbox-key" not in exporter.log + exporter.scrape()
