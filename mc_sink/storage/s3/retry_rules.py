"""Which requests may be repeated, how often, and after which pause. Sends nothing.

    operation                    sent again after                            what a second try can do
    create_multipart_upload      what passes                                 leave an empty upload behind
    upload_part                  what passes, and a body changed on its way  nothing: the same part again
    complete_multipart_upload    what passes                                 find our own earlier try (404, 412)
    put_object                   the same as a part, and a conflict (409)    find our own earlier try (412)
    abort_multipart_upload       what passes                                 nothing: gone stays gone
    list_objects_v2              what passes                                 nothing: it only reads

What passes is no reply, a server's error, and being asked for fewer requests. Nothing else is sent again: a refusal
stays a refusal, also where it comes in the body of a 200, which botocore gives as a 500. A conflict on Complete is one,
because there S3 wants the upload begun again. What publishes is settled by evidence after an unclear try; see
`bucket.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
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
PASSES: Final = frozenset({NO_REPLY, "500", "502", "503", "504"}) | THROTTLED | TIMED_OUT
CHANGED_ON_ITS_WAY: Final = frozenset(
    {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
)
CONFLICT: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
# A second try is of use here once the credentials have been read anew, and only then.
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
# Errors of the libraries that find credentials; each has a text of its own.
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
# Codes that say no whatever the status: S3 gives some of them in the body of a 200, and gateways under a 5xx.
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
    """What is known of an operation: after which codes and statuses it is sent again, and what answers it.

    A reply with none of the names in `answered_by` is no answer. `patience` is in read timeouts.
    """

    again_after: frozenset[str]
    answered_by: frozenset[str] = frozenset()
    patience: int = 2


RULES: Final[Mapping[str, Rule]] = {
    "create_multipart_upload": Rule(PASSES, frozenset({"UploadId"})),
    "upload_part": Rule(PASSES | CHANGED_ON_ITS_WAY, frozenset({"ETag"})),
    # S3 may take several minutes to put a large object together, and sends blanks meanwhile.
    "complete_multipart_upload": Rule(PASSES, frozenset({"ETag"}), patience=5),
    "put_object": Rule(PASSES | CHANGED_ON_ITS_WAY | CONFLICT, frozenset({"ETag"})),
    "abort_multipart_upload": Rule(PASSES),
    "list_objects_v2": Rule(PASSES, frozenset({"Name", "KeyCount", "IsTruncated", "Contents"})),
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How patiently requests are sent; all times are in seconds, and all follow from the `read_timeout` of s3fs.

    That is `storage_options["config_kwargs"]["read_timeout"]`, 60 by default. A try in which nothing moves for two of
    them (for a Complete, five) is ended. No try begins later than two of them after the first, not counting the time
    in which a body was on its way. The waits between tries are random shares of a bound that doubles from `first_wait`
    to `longest_wait` (full jitter). So a request that stands still is over after four read timeouts, a Complete after
    seven, and a caller in a hurry sets that one number: with `read_timeout=1` everything ends within a few seconds.
    """

    read_timeout: float = 60.0
    tries: int = 8

    @classmethod
    def of(cls, config: Mapping[str, object]) -> Pace:
        """Take the read timeout from botocore's configuration; where it has none, the default is kept."""
        asked = config.get("read_timeout")
        return cls(float(asked)) if isinstance(asked, int | float) and asked > 0 else cls()

    @property
    def deadline(self) -> float:
        """How long after the first try another may begin."""
        return 2 * self.read_timeout

    @property
    def first_wait(self) -> float:
        """The bound of the first wait: 0.2 s by default."""
        return self.read_timeout / 300

    @property
    def longest_wait(self) -> float:
        """The bound of every wait: 10 s by default."""
        return self.read_timeout / 6

    def quiet(self, operation: Operation) -> float:
        """How long a try may stand still."""
        return RULES[operation].patience * self.read_timeout
