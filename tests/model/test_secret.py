"""A secret shows its value to nobody who does not ask for it."""

import copy
import pickle

import pytest

from infobip_exporter.model.secret import Secret


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_can_not_be_written_out(write: object) -> None:
    with pytest.raises(TypeError, match="a secret can't be pickled"):
        write(Secret("hunter2"))  # type: ignore[operator]


def test_it_does_not_show() -> None:
    assert f"{Secret('hunter2')} {Secret('hunter2')!r}" == "<secret> <secret>"
