"""An exporter whose state is put, damaged and taken away."""

import os
import shutil
from pathlib import Path

from tests.alerting.servers import until
from tests.end_to_end.counts import Counts, fallen, value
from tests.end_to_end.programs import Exporter, Sandbox, account, wait_for_truth

SENT = "infobip_messages_sent_total"
UP = "infobip_up"


def keep_state_at(exporter: Exporter, place: Path, counted: tuple[Sandbox, Path] | None = None) -> None:
    """Have the state there, and in it what was counted."""
    exporter.state = place
    place.parent.mkdir(exist_ok=True)
    if counted is not None:
        shutil.copy(counted[1], place)
        os.sync()  # as the exporter would have done
        exporter.configure({"accounts": [account(counted[0])]})


def ends_with(exporter: Exporter, told: str, prefix: tuple[str, ...] = ()) -> None:
    """A start is refused in one line that says `told`."""
    config = exporter.config_file.read_text()
    # Or a line would warn of what the API allows.
    exporter.config_file.write_text(config.replace("6000", "100"))
    code, said = exporter.run(prefix=prefix)
    exporter.config_file.write_text(config)
    assert code == 2, said
    [line] = said
    assert str(exporter.state) in line
    assert told in line


def starts_again(exporter: Exporter, api: Sandbox, before: Counts, prefix: tuple[str, ...] = ()) -> None:
    exporter.start(wait_until_ready=True, prefix=prefix)
    wait_for_truth(exporter, api)
    assert fallen(before, exporter.counts()) == []


def stays_at(exporter: Exporter, api: Sandbox, before: Counts, told: str, name: str = "demo") -> None:
    """New traffic is not counted, the old counts are served, and the trouble is told once."""
    until(lambda: told in exporter.log, 30.0)
    api.lively_for(1, per_second=50, account=name)
    until(lambda: api.now_ms() > api.quiet_from_ms)
    meanwhile = exporter.counts()
    assert fallen(before, meanwhile) == []
    assert value(meanwhile, SENT, account=name) == value(before, SENT, account=name) > 0
    assert value(meanwhile, UP, account=name) == 0
    assert exporter.log.count(told) == 1
    assert "feed crashed" not in exporter.log
