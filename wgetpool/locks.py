"""What the locks of a file system can do, and the taking of one; who else has a file open.

Some file systems have no locks, and some of those that machines share keep them to one machine.
What an flock does is tried out; how far it reaches can be read from the mount alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from tempfile import NamedTemporaryFile

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class LockSupport(Enum):
    """How far the locks of a file system reach. The values are for people."""

    HOLD = "locks hold"
    NODE_LOCAL = "the locks of its file system hold on one machine only"
    NONE = "its file system has no locks"

    @property
    def reason(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo. `options` are those of the file system, not of the mount point."""

    kind: str
    source: str
    options: frozenset[str]


def try_lock(descriptor: int, *, shared: bool = False, needed: bool = True) -> bool:
    """Whether the lock was got; False while somebody else holds it.

    Raises OSError: with an errno of NO_LOCKS where there are no locks. One that is not `needed`
    counts as got there.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if needed or error.errno not in NO_LOCKS:
            raise
    return True


def is_being_written(descriptor: int, folder: Path) -> bool:
    """Whether somebody has the file open to write, as far as its file system tells: only then it
    refuses a read lease (fcntl(2)), which is given back at once.

    Some refuse every lease (NFS and CIFS mostly): there a new file in `folder` gets none either.
    """
    if not _is_refused_a_lease(descriptor):
        return False
    path = folder / f"lease-{os.urandom(8).hex()}"
    quiet = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        return not _is_refused_a_lease(quiet)
    finally:
        os.close(quiet)
        path.unlink()


def _is_refused_a_lease(descriptor: int) -> bool:
    """Not where it is refused for another reason: as to a file of somebody else's."""
    try:
        # Should somebody open it just now: a signal that is ignored by default, not SIGIO.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def probe(folder: Path) -> LockSupport:
    """What the locks in this folder can do. Raises OSError where nothing can be written."""
    if not _keeps_out(folder):
        return LockSupport.NONE
    mount = mount_of(Path(os.path.realpath(folder)), _read("/proc/self/mountinfo"))
    return LockSupport.NODE_LOCAL if mount and is_node_local(mount) else LockSupport.HOLD


def _keeps_out(folder: Path) -> bool:
    """Whether a lock in the folder keeps a second one out, at least on this machine."""
    with (
        NamedTemporaryFile(dir=folder, prefix="lock-") as first,
        Path(first.name).open("r+b") as second,
    ):
        try:
            return try_lock(first.fileno()) and not try_lock(second.fileno())
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False


# ---------------------------------------------------------------- the mount, proc(5)

_LINE = re.compile(
    r"(?m)^\S+ \S+ \S+ \S+ (?P<point>\S+) .*? - (?P<kind>\S+) (?P<source>\S*) (?P<options>\S*)$"
)


def mount_of(folder: PurePath, mountinfo: str) -> Mount | None:
    """The mount that an absolute path without links is on: of the longest mount point, and the last
    one there, which hides the others.
    """
    lines = [
        line
        for line in _LINE.finditer(mountinfo)
        if folder.is_relative_to(_unescape(line["point"]))
    ]
    if not lines:
        return None
    line = max(reversed(lines), key=lambda line: len(_unescape(line["point"])))
    options = frozenset(map(_unescape, line["options"].split(",")))
    return Mount(line["kind"], _unescape(line["source"]), options)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


# nfs(5), mount.cifs(8), mount.lustre(8), gfs2(5). Lustre without `flock` has no locks at all.
_NFS = {"local_lock=flock", "local_lock=all", "nolock"}
_CIFS = {"nobrl"}
_CLUSTER = {"localflocks"}
_LOCAL_WITH: dict[str, set[str]] = {
    "nfs": _NFS,
    "nfs4": _NFS,
    "cifs": _CIFS,
    "smb3": _CIFS,
    "lustre": {"localflock"},
    "gfs2": _CLUSTER,
    "ocfs2": _CLUSTER,
}

# The kernel keeps flock to itself where the server behind FUSE does not ask for it: these never do.
_LOCAL_FUSE = {"fuse.gcsfuse", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}


def is_node_local(mount: Mount) -> bool:
    """Whether machines that share the file system do not see each other's locks. False where that
    cannot be told.
    """
    if mount.kind == "beegfs":
        return not _has_global_locks(mount)
    if mount.kind == "fuse":
        return mount.source == "mountpoint-s3"
    return mount.kind in _LOCAL_FUSE or not mount.options.isdisjoint(
        _LOCAL_WITH.get(mount.kind, ())
    )


def _has_global_locks(mount: Mount) -> bool:
    """BeeGFS keeps locks to a machine unless its client's configuration says otherwise."""
    paths = [
        option.removeprefix("cfgFile=") for option in mount.options if option.startswith("cfgFile=")
    ]
    pattern = r"(?mi)^\s*tuneUseGlobalFileLocks\s*=\s*(true|yes|on|y|1)\s*$"
    return any(re.search(pattern, _read(path)) for path in paths)


def _read(path: str) -> str:
    """Empty where it cannot be read."""
    try:
        return os.fsdecode(Path(path).read_bytes())
    except OSError:
        return ""
