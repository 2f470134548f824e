"""What the locks of a file system can do: tried out, and read from the mount."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import pytest

from wgetpool import locks
from wgetpool.locks import (
    LockSupport,
    Mount,
    is_being_written,
    is_node_local,
    mount_of,
    probe,
    try_lock,
)

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro"
NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]


def failing(number: int) -> Callable[[int, int], None]:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two descriptors of one file, which know nothing of each other."""
    (tmp_path / "file").touch()
    both = os.open(tmp_path / "file", os.O_RDWR), os.open(tmp_path / "file", os.O_RDWR)
    yield both
    for descriptor in both:
        os.close(descriptor)


# ---------------------------------------------------------------- taking one


@pytest.mark.parametrize(
    ("first", "second", "got"), [(False, False, False), (False, True, False), (True, True, True)]
)
def test_a_lock_is_got_or_somebody_else_has_it(
    opened: tuple[int, int], first: bool, second: bool, got: bool
) -> None:
    """Only those that are shared are held by two; nobody waits, whether it is needed or not."""
    assert try_lock(opened[0], shared=first)

    assert try_lock(opened[1], shared=second) == got
    assert try_lock(opened[1], shared=second, needed=False) == got


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_lock_that_cannot_be_counts_as_got_where_it_is_not_needed(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Otherwise the error is passed on."""
    monkeypatch.setattr(fcntl, "flock", failing(number))

    assert try_lock(0, needed=False)
    with pytest.raises(OSError, match=r".") as error:
        try_lock(0)
    assert error.value.errno == number


def test_another_error_is_passed_on_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to need a lock excuses no broken disk."""
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))

    with pytest.raises(OSError, match="error"):
        try_lock(0, needed=False)


# ---------------------------------------------------------------- trying it out


def test_every_verdict_has_a_reason_for_people() -> None:
    """Each its own."""
    assert len({support.reason for support in LockSupport}) == 3


def test_locks_that_keep_a_second_one_out_hold(tmp_path: Path) -> None:
    """And nothing is left in the folder."""
    assert probe(tmp_path) is LockSupport.HOLD
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_folder_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """And nothing is left in the folder."""
    monkeypatch.setattr(fcntl, "flock", failing(number))

    assert probe(tmp_path) is LockSupport.NONE
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_everybody_gets_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems say yes to whatever they are asked."""
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, how: None)

    assert probe(tmp_path) is LockSupport.NONE


def test_an_error_that_tells_nothing_of_locks_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is left in the folder."""
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))

    with pytest.raises(OSError, match="error"):
        probe(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_shared_without_its_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount of the folder decides, also behind a link."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    mounts = f"{ROOT}\n40 22 0:50 / {real} rw - nfs srv:/x rw,local_lock=all\n"
    monkeypatch.setattr(locks, "_read", {"/proc/self/mountinfo": mounts}.__getitem__)

    assert probe(link) is LockSupport.NODE_LOCAL
    assert probe(tmp_path) is LockSupport.HOLD


def test_without_proc_what_was_tried_out_is_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No verdict on what cannot be seen."""
    monkeypatch.setattr(locks, "_read", lambda path: "")

    assert probe(tmp_path) is LockSupport.HOLD


# ---------------------------------------------------------------- the mount


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/home/data", "ext4"),
        ("/scratch", "lustre"),
        ("/scratch/a/b", "lustre"),
        ("/scratch2", "ext4"),
        ("/scratch/my data", "nfs4"),
        ("/scratch/my data/a", "nfs4"),
        ("/scratch/hash#tag/a", "cifs"),
        ("/auto/home", "nfs"),
    ],
)
def test_the_mount_of_a_folder_is_that_of_the_longest_mount_point(folder: str, kind: str) -> None:
    """Whole names, not beginnings of them; the last where there are several; whatever stands
    between the options and the dash.
    """
    mountinfo = "\n".join(
        [
            "50 22 0:40 / /scratch/my\\040data rw shared:7 master:3 - nfs4 srv:/a rw,vers=4.2",
            ROOT,
            "49 22 0:39 / /scratch rw,nosuid - lustre 10.0.0.1@o2ib:/fs rw,flock",
            "51 49 0:41 / /scratch/hash\\043tag rw,relatime - cifs //srv/x rw",
            "52 22 0:42 / /auto/home rw unbindable - autofs /etc/auto.home rw,fd=5",
            "53 52 0:43 / /auto/home rw - nfs srv:/home rw,vers=3",
            "no line of mountinfo",
        ]
    )

    mount = mount_of(PurePath(folder), mountinfo)

    assert mount is not None
    assert mount.kind == kind


def test_a_mount_has_the_options_of_its_file_system() -> None:
    """Not those of its mount point; a name may hold anything, a dash too."""
    line = r"1 0 0:1 / /a\040-\040b rw,nosuid - nfs4 srv:/my\040data rw,local_lock=flock"

    assert mount_of(PurePath("/a - b/c"), line) == Mount(
        "nfs4", "srv:/my data", frozenset({"rw", "local_lock=flock"})
    )


def test_a_source_may_be_empty() -> None:
    """The field stands, with nothing in it."""
    assert mount_of(PurePath("/"), "1 0 0:1 / / rw - tmpfs  rw") == Mount(
        "tmpfs", "", frozenset({"rw"})
    )


def test_a_mountinfo_without_the_folder_tells_nothing() -> None:
    """Neither does an empty one."""
    assert mount_of(PurePath("/data"), "") is None
    assert mount_of(PurePath("/data"), "1 0 0:1 / /proc rw - proc proc rw") is None


@pytest.mark.parametrize(
    "tail",
    [
        "lustre 10.0.0.1@o2ib:/fs rw,localflock,lazystatfs",
        "nfs srv:/x rw,vers=3,nolock,local_lock=all",
        "nfs srv:/x rw,vers=3,local_lock=flock",
        "nfs4 srv:/x rw,vers=4.2,local_lock=flock",
        "cifs //srv/x rw,vers=3.1.1,nobrl",
        "smb3 //srv/x rw,nobrl",
        "gfs2 /dev/vg/lv rw,localflocks",
        "ocfs2 /dev/vg/lv rw,localflocks",
        "beegfs beegfs_nodev rw,cfgFile=/nowhere/beegfs-client.conf",
        "beegfs beegfs_nodev rw",
        "fuse.sshfs user@host: rw,user_id=0",
        "fuse.s3fs s3fs rw",
        "fuse.rclone remote:x rw",
        "fuse.gcsfuse bucket rw",
        "fuse mountpoint-s3 rw,user_id=0",
    ],
)
def test_locks_that_end_at_the_machine(tail: str) -> None:
    """Mounted so, or of a kind that asks no server."""
    mount = mount_of(PurePath("/"), f"1 0 0:1 / / rw - {tail}")

    assert mount is not None
    assert is_node_local(mount)


@pytest.mark.parametrize(
    "tail",
    [
        "ext4 /dev/sda1 rw",
        "lustre 10.0.0.1@o2ib:/fs rw,flock,lazystatfs",
        "nfs srv:/x rw,vers=3,local_lock=none",
        "nfs srv:/x rw,vers=3,local_lock=posix",
        "nfs4 srv:/x rw,vers=4.2,local_lock=none",
        "cifs //srv/x rw,vers=3.1.1",
        "gfs2 /dev/vg/lv rw",
        "fuse.glusterfs srv:/x rw",
        "fuse.mergerfs a:b rw",
        "fuse bucket rw",
        "ext4 /dev/sda1 rw,nolock",
    ],
)
def test_locks_of_which_nothing_bad_is_known(tail: str) -> None:
    """An option means what it means for its own file system alone."""
    mount = mount_of(PurePath("/"), f"1 0 0:1 / / rw - {tail}")

    assert mount is not None
    assert not is_node_local(mount)


@pytest.mark.parametrize(
    ("line", "node_local"),
    [
        ("tuneUseGlobalFileLocks        = true", False),
        ("tuneUseGlobalFileLocks=1", False),
        ("tuneUseGlobalFileLocks        = false", True),
        ("# tuneUseGlobalFileLocks = true", True),
        ("tuneUseGlobalAppendLocks = true", True),
    ],
)
def test_beegfs_has_global_locks_where_it_was_told_to(
    tmp_path: Path, line: str, node_local: bool
) -> None:
    """In the configuration of the client, which the mount names."""
    config = tmp_path / "client.conf"
    config.write_text(f"sysMgmtdHost = srv\n{line}\nquotaEnabled = false\n")

    mount = Mount("beegfs", "beegfs_nodev", frozenset({"rw", f"cfgFile={config}"}))

    assert is_node_local(mount) == node_local


# ---------------------------------------------------------------- who else has a file open


def test_a_writer_is_seen_and_a_reader_is_none(tmp_path: Path) -> None:
    """By the lease that a file system refuses; nothing is left behind."""
    path = tmp_path / "a.tar"
    path.write_bytes(b"x")
    with path.open("rb") as ours, path.open("rb"):
        assert not is_being_written(ours.fileno(), tmp_path)
        with path.open("r+b"):
            assert is_being_written(ours.fileno(), tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("refusal", [errno.EACCES, errno.EAGAIN, errno.EINVAL])
def test_where_no_lease_is_given_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    """To another's file, over NFS, or on a file system that has none."""

    def refuse(*_: int) -> int:
        raise OSError(refusal, "no lease")

    path = tmp_path / "a.tar"
    path.write_bytes(b"x")
    monkeypatch.setattr(fcntl, "fcntl", refuse)

    with path.open("r+b") as ours:
        assert not is_being_written(ours.fileno(), tmp_path)
