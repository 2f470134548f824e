"""Work that others do for the main thread, and the inbox that all comes back in, signals too.

Main thread; `put` may be called by any, and from a signal handler.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from wgetpool import process
from wgetpool.model import Inbox


class Errands:
    """Counts what is under way. The inbox has pairs of what is to be called, here, with what."""

    def __init__(self, inbox: Inbox | None = None) -> None:
        self._inbox: Inbox = inbox or process.Mailbox()
        self._dropping = False
        self.under_way = 0

    def send(
        self,
        executor: Executor,
        handle: Callable[[Any], None],
        work: Callable[..., Any],
        *args: Any,
    ) -> None:
        """Has `work` done elsewhere, and `handle` called here with what it returns."""

        def come_back(future: Future[Any]) -> None:
            self.put(receive, future)

        def receive(future: Future[Any]) -> None:
            self.under_way -= 1
            if not self._dropping:
                handle(future.result())

        self.under_way += 1
        executor.submit(work, *args).add_done_callback(come_back)

    def put(self, handle: Callable[[Any], None], argument: Any) -> None:
        self._inbox.put((handle, argument))

    def take(self, timeout: float | None) -> bool:
        """Handles what arrives within so many seconds (None: whenever); returns whether anything
        did.
        """
        try:
            handle, argument = self._inbox.get(timeout=timeout)
        except TimeoutError:
            return False
        handle(argument)
        return True

    def drop(self) -> None:
        """From now on, nobody wants to know what comes of it."""
        self._dropping = True
