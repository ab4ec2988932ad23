"""User names and passwords against bcrypt hashes, at a bounded cost.

A check is made to be slow, and its price is paid once: of each user the password that was right is remembered, as a keyed
digest, and so are the last wrong ones. What was not checked yet waits in a line for a worker beside the event loop.
"""

import asyncio
import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import Enum

import bcrypt

from infobip_exporter.model.secret import Secret
from infobip_exporter.web.check_line import Addresses, CheckLine, LineFull

MOST_ASKING = 64
"""Requests that may wait for checks, several for the same one: far from as many as there may be connections."""

MOST_WRONG = 1000
"""Wrong passwords that are remembered: a scraper with an old one costs one check."""

LONGEST = 72
"""Bytes of a password that bcrypt looks at; whatever made the hash has cut off the rest as well."""

_NOTHING = bytes(32)

Check = Callable[[bytes, bytes], bool]
"""Password and hash; whether they belong together."""


class Verdict(Enum):
    RIGHT = "right"
    WRONG = "wrong"
    BUSY = "busy"
    """Not looked at: too many are waiting."""


class BasicAuth:
    """The users of the web configuration. Belongs to the event loop."""

    def __init__(self, users: Mapping[str, Secret], check: Check = bcrypt.checkpw) -> None:
        self._check = check
        self._key = secrets.token_bytes(32)
        self._hashes: dict[bytes, bytes] = {}
        self._verified: dict[bytes, bytes] = {}
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._addresses = Addresses()
        self._lines: dict[bytes, CheckLine] = {}
        """By cost, so that costly checks hold up no others."""
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._asking = 0
        self.change_users(users)

    def change_users(self, users: Mapping[str, Secret]) -> None:
        """Go on with `users`. Passwords of those whose hash is the same need no new check."""
        before, self._hashes = (
            self._hashes,
            {name.encode(): hashed.reveal().encode() for name, hashed in users.items()},
        )
        self._verified = {
            user: digest for user, digest in self._verified.items() if self._hashes.get(user) == before[user]
        }
        self._wrong.clear()
        self._under_way.clear()

    async def verdict(self, user: bytes, password: bytes, client: str) -> Verdict:
        """Whether `password` is that of `user`. `client` is the address it comes from."""
        password = password[:LONGEST]
        digest = hmac.digest(self._key, b"%d:" % len(user) + user + password, "sha256")
        if hmac.compare_digest(digest, self._verified.get(user, _NOTHING)):
            return Verdict.RIGHT
        if digest in self._wrong:
            return Verdict.WRONG
        if self._asking >= MOST_ASKING:
            return Verdict.BUSY
        task = self._under_way.get(digest)
        if task is None:
            task = self._under_way[digest] = asyncio.create_task(
                self._look_up(user, password, digest, client)
            )
            task.add_done_callback(lambda done: (self._under_way.pop(digest, None), done.exception()))
        self._asking += 1
        try:
            # Others may wait for the same check, so it goes on when this request is given up.
            return Verdict.RIGHT if await asyncio.shield(task) else Verdict.WRONG
        except LineFull:
            return Verdict.BUSY
        finally:
            self._asking -= 1

    async def _look_up(self, user: bytes, password: bytes, digest: bytes, client: str) -> bool:
        hashed = self._hash_for(user)
        line = self._lines.setdefault(hashed[4:6], CheckLine(self._addresses))
        is_right = await line.check(client, lambda: self._check(password, hashed) and user in self._hashes)
        if is_right and self._hashes.get(user) == hashed:  # the users may have changed meanwhile
            self._verified[user] = digest
            return True
        self._wrong[digest] = None
        if len(self._wrong) > MOST_WRONG:
            self._wrong.popitem(last=False)
        return False

    def _hash_for(self, user: bytes) -> bytes:
        """The hash of `user`; of one that is unknown always the same other one's, so that both take as long."""
        if user in self._hashes:
            return self._hashes[user]
        place = int.from_bytes(hmac.digest(self._key, b"unknown:" + user, "sha256"))
        return list(self._hashes.values())[place % len(self._hashes)]


def credentials(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
    """User and password in the headers of a request, if there are any that can be read."""
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1:
        return None
    scheme, _, encoded = given[0].strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None
