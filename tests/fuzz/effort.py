"""How hard the fuzz tests try: the same inputs each time, or with FUZZ_TIMES many times as many new ones."""

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("FUZZ_TIMES", "0"))
"""0, as in `make test`: few examples and always the same, so that a run that fails is the change's own doing."""

Test = TypeVar("Test", bound=Callable[..., None])


def fuzzed(examples: int) -> Callable[[Test], Test]:
    """Run the test on `examples` inputs, or in `make fuzz` on FUZZ_TIMES as many."""
    again = TIMES == 0
    return settings(
        max_examples=examples * max(TIMES, 1),
        derandomize=again,
        # A database would bring back what failed on one machine only.
        **({"database": None} if again else {}),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
