"""Signed URLs of all vendors: when they expire, and whether they are cut."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgetpool.model import Url
from wgetpool.signed import cut_among, expires_at, lacks_beside, looks_cut

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
QUICK = settings(max_examples=50, deadline=None)

# ---------------------------------------------------------------- when they expire


def policy(condition: str) -> str:
    """A CloudFront policy as a URL carries it."""
    text = f'{{"Statement":[{{"Resource":"https://d.cloudfront.net/???>>>*","Condition":{condition}}}]}}'
    return b64encode(text.encode()).decode().translate(str.maketrans("+=/", "-_~"))


# Its letters are those that base64 in a URL replaces, too.
UNTIL_NOON = policy(f'{{"DateLessThan": {{"AWS:EpochTime": {int(NOW.timestamp())}}}}}')


@pytest.mark.parametrize(
    ("query", "expiry"),
    [
        ("oh=00_AfA&oe=65A1B2C3&_nc_sid=0", datetime.fromtimestamp(0x65A1B2C3, UTC)),
        ("_nc_gid&oh=00_AfA&oe=65a1b2c3", datetime.fromtimestamp(0x65A1B2C3, UTC)),
        ("oe=65A1B2C3", datetime.fromtimestamp(0x65A1B2C3, UTC)),
        ("_nc_gid&oe=65A1B2C3", None),  # cut: its signature is gone
        ("oh=00_AfA&oe=00000001", None),
        ("oh=00_AfA&oe=65A1B2C3D", None),
        (
            "X-Amz-Date=20260301T120000Z&X-Amz-Expires=3600&X-Amz-Signature=ab",
            NOW + timedelta(hours=1),
        ),
        ("x-amz-date=20260301T120000Z&x-amz-expires=60", NOW + timedelta(minutes=1)),
        ("X-Goog-Date=20260301T120000Z&X-Goog-Expires=60", NOW + timedelta(minutes=1)),
        ("X-Goog-Expires=60&X-Amz-Date=20260301T120000Z", None),
        ("X-OSS-Date=20260301T120000Z&x-oss-expires=60", NOW + timedelta(minutes=1)),
        ("X-Amz-Expires=60", None),
        ("X-Amz-Date=20260301T120000Z&X-Amz-Expires=-60", None),
        ("X-Amz-Date=20261301T120000Z&X-Amz-Expires=60", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=60", None),
        ("X-Amz-Date=20260301T120000Z&X-Amz-Expires=" + "9" * 30, None),
        (
            "AWSAccessKeyId=A&Expires=1772366400&Signature=s",
            datetime.fromtimestamp(1772366400, UTC),
        ),
        ("Expires=1772366400&Key-Pair-Id=K", datetime.fromtimestamp(1772366400, UTC)),
        ("Expires=1172366400&Signature=s", None),  # long before there was such a thing
        ("Expires=1772366400#&Expires=1", datetime.fromtimestamp(1772366400, UTC)),
        (f"Policy={UNTIL_NOON}&Signature=s&Key-Pair-Id=K", NOW),
        (f"Policy={policy('{}')}&Signature=s&Key-Pair-Id=K", None),
        ("Policy=eyJTdGF0&Signature=s&Key-Pair-Id=K", None),
        ("Policy=%C3%A9&Signature=s&Key-Pair-Id=K", None),
        ("Expires=3600", None),
        ("expires=never", None),
        ("sv=1&se=2026-03-01T12%3A00%3A00Z&sig=s", NOW),
        ("sv=1&se=2026-03-01T12:00:00.0000000Z&sig=s", NOW),
        ("se=2026-03-01T13%3A00%2B01%3A00&sig=s", NOW),
        ("se=2026-03-01&sig=s", datetime(2026, 3, 1, tzinfo=UTC)),
        ("se=0001-01-01T00:00:00%2B14:00&sig=s", None),
        ("se=2026-03-01T12:00:00Z", None),
        ("oh=1&oe=" + "F" * 40, None),
        ("oh=1&oe=zz", None),
        ("", None),
    ],
)
def test_a_signed_url_tells_its_expiry(query: str, expiry: datetime | None) -> None:
    """Meta, S3, Google, CloudFront and Azure are read; what is none of them never expires."""
    assert expires_at(Url(f"https://cdn.example.org/a.tar?{query}")) == expiry


KEYS = st.sampled_from(
    [
        "oe",
        "oh",
        "se",
        "sig",
        "Expires",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Goog-Date",
        "X-Goog-Expires",
        "Policy",
    ]
)
VALUES = (
    st.text(max_size=30)
    | st.integers(-(10**30), 10**30).map(str)
    | st.datetimes().map(lambda at: f"{at:%Y%m%dT%H%M%SZ}")
    | st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat())
    | st.binary(max_size=30).map(lambda data: b64encode(data).decode())
)


@QUICK
@given(fields=st.lists(st.tuples(KEYS, VALUES), max_size=5), junk=st.text(max_size=30))
def test_no_url_is_too_odd_to_look_for_its_expiry(fields: list[tuple[str, str]], junk: str) -> None:
    """Junk never raises, and what is found can be compared with now: it is no time of long ago."""
    query = "&".join(f"{key}={value}" for key, value in fields)

    expiry = expires_at(Url(f"https://example.org/a?{query}{junk}"))

    assert expiry is None or expiry > datetime(2009, 12, 31, tzinfo=UTC)


@QUICK
@given(at=st.datetimes(datetime(2010, 1, 2), datetime(2105, 1, 1)))  # noqa: DTZ001  it is made one of UTC
def test_every_vendor_tells_the_same_second(at: datetime) -> None:
    """However it is written, it is the same instant."""
    expiry = at.replace(microsecond=0, tzinfo=UTC)
    seconds, begin = int(expiry.timestamp()), expiry - timedelta(seconds=90)
    queries = [
        f"oh=1&oe={seconds:08X}",
        f"X-Amz-Date={begin:%Y%m%dT%H%M%SZ}&X-Amz-Expires=90",
        f"X-Goog-Date={begin:%Y%m%dT%H%M%SZ}&X-Goog-Expires=90",
        f"Expires={seconds}&Signature=s",
        f"se={expiry:%Y-%m-%dT%H:%M:%SZ}&sig=s",
    ]

    told = {expires_at(Url(f"https://example.org/a?{query}")) for query in queries}

    assert told == {expiry}


# ---------------------------------------------------------------- whether they are cut

CDN = "https://cdn.example.org/a.tar?"
AZURE = "https://x.blob.core.windows.net/c/a.tar?"
META = "_nc_gid&_nc_oc=Ad&ccb=10-5&oh=00_AfA&oe=65A1B2C3&_nc_sid=0"
S3 = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260301&X-Amz-Date=20260301T120000Z"
    "&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=ab"
)
WHOLE = {
    "Meta": CDN + META,
    "S3": CDN + S3,
    "S3 with a name": f"{CDN}response-content-disposition=attachment&{S3}",
    "S3 of old": CDN + "AWSAccessKeyId=A&Expires=1772366400&Signature=s%3D",
    "Google": CDN + S3.replace("Amz", "Goog"),
    "Google of old": CDN + "GoogleAccessId=a%40b&Expires=1772366400&Signature=s",
    "CloudFront": CDN + "Expires=1772366400&Signature=s&Key-Pair-Id=K",
    "CloudFront with a policy": CDN + "Policy=eyJTdGF0&Signature=s&Key-Pair-Id=K",
    "Azure": AZURE + "sp=r&st=2026-03-01&se=2026-03-02&sv=2022-11-02&sr=b&sig=s",
    "OSS": CDN + "OSSAccessKeyId=A&Expires=1772366400&Signature=s",
    "OSS of now": CDN + "x-oss-signature-version=OSS4&x-oss-date=1&x-oss-signature=s",
}


@pytest.mark.parametrize("url", WHOLE.values(), ids=WHOLE)
def test_a_signed_link_that_is_cut_at_an_ampersand_is_told_from_a_whole_one(url: str) -> None:
    """Cut at the first one, as a shell does; the whole one is never blamed."""
    cut = url.partition("&")[0]

    assert not looks_cut(Url(url))
    assert looks_cut(Url(cut))


@pytest.mark.parametrize("vendor", ["Meta", "S3", "Google", "S3 with a name"])
def test_one_that_is_cut_further_on_is_told_as_well(vendor: str) -> None:
    """At whichever `&` before the last part of its signature: a line that was copied in part."""
    words = WHOLE[vendor].split("&")
    last = 4 if vendor == "Meta" else len(words) - 1  # the place of oe, of the signature

    cuts = ["&".join(words[:end]) for end in range(1, last + 1)]

    assert [cut for cut in cuts if not looks_cut(Url(cut))] == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.tar",
        "https://example.org/a.tar?",
        CDN + "download=1",
        CDN + "token=abc",
        CDN + "sig=abc",
        CDN + "signature=abc",
        CDN + "sv=1",  # Azure's word, but not there
        CDN + "oe=utf-8",
        CDN + "expires=never",
        CDN + "policy=public",
        CDN + "expires=1772366400&token=abc",  # another scheme
        CDN + "md5=abc&expires=1772366400",
        CDN + "x-amz-request-payer=requester",
        CDN + "__token__=exp=1772366400~hmac=ab",
        "https://x.blob.core.windows.net/c/a.tar?snapshot=2026-03-01",
        "https://example.org/a#X-Amz-Date=1",
        "https://example.org/X-Amz-Date",
    ],
)
def test_a_link_that_is_not_known_to_be_signed_is_never_called_cut(url: str) -> None:
    """A false claim sends people the wrong way."""
    assert not looks_cut(Url(url))


# ---------------------------------------------------------------- cut ones among others


def listed(*queries: str, host: str = "cdn.example.org") -> list[Url]:
    return [Url(f"https://{host}/{place}.tar{query}") for place, query in enumerate(queries)]


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_a_link_without_the_signature_that_the_others_have_is_cut(whole: str) -> None:
    """Wherever it was cut, also when all of its query is gone."""
    query = "?" + whole.partition("?")[2]

    cut = cut_among(listed(query, query, "", query, query.partition("&")[0]))

    assert list(cut) == [2, 4]


def test_what_a_cut_link_lacks_is_told_as_its_vendor_writes_it() -> None:
    """Meta's has two parts, and lacks one of them when it was cut between."""
    meta, s3 = f"?{META}", f"?{S3}"

    assert cut_among(listed(meta, meta, "?_nc_gid&oh=00_AfA")) == {2: "oe"}
    assert cut_among(listed(s3, s3, "")) == {2: "X-Amz-Signature"}


@pytest.mark.parametrize(
    ("query", "lacks"),
    [
        ("?oh=00_AfA", "oe"),
        ("?_nc_gid&oh=00_AfA", "oe"),
        ("?_nc_gid&oe=65A1B2C3", "oh"),
        ("?_nc_gid", "oh and oe"),
        ("", "oh and oe"),
    ],
)
def test_only_what_is_missing_is_named(query: str, lacks: str) -> None:
    """Beside whole ones, and beside the link that it is to replace."""
    meta = f"?{META}"
    cut, whole = listed(query, meta)

    assert cut_among([whole, whole, cut]) == {2: lacks}
    assert lacks_beside(cut, whole) == lacks


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_cut_links_are_told_without_whole_ones_beside_them(whole: str) -> None:
    """Most of the list is cut, or all of it: each shows it by itself."""
    cut = whole.partition("&")[0]

    assert list(cut_among([Url(cut), Url(whole), Url(cut)])) == [0, 2]
    assert list(cut_among([Url(cut)])) == [0]


def test_what_a_link_lacks_by_itself_is_told_as_its_vendor_writes_it() -> None:
    """The older schemes begin alike: it is named by none of their words."""
    cut = {name: cut_among([Url(url.partition("&")[0])])[0] for name, url in WHOLE.items()}

    assert cut == {
        "Meta": "oh and oe",
        "S3": "X-Amz-Signature",
        "S3 with a name": "the signature",
        "S3 of old": "the signature",
        "Google": "X-Goog-Signature",
        "Google of old": "the signature",
        "CloudFront": "the signature",
        "CloudFront with a policy": "the signature",
        "Azure": "sig",
        "OSS": "the signature",
        "OSS of now": "X-Oss-Signature",
    }


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_a_link_is_held_against_the_one_that_it_is_to_replace(whole: str) -> None:
    """At the same site it needs the same signature; a mirror may need none."""
    old = Url(whole)

    assert lacks_beside(old, old) == ""
    assert lacks_beside(Url(whole.partition("&")[0]), old)
    assert lacks_beside(Url(whole.partition("?")[0]), old)
    assert lacks_beside(Url("https://mirror.example.com/a.tar"), old) == ""
    assert lacks_beside(old, Url(whole.partition("?")[0])) == ""


def test_a_few_signed_links_make_no_others_cut() -> None:
    """Most must have it: a list may hold what needs no signature."""
    assert cut_among(listed(f"?{META}", "", f"?{META}", "")) == {}
    assert cut_among(listed("", "?download=1", "")) == {}
    assert cut_among([]) == {}


def test_links_to_elsewhere_are_not_measured_by_these() -> None:
    """Another site may be open to all; the many hosts of one CDN are one site."""
    signed = listed(*[f"?{META}"] * 4, host="scontent-1.cdn.example.org")
    elsewhere, here = listed("", host="example.com"), listed("", host="user@video.example.org")

    assert cut_among([*signed, *elsewhere, *here]) == {5: "oh and oe"}


def test_links_with_another_signature_are_not_cut() -> None:
    """Two vendors in one list, each whole in its own way."""
    assert cut_among(listed(f"?{META}", f"?{META}", f"?{S3}")) == {}
