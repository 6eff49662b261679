"""The requests of a check. They leave nothing behind and change no existing object.

All of them name a key that nobody can have: a random one. They are refused for a reason of our own making, and the
reason that the store gives instead tells a permission from the lack of one:

- UploadPart and AbortMultipartUpload of an upload that was never begun: NoSuchUpload where they are allowed;
- PutObjectAcl of an object that isn't there: NoSuchKey where it is allowed;
- where Abort is allowed, and so nothing need stay: CreateMultipartUpload with the ACL and the KMS key, as a delivery
  sends it, a part with a wrong checksum, and Abort;
- where it isn't, and the store is AWS, which is known to check: PutObject with a wrong checksum, refused as BadDigest.

A conditional PutObject, or CompleteMultipartUpload, to a key that is taken would tell too whether conditions are
honoured; but a store that doesn't know them would replace somebody's object. So both are only tried on an object of our
own, which has to be left behind. The upload then replaces it by the same bytes, without the condition: what Complete
answers, and what a listing shows afterwards, tell what ETags the store makes.

At last an upload with parts of two sizes replaces it, and the small object is put back: whether the store takes such
parts is asked at no other time than at Complete, which deliveries reach after all bytes are up.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mc_sink.storage import wrong_sum
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from datetime import datetime

    from mc_sink.object_options import ObjectOptions
    from mc_sink.staged import Sums
    from mc_sink.storage import Answer, Probes, StoreWays, Trial
    from mc_sink.target import Target

Leaving = Literal["nothing", "an object"]
# The one canned ACL that S3 takes where ACLs are disabled too.
ACL = "bucket-owner-full-control"
BODY = b"Left by `mc-sink platforms check --write-probe`. It may be deleted.\n"
_DENIED = {"AccessDenied", "403", "Forbidden"}
_FORBIDDEN, _BROKEN = 403, 500
# No body of ours has it.
_WRONG = wrong_sum("full")
_ONLY_NEW = {"IfNoneMatch": "*"}


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the store said; None for what wasn't asked. `left` is what stayed behind, in sentences.

    `sums` is the checksum that a delivery sends, and `wrong` the one that went with a body that it isn't of. `uneven`
    answers an upload with parts of two sizes. `ways` is what is known of the store: by this check, or, where there is a
    `since`, from before.
    """

    listed: Answer
    aborts: Answer | None = None
    parts: Answer | None = None
    acl: Answer | None = None
    created: Answer | None = None
    created_plain: Answer | None = None
    wrong_sum: Answer | None = None
    put_wrong: Answer | None = None
    written: Answer | None = None
    written_plain: Answer | None = None
    again: Answer | None = None
    completed: Answer | None = None
    uploaded: Answer | None = None
    shown: Answer | None = None
    uneven: Answer | None = None
    sums: Sums | None = None
    wrong: str = "CRC32"
    ways: StoreWays | None = None
    since: datetime | None = None
    on_aws: bool = False
    left: tuple[str, ...] = ()


def denied(answer: Answer | None) -> bool:
    """Whether it was refused for want of a permission."""
    return answer is not None and answer.status == _FORBIDDEN and answer.code in _DENIED


def about_kms(answer: Answer | None) -> bool:
    """Whether it was refused by the key, and not by the bucket."""
    if answer is None or answer.ok:
        return False
    return answer.code.startswith("KMS.") or (denied(answer) and "kms:" in answer.message.lower())


def gather(
    probes: Probes, where: Target, options: ObjectOptions, *, on_aws: bool = False, trial: Trial | None = None
) -> Evidence:
    """Ask everything that can be asked; nothing but a listing, where that doesn't reach the bucket.

    With a `trial`, an object is left behind.
    """
    listed = probes.ask("list_objects_v2", Bucket=where.bucket, Prefix=where.path, MaxKeys=1)
    found = Evidence(listed, on_aws=on_aws)
    if not (found.listed.ok or denied(found.listed)):
        return found
    at = {"Bucket": where.bucket, "Key": f"{where.path}mc-sink-check-{secrets.token_hex(8)}.txt"}
    asked = {"ACL": ACL} | options.request("text/plain")
    found = _ask_nobody(probes, at, found)
    if found.aborts and allowed(found.aborts, "NoSuchUpload") and not denied(found.parts):
        found = _begin(probes, at, asked, found)
    elif on_aws:
        found = replace(found, put_wrong=probes.ask("put_object", **at, **asked, **_ONLY_NEW, **_WRONG, Body=BODY))
    return _write(probes, trial, at, found) if trial else _look(probes, at, found)


def allowed(answer: Answer | None, *reasons: str) -> bool:
    """Whether it was done, or refused for one of our own reasons."""
    return answer is not None and (answer.ok or answer.code in reasons)


def _ask_nobody(probes: Probes, at: dict[str, Any], found: Evidence) -> Evidence:
    """Ask about an upload and an object that aren't there; the ACL is one that no bucket blocks."""
    upload = {**at, "UploadId": secrets.token_hex(20)}
    return replace(
        found,
        aborts=probes.ask("abort_multipart_upload", **upload),
        parts=probes.ask("upload_part", **upload, PartNumber=1, Body=BODY),
        acl=probes.ask("put_object_acl", **at, ACL=ACL),
    )


def _begin(probes: Probes, at: dict[str, Any], asked: dict[str, Any], found: Evidence) -> Evidence:
    """Begin an upload as a delivery does, and throw it away; where that is refused, try with less, to tell why."""
    created = probes.ask("create_multipart_upload", **at, **asked)
    found = replace(found, created=created)
    if created.ok:
        return _throw_away(probes, at, created, found)
    if created.status is None or (created.status >= _BROKEN and not created.is_refusal):
        return replace(found, left=(*found.left, _pending(at, created)))
    kms = {"ServerSideEncryption", "SSEKMSKeyId"}
    less = kms if kms & asked.keys() else {"ACL"}
    plain = probes.ask("create_multipart_upload", **at, **{one: asked[one] for one in asked if one not in less})
    found = replace(found, created_plain=plain)
    return _throw_away(probes, at, plain, found) if plain.ok else found


def _throw_away(probes: Probes, at: dict[str, Any], created: Answer, found: Evidence) -> Evidence:
    upload = {**at, "UploadId": created.reply.get("UploadId")}
    try:
        wrong = probes.ask("upload_part", **upload, PartNumber=1, Body=BODY, **_WRONG)
    finally:
        thrown = probes.ask("abort_multipart_upload", **upload)
    left = () if thrown.ok else (_pending(at, thrown),)
    return replace(found, wrong_sum=wrong, left=found.left + left)


def _write(probes: Probes, trial: Trial, at: dict[str, Any], found: Evidence) -> Evidence:
    """Leave an object, at a key of its own; what follows can only replace it with the same bytes."""
    place = parse_target(_url(at))
    written = trial.put(place, BODY)
    plain = None
    if not written.ok and found.parts is not None:
        plain = probes.ask("put_object", **at, ContentType="text/plain", Body=BODY)
    if not (written.ok or (plain and plain.ok)):
        lost = (f"an object at {_url(at)}, perhaps: no reply came",) if written.status is None else ()
        return replace(found, written=written, written_plain=plain, left=found.left + lost)
    found = replace(found, written=written, written_plain=plain, again=trial.put_again(place, BODY))
    found = replace(_upload(probes, trial, place, found), sums=trial.sums)
    unclear = found.wrong_sum is None or (found.wrong_sum.is_refusal and found.wrong != trial.algorithm)
    if unclear and found.put_wrong is None:
        wrong = probes.ask("put_object", **at, ContentType="text/plain", **wrong_sum(trial.sums), Body=BODY)
        found = replace(found, wrong_sum=wrong, wrong=trial.algorithm)
    found, size = _upload_unevenly(trial, place, found)
    return replace(found, left=(*found.left, f"an object at {_url(at)}, of {size}"))


def _upload(probes: Probes, trial: Trial, place: Target, found: Evidence) -> Evidence:
    """Ask an upload to replace our own object, by the same bytes, under the condition that forbids it."""
    made = trial.upload_again(place, BODY)
    shown = None
    if made.replaced.ok:
        shown = probes.ask("list_objects_v2", Bucket=place.bucket, Prefix=place.path, MaxKeys=1)
    left = (made.left,) if made.left else ()
    return replace(found, completed=made.completed, uploaded=made.replaced, shown=shown, left=found.left + left)


def _upload_unevenly(trial: Trial, place: Target, found: Evidence) -> tuple[Evidence, str]:
    """Ask an upload of parts of two sizes to replace our own object, and say how large the one is that stays."""
    small, large = f"{len(BODY)} bytes", "10 MiB"
    made = trial.upload_unevenly(place, BODY) if found.uploaded and found.uploaded.ok else None
    if made is None:
        return found, small
    size = small if made.replaced.ok or made.completed.is_refusal else f"{small} or {large}"
    return replace(found, uneven=made.completed, left=found.left + ((made.left,) if made.left else ())), size


def _look(probes: Probes, at: dict[str, Any], found: Evidence) -> Evidence:
    """Find out whether a store has done what every other refuses, and so something is there after all."""
    if found.listed.ok:
        keys = probes.ask("list_objects_v2", Bucket=at["Bucket"], Prefix=at["Key"], MaxKeys=1)
        there = bool(keys.reply.get("Contents"))
    else:
        there = any(one.ok for one in (found.acl, found.put_wrong) if one)
    return replace(found, left=(*found.left, f"an object at {_url(at)}, which may be deleted")) if there else found


def _pending(at: dict[str, Any], thrown: Answer) -> str:
    """Say that an upload was begun, or may have been, and what ends it."""
    folder = _url(at).rpartition("/")[0]
    return (
        f"a pending upload at {_url(at)}, perhaps ({thrown.operation}: {thrown}); a lifecycle rule ends it: "
        f"mc-sink lifecycle {folder}/"
    )


def _url(at: dict[str, Any]) -> str:
    return f"s3://{at['Bucket']}/{at['Key']}"
