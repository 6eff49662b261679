"""Deliver to S3: multipart uploads, the requests that publish an object, and probes. Only this folder uses botocore."""

from mc_sink.storage.s3.bucket import S3Store
from mc_sink.storage.s3.checksums import wrong_sum
from mc_sink.storage.s3.client_options import check_names, check_owner
from mc_sink.storage.s3.endpoint import is_aws
from mc_sink.storage.s3.multipart import not_aborted
from mc_sink.storage.s3.probe import Answer, Probes, Trial
from mc_sink.storage.s3.role_session import Role, session_in
from mc_sink.storage.s3.store_support import UNKEPT, StoreSupport, SupportMemory

__all__ = [
    "UNKEPT",
    "Answer",
    "Probes",
    "Role",
    "S3Store",
    "StoreSupport",
    "SupportMemory",
    "Trial",
    "check_names",
    "check_owner",
    "is_aws",
    "not_aborted",
    "session_in",
    "wrong_sum",
]
