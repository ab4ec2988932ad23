"""The lock of what the exporter needs to run, as data."""

import re
from pathlib import Path
from typing import NamedTuple

_LOCK = Path(__file__).parents[1] / "requirements.txt"
_LINE = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^ ;\\]+)((?:.*\n)(?:[ ].*\n)*)", re.MULTILINE)


class Locked(NamedTuple):
    """`sha256` are the sums of its files, `needed_by` the packages that ask for it (the exporter by its name)."""

    name: str
    version: str
    sha256: tuple[str, ...]
    needed_by: tuple[str, ...]


def runtime() -> list[Locked]:
    """What is locked, in the lock's order."""
    return [_locked(name, version, rest) for name, version, rest in _LINE.findall(_LOCK.read_text())]


def _locked(name: str, version: str, rest: str) -> Locked:
    _, _, via = rest.partition("# via")
    needed_by = re.findall(r"[A-Za-z0-9][\w.-]*", re.sub(r"\(.*?\)", "", via))
    return Locked(name, version, tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)), tuple(needed_by))
