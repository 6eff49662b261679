"""What other libraries call the options of this one, for error messages that name the right one."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from mc_sink._display import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")

_REGION = "Pass client_kwargs={'region_name': …}."
_CERTIFICATES = "Pass client_kwargs={'verify': …}."
# Names of Polars' storage options, of object_store, of boto3 and of awswrangler.
STORAGE: Mapping[str, str] = {
    **dict.fromkeys(("aws_access_key_id", "access_key_id", "aws_access_key", "access_key"), "Did you mean 'key'?"),
    **dict.fromkeys(
        ("aws_secret_access_key", "secret_access_key", "aws_secret_key", "secret_key"), "Did you mean 'secret'?"
    ),
    **dict.fromkeys(("aws_session_token", "session_token", "aws_token", "aws_security_token"), "Did you mean 'token'?"),
    **dict.fromkeys(
        ("aws_endpoint_url", "aws_endpoint", "endpoint", "aws_endpoint_url_s3", "endpoint_override"),
        "Did you mean 'endpoint_url'?",
    ),
    **dict.fromkeys(("aws_profile", "profile_name", "aws_profile_name"), "Did you mean 'profile'?"),
    **dict.fromkeys(("region", "aws_region", "region_name", "aws_default_region", "default_region"), _REGION),
    **dict.fromkeys(("verify", "ca_bundle", "ca_cert", "aws_ca_bundle", "allow_invalid_certificates"), _CERTIFICATES),
    **dict.fromkeys(
        ("aws_allow_http", "allow_http"), "Give the endpoint as it is: endpoint_url='http://…', with use_ssl=False."
    ),
    **dict.fromkeys(
        ("aws_virtual_hosted_style_request", "virtual_hosted_style_request", "addressing_style", "path_style"),
        "Pass config_kwargs={'s3': {'addressing_style': …}}.",
    ),
    **dict.fromkeys(("max_retries", "retries"), "mc_sink retries by itself, until the deadline of a reply."),
}
_OBJECT = "Pass object_options=ObjectOptions(…), which has acl, sse, storage_class, tags and metadata."
_CSV = "Pass format=Csv({}=…)."
_IF_EXISTS = 'To replace files of the same names, pass if_exists="overwrite".'
# Names of Polars' sinks, of pandas, of awswrangler and of Spark's writers.
DELIVERY: Mapping[str, str] = {
    "compression": 'Pass format="csv.gz", or format=Csv(compression=…) or Parquet(compression=…).',
    **dict.fromkeys(("separator", "delimiter", "sep"), _CSV.format("separator")),
    **dict.fromkeys(("quote_char", "quotechar"), _CSV.format("quote_char")),
    **dict.fromkeys(("null_value", "na_rep", "null_values"), _CSV.format("null_value")),
    **dict.fromkeys(("include_header", "has_header", "header"), _CSV.format("include_header")),
    **dict.fromkeys(("date_format", "dateformat"), _CSV.format("date_format")),
    **dict.fromkeys(("overwrite", "mode", "if_exist", "exist_ok"), _IF_EXISTS),
    **dict.fromkeys(("partition_cols", "partition_on", "partitionby", "partitions"), "Did you mean 'partition_by'?"),
    **dict.fromkeys(("filename", "file_name", "filename_prefix", "basename_template"), "Did you mean 'name'?"),
    **dict.fromkeys(("acl", "sse", "storage_class", "tags", "metadata", "encryption"), _OBJECT),
    **dict.fromkeys(
        ("max_rows_by_file", "rows_per_file", "max_rows", "maxrecordsperfile"), "Did you mean 'max_rows_per_file'?"
    ),
    **dict.fromkeys(
        ("max_bytes", "bytes_per_file", "max_file_size", "file_size"), "Did you mean 'max_bytes_per_file'?"
    ),
    **dict.fromkeys(("key", "secret", "token", "endpoint_url"), "Pass it in storage_options."),
    **dict.fromkeys(("region", "region_name"), "Pass storage_options={'client_kwargs': {'region_name': …}}."),
    **dict.fromkeys(("client_kwargs", "config_kwargs", "profile"), "Pass it in storage_options."),
    **{name: f"Pass storage_options: {hint}" for name, hint in STORAGE.items() if name.startswith("aws_")},
}
# Names of pandas, of Python's csv module, of pyarrow and of Spark.
CSV: Mapping[str, str] = {
    **dict.fromkeys(("delimiter", "sep"), "Did you mean 'separator'?"),
    **dict.fromkeys(("has_header", "header"), "Did you mean 'include_header'?"),
    **dict.fromkeys(("quotechar", "quote"), "Did you mean 'quote_char'?"),
    **dict.fromkeys(("quoting", "quote_all"), "Did you mean 'quote_style'?"),
    **dict.fromkeys(("na_rep", "null_values", "nullvalue", "null"), "Did you mean 'null_value'?"),
    **dict.fromkeys(("lineterminator", "line_separator", "newline", "eol"), "Did you mean 'line_terminator'?"),
    **dict.fromkeys(("bom", "encoding_bom"), "Did you mean 'include_bom'?"),
    **dict.fromkeys(("decimal", "decimal_point"), "Did you mean 'decimal_comma'?"),
    **dict.fromkeys(("compresslevel", "level"), "Did you mean 'compression_level'?"),
}
PARQUET: Mapping[str, str] = {
    **dict.fromkeys(("codec", "compression_codec"), "Did you mean 'compression'?"),
    **dict.fromkeys(("level", "compresslevel"), "Did you mean 'compression_level'?"),
    **dict.fromkeys(("write_statistics",), "Did you mean 'statistics'?"),
    **dict.fromkeys(("row_group_size", "max_rows_per_group"), "Pass row_group_size to the delivery."),
}


def hint(name: str, hints: Mapping[str, str], known: Iterable[str]) -> str:
    """Return a sentence on the name that was meant, after a space; empty where none is known."""
    found = hints.get(name.strip().lower())
    return f" {found}" if found else nearest(name, known)


def hints_fields(hints: Mapping[str, str]) -> Callable[[type[T]], type[T]]:
    """Make a dataclass that names the right field where it gets an unknown one. It stays a `TypeError`."""

    def decorate(kind: type[T]) -> type[T]:
        made: Any = kind
        plain, names = made.__init__, tuple(made.__dataclass_fields__)

        @wraps(plain)
        def checked(self: object, *values: object, **named: object) -> None:
            for name in named:
                if name not in names:
                    raise TypeError(f"{kind.__name__}() got an unexpected argument {name!r}.{hint(name, hints, names)}")
            plain(self, *values, **named)

        made.__init__ = checked
        return kind

    return decorate
