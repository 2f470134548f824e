"""Whether an archive is whole is told by its bytes; what is cut or changed never passes."""

from __future__ import annotations

import errno
import gzip
import io
import os
import random
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.doubles import FlagDouble

from wgetpool import archive
from wgetpool.archive import State, Verdict

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NOISE = random.Random(1).randbytes(1100)
END = bytes(1024)
WHOLE = Verdict(State.WHOLE)
OTHER = Verdict(State.OTHER)
NO_END = Verdict(State.BROKEN, "the tar ends without its end mark")


@pytest.fixture
def check(tmp_path):
    """The verdict about some bytes."""

    def check(data: bytes) -> Verdict:
        path = tmp_path / "file"
        path.write_bytes(data)
        verdict = archive.check(path, stop=FlagDouble())
        assert verdict
        assert (verdict.state is State.BROKEN) == bool(verdict.reason)
        return verdict

    return check


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **more) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def make_tar(form: int = tarfile.PAX_FORMAT, *, long: bool = True) -> bytes:
    """A file, an empty one, a folder, links, and names of more than 100 bytes."""
    out = io.BytesIO()
    name = "d/" + "n" * 150 if long and form != tarfile.USTAR_FORMAT else "n"
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        tar.addfile(member("d/", kind=tarfile.DIRTYPE))
        tar.addfile(member("d/a", len(NOISE)), io.BytesIO(NOISE))
        tar.addfile(member(name, 512), io.BytesIO(NOISE[:512]))
        tar.addfile(member("empty"))
        tar.addfile(member("hard", kind=tarfile.LNKTYPE, linkname=name))
        tar.addfile(member("soft", kind=tarfile.SYMTYPE, linkname=name))
        tar.addfile(member("é", 1), io.BytesIO(b"x"))
    return out.getvalue()


def packed(data: bytes, level: int = 9) -> bytes:
    return gzip.compress(data, level, mtime=0)


def make_zip(
    kind: int = zipfile.ZIP_DEFLATED, comment: bytes = b"", contents: bytes = NOISE
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as made:
        made.writestr("d/", "")
        made.writestr("a", contents)
        with made.open("b", "w", force_zip64=True) as large:
            large.write(bytes(100))
        made.comment = comment
    return out.getvalue()


def make_header(kind: bytes, size: int, **more) -> bytes:
    """One block; `tobuf` would put headers before it."""
    return member("h", size, kind, **more).tobuf(tarfile.GNU_FORMAT)[-512:]


def make_pax(records: bytes, size: int) -> bytes:
    """A pax header before that of a file, whose own size counts where the first tells none."""
    told = make_header(tarfile.XHDTYPE, len(records)) + records.ljust(512, b"\0")
    return told + make_header(tarfile.REGTYPE, size)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


TAR = make_tar()
ZIP = make_zip()
GZIP = packed(NOISE)

# ---------------------------------------------------------------- what is whole


@pytest.mark.parametrize(
    "data",
    [
        *(pytest.param(make_tar(form), id=name) for name, form in FORMATS.items()),
        pytest.param(GZIP, id="gzip"),
        pytest.param(packed(b""), id="gzip of nothing"),
        pytest.param(GZIP + packed(b"") + GZIP, id="gzip of several members"),
        pytest.param(GZIP + bytes(700), id="gzip with padding"),
        pytest.param(packed(TAR), id="tar.gz"),
        pytest.param(packed(TAR[:700]) + packed(TAR[700:]), id="tar.gz of members"),
        pytest.param(ZIP, id="zip"),
        pytest.param(make_zip(zipfile.ZIP_STORED), id="stored zip"),
        pytest.param(make_zip(zipfile.ZIP_BZIP2), id="bzip2 zip"),
        pytest.param(make_zip(zipfile.ZIP_LZMA), id="lzma zip"),
        pytest.param(make_zip(comment=b"PK" * 300), id="zip with a comment"),
        pytest.param(b"PK\5\6" + bytes(18), id="empty zip"),
    ],
)
def test_a_whole_archive_is_whole(check, data):
    """Of every kind and form."""
    assert check(data) == WHOLE


def test_old_headers_are_known_by_their_checksum(check):
    """Those have no magic word; some summed signed bytes."""
    header = bytearray(512)
    header[:5] = "caf\u00e9".encode()
    header[124:136] = b"00000000005 "
    header[148:156] = b" " * 8
    for total in (sum(header), sum(header) - 512):
        header[148:156] = b"%06o\0 " % total
        assert check(bytes(header) + b"hello".ljust(512, b"\0") + END) == WHOLE
        assert check(bytes(header) + b"hello") == NO_END
        header[148:156] = b" " * 8


@pytest.mark.parametrize("data", [b"", b"hello", END * 10, NOISE, b"\x1f", b"PK\3", b"%PDF-1.7"])
def test_what_is_no_archive_is_none(check, data):
    """An empty tar does not look like one."""
    assert check(data) == OTHER


def test_names_tell_nothing(tmp_path):
    """The first bytes do."""
    (tmp_path / "a.tar.gz").write_bytes(b"hello")
    (tmp_path / "a.txt").write_bytes(GZIP[:-1])

    assert archive.check(tmp_path / "a.tar.gz", stop=FlagDouble()) == OTHER
    assert archive.check(tmp_path / "a.txt", stop=FlagDouble()) == Verdict(
        State.BROKEN, "the gzip stream ends early"
    )


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_member_may_be_larger_than_8_gb(tmp_path, form):
    """It is stepped over: a tar has no checksum of contents."""
    path = tmp_path / "large"
    size = 9 << 30
    with path.open("wb") as file:
        file.write(member("large", size).tobuf(form))
        file.seek(size, 1)
        file.write(END)

    assert archive.check(path, stop=FlagDouble()) == WHOLE
    with path.open("r+b") as file:
        file.truncate(size)
    assert archive.check(path, stop=FlagDouble()) == NO_END


def test_a_pax_header_tells_the_size(check):
    """In the place of the next header's, a long name between them or not."""
    between = make_header(tarfile.GNUTYPE_LONGNAME, 3) + b"abc".ljust(512, b"\0")
    for middle in (b"", between):
        pax = make_pax(b"12 size=600\n", 0)
        data = pax[:1024] + middle + pax[1024:] + NOISE[:1024]
        assert check(data + END) == WHOLE
        assert check(data + TAR) == WHOLE
    assert check(make_pax(b"9 a=size\n", 600) + NOISE[:1024] + END) == WHOLE


def test_an_old_sparse_map_may_be_long(check):
    """Blocks of it follow the header, and are not in its size."""
    header = bytearray(make_header(b"S", 512))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    maps = bytes(504) + b"\1" + bytes(7) + bytes(512)

    assert check(bytes(header) + maps + NOISE[:512] + END) == WHOLE
    assert check(bytes(header) + maps[:512]) == NO_END


def test_a_global_pax_header_may_be_all(check):
    """As of an empty git archive."""
    data = make_header(tarfile.XGLTYPE, 13) + b"13 comment=x\n".ljust(512, b"\0")

    assert check(data + END) == WHOLE


@pytest.mark.parametrize("flag", [1, 0])
def test_zip_members_that_cannot_be_read_are_passed_over(check, flag):
    """Encrypted ones, and those of an unknown compression; the directory counts still."""
    data = bytearray(make_zip(zipfile.ZIP_STORED))
    at = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    data[at + 8 if flag else at + 10] = 1 if flag else 99
    data[data.index(NOISE[:9])] ^= 1

    assert check(bytes(data)) == WHOLE
    assert check(bytes(data[:-1])).state is State.BROKEN


def test_a_zip_for_newer_programs_is_of_another_kind(check):
    """Nothing can be said of it."""
    data = bytearray(ZIP)
    data[data.index(b"PK\1\2") + 6] = 99

    assert check(bytes(data)) == OTHER


# ---------------------------------------------------------------- what is broken


@pytest.mark.parametrize(
    ("data", "padded"),
    [
        *(pytest.param(make_tar(form), True, id=name) for name, form in FORMATS.items()),
        pytest.param(GZIP, False, id="gzip"),
        pytest.param(packed(TAR), False, id="tar.gz"),
        pytest.param(ZIP, False, id="zip"),
        pytest.param(make_zip(zipfile.ZIP_STORED), False, id="stored zip"),
        pytest.param(make_zip(comment=b"hello"), False, id="zip with a comment"),
        pytest.param(b"PK\5\6" + bytes(16) + b"\1\0c", False, id="empty zip with a comment"),
    ],
)
def test_what_is_cut_is_never_whole(tmp_path, data, padded):
    """Wherever it is cut, but for the zeros behind the end mark of a tar."""
    end = -(-len(data.rstrip(b"\0")) // 512) * 512 if padded else len(data)
    mark = end + 512 if padded else end
    path = tmp_path / "file"
    path.write_bytes(data)
    for length in reversed([*range(mark), *range(mark, len(data) + 1, 64)]):
        os.truncate(path, length)
        verdict = archive.check(path, stop=FlagDouble())
        assert (verdict == WHOLE) == (length >= mark), length


def test_a_cut_second_member_is_seen(check):
    """A gzip that ends between its members is whole; one byte more is not."""
    for length in range(1, len(GZIP)):
        assert check(GZIP + GZIP[:length]).state is State.BROKEN


def test_a_zip_that_is_cut_behind_a_zip_in_it_is_seen(check):
    """The end of the inner one does not do for both."""
    for inner in (ZIP, b"PK\5\6" + bytes(18)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as made:
            made.writestr("inner.zip", inner)
            made.writestr("b", NOISE)
        data = out.getvalue()

        assert check(data) == WHOLE
        assert check(data[: data.index(inner) + len(inner)]).state is State.BROKEN


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (flip(GZIP, -6), "its CRC is wrong"),
        (flip(GZIP, -1), "the gzip stream is damaged"),
        (flip(packed(NOISE, 0), 1000), "its CRC is wrong"),
        (flip(packed(TAR), -6), "its CRC is wrong"),
        (GZIP + b"x", "the gzip stream is damaged"),
        (GZIP + bytes(9) + b"hello", "the gzip stream is damaged"),
        (GZIP[:9], "the gzip stream ends early"),
        (packed(TAR[:1500]), "the tar ends without its end mark"),
        (packed(TAR[:1024]), "the tar ends without its end mark"),
        (packed(flip(TAR, 5)), "a tar header is broken at byte 0"),
        (flip(TAR, 515), "a tar header is broken at byte 512"),
        (flip(TAR, 130), "a tar header is broken at byte 0"),
        (TAR[:512] + NOISE[:512] + TAR[1024:], "a tar header is broken at byte 512"),
        (make_pax(b"99 size=600\n", 0) + END, "a tar header is broken at byte 0"),
        (make_pax(b"12 size=x00\n", 0) + END, "a tar header is broken at byte 0"),
        (make_pax(b"12 size=-60\n", 0) + END, "a tar header is broken at byte 0"),
        (make_pax(b"9 a=size\n0 b=\n", 0) + END, "a tar header is broken at byte 0"),
        (make_header(tarfile.XHDTYPE, 1 << 40) + END, "a tar header is broken at byte 0"),
        (make_header(tarfile.REGTYPE, 1 << 80), "the tar ends without its end mark"),
        (make_header(tarfile.GNUTYPE_LONGNAME, 0) + END, "a tar header is broken at byte 512"),
        (flip(make_zip(zipfile.ZIP_STORED), 1000), "its member 'a' is damaged"),
        (flip(ZIP, 1000), "its member 'a' is damaged"),
        (flip(make_zip(zipfile.ZIP_BZIP2), 1000), "its member 'a' is damaged"),
        (flip(make_zip(zipfile.ZIP_LZMA), 1000), "its member 'a' is damaged"),
        (flip(ZIP, ZIP.index(b"PK\1\2")), "the zip's directory is damaged"),
        (ZIP[:-1], "the zip ends early"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_what_is_broken_is_told_with_its_reason(check, data, reason):
    """In a few words for people."""
    assert check(data) == Verdict(State.BROKEN, reason)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.sampled_from([TAR, GZIP, ZIP, packed(TAR), make_zip(zipfile.ZIP_LZMA)]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=9))),
)
def test_no_bytes_make_it_fail_otherwise(check, data, changes):
    """Whatever is written over an archive: a verdict."""
    changed = bytearray(data)
    for place, written in changes:
        at = int(place * len(data))
        changed[at : at + len(written)] = written

    check(bytes(changed))


# ---------------------------------------------------------------- how it is read


@pytest.mark.parametrize("data", [TAR, GZIP, packed(TAR), ZIP])
def test_a_stop_ends_the_reading(tmp_path, data):
    """Without a verdict."""
    path = tmp_path / "file"
    path.write_bytes(data)
    stop = FlagDouble()
    stop.set()

    assert archive.check(path, stop=stop) is None


@pytest.mark.parametrize("write", [packed, lambda data: make_zip(contents=data)])
def test_memory_does_not_grow_with_the_contents(tmp_path, write):
    """Zeros are packed a thousandfold."""
    path = tmp_path / "file"
    path.write_bytes(write(bytes(32 << 20)))

    tracemalloc.start()
    try:
        assert archive.check(path, stop=FlagDouble()) == WHOLE
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [TAR, GZIP, ZIP])
def test_a_disk_that_fails_is_no_verdict(tmp_path, monkeypatch, data):
    """The error is the caller's."""
    path = tmp_path / "file"
    path.write_bytes(data)
    monkeypatch.setattr(Path, "open", lambda self, mode: FailingFile(io.FileIO(self)))

    with pytest.raises(OSError, match="Input/output") as raised:
        archive.check(path, stop=FlagDouble())
    assert raised.value.errno == errno.EIO


class FailingFile(io.BufferedReader):
    """Gives its first bytes, and then no more."""

    def read(self, size=-1, /):
        if size in range(100):
            return super().read(size)
        raise OSError(errno.EIO, "Input/output error")


def test_a_file_that_is_not_there_is_no_verdict(tmp_path):
    """The error is the caller's."""
    with pytest.raises(FileNotFoundError):
        archive.check(tmp_path / "none", stop=FlagDouble())
