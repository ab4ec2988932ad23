"""Writes the generated files: `python -m tools`, or some of them: `python -m tools licences`."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools import command, licences, prometheus_rule

REPOSITORY = Path(__file__).parents[1]

KINDS: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "completion": command.completion,
    "licences": licences.files,
    "man-page": command.man_page,
    "prometheus-rule": prometheus_rule.files,
}
"""By kind, what gives the text of each file by its path below the repository."""


def main(kinds: list[str]) -> None:
    for kind in kinds or KINDS:
        for path, text in KINDS[kind]().items():
            (REPOSITORY / path).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
