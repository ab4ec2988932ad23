"""No link of the documentation leads nowhere."""

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, README, anchors, links, name_of, prose


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    todo = [README]
    while todo:
        page = todo.pop().resolve()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        todo += [
            page.parent / link.partition("#")[0]
            for link in links(page)
            if "://" not in link and link[0] != "#"
        ]
    assert [name_of(page) for page in PAGES if page.resolve() not in reached] == []


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    pictures = list((DOCS / "pictures").iterdir())
    assert [path.name for path in pictures if path.resolve() not in shown] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_prose_wraps_at_100(page: Path) -> None:
    """Tables, headings and what can't be broken may be longer."""
    lines = [line for line in prose(page).splitlines() if not line.lstrip().startswith(("|", "#", "<", "!"))]
    assert [line for line in lines if len(line) > 100 and " " in line.strip()[:100].partition("](")[0]] == []
