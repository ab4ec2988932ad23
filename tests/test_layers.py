"""Imports go downwards only: the layers of docs/design.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import infobip_exporter

PACKAGE = Path(infobip_exporter.__file__).parent
LAYERS = (
    ("model", "errors", "signals", "systemd", "health", "log_writer"),
    ("config",),
    ("infobip", "logs"),
    ("metrics",),
    ("ledger",),
    ("counting",),
    ("planning",),
    ("feed",),
    ("web",),
    ("app", "feeds", "reload"),
    ("arguments", "cli", "check", "state_command", "__main__"),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports() -> Iterator[tuple[str, str]]:
    """Which module imports which, by their names inside the package."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("infobip_exporter"):
                below = node.module.removeprefix("infobip_exporter").lstrip(".")
                for name in [below] if below else [alias.name for alias in node.names]:
                    if name != "__version__":
                        yield module, name


def test_no_module_imports_from_a_layer_above() -> None:
    upwards = [
        f"{module} imports {imported}"
        for module, imported in imports()
        if module != "__init__" and RANKS[imported.split(".")[0]] > RANKS[module.split(".")[0]]
    ]
    assert upwards == []


def test_only_the_demo_command_knows_the_sandbox() -> None:
    users = [
        path.relative_to(PACKAGE).name
        for path in PACKAGE.rglob("*.py")
        if "infobip_sandbox" in path.read_text()
    ]
    assert users == ["cli.py"]
