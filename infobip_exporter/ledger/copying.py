"""A state copied to another place, SQLite or PostgreSQL, and held against the first."""

from infobip_exporter.config.schema import State
from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.contents import Contents, reading
from infobip_exporter.ledger.opening import open_store
from infobip_exporter.ledger.progress import decode
from infobip_exporter.ledger.store import Saved, Store, Writes


def copy(source: State, target: State) -> int:
    """Copy all feeds of `source` to `target`, which may hold none of them yet. Returns how many.

    Nobody may use either meanwhile. Raises LedgerError, also where what was written is not what was read.
    """
    with reading(source) as contents:
        contents.refuse_if_in_use()
        feeds = list(contents.feeds())
        store, replica = open_store(target)
        try:
            if replica:
                leases, _ = replica
                leases.join()
                leases.add({(account, channel) for account, channel, _ in feeds})
                leases.take([row for row in leases.look().feeds if not row.owner])
            for account, channel, saved in feeds:
                _copy_feed(contents, account, channel, saved, store)
            if replica:
                leases.leave()
        finally:
            store.close()
        with reading(target) as written:
            _compare(contents, feeds, written)
    return len(feeds)


def _copy_feed(contents: Contents, account: str, channel: str, saved: Saved, store: Store) -> None:
    there = store.load(account, channel)
    if there.progress:
        raise LedgerError(f"state {store.where}: holds {account}/{channel} already: name a new place")
    messages = contents.messages(saved.held, [cell.since_ms for cell in saved.cells])
    store.save_released(there.held, contents.released(saved.held))
    store.commit(
        there.held,
        Writes(
            series=saved.series,
            cells=saved.cells,
            settled={since_ms: each.settled for since_ms, each in messages.items() if each.settled},
            in_flight_messages={
                since_ms: each.in_flight for since_ms, each in messages.items() if each.in_flight
            },
            settled_by_hour=saved.settled_by_hour,
            rejected=contents.rejected(saved.held),
            progress=saved.progress,
            read_up_to_ms=decode(saved.progress).read_up_to_ms,
        ),
    )


def _compare(contents: Contents, feeds: list[tuple[str, str, Saved]], written: Contents) -> None:
    after = {(account, channel): saved for account, channel, saved in written.feeds()}
    for account, channel, saved in feeds:
        found = after.get((account, channel))
        cells = [cell.since_ms for cell in saved.cells]
        same = found is not None and (
            (saved.progress, saved.series, saved.cells, saved.settled_by_hour)
            == (found.progress, found.series, found.cells, found.settled_by_hour)
            and contents.messages(saved.held, cells) == written.messages(found.held, cells)
            and contents.released(saved.held) == written.released(found.held)
            and contents.rejected(saved.held) == written.rejected(found.held)
        )
        if not same:
            raise LedgerError(
                f"state {written.where}: {account}/{channel} is not what was copied: remove it, copy again"
            )
