"""Stores that people have, each as rules of the test server: what it takes, refuses, and reads over.

A profile plays what is known of a store and nothing else; where that is not known, it keeps AWS' rule. `known` says
how: "run against it" was seen at the store itself, "played from its documents" is what its documents, its source or
reports of its users say, and "not known" is a guess. No test reaches the stores themselves, except SeaweedFS and
rclone, which run on loopback.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tests.servers.rules import NOT_IMPLEMENTED, SUMS, Refusal, Rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from tests.servers.rules import Kind

Known: TypeAlias = Literal["run against it", "played from its documents", "not known"]
_WRITES: Final = ("Put", "Create")
_CONDITION: Final = "if-none-match"
_R2_SUMS: Final[Mapping[str, AbstractSet[Kind]]] = {
    "CRC32": {"COMPOSITE"},
    "CRC32C": {"COMPOSITE"},
    "CRC64NVME": {"FULL_OBJECT"},
    "SHA1": {"COMPOSITE"},
    "SHA256": {"COMPOSITE"},
}
_R2_ANSWER: Final = (501, "NotImplemented", "Header '{header}' with value '{value}' not implemented")
_R2: Final = Rules(
    equal_parts=True,
    sums=_R2_SUMS,
    no_sum=_R2_ANSWER,
    refusals=tuple(
        Refusal((*_WRITES, "PutAcl"), header, answer=_R2_ANSWER)
        for header in (
            "x-amz-acl",
            "x-amz-tagging",
            "x-amz-server-side-encryption",
            "x-amz-server-side-encryption-aws-kms-key-id",
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """A store by its name: its rules, how they are known, where from, and what of them is a guess.

    `title` is the name that its makers give it, with the versions that the rules are of.
    """

    name: str
    title: str
    known: Known
    source: str
    rules: Rules
    guessed: str = ""

    def tiny(self) -> Rules:
        """Return the rules for tests whose parts are a few bytes long."""
        return replace(self.rules, min_part_size=1)


AWS: Final = Profile("aws", "Amazon S3", "played from its documents", "docs.aws.amazon.com/AmazonS3", Rules())
MINIO: Final = Profile(
    "minio",
    "MinIO, every version with checksums",
    "played from its documents",
    "minio/minio cmd/erasure-multipart.go (5 versions), minio#20944",
    Rules(sums_of_parts="required"),
)
MINIO_COMPOSITE: Final = Profile(
    "minio-composite",
    "MinIO before it knew FULL_OBJECT",
    "played from its documents",
    "minio#20944: the type asked for at Create is not respected",
    Rules(sums_of_parts="required", sum_types="ignored", sums={**SUMS, "CRC64NVME": {"FULL_OBJECT"}}),
    guessed="that CRC64NVME was known then, and the answers to a Complete that names FULL_OBJECT",
)
AISTOR: Final = Profile(
    "aistor",
    "AIStor and silo since 2026-08",
    "played from its documents",
    "pgsty/silo#31",
    Rules(),
)
R2: Final = Profile(
    "r2",
    "Cloudflare R2",
    "played from its documents",
    "developers.cloudflare.com/r2/api/s3/api, …/objects/multipart-objects, cloudflare-docs#9549, cloudflare-docs#4508",
    _R2,
    guessed="that a checksum type it doesn't have is answered 501, as its other headers were",
)
R2_400: Final = Profile(
    "r2-400",
    "Cloudflare R2, if it answers 400",
    "not known",
    R2.source,
    replace(_R2, no_sum=(400, "InvalidRequest", "Checksum type '{value}' is not supported for this algorithm.")),
    guessed="the whole of the answer to a checksum type it doesn't have",
)
B2: Final = Profile(
    "b2",
    "Backblaze B2",
    "played from its documents",
    "sathinduga/obsidian-s3-sync#84, #78; backblaze.com/apidocs/s3-put-object; firnflow#29",
    Rules(
        refusals=(
            Refusal(("Put", "Complete"), _CONDITION),
            Refusal(
                _WRITES,
                "x-amz-acl",
                "(?!private$).*",
                (400, "InvalidArgument", "Unsupported value for canned acl '{value}'"),
            ),
        )
    ),
    guessed="that Complete refuses a condition as Put does",
)
GCS: Final = Profile(
    "gcs",
    "Google Cloud Storage, S3 interoperability",
    "played from its documents",
    "cloud.google.com/storage/docs/xml-api/post-object-complete (ETags); firnflow#29, #36, #37; baerly-storage#52; "
    "opendal#8040; arrow-rs-object-store#289; milvus-storage#454 (checksums)",
    Rules(
        etags="unlike",
        checksums="ignored",
        if_none_match_on_put="ignored",
        if_none_match_on_complete="ignored",
        object_size="ignored",
    ),
    guessed="that ETags of a Put and of parts are their MD5s, and that the size at Complete is read over",
)
GCS_400: Final = Profile(
    "gcs-400",
    "Google Cloud Storage, S3 interoperability, as documented for multipart",
    "played from its documents",
    f"cloud.google.com/storage/docs/multipart-uploads (preconditions); {GCS.source}",
    replace(
        GCS.rules,
        refusals=(
            Refusal(("Complete",), _CONDITION, answer=(400, "NotImplemented", "Preconditions are not supported.")),
        ),
    ),
    guessed=GCS.guessed,
)
STORAGEGRID_120: Final = Profile(
    "storagegrid-12.0",
    "NetApp StorageGRID up to 12.0",
    "played from its documents",
    "docs.netapp.com storagegrid-120 upload-part; release notes 12.1",
    Rules(
        sums={"SHA256": {"COMPOSITE"}},
        no_sum=NOT_IMPLEMENTED,
        if_none_match_on_put="ignored",
        if_none_match_on_complete="ignored",
        object_size="ignored",
    ),
    guessed="the answer to CRC32, that conditions were read over, and that the size at Complete was",
)
STORAGEGRID_121: Final = Profile(
    "storagegrid-12.1",
    "NetApp StorageGRID 12.1, conditions refused by configuration",
    "played from its documents",
    "docs.netapp.com storagegrid release notes 12.1: 501 Not Implemented",
    Rules(refusals=(Refusal(("Put", "Complete"), _CONDITION),)),
)
STORAGEGRID_121_IGNORES: Final = Profile(
    "storagegrid-12.1-ignores",
    "NetApp StorageGRID 12.1, conditions accepted but non-functional",
    "played from its documents",
    "docs.netapp.com storagegrid release notes 12.1",
    Rules(if_none_match_on_put="ignored", if_none_match_on_complete="ignored"),
)
OVH: Final = Profile(
    "ovh",
    "OVHcloud Object Storage",
    "played from its documents",
    "icechunk#2115 (2026-05) refuses CRC32; ovhcloud-docs#28 (conditions since 2026-06-09)",
    Rules(
        sums={name: kinds for name, kinds in SUMS.items() if name != "CRC32"},
        no_sum=(400, "InvalidArgument", "Unsupported header '{header}' received for this API call."),
    ),
    guessed="the answer to CRC32, and that the others are taken; ovh/public-cloud-roadmap#1173 names CRC32 as taken",
)
CEPH_SQUID: Final = Profile(
    "ceph-squid",
    "Ceph's gateway up to Squid (19.2)",
    "played from its documents",
    "rgw-go notes on v19.2.6",
    Rules(checksums="ignored", if_none_match_on_complete="ignored", etags="empty", object_size="ignored"),
    guessed="that the size at Complete is read over",
)
CEPH_SQUID_BUSY: Final = Profile(
    "ceph-squid-busy",
    "Ceph's gateway up to Squid, after a crash in the middle of Complete",
    "played from its documents",
    CEPH_SQUID.source,
    replace(CEPH_SQUID.rules, completed_uploads="kept", repeated_complete="InProgress"),
    guessed=CEPH_SQUID.guessed,
)
CEPH_TENTACLE: Final = Profile(
    "ceph-tentacle",
    "Ceph's gateway since Tentacle (20.2)",
    "played from its documents",
    "rgw-go notes on v20.2.4",
    Rules(),
)
RCLONE: Final = Profile(
    "rclone",
    "rclone serve s3 1.75.2",
    "run against it",
    "tests/servers/test_servers_real.py",
    Rules(
        etags="other",
        checksums="ignored",
        if_none_match_on_put="ignored",
        if_none_match_on_complete="ignored",
        object_size="ignored",
        signed_bodies="ignored",
        min_part_size=1,
    ),
)
SEAWEED: Final = Profile(
    "seaweed",
    "SeaweedFS 4.48",
    "run against it",
    "tests/servers/test_servers_real.py",
    Rules(object_size="ignored"),
)
PROFILES: Final = (
    AWS,
    MINIO,
    MINIO_COMPOSITE,
    AISTOR,
    R2,
    R2_400,
    B2,
    GCS,
    GCS_400,
    STORAGEGRID_120,
    STORAGEGRID_121,
    STORAGEGRID_121_IGNORES,
    OVH,
    CEPH_SQUID,
    CEPH_SQUID_BUSY,
    CEPH_TENTACLE,
    RCLONE,
    SEAWEED,
)
