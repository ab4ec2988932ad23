"""A YAML text as values that know their key and line, say what is wrong with them, and fill in `${VARIABLE}`."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from infobip_exporter.config.files import MAX_CHARACTERS
from infobip_exporter.config.merge import MergeError, merge
from infobip_exporter.config.problems import Problems, Unshown, shown, suggestion
from infobip_exporter.config.rules import in_quotes

T = TypeVar("T")

_NULL = "tag:yaml.org,2002:null"
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{tag}" for tag in ("str", "int", "float", "bool", "timestamp", "value", "merge")
}
_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)(\}?)|\$(?=[A-Za-z_])")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Value:
    """What stands under `key`. A method that can't give what it is asked for notes the problem and gives None."""

    key: str
    node: yaml.Node
    env: Mapping[str, str] | None
    """What `${VARIABLE}` stands for; None in a file that knows no variables, where `$` is a character like any other."""
    problems: Problems

    @property
    def empty(self) -> bool:
        return bool(self.node.tag == _NULL)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_bare(self) -> bool:
        """Whether it is a mapping that holds nothing."""
        return self.empty or (isinstance(self.node, yaml.MappingNode) and not self.node.value)

    @property
    def length(self) -> int:
        """How many values or members it holds; of a text, its characters."""
        return len(self.node.value)

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return Path(self.problems.where).parent

    def wrong(self, text: str, *, show: bool = True) -> None:
        """Note that this value is wrong; it is shown as the file has it, so no variable's content gets out."""
        if show and isinstance(self.node, yaml.ScalarNode) and self.node.value:
            text = f"{text}, got {shown(self.node.value)}"
        self.problems.add(self.key, text, self.node.start_mark.line + 1)

    def checked(self, rule: Callable[[str], T]) -> T | None:
        """What `rule` makes of the text; its ValueError says what is allowed.

        Numbers and booleans are taken as they stand in the file: `name: 007` is the text 007.
        """
        text = self._text()
        if text is None:
            return None
        try:
            return rule(text)
        except ValueError as error:
            self.wrong(str(error), show=not isinstance(error, Unshown))
            return None

    def _text(self) -> str | None:
        if self.empty:
            self.wrong("has no value", show=False)
        elif not isinstance(self.node, yaml.ScalarNode):
            self.wrong("must be a single value, not a list or a mapping")
        elif self.node.tag not in _PLAIN_TAGS:
            self.wrong("tags such as !this are not understood; put quotes around the value", show=False)
        else:
            text: str = self.node.value
            return text if self.env is None else self._filled_in(text, self.env)
        return None

    def _filled_in(self, text: str, env: Mapping[str, str]) -> str | None:
        """`text` with each `${VARIABLE}` replaced and `$$` as `$`.

        Line ends behind a variable's value are dropped, as a shell's `$(...)` does: `echo` and editors add one.
        """
        faults: list[str] = []

        def replacement(reference: re.Match[str]) -> str:
            if reference[0] == "$$":
                return "$"
            name, closed = reference[1] or "", reference[2]
            content = env.get(name, "").rstrip("\r\n")
            if not (closed and _VARIABLE.fullmatch(name)):
                faults.append("a variable is written ${NAME}, a dollar sign $$")
            elif name not in env:
                faults.append(f"the environment variable {name} is not set")
            elif in_quotes(content):
                faults.append(
                    f"the environment variable {name} holds a value in quotes; remove the quotes: "
                    "docker --env-file keeps them"
                )
            return content

        filled = _REFERENCE.sub(replacement, text)
        for fault in faults:
            self.wrong(fault, show=False)
        return None if faults else filled

    def items(self) -> list["Value"] | None:
        """The values of a list, each with its own key."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.wrong("must be a list")
            return None
        return [
            Value(f"{self.key}[{i}]", node, self.env, self.problems) for i, node in enumerate(self.node.value)
        ]

    def members(self, known: Sequence[str]) -> dict[str, "Value"]:
        """The values of a mapping by their names, all of them `known`; nothing written is an empty mapping."""
        members: dict[str, Value] = {}
        # What is no word may be `{api_key:...}`, key and secret in one.
        what = f"with the keys {', '.join(known)}"
        for name, value, line in self._named(what, _NAME, "a key that is no word"):
            if name in known:
                members[name] = value
            else:
                self.problems.add(value.key, f"unknown key; {suggestion(name, known)}", line)
        return members

    def entries(self, form: re.Pattern[str], what: str) -> dict[str, "Value"]:
        """The values of a mapping whose names are the user's own, each of the `form`; `what` says what it holds."""
        named = self._named(f"of {what}", form, f"must be a mapping of {what}")
        return {name: value for name, value, _ in named}

    def _named(self, what: str, form: re.Pattern[str], unfit: str) -> Iterator[tuple[str, "Value", int]]:
        """Name, value and line of each member of a mapping. A name that is not of the `form` is not shown."""
        if self.empty:
            return
        if not isinstance(self.node, yaml.MappingNode):
            self.wrong(f"must be a mapping {what}", show=False)
            return
        first: dict[str, int] = {}
        for name_node, node in self.node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else ""
            line = name_node.start_mark.line + 1
            value = Value(f"{self.key}.{name}" if self.key else name, node, self.env, self.problems)
            if not (form.fullmatch(name) and name.isprintable()):
                self.problems.add(self.key, f"{unfit}; is a space missing after a colon?", line)
            elif name in first:
                self.problems.add(value.key, f"is given twice, first in line {first[name]}", line)
            else:
                first[name] = line
                yield name, value, line


def parse_tree(text: str, env: Mapping[str, str] | None, problems: Problems) -> Value | None:
    """The YAML document `text`; None where it is empty, or none, with the problem noted."""
    if len(text) > MAX_CHARACTERS:
        problems.add("", f"is too large for a configuration: more than {MAX_CHARACTERS // 1024} KiB")
        return None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            merge(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problems.add("", f"is not valid YAML: {_explained(error)}", None if mark is None else mark.line + 1)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.add(
            "", f"is not text: the character U+{ord(text[error.position]):04X} can't be in YAML", line
        )
    except MergeError as error:
        problems.add("<<", *error.args)
    except RecursionError:
        problems.add("", "is nested too deeply")
    except (ValueError, OverflowError):
        problems.add("", "is not valid YAML: an escape such as \\U00110000 names no character")
    else:
        return None if node is None else Value("", node, env, problems)
    return None


def _explained(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, without the text around it: that might be a secret."""
    problem = error.problem or "unreadable"
    if "\\t" in problem:
        return "a tab where only spaces may indent"
    if "alias" in problem:
        return "a value that begins with * must be in quotes"
    if (error.context or "").startswith("expected a single document"):
        return "more than one document"
    if "but got '{'" in problem:
        return "inside {...} and [...] a ${VARIABLE} must be in quotes"
    return re.sub(r"'[^']*'", _harmless, problem)


def _harmless(quoted: re.Match[str]) -> str:
    """A single character or a kind of token, as they are; what is longer may be a secret."""
    return quoted[0] if len(quoted[0]) <= len("'x'") or quoted[0].startswith("'<") else "something else"
