"""SIGTERM and SIGHUP from the first moment of the process on, before anything heavy is imported.

Imports nothing but `signal`, so that `__main__` can call `SIGNALS.catch()` before it imports the commands.
"""

import signal
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a command that SIGTERM ended before its work was done, as a shell tells it."""


class Signals:
    """What signals have asked for so far: one that comes before anybody can act on it is remembered.

    Whoever sets handlers of its own looks at `end_wanted` and `reload_wanted` after that.
    """

    def __init__(self) -> None:
        self.end_wanted = False
        self.reload_wanted = False
        self._exit_code: int | None = None
        self._hang_up_before: signal._HANDLER = signal.SIG_DFL

    def catch(self) -> None:
        """Remember SIGTERM and SIGHUP from now on. Only in the main thread."""
        signal.signal(signal.SIGTERM, self._end)
        self._hang_up_before = signal.signal(signal.SIGHUP, self._reload)

    def end_with(self, exit_code: int) -> None:
        """From now on SIGTERM raises SystemExit with `exit_code`. One that has come already does so at once."""
        self._exit_code = exit_code
        if self.end_wanted:
            raise SystemExit(exit_code)

    def let_hang_up_end(self) -> None:
        """SIGHUP ends the process again, as it does any command whose terminal is closed."""
        if signal.getsignal(signal.SIGHUP) == self._reload:
            signal.signal(signal.SIGHUP, self._hang_up_before)
            if self.reload_wanted:
                signal.raise_signal(signal.SIGHUP)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.end_wanted = True
        if self._exit_code is not None:
            raise SystemExit(self._exit_code)

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload_wanted = True


SIGNALS = Signals()
"""Those of this process."""
