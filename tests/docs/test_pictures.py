"""The pictures of the status page show it as it is now."""

import pytest

from tests.docs.pages import REPOSITORY
from tools.screenshot import SCREENS, hash_in, page_hash


@pytest.mark.parametrize("path", SCREENS)
def test_each_picture_is_of_the_page_as_it_is_now(path: str) -> None:
    assert hash_in((REPOSITORY / path).read_bytes()) == page_hash(), f"{path} is stale: run make pictures"


def test_a_picture_without_a_hash_is_known_as_such() -> None:
    assert hash_in((REPOSITORY / "docs/pictures/infobip-cost.png").read_bytes()) is None
