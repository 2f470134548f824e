"""The two functions for scripts keep the meaning that they have always had."""

from __future__ import annotations

from support.faultserver import FaultServer, file, status
from support.runner import Sandbox, random_bytes

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(200_000)

SA1B = """
import sys
from wgetpool import download_sa1b
end = None if sys.argv[3] == "None" else int(sys.argv[3])
download_sa1b(sys.argv[1], sys.argv[2], num_workers=2, start_idx=int(sys.argv[4]), end_idx=end)
"""
TAR = """
import sys
from wgetpool import download_tar
for url in sys.argv[3:]:
    print(download_tar(url, sys.argv[1], max_retries=int(sys.argv[2])))
"""
THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from wgetpool import download_tar
with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(lambda url: download_tar(url, sys.argv[1]), sys.argv[2:])))
"""
SIGNATURE = """
import inspect
import wgetpool
print(inspect.signature(wgetpool.download_sa1b))
print(inspect.signature(wgetpool.download_tar))
"""


def links_of(box: Sandbox, server: FaultServer) -> list[str]:
    """A links file of five tars, not sorted."""
    names = ["sa_000020.tar", "sa_000003.tar", "sa_000011.tar", "sa_000001.tar", "sa_000007.tar"]
    rows = {name: server.serve(f"/x{name}", file(DATA + name.encode())).url for name in names}
    box.table(rows, name="segment_anything_links.txt")
    return names


def expected(names: list[str]) -> dict[str, bytes]:
    return {name: DATA + name.encode() for name in names}


def test_the_signatures_are_those_of_old(box: Sandbox) -> None:
    """Names, order and defaults of the parameters."""
    first, second = box.python(SIGNATURE).lines

    for word in (
        *("links_file", "segment_anything_links.txt", "output_dir", "./sa1b_data"),
        *("num_workers", "= 4", "start_idx", "= 0", "end_idx", "= None"),
    ):
        assert word in first
    assert second.index("url") < second.index("output_dir") < second.index("max_retries")
    assert "= 5" in second
    assert second.endswith(("-> 'bool'", "-> bool"))


def test_download_sa1b_fetches_the_whole_list(box: Sandbox, server: FaultServer) -> None:
    """end_idx=None is all of it."""
    names = links_of(box, server)

    box.python(SA1B, box.root / "segment_anything_links.txt", box.dir, None, 0)

    assert box.files() == expected(names)


def test_download_sa1b_slices_by_position(box: Sandbox, server: FaultServer) -> None:
    """start_idx and end_idx count entries of the list as it is."""
    names = links_of(box, server)

    box.python(SA1B, box.root / "segment_anything_links.txt", box.dir, 3, 1)

    assert box.files() == expected(names[1:3])


def test_download_sa1b_up_to_0_selects_nothing(box: Sandbox, server: FaultServer) -> None:
    """end_idx=0 is not the whole list; it is no error either."""
    links_of(box, server)

    box.python(SA1B, box.root / "segment_anything_links.txt", box.dir, 0, 0)

    assert not server.requests


def test_download_sa1b_has_the_defaults_of_old(box: Sandbox, server: FaultServer) -> None:
    """Called without arguments: the list in the working directory, into ./sa1b_data."""
    names = links_of(box, server)
    (box.root / "segment_anything_links.txt").rename(box.cwd / "segment_anything_links.txt")

    box.python("import wgetpool; wgetpool.download_sa1b()")

    assert {path.name for path in (box.cwd / "sa1b_data").glob("*.tar")} == set(names)


def test_download_tar_says_true_for_a_whole_file(box: Sandbox, server: FaultServer) -> None:
    """The file is in output_dir under the name of its URL, and again without a request."""
    route = server.serve("/d/sa_000001.tar", file(DATA), query="?oh=1&_nc_gid")

    result = box.python(TAR, box.dir, 5, route.url, route.url)

    assert (result.lines.count("True"), result.lines.count("False")) == (2, 0)
    assert box.files() == {"sa_000001.tar": DATA}
    assert len(route.requests) == 1


def test_download_tar_says_false_when_it_failed(box: Sandbox, server: FaultServer) -> None:
    """A refusal, a URL that is none, a server that is always busy: False, no exception."""
    refused = server.serve("/refused.tar", status(404))
    busy = server.serve("/busy.tar", status(503))

    urls = [refused.url, busy.url, "nonsense", "ftp://host/a.tar"]

    result = box.python(TAR, box.dir, 1, *urls)

    assert (result.lines.count("True"), result.lines.count("False")) == (0, 4)
    assert len(refused.requests) == 1
    assert len(busy.requests) in (1, 2)
    assert box.files() == {}


def test_download_tar_may_be_called_from_threads(box: Sandbox, server: FaultServer) -> None:
    """Scripts call it from a pool of their own, into one folder."""
    urls = [server.serve(f"/{n}.tar", file(DATA + bytes([n]))).url for n in range(4)]

    result = box.python(THREADS, box.dir, *urls)

    assert result.lines[-1] == str([True] * 4), result.story
    assert box.files() == {f"{n}.tar": DATA + bytes([n]) for n in range(4)}
