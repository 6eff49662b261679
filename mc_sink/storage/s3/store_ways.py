"""What is learnt of a store from its replies: what they prove, what it doesn't take, which promises it doesn't keep.

    a reply says                          the body arrived as it was sent, proven by
    the checksum that was sent            "crc32", "sha256" or "crc64": the store has summed the body itself
    nothing of it, to a signed body       "sha256": the signature covers the body's SHA-256, and a store checks that
    nothing of it, and the body's MD5     "etag"
    the MD5 of another body               nothing: it was altered on its way
    none of these                         "unproven"

Stores differ in what they check and in how they make ETags. Nothing is asked for that alone: each fact is learnt from
the first reply that shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, get_args

from mc_sink.staged import Sums
from mc_sink.storage.s3.sums import PROOFS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mc_sink.receipt import Integrity

Condition: TypeAlias = Literal["kept", "refused", "ignored"]
_CONDITIONS: Final = ("kept", "refused", "ignored")
# The facts that are words, with those that they may be; all others are true or false.
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "sums": get_args(Sums),
    "condition_on_put": _CONDITIONS,
    "condition_on_complete": _CONDITIONS,
}
# In a reply: whether the body of its request was signed.
SIGNED: Final = "SignedBody"
# In a reply: the checksums that its request had, by their parameters.
SUMMED: Final = "SummedBody"
MD5 = re.compile(r"[0-9a-f]{32}")
MULTIPART = re.compile(r"[0-9a-f]{32}-[1-9][0-9]*")
# By what is not kept: the condition of a request, the sums of bodies, or ETags that can be computed.
UNKEPT: Final = {
    "condition": (
        "The promise that no existing object is replaced has a gap at this store: it does not keep If-None-Match. "
        "mc_sink lists each key right before the request, so only an object that another writer puts there between "
        "the two is replaced. Let no other writer use the prefix, or deliver under new names (the default under a "
        "prefix)."
    ),
    "sums": (
        "The promise that the object has the bytes that were sent rests on less at this store: it does not compare a "
        "body with its checksum. mc_sink signs bodies or compares ETags, and the receipt counts the files that nothing "
        'proves ("unproven").'
    ),
    "etags": (
        "The promise that a lost reply is settled by evidence rests on less at this store: the ETags of its uploads "
        "can't be computed. Files are compared by size and by the ETag that the store showed. A lost reply may end in "
        "CommitUnknown, which a rerun with the same run_id settles."
    ),
}


@dataclass(slots=True, eq=False)
class StoreWays:
    """What is known of one store; None is not seen yet. Threads share it: a fact is set in one assignment.

    - `checks_sums`: it echoes the checksum of a body, which it has checked then.
    - `checks_signed_bodies`: it is documented to compare a signed body with its SHA-256.
    - `has_md5_etags`: the ETag of a body is its MD5, as long as no KMS key is used.
    - `has_s3_etags`: the ETag of a multipart object is the MD5 of its parts' ETags, with their number.
    - `lists_what_it_answers`: a listing shows the ETag that Complete answered.
    - `sums`: the best checksum that it takes; see `sums.py`.
    - `condition_on_put`, `condition_on_complete`: whether it keeps `If-None-Match`, as a refusal of a key that was
      taken has shown, or refuses the header, or reads over it, which only a trial on an object of our own shows.
    - `equal_parts`: it takes only uploads whose parts, but for the last, are of one size.
    - `takes_object_size`, `takes_whole_sums`: it takes the size, and the checksum of the whole object, with a Complete.
    - `took_object`, `took_upload`: it has taken a delivery's Put, or its Create, parts and Complete.
    """

    checks_sums: bool | None = None
    checks_signed_bodies: bool | None = None
    has_md5_etags: bool | None = None
    has_s3_etags: bool | None = None
    lists_what_it_answers: bool | None = None
    sums: Sums = "full"
    condition_on_put: Condition | None = None
    condition_on_complete: Condition | None = None
    equal_parts: bool | None = None
    takes_object_size: bool | None = None
    takes_whole_sums: bool | None = None
    took_object: bool | None = None
    took_upload: bool | None = None

    @classmethod
    def of_aws(cls) -> StoreWays:
        """Return what AWS documents of S3; the ETags depend on the bucket's encryption."""
        return cls(
            checks_sums=True,
            checks_signed_bodies=True,
            lists_what_it_answers=True,
            condition_on_put="kept",
            condition_on_complete="kept",
            equal_parts=False,
        )

    def condition(self, operation: str) -> Condition | None:
        """Return what is known of the condition on this operation."""
        if operation == "put_object":
            return self.condition_on_put
        return self.condition_on_complete if operation == "complete_multipart_upload" else None

    def facts(self) -> dict[str, str | bool]:
        """Return what is known as plain values by name, to be kept."""
        known = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in known if value is not None}

    def recall(self, facts: Mapping[str, object]) -> None:
        """Take over facts that were kept; what this version doesn't know is left out."""
        for one in fields(self):
            value = facts.get(one.name)
            if value in _WORDS[one.name] if one.name in _WORDS else isinstance(value, bool):
                setattr(self, one.name, value)

    def learn_taken(self, operation: str) -> None:
        """Note that the store has taken what a delivery sends."""
        if operation == "put_object":
            self.took_object = True
        else:
            self.took_upload = True

    def unkept(self) -> tuple[str, ...]:
        """Return a sentence for each promise that the store is known not to keep its part of."""
        conditions = {self.condition_on_put, self.condition_on_complete}
        lacking = {
            "condition": bool(conditions & {"refused", "ignored"}),
            "sums": self.checks_sums is False or self.sums == "none",
            "etags": self.has_s3_etags is False or self.lists_what_it_answers is False,
        }
        return tuple(UNKEPT[name] for name, is_lacking in lacking.items() if is_lacking)

    def learn_condition(self, operation: str, seen: Condition) -> None:
        """Note what a reply to this operation has shown of the condition."""
        if operation == "put_object":
            self.condition_on_put = seen
        else:
            self.condition_on_complete = seen


class WaysMemory(Protocol):
    """Where the facts of stores are kept from one process to the next, by endpoint and bucket. Neither raises."""

    def recall(self, endpoint: str, bucket: str) -> Mapping[str, object]:
        """Return the facts of a bucket; empty where none are kept."""

    def keep(self, endpoint: str, bucket: str, facts: Mapping[str, str | bool]) -> None:
        """Keep the facts of a bucket."""


@dataclass(frozen=True, slots=True, eq=False)
class SentBody:
    """A body as it was sent, by its MD5 in hex. Where it `is_encrypted` under a KMS key, no ETag can be that."""

    md5: Callable[[], str]
    is_encrypted: bool = False


def proof_of(body: SentBody, reply: Mapping[str, Any], ways: StoreWays) -> Integrity | None:
    """Return what a reply proves of the body, None where it contradicts; learns the store's ways from it.

    The MD5 costs some 600 MB/s, so it is only computed where the store has not checked the checksum.
    """
    signed = reply.get(SIGNED)
    for name, sent in reply.get(SUMMED, {}).items():
        ways.checks_sums = name in reply
        if name in reply:
            return PROOFS[name] if reply[name] == sent else None
    etag = bare(reply.get("ETag"))
    if etag == body.md5():
        ways.has_md5_etags = True
        return "sha256" if signed else "etag"
    if signed and ways.checks_signed_bodies and not ways.has_md5_etags:
        ways.has_md5_etags = False
        return "sha256"
    if MD5.fullmatch(etag) and not body.is_encrypted and ways.has_md5_etags is not False:
        return None
    return "sha256" if signed else "unproven"


def bare(etag: object) -> str:
    """Return an ETag without its quotes; empty where there is none."""
    return str(etag or "").strip('"')


def is_encrypted(options: Mapping[str, Any]) -> bool:
    """Return True where the options of an object ask for a KMS key, which makes ETags that mean nothing."""
    return str(options.get("ServerSideEncryption", "")).startswith("aws:kms")
