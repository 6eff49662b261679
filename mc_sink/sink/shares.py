"""One delivery from several workers: the driver opens it, workers stage shares, the driver publishes them together.

open_delivery (driver) ──► Delivery ──► stage (any worker) ──► Share ──► publish or discard (driver)

Everything that can be refused is refused when the delivery is opened, once. Shares are judged together before any file
is visible.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._display import counted
from mc_sink._frames import as_lazyframe
from mc_sink._runtime.progress import show_progress
from mc_sink.exceptions import ConfigurationError
from mc_sink.publishing import abort_lost, discard_with, hidden_files, journal, publish_with, upload_ids
from mc_sink.records import recorded
from mc_sink.sink.delivery_json import SchemaText, facts_in, text_of
from mc_sink.sink.options import SinkOptions
from mc_sink.sink.pipeline import open_rows
from mc_sink.sink.prior_attempt import PriorAttempt, claim_of
from mc_sink.sink.share import VERDICTS, Share, small
from mc_sink.sink.share_checks import check_complete, check_disjoint, check_rows, check_verdicts
from mc_sink.sink.spec import resolve
from mc_sink.sink.staging import as_staged, discard_noting, stage_frame
from mc_sink.sink.travelling import storage_options_here
from mc_sink.staged import Claim
from mc_sink.target import parse_target
from mc_sink.validation import bucket_check, buckets_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from mc_sink._frames import Frame
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.receipt import Receipt
    from mc_sink.staged import Report, Staged
    from mc_sink.validation import SchemaLike


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Delivery:
    """A run that several workers stage and one driver publishes. Frozen; it can be pickled, and holds no secret.

    target, run_id, opened_at, id
        Where the run goes, its id, when it was opened, and what tells this opening from others.
    columns
        The columns of the rows of every share.
    unique
        The columns of the key that the schema requires to be unique over all shares; empty where it requires none.
    credentials
        The function that each process calls for its storage options, as "module:function"; None for AWS' own ways.
    published, is_unlisted
        URLs of this run's files that an earlier attempt made visible, which shares compare; whether it may have more.
    """

    target: str
    run_id: str
    opened_at: datetime
    id: str
    columns: pl.Schema
    unique: tuple[str, ...]
    credentials: str | None
    published: tuple[str, ...]
    host: str
    versions: Mapping[str, str]
    options: Mapping[str, Any]
    store_options: Mapping[str, Any]
    schema: SchemaLike | SchemaText | None
    run_id_given: bool
    is_unlisted: bool = False

    def __repr__(self) -> str:
        return f"Delivery(run {self.run_id} to {self.target})"  # the options may hold values of cells

    def stage(self, batches: Frame, *, number: int, report: Report | None = None) -> Share:
        """Validate, encode and upload one share without making it visible; in any process, thread or machine.

        What no retry can change is the share's `failure`: invalid rows, limits, options, permissions, taken keys. What
        a retry may change is raised, such as `UploadError` and the exceptions of the rows' source, and then nothing of
        the share is stored.

        `batches` is any frame or iterable of batches with the delivery's columns, also without any batch. `number`
        counts the shares from 0.

        `report` is called with the URL and the id of each upload that has begun, before any part of it is sent. Where
        an engine passes them on, `publish` and `discard` find the uploads of lost workers without a listing.
        """
        given: Any = number  # what the types promise is checked here
        if type(given) is not int or given < 0:
            raise ConfigurationError(f"Cannot use number={given!r}. Number the shares of a delivery from 0.")
        host = socket.gethostname()
        try:
            self._check_here()
            prior = PriorAttempt(to_compare=frozenset(self.published), is_unlisted=self.is_unlisted)
            shown = self.options.get("progress") or False  # several workers may share a terminal
            with (
                hidden_files.noted(self.run_id, self.target) as note,
                show_progress(self.target, progress=shown, done="staged") as progress,
            ):
                spec = replace(self._spec_of_share(number), report=report, note=note)
                done = stage_frame(batches, spec, columns=self.columns, prior=prior, progress=progress)
        except VERDICTS as error:
            return Share(number=number, delivery=self.id, host=host, failure=small(error))
        staged = done.staged
        return Share(
            number=number,
            delivery=self.id,
            host=host,
            num_rows=done.num_rows,
            files=staged.files,
            rejects=staged.rejects,
            validated=staged.validated,
            took=staged.took,
            stages=staged.stages,
            buckets=done.buckets,
            rejected=done.rejected and small(done.rejected),
        )

    def publish(
        self, shares: Iterable[Share], *, num_shares: int, reported: Collection[tuple[str, str]] | None = None
    ) -> Receipt:
        """Check all shares together, and make their files visible, the manifest last.

        Raises before anything is visible, and then keeps what is staged, for `discard`: `ConfigurationError` unless
        `num_shares` shares of this delivery are there once each; the failures of the shares, the reports on invalid
        rows as one; `ValidationError` for `max_rejects` and `min_rows`, which count the rows of all shares;
        `ConfigurationError` unless the key is proven to be unique; `AlreadyExistsError` for a visible file of this run
        that no share has. Publishing raises what `mc_sink.publish` raises.

        `reported` are the URLs and ids that workers have reported, of all attempts. Those that no share has are aborted
        in the end.
        """
        return recorded(
            partial(self._publish, shares, num_shares, reported),
            run_id=self.run_id,
            target=self.target,
            storage_options=self.store_options,
        )

    def _publish(
        self, shares: Iterable[Share], num_shares: int, reported: Collection[tuple[str, str]] | None
    ) -> Receipt:
        self._check_here()
        found = check_complete(shares, num_shares, self.id)
        check_verdicts(found)
        spec = self.spec(0)
        check_rows(found, spec)
        check_disjoint(found, self.unique)
        stores, parts = spec.stores(), self._parts(spec, found)
        made: Staged | None = None
        if spec.on_empty == "deliver" and not spec.partition_by and not any(share.files for share in found):
            prior = PriorAttempt(to_compare=frozenset(self.published), is_unlisted=self.is_unlisted)
            made = stage_frame(pl.LazyFrame(schema=self.columns), replace(spec, rejects=None), prior=prior).staged
            parts[0] = replace(parts[0], files=made.files)
        try:
            return publish_with(stores, parts, _own_places(spec), reported)
        except BaseException as error:
            if made and not journal.holds(parts[0]):
                discard_noting(made, stores, error)
            raise

    def discard(self, shares: Iterable[Share], *, reported: Collection[tuple[str, str]] | None = None) -> list[str]:
        """Discard what shares have staged; return a sentence for each file that stays.

        Files in the journal of this machine stay: publishing them was begun, and `mc_sink.recover` ends it. `reported`
        are the URLs and ids that workers have reported; these uploads are aborted too.
        """
        self._check_here()
        spec, found = self.spec(0), [share for share in shares if share.delivery == self.id]
        stores, parts, left = spec.stores(), self._parts(spec, found), list[str]()
        noted = journal.find(self.run_id, self.target)
        begun = {file.path: file.upload for part in (noted.staged if noted else ()) for file in part.all_files}
        free = [part for part in parts if all(begun.get(file.path) != file.upload for file in part.all_files)]
        if len(free) < len(parts):
            left.append(
                f"The files of {counted(len(parts) - len(free), 'share')} stay: publishing them was begun. "
                f'mc_sink.recover("{self.run_id}") publishes or discards them.'
            )
        left += discard_with(stores, free, look=True)
        known = upload_ids(file for part in (*parts, *(noted.staged if noted else ())) for file in part.all_files)
        known |= upload_ids(noted.superseded if noted else ()) | set(journal.sent(self.run_id, self.target))
        return left + list(abort_lost(stores, _own_places(spec), known, reported=reported).left)

    def buckets(self, frame: Frame) -> pl.Series:
        """Return a number from 0 to 4,095 for the key of each row (UInt16), to divide the rows of `unique` keys by.

        Rows with one number must come to one share.
        """
        if not self.unique:
            raise ConfigurationError("The schema requires no unique key. Divide the rows in any way.")
        return buckets_of(as_lazyframe(frame).select(self.unique).collect(), self.unique)

    def to_json(self) -> str:
        """Return the delivery as JSON text. Raises `ConfigurationError` for a schema or preset that is an object."""
        return text_of({one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> Delivery:
        """Read back what `to_json` returned. Raises `ConfigurationError` for any other text."""
        try:
            return cls(**facts_in(text))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"A text is not a delivery's ({type(error).__name__}). Pass what Delivery.to_json returned, of the "
                "same version of mc_sink."
            ) from None

    def spec(self, number: int) -> DeliverySpec:
        """Return the specification of one share, with the credentials of this process."""
        schema = self.schema.read() if isinstance(self.schema, SchemaText) else self.schema
        given = SinkOptions(
            target=self.target,
            run_id=self.run_id,
            schema=schema,
            storage_options=storage_options_here(self.store_options, self.credentials),
            **self.options,
        )
        return resolve(given, is_new=not self.run_id_given, share=number)

    def _spec_of_share(self, number: int) -> DeliverySpec:
        """Return the specification by which one share is staged, without what only all of them together can show."""
        spec = self.spec(number)
        # More rejected rows in one share than a count allows are too many in any case. A fraction is of all rows.
        most: Any = spec.max_rejects
        most = None if isinstance(most, float) else most
        keys = self.options.get("encrypt")
        cipher = keys.checked() if keys else None
        return replace(spec, min_rows=None, on_empty="skip", max_rejects=most, cipher=cipher)

    def _parts(self, spec: DeliverySpec, shares: Sequence[Share]) -> list[Staged]:
        """Return the shares as parts of one run."""
        with open_rows(pl.LazyFrame(schema=self.columns), spec) as rows:
            run = replace(as_staged(spec, (), rows, self.opened_at), over_all_rows=())
        parts = [
            replace(run, **{name: getattr(share, name) for name in ("files", "rejects", "validated", "took", "stages")})
            for share in shares
        ]
        return [replace(part, claim=claim_of(spec)) for part in parts[:1]] + parts[1:]

    def _check_here(self) -> None:
        """Raise `ConfigurationError` for other libraries than the driver's, or a disk that isn't the driver's."""
        here = versions()
        if name := next((name for name, one in self.versions.items() if here.get(name) != one), None):
            raise ConfigurationError(
                f"This process can't take part in run {self.run_id}: it has {name} {here.get(name)}, and the delivery "
                f"was opened with {self.versions[name]}. Install the same versions everywhere."
            )
        places = [parse_target(self.target)]
        places += [parse_target(self.options["rejects"])] if "rejects" in self.options else []
        local = [place.url for place in places if place.protocol == "file"]
        if local and socket.gethostname() != self.host:
            raise ConfigurationError(
                f"{local[0]} is on the disk of {self.host}, and this process runs on {socket.gethostname()}. Deliver "
                "to a place that all workers reach, such as s3://bucket/prefix/."
            )


def _own_places(spec: DeliverySpec) -> Claim:
    """Return where uploads of this run may be; no place where its names may be those of another run."""
    found = claim_of(spec) if spec.names.are_its_own else None
    return found or Claim(None, ())


def versions() -> dict[str, str]:
    """Return what must be alike in all processes of a delivery."""
    return {"mc_sink": version("mc-sink"), "Polars": pl.__version__, "the hash check": str(bucket_check())}
