"""Reading a section of a configuration into the dataclass that stands for it.

Each field is annotated with the rule of its key, and, where the key is needed, with why: `Annotated[str, rules.x, "why"]`.
A key is called like its field, without the `_s` of seconds.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from infobip_exporter.config.tree import Value

T = TypeVar("T")
Rule = Callable[[str], object]


class Whole(NamedTuple):
    """A rule that reads a value which is more than one text; None for one that is wrong."""

    read: Callable[[Value], Any]


Check = Callable[[Value, Mapping[str, Value], Mapping[str, Any]], None]
"""Notes what is wrong between the keys of a section: it gets the section, the values given, and what was `made` of
them."""


def _file(value: Value, *, exists: bool = False) -> Path | None:
    """A path, relative to the folder of the configuration. The file need not be there unless it `exists`."""

    def rule(text: str) -> Path:
        # What is not printable (a line end, a byte that is no UTF-8) would come out again in logs and errors.
        if not text or not text.isprintable():
            raise ValueError("must be a path of printable characters")
        with suppress(OSError):
            if not exists or (value.folder / text).is_file():
                return value.folder / text
        raise ValueError(f"must be an existing file (relative paths start at {value.folder.absolute()})")

    return value.checked(rule)


FILE = Whole(_file)
EXISTING_FILE = Whole(partial(_file, exists=True))


def section(kind: type, *checks: Check) -> Whole:
    """A section as a `kind`, a dataclass."""
    return Whole(partial(read, kind, checks=checks))


def each(rule: Rule, empty: str = "", *, or_one: bool = False) -> Whole:
    """A list of different values; `empty` says what is wrong with one that holds none. With `or_one` it may be one text."""

    def read_each(value: Value) -> tuple[Any, ...]:
        values = [value] if or_one and not value.is_list else value.items()
        if values == [] and empty:
            value.wrong(empty)
        found: dict[object, None] = {}
        for item in values or ():
            read_item = item.checked(rule)
            if read_item in found:
                item.wrong("is listed twice")
            elif read_item is not None:
                found[read_item] = None
        return tuple(found)

    return Whole(read_each)


def table(form: re.Pattern[str], what: str, rule: Rule) -> Whole:
    """A mapping with names of the user's own, each of the `form`; `what` says what it holds."""
    return Whole(lambda value: sound(made(value.entries(form, what), lambda _: rule)))


def members(keys: Mapping[str, Rule | Whole]) -> Whole:
    """A mapping with these keys."""
    return Whole(lambda value: sound(made(value.members(list(keys)), keys.__getitem__)))


def one_of(what: str, *keys: str) -> Check:
    """Exactly one of `keys` has to be given; `what` says what each of them is."""

    def check(section: Value, given: Mapping[str, Value], _read: Mapping[str, Any]) -> None:
        found = [key for key in keys if key in given]
        if not found:
            section.wrong(f"has no {what}; give one of {', '.join(keys)}", show=False)
        elif len(found) > 1:
            section.wrong(f"has more than one {what}: {', '.join(found)}; keep one", show=False)

    return check


def together(*keys: str) -> Check:
    """All of `keys` have to be given, or none."""

    def check(section: Value, given: Mapping[str, Value], _read: Mapping[str, Any]) -> None:
        for key in keys:
            if key not in given and given.keys() & set(keys):
                section.wrong(f"has no {key}", show=False)

    return check


def read(kind: Callable[..., T], section: Value, checks: tuple[Check, ...] = ()) -> T | None:
    """The section as a `kind`, of what is sound in it; None without a key that is needed. What is wrong is noted."""
    keys = _keys(kind)
    needed = {name: key.why for name, key in keys.items() if key.why is not None}
    if section.empty and needed:
        section.wrong("has no value", show=False)
        return None
    given = section.members(list(keys))
    found = made(given, lambda name: keys[name].rule)
    # Of a section in which no key is known, this alone is told.
    if given or section.is_bare:
        for name, why in needed.items():
            if name not in given:
                section.wrong(f"has no {name}; {why}".removesuffix("; "))
        for check in checks:
            check(section, given, found)
    values = sound(found)
    if not needed.keys() <= values.keys():
        return None
    return kind(**{keys[name].field: value for name, value in values.items()})


def made(given: Mapping[str, Value], rule_of: Callable[[str], Rule | Whole]) -> dict[str, Any]:
    """What becomes of the values given, each by the rule for its name: None where it is wrong, with the problem noted."""
    return {
        name: rule.read(value) if isinstance(rule := rule_of(name), Whole) else value.checked(rule)
        for name, value in given.items()
    }


def sound(found: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not wrong."""
    return {name: value for name, value in found.items() if value is not None}


class _Key(NamedTuple):
    field: str
    rule: Rule | Whole
    why: str | None
    """Why it is needed; None where there is a default."""


@lru_cache(maxsize=64)
def _keys(kind: Hashable) -> dict[str, _Key]:
    hints = get_type_hints(kind, include_extras=True)
    keys = {}
    for field in fields(kind):  # type: ignore[arg-type]  # a dataclass
        rule, *why = hints[field.name].__metadata__
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        keys[field.name.removesuffix("_s")] = _Key(field.name, rule, None if has_default else "".join(why))
    return keys
