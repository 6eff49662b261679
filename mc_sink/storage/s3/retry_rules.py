"""The operations of S3 that deliveries use: which may be repeated, how often, and after which pause. Sends nothing.

    operation                    sent again after                       a second attempt can
    create_multipart_upload      a passing failure                      leave an empty upload behind
    upload_part                  a passing failure, or a changed body   do no harm: it stores the same part again
    complete_multipart_upload    a passing failure                      meet our own earlier attempt (404, 412)
    put_object                   as a part, and after a conflict (409)  meet our own earlier attempt (412)
    abort_multipart_upload       a passing failure                      do no harm: gone stays gone
    list_objects_v2              a passing failure                      do no harm: it only reads

Passing failures are a missing reply, a server's error, and a request to slow down. Nothing else is sent again. A
refusal stays a refusal, also in the body of a 200, which botocore reports as a 500. A 409 on CompleteMultipartUpload
is not retried: S3 requires a new upload. `publish_object.py` settles by evidence what an unclear attempt published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Operation = Literal[
    "create_multipart_upload",
    "upload_part",
    "complete_multipart_upload",
    "put_object",
    "abort_multipart_upload",
    "list_objects_v2",
    "list_multipart_uploads",
]
OPERATIONS: Final = get_args(Operation)

NO_REPLY: Final = "no reply"
THROTTLED: Final = frozenset(
    {
        "429",
        "BandwidthLimitExceeded",
        "KMS.ThrottlingException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
TIMED_OUT: Final = frozenset({"408", "RequestTimeout", "RequestTimeoutException"})
# The statuses of a store, or of a gateway before it, that is overloaded or fails.
FAILING: Final = frozenset({"429", "500", "502", "503", "504"})
PASSES: Final = frozenset({NO_REPLY}) | FAILING | THROTTLED | TIMED_OUT
CHANGED_ON_ITS_WAY: Final = frozenset(
    {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
)
CONFLICT: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
# A second attempt is of use only after the credentials have been read again.
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
# Errors of the libraries that look credentials up. `errors.py` has a text for each.
CREDENTIAL_CODES: Final = frozenset(
    {
        "CredentialRetrievalError",
        "MetadataRetrievalError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
# Codes that refuse at any status: S3 sends some of them in the body of a 200, and gateways with a 5xx.
REFUSED: Final = (
    frozenset(
        {
            "AccessDenied",
            "EntityTooLarge",
            "EntityTooSmall",
            "InvalidAccessKeyId",
            "InvalidArgument",
            "InvalidPart",
            "InvalidPartOrder",
            "InvalidRequest",
            "InvalidToken",
            "MalformedXML",
            "NoSuchBucket",
            "NoSuchUpload",
            "NotImplemented",
            "PreconditionFailed",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
        }
    )
    | CHANGED_ON_ITS_WAY
    | CONFLICT
    | EXPIRED
)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """The facts of one operation.

    - `action`: the permission that it needs.
    - `again_after`: the codes and statuses after which it is sent again.
    - `answered_by`: a reply with none of these names does not answer the request.
    - `entries`: the lists that a reply may have, and the names that each entry of them must have.
    - `patience`: how long an attempt may stand still, in read timeouts.
    """

    action: str
    again_after: frozenset[str]
    answered_by: frozenset[str] = frozenset()
    entries: Mapping[str, frozenset[str]] = field(default_factory=dict)
    patience: int = 2


RULES: Final[Mapping[str, Rule]] = {
    "create_multipart_upload": Rule("s3:PutObject", PASSES, frozenset({"UploadId"})),
    "upload_part": Rule("s3:PutObject", PASSES | CHANGED_ON_ITS_WAY, frozenset({"ETag"})),
    # S3 may take several minutes to put a large object together, and sends blanks meanwhile.
    "complete_multipart_upload": Rule("s3:PutObject", PASSES, frozenset({"ETag"}), patience=5),
    "put_object": Rule("s3:PutObject", PASSES | CHANGED_ON_ITS_WAY | CONFLICT, frozenset({"ETag"})),
    "abort_multipart_upload": Rule("s3:AbortMultipartUpload", PASSES),
    "list_objects_v2": Rule(
        "s3:ListBucket",
        PASSES,
        frozenset({"Name", "KeyCount", "IsTruncated", "Contents"}),
        {"Contents": frozenset({"Key", "Size", "ETag"})},
    ),
    "list_multipart_uploads": Rule(
        "s3:ListBucketMultipartUploads",
        PASSES,
        frozenset({"Bucket", "IsTruncated", "Uploads"}),
        {"Uploads": frozenset({"Key", "UploadId"})},
    ),
}


@dataclass(frozen=True, slots=True)
class Pace:
    """The timeouts of requests and the pauses between attempts, in seconds. All follow from s3fs' `read_timeout`.

    That is `storage_options["config_kwargs"]["read_timeout"]`, 60 by default.

    - An attempt ends when nothing moves for two read timeouts (a Complete: five).
    - No attempt begins later than two read timeouts after the first, not counting the time in which a body moved.
    - At most `attempts` are made. A store that can't be reached, asks for fewer requests or fails is waited for: then
      the deadline alone ends the attempts, at most 32 of them.
    - The pauses are random shares of a bound that doubles from `first_wait` to `longest_wait` (full jitter). After
      `attempts` they are at least half of `longest_wait`.

    So a request that stands still is over after four read timeouts, a Complete after seven. A caller in a hurry sets
    that one number: with `read_timeout=1` everything ends within a few seconds.
    """

    read_timeout: float = 60.0
    attempts: int = 8

    @classmethod
    def of(cls, config: Mapping[str, object]) -> Pace:
        """Read the read timeout from botocore's configuration, else use the default."""
        asked = config.get("read_timeout")
        return cls(float(asked)) if isinstance(asked, int | float) and asked > 0 else cls()

    @property
    def deadline(self) -> float:
        """How long after the first attempt another may begin."""
        return 2 * self.read_timeout

    @property
    def first_wait(self) -> float:
        """The bound of the first pause: 0.2 s by default."""
        return self.read_timeout / 300

    @property
    def longest_wait(self) -> float:
        """The bound of every pause: 10 s by default."""
        return self.read_timeout / 6

    def pauses(self, attempt: int) -> tuple[float, float]:
        """Return the bounds of the pause after an attempt, counted from 1."""
        if attempt >= self.attempts:
            return self.longest_wait / 2, self.longest_wait
        return 0, min(self.longest_wait, self.first_wait * 2 ** (attempt - 1))

    def quiet(self, operation: Operation) -> float:
        """Return how long an attempt may stand still."""
        return RULES[operation].patience * self.read_timeout
