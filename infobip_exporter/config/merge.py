"""YAML's merge keys: `<<: *defaults` brings the members of another mapping into one."""

import yaml

MOST_MERGED = 100_000
"""Members that merge keys may bring in, in the whole file: far more than a thousand accounts need, and done in 0.1 s."""

_MERGE = "tag:yaml.org,2002:merge"


class MergeError(Exception):
    """A merge key that can't be followed: what is wrong, and in which line (from 1) where it is one."""


def merge(top: yaml.Node) -> None:
    """Replace each merge key in the tree by the members that it brings in. Raises MergeError, RecursionError.

    A mapping's own members come before merged ones of the same name, and the first mapping of a list before the others.
    """
    _Merging().walk(top)


class _Merging:
    """Each node is looked at once, however many aliases it has: a mapping is complete before others take from it."""

    def __init__(self) -> None:
        self._is_complete: dict[int, bool] = {}
        """By its id, each node that has been begun."""
        self._merged = 0

    def walk(self, node: yaml.Node) -> None:
        if not isinstance(node, yaml.CollectionNode) or id(node) in self._is_complete:
            return
        self._is_complete[id(node)] = False
        is_mapping = isinstance(node, yaml.MappingNode)
        for item in node.value:
            for each in item if is_mapping else (item,):
                self.walk(each)
        if is_mapping and any(key.tag == _MERGE for key, _ in node.value):
            node.value = self._with_merged(node)
        self._is_complete[id(node)] = True

    def _with_merged(self, node: yaml.CollectionNode) -> list[tuple[yaml.Node, yaml.Node]]:
        members = [member for member in node.value if member[0].tag != _MERGE]
        names = {_name(key) for key, _ in members}
        for key, value in node.value:
            if key.tag != _MERGE:
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                line = key.start_mark.line + 1
                if not isinstance(source, yaml.MappingNode):
                    raise MergeError("must be a mapping or a list of mappings, such as <<: *defaults", line)
                if not self._is_complete[id(source)]:
                    raise MergeError("must not bring a mapping into itself", line)
                self._merged += len(source.value)
                if self._merged > MOST_MERGED:
                    raise MergeError(f"brings in more than {MOST_MERGED} values in all", None)
                members += [member for member in source.value if _name(member[0]) not in names]
                names.update(_name(member[0]) for member in source.value)
        return members


def _name(key: yaml.Node) -> object:
    """What makes two keys the same; each key that is no plain text is one of its own."""
    return key.value if isinstance(key, yaml.ScalarNode) else id(key)
