"""Signed URLs: when they expire, and whether they lack a part of their signature. Pure."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, unquote

from wgetpool.model import Entry, Url

# The newer schemes: all names begin alike, the last one is the signature.
_NEWER = {
    "x-amz": ("algorithm", "credential", "date", "expires", "security-token", "signedheaders"),
    "x-goog": ("algorithm", "credential", "date", "expires", "signedheaders"),
    "x-oss": ("signature-version", "credential", "date", "expires"),
}
_OLDER = {"awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "key-pair-id"}
_AZURE = {"sv", "sp", "st", "se", "spr", "sr", "ss", "srt", "sip", "skoid"}
_EPOCH = re.compile(r"\d{9,11}")
_MAY_BE_SIGNED = re.compile(  # the others need no closer look, and may be very many
    r"[?&](?:x-(?:amz|goog|oss)-|_nc_|expires=|policy=|response-content-|key-pair-id"
    r"|(?:aws|oss)accesskeyid|googleaccessid)|\.core\.windows\.net[:/].*\?",
    re.IGNORECASE,
)


# ---------------------------------------------------------------- when they expire

_EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)  # what seems to be earlier is no expiry
_TIMES = re.compile(
    r"&(oe|oh|se|sig|expires|policy|x-(?:amz|goog|oss)-(?:date|expires))=([^&]*)",
    re.ASCII | re.IGNORECASE,
)
_META = re.compile(r"[0-9A-Fa-f]{8}")
_SECONDS = re.compile(r"[0-9]{10,11}")
_SPAN = re.compile(r"[0-9]{1,9}")
_BEGIN = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_POLICY = re.compile(rb'"DateLessThan"\s*:\s*\{\s*"AWS:EpochTime"\s*:\s*([0-9]{10,11})\s*\}')
_POLICY_LETTERS = str.maketrans("-_~", "+=/")


def expires_at(url: Url) -> datetime | None:
    """When a signed URL expires, where its query tells; None where it does not.

    Meta: `oe` (hexadecimal seconds). S3: `X-Amz-Date` + `X-Amz-Expires`; Google and OSS likewise.
    Older S3, CloudFront and others: `Expires` (seconds), or CloudFront's `Policy`. Azure: `se`
    (ISO 8601). Case does not matter in the names.
    """
    query = url.reveal().partition("?")[2]
    words = query.lower()
    if not ("oe=" in words or "expires=" in words or "se=" in words or "policy=" in words):
        return None
    found = _TIMES.findall("&" + query.partition("#")[0])
    fields = {key.lower(): unquote(value) if "%" in value else value for key, value in found}
    if "_nc_" in words and "oh" not in fields:
        fields.pop("oe", None)  # cut
    try:
        told = _told_expiry(fields)
    except (ValueError, OverflowError, OSError):
        return None
    return told if told is not None and told >= _EARLIEST else None


def expiry_of(entry: Entry) -> datetime | None:
    """When the link of a file expires; None where it does not tell, or is cut: then what it tells
    is not what is wrong with it.
    """
    return None if entry.cut else expires_at(entry.url)


def _told_expiry(fields: Mapping[str, str]) -> datetime | None:
    """Raises ValueError, OverflowError or OSError for a time that there is not."""
    if _META.fullmatch(fields.get("oe", "")):
        return datetime.fromtimestamp(int(fields["oe"], 16), UTC)
    for vendor in _NEWER:
        begin, span = fields.get(f"{vendor}-date", ""), fields.get(f"{vendor}-expires", "")
        if _BEGIN.fullmatch(begin) and _SPAN.fullmatch(span):
            return datetime.fromisoformat(begin) + timedelta(seconds=int(span))
    if _SECONDS.fullmatch(fields.get("expires", "")):
        return datetime.fromtimestamp(int(fields["expires"]), UTC)
    if "policy" in fields:
        text = fields["policy"].translate(_POLICY_LETTERS).rstrip("=")
        limit = _POLICY.search(b64decode(text + "=" * (-len(text) % 4)))
        return datetime.fromtimestamp(int(limit[1]), UTC) if limit else None
    if "se" in fields and "sig" in fields:
        told = datetime.fromisoformat(fields["se"])
        return told.replace(tzinfo=told.tzinfo or UTC).astimezone(UTC)
    return None


# ---------------------------------------------------------------- whether they are cut


def _query(url: Url) -> dict[str, str]:
    """The parameters, their names in lower case."""
    pairs = parse_qsl(url.reveal().partition("?")[2].partition("#")[0], keep_blank_values=True)
    return {key.lower(): value for key, value in pairs}


def looks_cut(url: Url) -> bool:
    """Whether the query begins as a signed one does, and lacks the signature: most likely it was
    typed without quotes, and the shell took what stood behind an `&` for another command.
    """
    return bool(_lacks_itself(url))


def _lacks_itself(url: Url) -> str:
    """What it lacks ("oh and oe") to be what it begins as; nothing where it is whole, or begins as
    no signed one does.
    """
    if not _MAY_BE_SIGNED.search(url.reveal()):
        return ""
    query = _query(url)
    keys = set(query)
    if any(vendor + "-signature" in keys for vendor in _NEWER) or keys & {"signature", "sig"}:
        return ""
    for vendor, words in _NEWER.items():
        if any(f"{vendor}-{word}" in keys for word in words):
            return f"{vendor.title()}-Signature"
    if any(key.startswith("_nc_") for key in keys):  # Meta
        return " and ".join(word for word in ("oh", "oe") if word not in keys)
    if url.host.partition(":")[0].endswith(".core.windows.net"):
        return "sig" if keys & _AZURE else ""
    return "the signature" if _begins_as_signed(query) else ""


def _begins_as_signed(query: Mapping[str, str]) -> bool:
    """Whether it is the beginning of an older scheme's query."""
    if query.keys() & _OLDER or any(key.startswith("response-content-") for key in query):
        return True
    # CloudFront begins with one of these; beside another one it may be of another scheme.
    return len(query) == 1 and bool(
        _EPOCH.fullmatch(query.get("expires", "")) or query.get("policy", "").startswith("eyJ")
    )


# The words without which a link of the scheme is of no use.
_SIGNATURES = (
    ("oh", "oe"),
    ("X-Amz-Signature",),
    ("X-Goog-Signature",),
    ("X-Oss-Signature",),
    ("Signature",),
    ("sig",),
)
_MARKS = tuple(tuple(f"&{word.lower()}=" for word in words) for words in _SIGNATURES)
_UNSIGNED = -1


def cut_among(urls: Sequence[Url]) -> dict[int, str]:
    """The places of those that lack a signature which most others of their site have, or which they
    begin to have, and what they lack ("oh and oe"): what stood behind a `?` or an `&` was lost.
    """
    kinds = [_signature_of(url.reveal()) for url in urls]
    if _UNSIGNED not in kinds:
        return {}
    sites = [_site(url.reveal()) for url in urls]
    sizes, signed = Counter(sites), Counter(zip(sites, kinds, strict=True))
    usual = {
        site: kind
        for (site, kind), number in signed.items()
        if kind != _UNSIGNED and 2 * number > sizes[site]
    }
    lacks = {
        place: _lacks(url, usual.get(site, _UNSIGNED))
        for place, (url, site, kind) in enumerate(zip(urls, sites, kinds, strict=True))
        if kind == _UNSIGNED
    }
    return {place: words for place, words in lacks.items() if words}


def lacks_beside(url: Url, other: Url) -> str:
    """What a link lacks ("oh and oe") that another one of the same site has, or that it begins to
    have; nothing where it is whole.
    """
    if _signature_of(url.reveal()) != _UNSIGNED:
        return ""
    return _lacks(url, _signature_of(other.reveal()) if same_site(url, other) else _UNSIGNED)


def same_site(url: Url, other: Url) -> bool:
    return _site(url.reveal()) == _site(other.reveal())


def _lacks(url: Url, kind: int) -> str:
    """What a link without a signature lacks of this kind of it, or by itself."""
    if kind == _UNSIGNED:
        return _lacks_itself(url)
    query = _marked(url.reveal())
    words = zip(_SIGNATURES[kind], _MARKS[kind], strict=True)
    return " and ".join(word for word, mark in words if mark not in query)


def _signature_of(text: str) -> int:
    """Which of the signatures a link has."""
    query = _marked(text)
    for kind, marks in enumerate(_MARKS):
        if marks[0] in query and marks[-1] in query:
            return kind
    return _UNSIGNED


def _marked(text: str) -> str:
    """The query, in which each word has its mark."""
    return "&" + text.partition("?")[2].lower()


def _site(text: str) -> str:
    """The end of the host's name: the hosts of a CDN are many."""
    host = text.partition("://")[2].partition("?")[0].partition("/")[0].rpartition("@")[2]
    return ".".join(host.lower().rsplit(".", 2)[-2:])
