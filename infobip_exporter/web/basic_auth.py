"""Who may come in: user names and passwords against bcrypt hashes, at a bounded cost.

A check is made to be slow, and its price is paid once: of each user the password that was right is remembered, as a keyed
digest. What has not been right yet waits for one worker beside the event loop, which rests after each wrong password.
Only so many wait; whoever comes beyond that is told at once to come back.
"""

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from enum import Enum

import bcrypt

from infobip_exporter.model.secret import Secret

MOST_WAITING = 8
"""Checks that may wait for the worker, the one it is at included."""

MOST_OF_ONE_CLIENT = 4
"""How many of them may come from one address, so that there is room for the others."""

MOST_ASKING = 64
"""Requests that may wait for a check, several for the same one: far from as many as there may be connections."""

REST = 3.0
"""After a wrong password the worker rests so many times as long as the check took: a flood gets a quarter of a core."""

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
    """The users of one reading of the web configuration. Belongs to the event loop; `worker` is where checks run."""

    def __init__(
        self,
        users: Mapping[str, Secret],
        worker: Executor,
        check: Check = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hashes = {name.encode(): hashed.reveal().encode() for name, hashed in users.items()}
        self._worker = worker
        self._check = check
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, bytes] = {}
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._waiting_of: Counter[str] = Counter()
        self._asking = 0
        self._turn = asyncio.Semaphore(1)

    async def verdict(self, user: bytes, password: bytes, client: str) -> Verdict:
        """Whether `password` is that of `user`. `client` is the address it comes from."""
        password = password[:LONGEST]
        digest = hmac.digest(self._key, b"%d:" % len(user) + user + password, "sha256")
        if hmac.compare_digest(digest, self._verified.get(user, _NOTHING)):
            return Verdict.RIGHT
        if self._asking >= MOST_ASKING:
            return Verdict.BUSY
        task = self._under_way.get(digest)
        if task is None:
            if len(self._under_way) >= MOST_WAITING or self._waiting_of[client] >= MOST_OF_ONE_CLIENT:
                return Verdict.BUSY
            task = self._begun(user, password, digest, client)
        self._asking += 1
        try:
            # Others may wait for the same check, so it goes on when this request is given up.
            return Verdict.RIGHT if await asyncio.shield(task) else Verdict.WRONG
        finally:
            self._asking -= 1

    def _begun(self, user: bytes, password: bytes, digest: bytes, client: str) -> asyncio.Task[bool]:
        task = asyncio.create_task(self._looked_up(user, password, digest))
        self._under_way[digest] = task
        self._waiting_of[client] += 1

        def ended(_: asyncio.Task[bool]) -> None:
            del self._under_way[digest]
            self._waiting_of[client] -= 1
            self._waiting_of += Counter()  # forgets the addresses that wait for nothing

        task.add_done_callback(ended)
        return task

    async def _looked_up(self, user: bytes, password: bytes, digest: bytes) -> bool:
        loop = asyncio.get_running_loop()
        await self._turn.acquire()
        began_s = self._clock()
        right = False
        try:
            matches = await loop.run_in_executor(self._worker, self._check, password, self._hash_for(user))
            right = matches and user in self._hashes
        finally:
            rest_s = 0.0 if right else REST * (self._clock() - began_s)
            loop.call_later(rest_s, self._turn.release)
        if right:
            self._verified[user] = digest
        return right

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
