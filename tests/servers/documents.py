"""S3's XML, as much of it as a delivery reads and writes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.servers import checksums
from tests.servers.rules import S3Error
from tests.servers.store import PartClaim, StoredObject, Upload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.operations import Request

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def error_document(request: Request, code: str, message: str) -> bytes:
    """Return S3's error document."""
    about = _tags({"Code": code, "Message": message, "Resource": f"/{request.bucket}/{request.key}"})
    return _document("Error", about + _tags({"RequestId": f"{request.n:016X}"}), namespace="")


def created(request: Request, upload_id: str) -> bytes:
    """Return the answer to a Create."""
    about = {"Bucket": request.bucket, "Key": request.key, "UploadId": upload_id}
    return _document("InitiateMultipartUploadResult", _tags(about))


def completed(request: Request, url: str, made: StoredObject) -> bytes:
    """Return the answer to a Complete."""
    about = {
        "Location": f"{url}/{request.bucket}/{quote(request.key)}",
        "Bucket": request.bucket,
        "Key": request.key,
        "ETag": f'"{made.answered}"',
    }
    if made.checksum:
        name = f"Checksum{made.checksum.algorithm.upper()}"
        about |= {name: made.checksum.value, "ChecksumType": made.checksum.kind}
    return _document("CompleteMultipartUploadResult", _tags(about))


def part_claims(document: bytes) -> list[PartClaim]:
    """Read the list of parts in a Complete."""
    try:
        root = ET.fromstring(document)  # noqa: S314  our own client's
    except ET.ParseError:
        raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed.") from None
    return [_part_claim({_local(child.tag): child.text or "" for child in part}) for part in root]


def listed(request: Request, objects: Mapping[str, StoredObject], page: int) -> bytes:
    """Return one page of a listing, with its common prefixes."""
    query = request.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = _token(query.get("continuation-token")) or query.get("start-after", "")
    entries = [entry for entry in _entries(sorted(objects), prefix, delimiter) if entry > after]
    limit = min(page, int(query.get("max-keys", page)))
    shown, more = entries[:limit], entries[limit:]
    spell = quote if query.get("encoding-type") == "url" else str
    about = {
        "Name": request.bucket,
        "Prefix": spell(prefix),
        "MaxKeys": str(limit),
        "KeyCount": str(len(shown)),
        "IsTruncated": "true" if more and shown else "false",
        **({"Delimiter": spell(delimiter)} if delimiter else {}),
        **({"EncodingType": "url"} if "encoding-type" in query else {}),
        **({"NextContinuationToken": _encode_token(shown[-1])} if more and shown else {}),
    }
    found = "".join(_entry(spell(entry), objects.get(entry)) for entry in shown)
    return _document("ListBucketResult", _tags(about) + found)


def uploads_listed(request: Request, uploads: Mapping[str, Upload], page: int) -> bytes:
    """Return one page of the open uploads of a bucket, by key and upload id."""
    query = request.query
    prefix, after = query.get("prefix", ""), (query.get("key-marker", ""), query.get("upload-id-marker", ""))
    found = sorted((one.key, upload_id) for upload_id, one in uploads.items() if one.bucket == request.bucket)
    entries = [entry for entry in found if entry[0].startswith(prefix) and entry > after]
    spell = quote if query.get("encoding-type") == "url" else str
    about = {
        "Bucket": request.bucket,
        "Prefix": spell(prefix),
        "MaxUploads": str(page),
        "IsTruncated": "true" if entries[page:] else "false",
        **({"EncodingType": "url"} if "encoding-type" in query else {}),
        **({"NextKeyMarker": spell(entries[page - 1][0])} if entries[page:] else {}),
        **({"NextUploadIdMarker": entries[page - 1][1]} if entries[page:] else {}),
    }
    listed = "".join(f"<Upload>{_tags({'Key': spell(key), 'UploadId': one})}</Upload>" for key, one in entries[:page])
    return _document("ListMultipartUploadsResult", _tags(about) + listed)


def _entries(keys: Sequence[str], prefix: str, delimiter: str) -> list[str]:
    """Return keys, and common prefixes in place of the keys below them, in order."""
    found: dict[str, None] = {}
    for key in keys:
        if key.startswith(prefix):
            head, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            found[prefix + head + mark if mark else key] = None
    return list(found)


def _entry(name: str, stored: StoredObject | None) -> str:
    if stored is None:
        return f"<CommonPrefixes>{_tags({'Prefix': name})}</CommonPrefixes>"
    about = {
        "Key": name,
        "LastModified": f"{stored.modified:%Y-%m-%dT%H:%M:%S.000Z}",
        "ETag": f'"{stored.etag}"',
        "Size": str(stored.size),
        "StorageClass": "STANDARD",
    }
    return f"<Contents>{_tags(about)}</Contents>"


def _part_claim(about: Mapping[str, str]) -> PartClaim:
    names = {f"Checksum{name.upper()}": name for name in checksums.ALGORITHMS}
    sums = {names[tag]: text for tag, text in about.items() if tag in names}
    return PartClaim(int(about.get("PartNumber", 0)), about.get("ETag", "").strip('"'), sums)


def _document(root: str, inner: str, namespace: str = _NAMESPACE) -> bytes:
    return f"{_DECLARATION}<{root}{namespace}>{inner}</{root}>".encode()


def _tags(about: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{escape(text)}</{name}>" for name, text in about.items())


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _token(text: str | None) -> str:
    return base64.urlsafe_b64decode(text).decode() if text else ""


def _encode_token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()
