"""Pages are shared by a crowd, and few are made for it."""

import asyncio
import time

from infobip_exporter.web.rendering import SHORTEST_REST_S, SharedRendering


def test_a_crowd_that_asks_on_and_on_gets_few_pages() -> None:
    async def live() -> None:
        pages: SharedRendering[int] = SharedRendering()
        made: list[int] = []
        began_s = time.monotonic()

        def render() -> int:
            made.append(len(made))
            return made[-1]

        async def ask_on() -> list[int]:
            return [await pages.get("page", render) for _ in range(4)]

        each = await asyncio.gather(*(ask_on() for _ in range(50)))
        rests = (time.monotonic() - began_s) / SHORTEST_REST_S
        assert each == [[0, 1, 2, 3]] * 50
        assert len(made) == 4 <= rests + 1

    asyncio.run(live())


def test_who_asks_for_another_page_waits_for_it_and_shares_none() -> None:
    async def live() -> None:
        pages: SharedRendering[str] = SharedRendering()
        asked = await asyncio.gather(*(pages.get(key, lambda key=key: key) for key in "ab"))  # type: ignore[misc]
        assert asked == ["a", "b"]

    asyncio.run(live())
