"""Send the requests of a check. They leave nothing behind and change no existing object.

All of them name a random key, which no object has. They are built to be refused, and the code of the refusal shows
whether the permission exists:

- UploadPart and AbortMultipartUpload of an upload that doesn't exist: NoSuchUpload where they are allowed;
- PutObjectAcl of an object that doesn't exist: NoSuchKey where it is allowed;
- where Abort is allowed, so that nothing has to stay: CreateMultipartUpload with the ACL and the KMS key of a
  delivery, a part with a wrong checksum, and Abort;
- where Abort is refused, and on AWS, which checks: PutObject with a wrong checksum, refused as BadDigest.

A conditional PutObject or CompleteMultipartUpload to an existing key would show whether the store honours conditions.
But a store that ignores them would replace that object. So the check sends both only to an object that it has put
itself, which has to be left behind. An upload then replaces it by the same bytes, without the condition. The reply to
Complete, and a listing, show which ETags the store makes.

At last an upload with parts of two sizes replaces the object, and the small one is put back. Stores refuse such parts
only at Complete, which a delivery reaches after all its bytes are uploaded.
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
    from mc_sink.storage import Answer, Probes, StoreSupport, Trial
    from mc_sink.target import Target

Leaving = Literal["nothing", "an object"]
# The only canned ACL that S3 takes in a bucket with disabled ACLs.
ACL = "bucket-owner-full-control"
BODY = b"Left by `mc-sink platforms check --write-probe`. It may be deleted.\n"
_DENIED = {"AccessDenied", "403", "Forbidden"}
_FORBIDDEN, _BROKEN = 403, 500
# The checksum of no body that is sent here.
_WRONG = wrong_sum("full")
_ONLY_NEW = {"IfNoneMatch": "*"}


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object or a pending upload that a check may have left behind; `text` names it, and how to remove it."""

    kind: Literal["object", "upload"]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The answers of the store, None for requests that were not sent.

    - `created_plain`, `written_plain`: the requests without the options that may have been the cause of a refusal.
    - `again`: a second PutObject to the same key, under the condition.
    - `completed`, `uploaded`: Complete to the same key, under the condition and without it.
    - `uneven`: an upload with parts of two sizes.
    - `sums`: the checksum that a delivery sends. `wrong`: the kind of the wrong checksum that was sent.
    - `ways`: what is known of the store, from this check or, if `since` is set, from that time.
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
    ways: StoreSupport | None = None
    since: datetime | None = None
    on_aws: bool = False
    left: tuple[Leftover, ...] = ()


def denied(answer: Answer | None) -> bool:
    """Return True for a refusal because of a missing permission."""
    return answer is not None and answer.status == _FORBIDDEN and answer.code in _DENIED


def about_kms(answer: Answer | None) -> bool:
    """Return True for a refusal by the KMS key, and not by the bucket."""
    if answer is None or answer.ok:
        return False
    return answer.code.startswith("KMS.") or (denied(answer) and "kms:" in answer.message.lower())


def gather(
    probes: Probes, where: Target, options: ObjectOptions, *, on_aws: bool = False, trial: Trial | None = None
) -> Evidence:
    """Send all requests of a check, or only a listing where that doesn't reach the bucket.

    A `trial` sends the requests of a delivery too, and leaves an object behind.
    """
    listed = probes.ask("list_objects_v2", Bucket=where.bucket, Prefix=where.path, MaxKeys=1)
    found = Evidence(listed, on_aws=on_aws)
    if not (found.listed.ok or denied(found.listed)):
        return found
    at = {"Bucket": where.bucket, "Key": f"{where.path}mc-sink-check-{secrets.token_hex(8)}.txt"}
    asked = {"ACL": ACL} | options.request("text/plain")
    upload = {**at, "UploadId": secrets.token_hex(20)}  # it doesn't exist, nor does the object
    found = replace(
        found,
        aborts=probes.ask("abort_multipart_upload", **upload),
        parts=probes.ask("upload_part", **upload, PartNumber=1, Body=BODY),
        acl=probes.ask("put_object_acl", **at, ACL=ACL),  # an ACL that no bucket blocks
    )
    if found.aborts and allowed(found.aborts, "NoSuchUpload") and not denied(found.parts):
        found = _begin(probes, at, asked, found)
    elif on_aws:
        found = replace(found, put_wrong=probes.ask("put_object", **at, **asked, **_ONLY_NEW, **_WRONG, Body=BODY))
    return _write(probes, trial, at, found) if trial else _look(probes, at, found)


def allowed(answer: Answer | None, *reasons: str) -> bool:
    """Return True for success, or for a refusal with one of the intended codes."""
    return answer is not None and (answer.ok or answer.code in reasons)


def _begin(probes: Probes, at: dict[str, Any], asked: dict[str, Any], found: Evidence) -> Evidence:
    """Begin an upload as a delivery does, and abort it. After a refusal, repeat it with fewer options."""
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
    return replace(found, wrong_sum=wrong, left=(*found.left, *left))


def _write(probes: Probes, trial: Trial, at: dict[str, Any], found: Evidence) -> Evidence:
    """Put an object at the random key. All later requests replace it only by the same bytes."""
    place = parse_target(_url(at))
    written = trial.put(place, BODY)
    plain = None
    if not written.ok and found.parts is not None:
        plain = probes.ask("put_object", **at, ContentType="text/plain", Body=BODY)
    if not (written.ok or (plain and plain.ok)):
        lost = Leftover("object", f"perhaps an object at {_url(at)}: no reply came")
        left = (*found.left, lost) if written.status is None else found.left
        return replace(found, written=written, written_plain=plain, left=left)
    found = replace(found, written=written, written_plain=plain, again=trial.put_again(place, BODY))
    found = replace(_upload(probes, trial, place, found), sums=trial.sums)
    unclear = found.wrong_sum is None or (found.wrong_sum.is_refusal and found.wrong != trial.algorithm)
    if unclear and found.put_wrong is None:
        wrong = probes.ask("put_object", **at, ContentType="text/plain", **wrong_sum(trial.sums), Body=BODY)
        found = replace(found, wrong_sum=wrong, wrong=trial.algorithm)
    found, size = _upload_unevenly(trial, place, found)
    return replace(found, left=(*found.left, Leftover("object", f"an object at {_url(at)}, of {size}")))


def _upload(probes: Probes, trial: Trial, place: Target, found: Evidence) -> Evidence:
    """Replace the check's object by an upload of the same bytes, under the condition and without it."""
    made = trial.upload_again(place, BODY)
    shown = None
    if made.replaced.ok:
        shown = probes.ask("list_objects_v2", Bucket=place.bucket, Prefix=place.path, MaxKeys=1)
    left = (*found.left, *_uploads_left(made.left))
    return replace(found, completed=made.completed, uploaded=made.replaced, shown=shown, left=left)


def _upload_unevenly(trial: Trial, place: Target, found: Evidence) -> tuple[Evidence, str]:
    """Replace the check's object by an upload with parts of two sizes; return also how large the remaining one is."""
    small, large = f"{len(BODY)} bytes", "10 MiB"
    made = trial.upload_unevenly(place, BODY) if found.uploaded and found.uploaded.ok else None
    if made is None:
        return found, small
    size = small if made.replaced.ok or made.completed.is_refusal else f"{small} or {large}"
    return replace(found, uneven=made.completed, left=(*found.left, *_uploads_left(made.left))), size


def _uploads_left(pending: str | None) -> tuple[Leftover, ...]:
    return (Leftover("upload", pending),) if pending else ()


def _look(probes: Probes, at: dict[str, Any], found: Evidence) -> Evidence:
    """List the probe key, and report an object that a lenient store has created there."""
    if found.listed.ok:
        keys = probes.ask("list_objects_v2", Bucket=at["Bucket"], Prefix=at["Key"], MaxKeys=1)
        exists = bool(keys.reply.get("Contents"))
    else:
        exists = any(answer.ok for answer in (found.acl, found.put_wrong) if answer)
    left = Leftover("object", f"an object at {_url(at)}, which may be deleted")
    return replace(found, left=(*found.left, left)) if exists else found


def _pending(at: dict[str, Any], thrown: Answer) -> Leftover:
    """Return an upload that was begun, or may have been, with the rule that aborts it."""
    folder = _url(at).rpartition("/")[0]
    return Leftover(
        "upload",
        f"perhaps a pending upload at {_url(at)} ({thrown.operation}: {thrown}); a lifecycle rule aborts it: "
        f'mc_sink.lifecycle("{folder}/")',
    )


def _url(at: dict[str, Any]) -> str:
    return f"s3://{at['Bucket']}/{at['Key']}"
