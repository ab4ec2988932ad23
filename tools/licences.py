"""The licences of what the exporter needs to run, as the packages themselves state them."""

import re
from importlib.metadata import metadata

from tools.lock import Locked, runtime


def files() -> dict[str, str]:
    """The page by its path. ValueError for a package that is not installed as it is locked, or states no licence."""
    rows = "".join(f"| {each.name} | {each.version} | {licence(each)} |\n" for each in runtime())
    return {
        "docs/licences.md": f"""\
# Licences

The exporter's own is [Apache-2.0](../LICENSE). These packages are installed with it,
in the versions of `requirements.txt`, under the licences (SPDX) that they state. `make licences`
writes this page.

| package | version | licence |
|---|---|---|
{rows}"""
    }


def licence(package: Locked) -> str:
    """As SPDX writes it."""
    stated = metadata(package.name)
    if stated["Version"] != package.version:
        raise ValueError(f"{package.name} {stated['Version']} is installed, {package.version} is locked")
    # Packages from before PEP 639 have the same in an older field.
    fields = [field for field in ("License-Expression", "License") if field in stated]
    text = stated[fields[0]] if fields else ""
    if not re.fullmatch(r"[\w.+ ()-]+", text):
        raise ValueError(f"{package.name} states no licence in a line: {text!r}")
    return text
