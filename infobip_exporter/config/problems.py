"""The mistakes of a configuration, collected so that all are told at once, a line each."""

import json
from collections.abc import Sequence
from difflib import get_close_matches

from infobip_exporter.errors import ConfigError

MOST_TOLD = 100
"""Whoever makes more mistakes than this has made one, many times: by an alias, say, or with another program's file."""

_LONGEST_SHOWN = 60


class Unshown(ValueError):
    """What is wrong with a value that may be secret: the text says it without the value, and nobody adds it."""


class Problems:
    """Mistakes found in the file `where` (its name as the user gave it)."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._found: list[tuple[int, str]] = []

    def add(self, key: str, text: str, line: int | None = None) -> None:
        """Note that `key` (dotted, empty for the whole file) is wrong. `line` counts from 1.

        Raises ConfigError once there are more than MOST_TOLD mistakes: nobody reads on.
        """
        if len(self._found) == MOST_TOLD:
            more = f"{self.where}: there are more mistakes; these are the first {MOST_TOLD}"
            raise ConfigError([*self._in_order(), more])
        place = self.where if line is None else f"{self.where}:{line}"
        self._found.append((line or 0, f"{place}: {key}: {text}" if key else f"{place}: {text}"))

    def raise_if_any(self) -> None:
        """ConfigError with every mistake in the order of the file, if there is one."""
        if self._found:
            raise ConfigError(self._in_order())

    def _in_order(self) -> list[str]:
        return [text for _, text in sorted(self._found, key=lambda found: found[0])]


def shown(text: str) -> str:
    """`text` in quotes, safe for a terminal and not too long."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in json.dumps(cut, ensure_ascii=False))


def suggestion(word: str, known: Sequence[str]) -> str:
    """What to use instead of the unknown `word`: the one it looks like, else all that are known."""
    close = get_close_matches(word.lower(), known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"allowed: {', '.join(known)}"
