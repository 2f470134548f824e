"""What is still to come against what is free, before anything is fetched. Any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from wgetpool.errors import MachineError
from wgetpool.ledger import LedgerError, read_size, read_sizes
from wgetpool.model import Entry
from wgetpool.part import recorded_sizes
from wgetpool.store import Store, length_of, names_in
from wgetpool.words import count, format_size


def demand_room(
    store: Store, entries: Sequence[Entry], *, min_free: int, skip_gone: bool = False
) -> None:
    """Raises MachineError where what is known to be still to come is more than the disk has room
    for: by the sizes in the list and in the ledger. Costs next to nothing where all fits anyway.
    """
    if (free := store.free()) is None:
        return
    room = max(free - min_free, 0)
    parts = recorded_sizes(store)
    if _most_to_come(store, entries, parts) <= room:
        return
    folders = _Folders(store)
    wanted = _wanted(store, entries, parts, None if skip_gone else folders)
    if sum(size for _, size in wanted) <= room:
        return
    to_come = [size - here for name, size in wanted if size > (here := folders.length(name))]
    missing = sum(to_come)
    if missing <= room:
        return
    what = f"The disk has no room for {count(len(to_come), 'file')} of {len(entries):,}"
    raise MachineError(
        f"{what}: {against_room(missing, free, min_free)}. Make room, choose fewer "
        "(--select, --end) or another folder (-o); or --force fetches what there is room for."
    )


def _most_to_come(store: Store, entries: Sequence[Entry], parts: Mapping[str, int]) -> int:
    """What may come at most, as far as it is known: without a look at a single row or file."""
    listed = [entry.size for entry in entries if entry.size is not None]
    most = sum(listed)
    if len(listed) < len(entries):
        most += sum(parts.values())
        with suppress(LedgerError, OSError):  # the run will say what is wrong with it
            most += read_size(store.ledger) if store.ledger.exists() else 0
    return most


def _wanted(
    store: Store, entries: Iterable[Entry], parts: Mapping[str, int], folders: _Folders | None
) -> list[tuple[str, int]]:
    """The files that are not done, or are gone from their `folders` since (None: those are not
    wanted back), with their sizes, where anything here tells them. Looks at none of them.
    """
    ledger: dict[str, tuple[bool, int | None]] = {}
    with suppress(LedgerError, OSError):
        if store.ledger.exists():
            ledger = {name: (done, size) for name, done, size in read_sizes(store.ledger)}
    wanted = []
    for entry in entries:
        done, known = ledger.get(entry.name, (False, None))
        here = folders is None or folders.has(entry.name) if done else False
        if here and entry.size in {None, known}:
            continue
        size = known if entry.size is None else entry.size
        size = parts.get(entry.name) if size is None else size
        if size is not None:
            wanted.append((entry.name, size))
    return wanted


class _Folders:
    """Looks how much is here of files. What is not in its folder is not asked for one by one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[str, frozenset[str]] = {}

    def has(self, name: str) -> bool:
        """Whether something of this name is there."""
        folder, _, base = name.rpartition("/")
        return base in self._there(folder)

    def _there(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            self._names[folder] = names_in(self._store.directory / folder)
        return self._names[folder]

    def length(self, name: str) -> int:
        """Bytes that are here of it: in its part, or under its own name."""
        folder, _, base = name.rpartition("/")
        there = self._there(folder)
        part = length_of(self._store.part(name)) if f"{base}.part" in there else 0
        return max(part, length_of(self._store.final(name)) if base in there else 0)


def against_room(to_come: int, free: int, min_free: int) -> str:
    """'4.2 TiB are still to come, 1.1 TiB are free, 1.0 GiB are kept (--min-free)'."""
    kept = f", {format_size(min_free)} are kept (--min-free)" if min_free else ""
    return f"{format_size(to_come)} are still to come, {format_size(free)} are free{kept}"
