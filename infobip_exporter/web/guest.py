"""A client's connection as seen by the server as a whole: how many there are, and which has to make room."""

from collections.abc import Collection


class Guest:
    """What every connection is, before and after its TLS handshake."""

    @property
    def waiting_since(self) -> float | None:
        """The loop's time since when nothing has been asked; None while an answer is under way."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        raise NotImplementedError


def make_room(guests: Collection[object], most: int, newest: Guest) -> Guest | None:
    """Of more than `most` guests, drop and return the one that has waited longest; `newest` if none waits."""
    if len(guests) <= most:
        return None
    waiting = [guest for guest in guests if isinstance(guest, Guest) and guest.waiting_since is not None]
    longest = min(waiting, key=lambda guest: guest.waiting_since or 0.0, default=newest)
    longest.drop()
    return longest
