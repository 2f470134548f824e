"""Random histories of one file: what is in DIR first, and what the server does at each request.

Whatever happens, the file is what the server has in the end, whole: never a mixture.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from support.doubles import ListReporter
from support.faultserver import FaultServer, Reply, Request, file, status
from support.runner import OVERLAP, Blob, random_bytes, sha256

from wgetpool import process
from wgetpool.errors import ExitCode
from wgetpool.ledger import read_all
from wgetpool.model import Entry, Limits, RetryPolicy, Settings, Url
from wgetpool.pool import Pool
from wgetpool.store import Store
from wgetpool.wget import find_wget

SIZE = 200_000
WGET = find_wget(None, output_of=process.output_of)
DATES = [f"Mon, {day:02} Sep 2025 10:00:00 GMT" for day in range(1, 29)]


@dataclass(frozen=True)
class Act:
    """What the server does at one request. `change` comes first: a new version of the file."""

    kind: str
    cut: int | None = None
    then: str = "close"
    change: str = ""


@dataclass
class Remote:
    """The server's side: a script, then calm. Each version has bytes of its own, but for those that
    only their validators tell from the one before.
    """

    acts: list[Act]
    validators: str
    versions: list[bytes] = field(default_factory=lambda: [random_bytes(SIZE, 0)])
    requests: int = 0

    @property
    def now(self) -> bytes:
        return self.versions[-1]

    def reply(self, request: Request) -> Reply:
        act = self.acts[self.requests] if self.requests < len(self.acts) else Act("whole")
        self.requests += 1
        if act.change:
            self.versions.append(self._changed(act.change))
        number = len(self.versions)
        tag, date = {
            "none": (None, None),
            "etag": (f'"{number}"', None),
            "weak etag": (f'W/"{number}"', None),
            "date": (None, DATES[number]),
            "both": (f'"{number}"', DATES[number]),
            "an etag that stays": ('"1"', None),
        }[self.validators]
        whole = file(self.now, etag=tag, modified=date).but(cut=act.cut, then=act.then)
        start = request.start or 0
        return {
            "whole": whole,
            "range ignored": whole.but(ranges=False),
            "chunked": whole.but(framing="chunked"),
            "503": status(503),
            "204": status(204, body=b""),
            "page": status(502, body=b"<html>" * 20_000),
            "starts elsewhere": whole.but(start_at=max(start - 5, 0)),
            "no Content-Range": whole.but(content_range="X-Nothing: 1"),
            "says a wrong total": whole.but(
                content_range=f"Content-Range: bytes {start}-{len(self.now) - 1}/{SIZE * 3}"
            ),
            "416": status(416),
            "416 with its size": status(416, f"Content-Range: bytes */{len(self.now)}"),
            "416 with a wrong size": status(416, "Content-Range: bytes */1000"),
        }[act.kind]

    def _changed(self, kind: str) -> bytes:
        fresh = random_bytes(SIZE, len(self.versions))
        return {
            "same size": fresh,
            "larger": fresh + random_bytes(50_000, 99),
            "smaller": fresh[:90_000],
            "grown": self.now + random_bytes(50_000, len(self.versions)),
            "shrunk": self.now[:-50_000],
            "empty": b"",
            "equal but for its start": fresh[:1000] + self.now[1000:],
        }[kind]


KINDS = [
    "whole", "range ignored", "chunked", "503", "204", "page", "starts elsewhere",
    "no Content-Range", "says a wrong total", "416", "416 with its size", "416 with a wrong size",
]  # fmt: skip
CHANGES = ["same size", "larger", "smaller", "grown", "shrunk", "empty"]
# Mostly a part that is long enough to be continued, and not near its end.
LENGTHS = st.integers(OVERLAP + 1, SIZE - 1) | st.integers(0, SIZE)
TELLING = ("etag", "date", "both")  # validators that differ between any two versions


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, bytes], Remote]:
    """What DIR has of the file, and the server."""
    first = random_bytes(SIZE, 0)
    size = draw(LENGTHS, label="bytes there")
    there = {
        "nothing": b"",
        "all": first,
        "a prefix": first[:size],
        "foreign bytes": random_bytes(size, 77),
        "too long": first + random_bytes(size, 78),
        "a tail of zeros": first[: size // 2] + bytes(size - size // 2),
        "of an older version": random_bytes(SIZE, 79)[:size],
    }
    start = draw(st.sampled_from(["nothing"] * 4 + sorted(there)), label="in DIR")
    name = draw(st.sampled_from(["a.tar.part", "a.tar"]), label="under the name")
    validators = draw(
        st.sampled_from(["none", "weak etag", "an etag that stays", *TELLING]), label="validators"
    )
    # Where the bytes that are compared do not change, a validator has to tell, and the part must
    # have one: see docs/hazards.md.
    hidden = ["equal but for its start"] * (validators in TELLING and start == "nothing")
    act = st.builds(
        Act,
        st.sampled_from(["whole"] * 8 + KINDS),
        st.sampled_from([False, True, True, True]).flatmap(
            lambda cut: LENGTHS if cut else st.none()
        ),
        st.sampled_from(["close", "reset"]),
        st.sampled_from(["", "same size", *CHANGES, *hidden * 3]),
    )
    acts = draw(st.lists(act, min_size=2, max_size=7), label="acts")
    return {name: there[start]} if there[start] else {}, Remote(acts, validators)


def begun_and_changed(kind: str, change: str, validators: str) -> tuple[dict[str, bytes], Remote]:
    """A file that is cut, and another one when its part is to be continued."""
    return {}, Remote([Act("whole", SIZE - 50_000), Act(kind, change=change)], validators)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@example(history=begun_and_changed("whole", "equal but for its start", "etag"))
@example(history=begun_and_changed("range ignored", "same size", "none"))
@given(history=histories())
def test_any_history_ends_in_what_the_server_has(
    history: tuple[dict[str, bytes], Remote],
) -> None:
    """The real wget, a real run in this process. The version is the one of the last request, and
    the sha256 that is kept is its own.
    """
    before, remote = history
    with tempfile.TemporaryDirectory() as folder, FaultServer() as server:
        directory = Path(folder)
        for name, data in before.items():
            (directory / name).write_bytes(data)
        url = Url(server.serve("/a.tar", remote.reply).url)

        reporter = run(directory, url)

        after = {path.name: Blob(path.read_bytes()) for path in directory.glob("a.tar*")}
        assert after == {"a.tar": remote.now}, reporter.events
        (known,) = read_all(Store(directory).ledger)
        assert known.sha256 == sha256(remote.now), reporter.events
        event(f"{remote.requests} requests")
        event(f"{len(remote.versions)} versions")


def run(directory: Path, url: Url) -> ListReporter:
    """One run whose tries outlast every history."""
    reporter = ListReporter()
    pool = Pool(
        Settings(
            directory=directory,
            wget=WGET,
            workers=1,
            retry=RetryPolicy(tries=20, backoff=0),
            limits=Limits(timeout=5),
        ),
        [Entry("a.tar", url)],
        reporter=reporter,
        jitter=random.Random(0),
    )
    assert pool.run().exit_code == ExitCode.WHOLE, reporter.events
    return reporter
