"""Pages that take a while to make: one at a time, beside the event loop, and shared by all who ask meanwhile."""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

SHORTEST_REST_S = 0.1
"""From one page to the next: so a crowd shares few pages, which are short work on a fast machine, and leaves time to send them."""

Page = TypeVar("Page")


class SharedRendering(Generic[Page]):
    """Renders pages in a thread, which rests as long as it worked, and for 0.1 s at least. Belongs to the event loop."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "rendering")
        self._under_way: dict[Hashable, asyncio.Future[Page]] = {}

    async def get(self, key: Hashable, render: Callable[[], Page]) -> Page:
        """What `render` returns, or what it is returning just now to another who asked for the same `key`."""
        page = self._under_way.get(key)
        if page is None:
            page = asyncio.get_running_loop().run_in_executor(self._worker, self._timed, render)
            self._under_way[key] = page
            page.add_done_callback(lambda _: self._under_way.pop(key))
        # Others may wait for it, so it goes on when this one is given up.
        return await asyncio.shield(page)

    def _timed(self, render: Callable[[], Page]) -> Page:
        began_s = time.monotonic()
        try:
            return render()
        finally:
            # Whoever asks meanwhile gets the next page, so a flood of scrapes takes half a core at most.
            self._worker.submit(time.sleep, max(SHORTEST_REST_S, time.monotonic() - began_s))
