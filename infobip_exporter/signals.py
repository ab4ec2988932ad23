"""SIGTERM and SIGHUP from the first moment of the process on, before anything heavy is imported.

Imports next to nothing, so that `__main__` can call `SIGNALS.catch()` before it imports the commands.
"""

import _thread
import signal
import time
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a command that SIGTERM ended before its work was done, as a shell tells it."""

_LOOK_EVERY_S = 0.02


class Signals:
    """What signals have asked for since the process started.

    A SIGTERM is kept until there is another handler for it, and is then sent again: whoever sets one loses nothing,
    and need not know of this. A SIGHUP is kept in `reload_wanted`.
    """

    def __init__(self) -> None:
        self.end_wanted = False
        self.reload_wanted = False
        self._ends_at_once = False
        self._hang_up_before: signal._HANDLER = signal.SIG_DFL

    def catch(self) -> None:
        """Keep SIGTERM and SIGHUP from now on. Only in the main thread."""
        signal.signal(signal.SIGTERM, self._end)
        self._hang_up_before = signal.signal(signal.SIGHUP, self._reload)
        # Whoever started this process may have blocked them until here, as the Dockerfile does.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))

    def end_at_once(self) -> None:
        """From now on SIGTERM raises SystemExit(TERMINATED); one that has come already does so now."""
        self._ends_at_once = True
        if self.end_wanted:
            raise SystemExit(TERMINATED)

    def let_hang_up_end(self) -> None:
        """SIGHUP ends the process again, as it does any command whose terminal is closed."""
        if signal.getsignal(signal.SIGHUP) == self._reload:
            signal.signal(signal.SIGHUP, self._hang_up_before)
            if self.reload_wanted:
                signal.raise_signal(signal.SIGHUP)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        first, self.end_wanted = not self.end_wanted, True
        if self._ends_at_once:
            raise SystemExit(TERMINATED)
        # Raising here would not do: in the middle of an import an exception may be swallowed.
        if first:
            # Handlers are called in the main thread: that one is woken.
            _thread.start_new_thread(self._send_again, (_thread.get_ident(),))

    def _send_again(self, main_thread: int) -> None:
        while signal.getsignal(signal.SIGTERM) == self._end:
            time.sleep(_LOOK_EVERY_S)
        signal.pthread_kill(main_thread, signal.SIGTERM)

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload_wanted = True


SIGNALS = Signals()
"""Those of this process."""
