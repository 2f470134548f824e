"""The short loop that drives a run: orders out to the workers, outcomes and signals in, one place
to block.

Runs in the main thread, which does no I/O on DIR: workers fetch, one keeper thread surveys,
publishes and owns the ledger, one sampler thread looks how far the parts are (see `monitor`).
Whatever they return, and every signal, arrives in one inbox.
"""

from __future__ import annotations

import math
import os
import random
import signal
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from wgetpool import __version__, orphans, process, proof, wget
from wgetpool.attempt import fetch
from wgetpool.batch import fetch_batch
from wgetpool.crew import Crew, recruit
from wgetpool.errands import Errands
from wgetpool.errors import ExitCode, MachineError
from wgetpool.events import (
    Event,
    FileFailed,
    Paused,
    Reporter,
    Resumed,
    RunFinished,
    RunStarted,
    Stopping,
    Warned,
)
from wgetpool.failures import server_ahead
from wgetpool.forecast import demand_room
from wgetpool.links import Outlived
from wgetpool.model import (
    AttemptOrder,
    Clock,
    Entry,
    Failure,
    FailureClass,
    FileRecord,
    Head,
    Inbox,
    Outcome,
    Relister,
    Sample,
    Settings,
    WholePart,
)
from wgetpool.monitor import Monitor
from wgetpool.orphans import Cleared
from wgetpool.outbox import GROUP, Outbox
from wgetpool.publish import Presence, Publisher, Surveyed
from wgetpool.records import done_row, row_of
from wgetpool.scheduler import Scheduler
from wgetpool.signed import expiry_of
from wgetpool.store import RunLock, Store
from wgetpool.words import BLOCKED, count

FORESEE_EVERY = 60.0  # seconds
SURVEY_CHUNK = 500  # entries looked up at a time
PATIENCE = 15.0  # seconds until threads that do not come to their end are left behind
AT_ONCE = 0.5  # and after a second Ctrl-C


class OutputStuckError(OSError):
    """Raised by a signal handler out of a write that nobody takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What the keeper found and made in DIR."""

    lock: RunLock
    publisher: Publisher
    left: Cleared
    alone: bool
    free: int | None
    expired: int


class Pool:
    """One run. `interrupt` and `nudge` may be called from a signal handler, everything else from
    the main thread.
    """

    def __init__(
        self,
        settings: Settings,
        entries: Sequence[Entry],
        *,
        reporter: Reporter,
        clock: Clock | None = None,
        jitter: random.Random | None = None,
        crew: Crew | None = None,
        inbox: Inbox | None = None,
        relister: Relister | None = None,
    ) -> None:
        wanted = max(min(settings.workers, len(entries)), 1)
        self._crew = crew or recruit(wanted)
        if self._crew.size < wanted:
            settings = replace(settings, workers=self._crew.size)
        self._settings = settings
        self._complaints = [*self._crew.complaints, *wget.warnings_about(os.environ)]
        self._clock: Clock = clock or process.SystemClock()
        self._errands = Errands(inbox)
        self._reporter, self._entries = reporter, entries
        self._next = 0  # the entry that the survey has come to
        self._store = Store(settings.directory, settings.locking)
        self._run = uuid.uuid4().hex
        self._environment = process.marked_environment(self._run, wget.ENVIRONMENT)
        self._children = process.Children()
        self._trails = proof.Trails()
        self._stop = process.StopSwitch()
        self._scheduler = Scheduler(
            settings,
            len(entries),
            clock=self._clock,
            jitter=jitter or random.Random(),  # noqa: S311  spreads retries, guards nothing
            emit=self._emit,
            links_files=relister.names if relister else (),
        )
        self._lock: RunLock | None = None
        self._publisher: Publisher | None = None
        self._keeping = 0  # jobs that the keeper has
        self._gone = 0
        self._outbox = Outbox(self._clock, group=min(GROUP, max(self._crew.crowd // 2, 1)))
        self._claims: set[int] = set()  # of whole parts, on their way from worker to keeper
        self._started_at = self._clock.now()
        self._monitor = Monitor(
            self._store,
            self._run,
            scheduler=self._scheduler,
            clock=self._clock,
            errands=self._errands,
            sampler=self._crew.sampler,
            interval=reporter.progress_interval,
            emit=self._emit,
            keep=self._outbox.add_row,
            relister=relister,
        )
        self._foresee_at = 0.0
        self._signals: list[int] = []
        self._give_up_at: float | None = None
        self._telling_since: float | None = None
        self._hangs = False  # a wget is stuck in state D
        self._finished = self._is_ending = self._pause_wanted = False
        self.muted = False
        self.abandoned = False  # threads are left behind that hang, or that nobody waits for

    # ------------------------------------------------------------ the loop

    def interrupt(self, number: int) -> None:
        """A signal came: one `put`, since a handler may do no more."""
        if number == signal.SIGTSTP:
            self._pause_wanted = True
        else:
            self._is_ending = True
        self._errands.put(self._on_signal, number)

    def nudge(self) -> None:
        """Some time after a signal: heeds it where the main loop cannot, since it hangs in a write
        that nobody takes (a full pipe). The write is broken off, but not by a pause.
        """
        if self._telling_since is None or self._clock.now() - self._telling_since < 1.0:
            return
        if self._is_ending:
            self._telling_since = None
            raise OutputStuckError
        if self._pause_wanted:
            self._pause()

    def run(self) -> RunFinished:
        """Fetches everything. Raises MachineError; whatever happens, no child of the run outlives
        it.
        """
        try:
            self._keep(self._on_open, self._open)
            while not self._is_finished():
                self._hand_out()
                self._wait()
        except MachineError as error:
            if self._publisher is None:
                raise
            self._scheduler.halt(Failure(kind=FailureClass.LOCAL, reason=str(error)))
            self._warn(str(error))
        finally:
            self._end()
        return self._finish()

    def _is_finished(self) -> bool:
        if self._give_up_at is not None and self._clock.now() >= self._give_up_at:
            return True
        if self._keeping or not self._outbox.is_empty:
            return False
        halted = self._scheduler.halted is not None
        return self._scheduler.is_idle and (self._surveyed_all or halted)

    def _hand_out(self) -> None:
        """Gives work to whoever is free."""
        scheduler = self._scheduler
        self._hangs = self._children.stuck() > 0  # those that have ended since are reaped
        if self._publisher is not None:
            # A slow disk holds up fetching.
            while self._has_room and (order := scheduler.next_order()):
                more = scheduler.companions(order, self._companions)
                work, orders = (self._fetch_batch, [order, *more]) if more else (self._fetch, order)
                self._errands.send(self._crew.workers, self._on_outcomes, work, orders)
            if not self._hangs:  # the disk does not answer, and would keep the keeper, too
                self._employ_keeper()
            self._monitor.look_when_due()
            self._foresee_when_due()

    def _employ_keeper(self) -> None:
        if entries := self._scheduler.due_elsewhere():
            self._survey(entries)
        if not self._keeping and self._scheduler.wants_more:
            self._survey_next()
        self._publish_when_due()

    @property
    def _has_room(self) -> bool:
        return self._scheduler.crowd < self._crew.crowd

    @property
    def _companions(self) -> int:
        """How many files more the next wget may have: no worker is to use up the others' share."""
        crowd = self._crew.crowd
        return min(crowd - self._scheduler.crowd, crowd // (2 * self._settings.workers))

    def _wait(self) -> None:
        """Blocks until something arrives or is due, then takes it."""
        now = self._clock.now()
        dues = [self._scheduler.due_in(room=self._has_room)]
        if not self._keeping:
            dues.append(self._outbox.due_in())
        if self._publisher is not None:
            dues.append(self._monitor.due_in())
        if self._give_up_at is not None:
            dues.append(self._give_up_at - now)
        wait = min((due for due in dues if due is not None), default=None)
        if self._hangs:  # what is due may have to wait for the disk
            wait = 1.0 if wait is None else max(wait, 0.5)
        self._errands.take(wait)

    # ------------------------------------------------------------ workers

    def _fetch(self, order: AttemptOrder) -> list[Outcome]:
        outcome = fetch(
            order,
            stop=self._stop,
            clock=self._clock,
            environment=self._environment,
            trails=self._trails,
            launch=self._children,
            recall=self._scheduler.is_recalled,
            tell=self._tell_head,
        )
        return self._noting_claims([outcome])

    def _fetch_batch(self, orders: Sequence[AttemptOrder]) -> list[Outcome]:
        outcomes = fetch_batch(
            orders,
            stop=self._stop,
            clock=self._clock,
            environment=self._environment,
            launch=self._children,
            recall=self._scheduler.is_recalled,
        )
        return self._noting_claims(outcomes)

    def _noting_claims(self, outcomes: list[Outcome]) -> list[Outcome]:
        self._claims.update(one.whole.claim for one in outcomes if one.whole is not None)
        return outcomes

    def _tell_head(self, name: str, head: Head) -> None:
        """Called by workers: the main thread is to know of it now, not when the attempt is over."""
        ahead = server_ahead(head, self._clock.wall())
        self._errands.put(lambda told: self._scheduler.hear(*told), (name, head, ahead))

    def _on_outcomes(self, outcomes: list[Outcome]) -> None:
        """That of the first file comes last: then the attempt is over."""
        for outcome in (*outcomes[1:], outcomes[0]):
            whole = self._scheduler.take(outcome)
            if whole is not None:
                self._outbox.add_part(whole)

    # ------------------------------------------------------------ the keeper

    def _keep(self, handle: Callable[[Any], None], work: Callable[..., Any], *args: Any) -> None:
        self._keeping += 1

        def done(result: Any) -> None:
            self._keeping -= 1
            handle(result)

        self._errands.send(self._crew.keeper, done, work, *args)

    def _open(self) -> _Opened:
        """Makes what the run needs in DIR, and ends the wgets that killed runs left behind."""
        manners = self._settings.manners
        if not manners.force:
            demand_room(
                self._store,
                self._entries,
                min_free=manners.min_free,
                skip_gone=self._settings.skip_gone,
            )
        self._store.make()
        if self._settings.locking:
            self._store.demand_locks()
        left = orphans.clear(self._store)
        lock = self._lock = self._store.lock_run(self._run)
        publisher = Publisher(
            self._store,
            clock=self._clock,
            remote_time=self._settings.remote_time,
            skip_gone=self._settings.skip_gone,
        )
        publisher.expect(self._entries)
        return _Opened(
            lock=lock,
            publisher=publisher,
            left=left,
            alone=self._store.live_runs() == [self._run],
            free=self._store.free(),
            expired=self._survey_expired(publisher),
        )

    def _survey_expired(self, publisher: Publisher) -> int:
        """How many files are still to come whose links have expired."""
        now = self._clock.wall()
        entries = [e for e in self._entries if (at := expiry_of(e)) and at <= now]
        return sum(one.presence is not Presence.KNOWN for one in publisher.survey(entries))

    def _on_open(self, opened: _Opened) -> None:
        self._lock, self._publisher, left = opened.lock, opened.publisher, opened.left
        self._scheduler.alone = opened.alone
        self._scheduler.see(opened.free, {})
        self._monitor.expect_rate(self._publisher.last_rate)
        self._emit(
            RunStarted(
                run=self._run,
                directory=str(self._settings.directory),
                files=self._scheduler.files,
                workers=self._settings.workers,
                proxy=self._proxy(),
                version=__version__,
            )
        )
        if left.ended:
            ended = count(len(left.ended), "wget")
            self._complaints.append(f"ended {ended} that a killed run had left behind")
        if left.stuck:
            stuck = count(len(left.stuck), "wget")
            self._complaints.append(f"{stuck} of a killed run cannot be ended: {BLOCKED}")
        if self._publisher.warning:
            self._complaints.append(self._publisher.warning)
        if 0 < opened.expired < len(self._entries):
            files = f"{opened.expired:,} of {count(len(self._entries), 'link')}"
            told = "have expired by this machine's clock, and are not tried"
            self._complaints.append(f"{files} {told}")
        for complaint in self._complaints:
            self._warn(complaint)

    def _proxy(self) -> str | None:
        """The proxies that wget asks, by the first links."""
        urls = [entry.url for entry in self._entries[:SURVEY_CHUNK]]
        found = dict.fromkeys(wget.proxy_of(url, os.environ) for url in urls)
        return ", ".join(proxy for proxy in found if proxy) or None

    def _foresee_when_due(self) -> None:
        """Whether the links that are left will last, at the rate that the run makes."""
        now, left = self._clock.now(), self._monitor.left
        if left is None or now < self._foresee_at:
            return
        self._foresee_at = now + FORESEE_EVERY
        entries = [*self._scheduler.to_come(), *self._entries[self._next :]]
        work = self._scheduler.links.outlived
        self._errands.send(self._crew.sampler, self._on_foreseen, work, entries, left)

    def _on_foreseen(self, lost: Outlived | None) -> None:
        if lost is not None:
            self._foresee_at = math.inf  # said once
            self._warn(f"{lost}. {self._scheduler.remedy}")

    def _close(self, last: Sample | None) -> None:
        if self._publisher is not None:
            if last is not None:
                with suppress(MachineError):  # it is over, whatever becomes of this
                    self._publisher.record([last])
            self._publisher.close()
        for claim in self._claims:
            os.close(claim)
        if self._lock is not None:
            self._lock.release()

    def _survey_next(self) -> None:
        if not self._surveyed_all and self._scheduler.halted is None:
            chunk = self._entries[self._next : self._next + SURVEY_CHUNK]
            self._next += len(chunk)
            self._survey(chunk)

    @property
    def _surveyed_all(self) -> bool:
        return self._next >= len(self._entries)

    def _survey(self, entries: Sequence[Entry]) -> None:
        assert self._publisher is not None  # noqa: S101
        self._keep(self._on_survey, self._publisher.survey, entries)

    def _on_survey(self, surveyed: list[Surveyed]) -> None:
        for one in surveyed:
            match one.presence:
                case Presence.KNOWN:
                    self._scheduler.skip(one.entry, size=one.size, why="known")
                case Presence.STRANGE:
                    self._scheduler.add(one.entry, examine=True, broken_sha256=one.broken_sha256)
                case Presence.GONE if self._settings.skip_gone:
                    self._gone += 1
                    self._scheduler.skip(one.entry, size=0, why="gone")
                case Presence.GONE | Presence.ABSENT:
                    self._gone += one.presence is Presence.GONE
                    self._scheduler.add(one.entry, begun=one.size, broken_sha256=one.broken_sha256)
        self._scheduler.surveyed = self._surveyed_all
        if self._gone and self._surveyed_all:
            verb = "is" if self._gone == 1 else "are"
            what = "left out" if self._settings.skip_gone else "fetched again (or --skip-gone)"
            self._warn(
                f"{count(self._gone, 'file')} that had been fetched {verb} no longer there: {what}"
            )
            self._gone = 0

    def _publish_when_due(self) -> None:
        """Publishes a group that has waited long enough, or when nothing else is going on."""
        due_in = self._outbox.due_in()
        if self._keeping or due_in is None or self._publisher is None:
            return
        if due_in > 0 and self._scheduler.running:
            return
        group, rows = self._outbox.take()
        rows += [self._done_row(whole) for whole in group]
        self._claims.difference_update(whole.claim for whole in group)
        self._keep(self._on_published, self._publisher.publish, group, rows)

    def _on_published(self, results: dict[str, OSError | None]) -> None:
        for name, error in results.items():
            self._scheduler.published(name, error)

    def _done_row(self, whole: WholePart) -> FileRecord:
        attempts, seconds = self._scheduler.effort(whole.name)
        return done_row(whole, attempts=attempts, seconds=seconds, at=self._clock.wall())

    # ------------------------------------------------------------ listeners

    def _emit(self, event: Event) -> None:
        try:
            self._tell(event)
        except OSError as error:
            if not (self._signals or isinstance(error, OutputStuckError)):
                raise
            self.muted = True  # nobody reads us any more; the signal says how we end
        if isinstance(event, FileFailed):
            self._trails.drop(event.name)
        if row := row_of(event, run=self._run, at=self._clock.wall()):
            self._outbox.add_row(row)

    def _tell(self, event: Event) -> None:
        if not self.muted:
            try:
                self._telling_since = self._clock.now()
                self._reporter.handle(event)
            finally:
                self._telling_since = None

    def _warn(self, message: str) -> None:
        self._emit(Warned(message=message))

    # ------------------------------------------------------------ the end

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGTSTP:
            # Not when it was heeded before, nor when the end has been asked for: who does that
            # wakes us first, and might find us stopped again.
            if self._pause_wanted and not (self._finished or self._is_ending):
                self._emit(Paused())
                self._pause()
                self._emit(Resumed())
            return
        self._signals.append(number)
        if self._finished:  # it came while the last line was written
            return
        if len(self._signals) == 1:
            name = signal.Signals(number).name
            self._scheduler.halt(Failure(kind=FailureClass.LOCAL, reason=name))
            self._stop.set()
            self._give_up_at = self._clock.now() + PATIENCE
            self._emit(Stopping(reason=name))
        elif self._is_impatient:
            self._children.kill(0)
            self._give_up_at = self._clock.now() + AT_ONCE

    @property
    def _is_impatient(self) -> bool:
        return signal.SIGINT in self._signals[1:]

    def _pause(self) -> None:
        """Stops the wgets, the clock and ourselves; returns when we go on."""
        self._pause_wanted = False
        self._clock.stop()
        self._children.stop()
        process.stop_ourselves()
        self._children.go_on()
        self._clock.go_on()

    def _end(self) -> None:
        """Ends all that is under way, and waits for it no longer than PATIENCE: a disk that does
        not answer must not keep us. What such threads leave is what a crash leaves.
        """
        self._errands.drop()
        self._monitor.close()
        self._stop.set()
        self._crew.workers.shutdown(wait=False, cancel_futures=True)
        self.abandoned = True
        try:
            self.abandoned = not self._wind_up()
        finally:  # also when a script's Ctrl-C breaks the waiting off
            stuck = self._children.kill(AT_ONCE) if self.abandoned else 0
        if stuck:
            self._warn(f"{count(stuck, 'wget')} cannot be ended: {BLOCKED}")
        elif self.abandoned and not self._is_impatient:
            self._warn(f"not waited for what hangs: {self._settings.directory} does not answer")

    def _wind_up(self) -> bool:
        """Waits for all, then closes what the run has open; returns whether that went well."""
        patience = PATIENCE
        if self._give_up_at is not None:
            patience = max(self._give_up_at - self._clock.now(), 0.0)
        if not self._all_arrive(patience) or self._children.stuck():  # it would hang as well
            return False
        last = self._monitor.last_sample()
        self._errands.send(self._crew.keeper, lambda _: None, self._close, last)
        if not self._all_arrive(max(patience, AT_ONCE)):
            return False
        for executor in (self._crew.keeper, self._crew.sampler, self._crew.workers):
            executor.shutdown()
        self._stop.close()
        return True

    def _all_arrive(self, patience: float) -> bool:
        """Whether nobody has a job any more after so many seconds, or a second Ctrl-C."""
        end = self._clock.now() + patience
        while self._errands.under_way and (now := self._clock.now()) < end:
            self._errands.take(min(end - now, AT_ONCE))
            if self._is_impatient:
                break
        return not self._errands.under_way

    def _finish(self) -> RunFinished:
        tally = self._scheduler.tally
        finished = RunFinished(
            done=tally.done,
            skipped=tally.skipped,
            failed=tally.failed,
            left=self._scheduler.files - tally.done - tally.skipped - tally.failed,
            bytes=tally.received,
            seconds=round(self._clock.now() - self._started_at, 3),
            exit_code=self._exit_code(),
        )
        self._finished = True
        self._emit(finished)
        while self._errands.take(0):  # a signal that came meanwhile
            pass
        code = self._exit_code()
        return finished if code == finished.exit_code else replace(finished, exit_code=code)

    def _exit_code(self) -> int:
        if self._signals:
            return 128 + self._signals[0]
        if self._scheduler.halted is not None:
            return ExitCode.MACHINE
        return ExitCode.FAILED if self._scheduler.tally.failed else ExitCode.WHOLE
