"""What a listing shows of a bucket: the only evidence that a writer may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.storage._outcome import Found
from mc_sink.storage._ways import bare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mc_sink.storage._requests import Requests
    from mc_sink.target import Target

# Up to so many keys are looked for one by one; more by one listing of what they have in common.
_EACH_BY_ITSELF = 8


class Listing:
    """Looks for keys through the requests of one store; each call raises `RequestFailed` where it may not."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def keys(self, bucket: str, stem: str) -> list[str]:
        """Return the keys that begin with `stem`, page by page."""
        return [key for key, _ in self._entries(bucket, stem)]

    def find(self, bucket: str, key: str) -> Found | None:
        """Return what is at one key."""
        reply = self._requests.call("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        return next((_found(entry) for entry in reply.get("Contents", ()) if entry["Key"] == key), None)

    def find_all(self, places: Sequence[Target]) -> dict[str, Found]:
        """Return what is at several keys of a bucket, by URL: each by itself, or all by what their keys begin with."""
        if len(places) <= _EACH_BY_ITSELF:
            seen = {place.url: self.find(place.bucket, place.path) for place in places}
            return {url: one for url, one in seen.items() if one}
        urls = {(place.bucket, place.path): place.url for place in places}
        bucket = places[0].bucket
        listed = self._entries(bucket, _common_start([place.path for place in places]))
        return {urls[bucket, key]: one for key, one in listed if (bucket, key) in urls}

    def _entries(self, bucket: str, stem: str) -> Iterator[tuple[str, Found]]:
        page: dict[str, Any] = {"IsTruncated": True}
        while page.get("IsTruncated"):
            token = {"ContinuationToken": page["NextContinuationToken"]} if "NextContinuationToken" in page else {}
            page = self._requests.call("list_objects_v2", Bucket=bucket, Prefix=stem, **token)
            for entry in page.get("Contents", ()):
                yield str(entry["Key"]), _found(entry)


def _found(entry: Mapping[str, Any]) -> Found:
    return Found(int(entry["Size"]), bare(entry["ETag"]))


def _common_start(keys: Sequence[str]) -> str:
    """Return what all keys begin with."""
    first, last = min(keys), max(keys)
    return first[: next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]
