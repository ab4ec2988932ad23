"""Accounts and channels come and go while the exporter runs, and no count is touched by it."""

import os
import signal

import yaml

from tests.alerting.servers import HTTP, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import fallen, value
from tests.end_to_end.programs import NO_LIMIT, QUICK, Exporter, account, sandbox, wait_for_truth

ACCOUNTS = ("--account", "one:key-of-one", "--account", "two:key-of-two")
SUCCESSFUL = "infobip_exporter_config_last_reload_successful"
SENT = "infobip_messages_sent_total"


def hang_up(exporter: Exporter, said: str) -> None:
    """SIGHUP; wait until the log has one line more of what it says then."""
    before = exporter.log.count(said)
    os.kill(exporter.pid, signal.SIGHUP)
    until(lambda: exporter.log.count(said) > before, 20.0)


def test_feeds_come_change_go_and_come_back_and_every_message_is_counted_once(
    make_exporter: MakeExporter,
) -> None:
    with sandbox(*QUICK, *NO_LIMIT, *ACCOUNTS) as api:
        one = account(api, name="one", api_key="key-of-one", channels=["instagram", "sms"])
        two = account(api, name="two", api_key="key-of-two")
        exporter = make_exporter({"accounts": [one]})
        exporter.start(wait_until_ready=True)
        # Traffic all the while.
        for channel in ("instagram", "sms"):
            api.lively_for(12, 30, account="one", channel=channel)
        api.lively_for(12, 30, account="two", channel="instagram")
        until(lambda: value(exporter.counts(), SENT, account="one") > 0)
        before = exporter.counts()
        # Another comes, one of the two of before is changed: its budget.
        exporter.configure({"accounts": [{**one, "requests_per_minute": 3000}, two]})
        hang_up(exporter, "configuration reloaded")
        limit = "infobip_exporter_api_requests_per_minute_limit"
        until(lambda: value(exporter.counts(), limit, account="one") == 6000)
        assert fallen(before, exporter.counts()) == []
        # One goes.
        exporter.configure({"accounts": [{**one, "channels": ["sms"]}, two]})
        hang_up(exporter, "configuration reloaded")
        until(lambda: value(exporter.counts(), SENT, account="one", channel="instagram") == 0)
        assert value(exporter.counts(), SENT, account="one", channel="sms") > 0
        # It comes back.
        exporter.configure({"accounts": [one, two]})
        hang_up(exporter, "configuration reloaded")
        for name, channel in (("one", "instagram"), ("one", "sms"), ("two", "instagram")):
            wait_for_truth(exporter, api, name, channel)
        until(lambda: value(exporter.counts(), SUCCESSFUL) == 1)
        assert exporter.stop() == 0
        assert "key-of-two" not in exporter.log


def test_a_wrong_configuration_is_refused_with_its_reason_and_the_old_one_goes_on(
    make_exporter: MakeExporter,
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start(wait_until_ready=True)
        sound = exporter.config_file.read_text()
        exporter.config_file.write_text(sound + "pol: {}\n")
        hang_up(exporter, "reloading the configuration failed, keeping the old one")
        assert "pol: unknown key" in exporter.log
        until(lambda: value(exporter.counts(), SUCCESSFUL) == 0)
        other = {**yaml.safe_load(sound), "state": {"url": "sqlite:///other.db"}}
        exporter.config_file.write_text(yaml.safe_dump(other))
        hang_up(exporter, "reloading the configuration failed, keeping the old one")
        assert "state.url: can't change while running: restart" in exporter.log
        assert HTTP.post(f"{exporter.url}/-/reload").status_code == 403
        polls = exporter.log.count("msg=poll")
        until(lambda: exporter.log.count("msg=poll") > polls)
        exporter.config_file.write_text(sound)
        hang_up(exporter, "configuration reloaded")
        until(lambda: value(exporter.counts(), SUCCESSFUL) == 1)
        assert exporter.log.count("began") == 0
