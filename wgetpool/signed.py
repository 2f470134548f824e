"""Signed URLs: when they expire, and whether they lack a part of their signature. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from wgetpool.model import Url

# The newer schemes: all names begin alike, the last one is the signature.
_NEWER = {
    "x-amz": ("algorithm", "credential", "date", "expires", "security-token", "signedheaders"),
    "x-goog": ("algorithm", "credential", "date", "expires", "signedheaders"),
    "x-oss": ("signature-version", "credential", "date", "expires"),
}
_OLDER = {"awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "key-pair-id"}
_AZURE = {"sv", "sp", "st", "se", "spr", "sr", "ss", "srt", "sip", "skoid"}
_EPOCH = re.compile(r"\d{9,11}")


def _query(url: Url) -> dict[str, str]:
    """The parameters, their names in lower case."""
    pairs = parse_qsl(url.reveal().partition("?")[2].partition("#")[0], keep_blank_values=True)
    return {key.lower(): value for key, value in pairs}


def looks_cut(url: Url) -> bool:
    """Whether the query begins as a signed one does, and lacks the signature: most likely it was
    typed without quotes, and the shell took what stood behind an `&` for another command.
    """
    query = _query(url)
    keys = set(query)
    if any(vendor + "-signature" in keys for vendor in _NEWER) or keys & {"signature", "sig"}:
        return False
    if any(f"{vendor}-{word}" in keys for vendor, words in _NEWER.items() for word in words):
        return True
    if any(key.startswith("_nc_") for key in keys):  # Meta
        return not {"oh", "oe"} <= keys
    if url.host.partition(":")[0].endswith(".core.windows.net"):
        return bool(keys & _AZURE)
    if keys & _OLDER or any(key.startswith("response-content-") for key in keys):
        return True
    # CloudFront begins with one of these; beside another one it may be of another scheme.
    return len(keys) == 1 and bool(
        _EPOCH.fullmatch(query.get("expires", "")) or query.get("policy", "").startswith("eyJ")
    )


def expires_at(url: Url) -> datetime | None:
    """When a signed URL expires, where its query tells; None where it does not.

    Meta: `oe` (hexadecimal seconds). S3: `X-Amz-Date` + `X-Amz-Expires`; Google: `X-Goog-...`
    likewise. Older S3 and CloudFront: `Expires` (seconds). Azure: `se` (ISO 8601).
    """
    query = _query(url)
    try:
        if "oe" in query and "oh" in query:
            return datetime.fromtimestamp(int(query["oe"], 16), UTC)
        for vendor in ("x-amz", "x-goog"):
            if f"{vendor}-expires" in query:
                begin = datetime.strptime(query[f"{vendor}-date"], "%Y%m%dT%H%M%SZ").replace(
                    tzinfo=UTC
                )
                return begin + timedelta(seconds=int(query[f"{vendor}-expires"]))
        if _EPOCH.fullmatch(query.get("expires", "")):
            return datetime.fromtimestamp(int(query["expires"]), UTC)
        if "se" in query and "sig" in query:
            told = datetime.fromisoformat(query["se"])
            return told.replace(tzinfo=told.tzinfo or UTC)
    except (ValueError, KeyError, OverflowError, OSError):
        pass
    return None
