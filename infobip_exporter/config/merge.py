"""YAML's merge keys: `<<: *defaults` brings the members of another mapping into one."""

import yaml

MOST_MERGED = 100_000
"""Members that merge keys may bring in, in the whole file: far more than a thousand accounts need, and done in 0.1 s."""

_MERGE = "tag:yaml.org,2002:merge"

_Member = tuple[yaml.Node, yaml.Node]


class MergeError(Exception):
    """A merge key that can't be followed. `line` counts from 1."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


def merge(top: yaml.Node) -> None:
    """Replace each merge key in the tree by the members that it brings in. Raises MergeError, RecursionError.

    A mapping's own members come before merged ones of the same name, and the first mapping of a list before the others.
    """
    _Merging().walk(top)


class _Merging:
    """Each node is looked at once, however many aliases it has: a mapping is complete before others take from it."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._under_way: set[int] = set()
        self._merged = 0

    def walk(self, node: yaml.Node) -> None:
        if not isinstance(node, yaml.CollectionNode) or id(node) in self._begun:
            return
        self._begun.add(id(node))
        self._under_way.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self.walk(key)
                self.walk(value)
            if any(key.tag == _MERGE for key, _ in node.value):
                node.value = self._with_merged(node)
        else:
            for item in node.value:
                self.walk(item)
        self._under_way.discard(id(node))

    def _with_merged(self, node: yaml.MappingNode) -> list[_Member]:
        members = [member for member in node.value if member[0].tag != _MERGE]
        names = {_name(key) for key, _ in members}
        for key, value in node.value:
            if key.tag != _MERGE:
                continue
            for source in self._sources(value, key.start_mark.line + 1):
                self._merged += len(source.value)
                if self._merged > MOST_MERGED:
                    raise MergeError(f"brings in more than {MOST_MERGED} values in all")
                members += [member for member in source.value if _name(member[0]) not in names]
                names.update(_name(member[0]) for member in source.value)
        return members

    def _sources(self, value: yaml.Node, line: int) -> list[yaml.MappingNode]:
        """The mappings that stand behind a merge key."""
        given = value.value if isinstance(value, yaml.SequenceNode) else [value]
        sources = [each for each in given if isinstance(each, yaml.MappingNode)]
        if len(sources) < len(given):
            raise MergeError("must be a mapping or a list of mappings, such as <<: *defaults", line)
        if any(id(source) in self._under_way for source in sources):
            raise MergeError("must not bring a mapping into itself", line)
        return sources


def _name(key: yaml.Node) -> object:
    """What makes two keys the same; each key that is no plain text is one of its own."""
    return key.value if isinstance(key, yaml.ScalarNode) else id(key)
