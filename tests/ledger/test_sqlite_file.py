"""The files beside the state."""

import os
from pathlib import Path

import pytest

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.sqlite import SqliteStore


def test_a_named_pipe_in_place_of_the_lock_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.db.lock")
    with pytest.raises(LedgerError, match=r"can't write .*state\.db\.lock: .* not seekable"):
        SqliteStore.open(tmp_path / "state.db")
