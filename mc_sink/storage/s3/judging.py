"""Judge the answer to a request that published an object: by what it says, and by a listing where that shows more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.outcome import Expected, FoundObject, altered_object, unknown
from mc_sink.storage.s3.store_ways import SUMMED, bare, proof_of
from mc_sink.storage.s3.sums import PROOFS
from mc_sink.storage.store import Published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.receipt import Integrity
    from mc_sink.storage.s3.outcome import ObjectListing
    from mc_sink.storage.s3.store_ways import StoreWays


def judged_reply(expected: Expected, reply: Mapping[str, Any], ways: StoreWays, listing: ObjectListing) -> Published:
    """Compare an answer with what was sent; where it says something else, or may do so, a listing decides."""
    answered, version = bare(reply.get("ETag")), reply.get("VersionId")
    proof, summed = _proof(expected, reply, ways)
    listed, there = answered, None
    if not (answered and _is_enough(expected, answered, proof, ways)):
        there = _glance(expected, listing)
        listed = there.etag if there else answered
        if there and answered and not expected.body:
            ways.lists_what_it_answers = listed == answered
    if there and there.num_bytes != expected.file.num_bytes:
        raise altered_object(expected, there)
    if not listed:
        raise unknown(expected.file, "the store answered without an ETag, and a listing does not show the object")
    if listed == expected.etag:
        expected.learn(ways, computed=True)
        return Published(listed, version, integrity=proof or "etag")
    if proof is None or expected.is_contradicted(listed, ways, summed=summed and listed == answered):
        raise altered_object(expected, there or listed)
    expected.learn(ways, computed=False)
    return Published(listed, version, integrity=proof, etag_is_computed=False)


def _proof(expected: Expected, reply: Mapping[str, Any], ways: StoreWays) -> tuple[Integrity | None, bool]:
    """Return how the object is proven, None if it is another, and whether the store has summed all of it."""
    sent: Mapping[str, str] = reply.get(SUMMED, {})
    if expected.body:
        proof = proof_of(expected.body, reply, ways)
        return proof, any(name in reply for name in sent) and proof is not None
    for name, value in sent.items():
        echoed = str(reply.get(name) or "")
        if echoed and "-" not in echoed:  # a dash: the sum of the parts' sums
            return (PROOFS[name], True) if echoed == value else (None, False)
    return expected.integrity, False


def _is_enough(expected: Expected, answered: str, proof: Integrity | None, ways: StoreWays) -> bool:
    """Return True if the answer shows as much as a listing would."""
    if answered == expected.etag:
        return proof is not None and (expected.body is not None or ways.lists_what_it_answers is True)
    return proof is not None and expected.is_opaque(ways) and ways.lists_what_it_answers is True


def _glance(expected: Expected, listing: ObjectListing) -> FoundObject | None:
    """Look at what is there, where that can be seen."""
    try:
        return listing.find(expected.bucket, expected.key)
    except RequestFailed:
        return None
