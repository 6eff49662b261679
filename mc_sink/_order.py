"""What the caller asked for, and what it comes to: target, file, run id, format; checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mc_sink._plan import ROW_GROUP_SIZE
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import choose_format
from mc_sink.target import Target, check_run_id, new_run_id, parse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from mc_sink.formats import Format
    from mc_sink.staged import IfExists
    from mc_sink.storage import ObjectOptions
    from mc_sink.validation import OnInvalid, SchemaLike

FormatName = Literal["csv", "csv.gz", "parquet"]
DEFAULT_REJECTS = "rejects/"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a delivery writes, and as what; `rejects` is where bad rows go, if they are to go anywhere."""

    run_id: str
    target: Target
    file: Target
    format: Format
    row_group_size: int
    rejects: tuple[Target, Format] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the caller asked for, once for both ways in; shows nothing of itself, for it carries credentials."""

    target: str | os.PathLike[str]
    format: FormatName | Format | None
    schema: SchemaLike | None
    on_invalid: OnInvalid
    rejects: str | os.PathLike[str] | None
    max_rejects: float | None
    if_exists: IfExists
    row_group_size: int | None
    run_id: str | None
    object_options: ObjectOptions | None
    storage_options: Mapping[str, Any] | None
    progress: bool | None

    def __repr__(self) -> str:
        return "Order(…)"

    def resolve(self) -> Resolved:
        """Give what the order comes to, or raise what contradicts in it; opens nothing."""
        target = parse_target(self.target)
        self._check(target)
        run_id = new_run_id() if self.run_id is None else check_run_id(self.run_id)
        format = choose_format(target.name, self.format)
        file = target.file(run_id + format.extension)
        return Resolved(
            run_id, target, file, format, self.row_group_size or ROW_GROUP_SIZE, rejects=self._rejects(run_id)
        )

    def _rejects(self, run_id: str) -> tuple[Target, Format] | None:
        """Choose the rejects' file; under a prefix it is Parquet, which carries every column as it is."""
        if self.on_invalid == "fail":
            return None
        target = parse_target(DEFAULT_REJECTS if self.rejects is None else self.rejects)
        format = choose_format(target.name, "parquet" if target.is_prefix else None)
        return target.file(f"{run_id}.rejects{format.extension}"), format

    def _check(self, target: Target) -> None:
        if self.if_exists not in {"fail", "overwrite"}:
            raise ConfigurationError(f'if_exists={self.if_exists!r} is neither "fail" nor "overwrite".')
        if self.row_group_size is not None and self.row_group_size < 1:
            raise ConfigurationError(f"row_group_size={self.row_group_size} has no rows in it; give at least 1.")
        if self.rejects is not None and self.on_invalid != "reject":
            raise ConfigurationError('rejects= says where bad rows go: it needs on_invalid="reject".')
        if self.on_invalid == "reject" and self.schema is None:
            raise ConfigurationError('on_invalid="reject" needs a schema= to reject by.')
        if self.object_options is not None and target.protocol != "s3":
            raise ConfigurationError(f"object_options are for S3; {target.url} has no ACLs, tags or storage classes.")
        if self.storage_options and target.protocol == "file" and self.rejects is None:
            raise ConfigurationError(
                f"A local target takes no storage_options, but got {', '.join(self.storage_options)}."
            )
