"""The documentation as data: its pages, their links, headings, tables and blocks of code."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")])

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]+)\"")


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def prose(page: Path) -> str:
    """The text without its blocks of code."""
    return _BLOCK.sub("", page.read_text())


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code in `language`, without the indentation of a list's item."""
    found = _BLOCK.findall(page.read_text())
    return [
        re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, name, code in found if name == language
    ]


def links(page: Path) -> list[str]:
    return [first or second for first, second in _LINK.findall(prose(page))]


def anchors(page: Path) -> set[str]:
    """What can follow a # in a link to the page: its headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def rows(text: str) -> list[list[str]]:
    """The cells of every table row in `text`, but not of the lines below the heads."""
    lines = [
        line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\-: ]+", line)
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(page: Path, heading: str) -> str:
    """The text under `heading`, up to the next one of any level."""
    after = page.read_text().split(f"\n{heading}\n", 1)[1]
    return re.split(r"^#+ ", after, maxsplit=1, flags=re.MULTILINE)[0]
