"""Write the page that a sender forwards to a receiver, from the options of the deliveries to come. Sends nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mc_sink import platforms
from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError, panics_as_query_errors
from mc_sink.formats import options_of
from mc_sink.loading import DIALECTS, load_statement
from mc_sink.report import CodeBlock, FactTable, ReceiverPage, Section
from mc_sink.scrub import without_secrets
from mc_sink.secret import seals_options
from mc_sink.sink.options import SinkOptions, takes_options
from mc_sink.sink.pipeline import open_rows
from mc_sink.sink.previewing import files_of, permissions_of, plan_of
from mc_sink.sink.spec import resolve
from mc_sink.sink.staging import content_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from typing import Unpack

    from mc_sink._frames import Frame
    from mc_sink.content import Content
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.sink.options import Options

TABLE = "t"
# Both print the CRC32 of a file as the manifest has it. gzip appends it to what it compresses, with the lowest byte
# first. tests/sink/test_handover.py runs these commands on delivered files.
ONE_FILE = """\
gzip -c FILE | tail -c 8 | od -An -v -tx1 -N4 | awk '{print "crc32:" $4 $3 $2 $1}'
python3 -c 'import sys, zlib; print("crc32:%08x" % zlib.crc32(open(sys.argv[1], "rb").read()))' FILE"""
ALL_FILES = """\
import json, pathlib, sys, zlib

manifest = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))
folder, wrong = pathlib.Path(sys.argv[2]), 0
start = manifest["target"][: manifest["target"].rfind("/") + 1]
for file in manifest["files"]:
    place, crc, size = folder / file["path"].removeprefix(start), 0, 0
    with place.open("rb") as data:
        while piece := data.read(2**20):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    if (f"crc32:{crc:08x}", size) != (file["checksum"], file["num_bytes"]):
        wrong += 1
        print("wrong:", place)
print(len(manifest["files"]), "files,", wrong, "wrong")
sys.exit(bool(wrong))"""


@seals_options
@takes_options
def handover(frame: Frame | None, target: str | os.PathLike[str], **options: Unpack[Options]) -> ReceiverPage:
    """Return a page for the receiver of deliveries with these arguments of `sink_madconnect`. Sends nothing.

    `str(page)` is Markdown: the names of the files, how to know that a delivery is whole, how to check a checksum, the
    load statement of the preset, the policy and the lifecycle rule of the bucket. It holds no credential and no value
    of a row. `frame` gives the columns; None leaves them out, and the statement too.

        import mc_sink

        print(mc_sink.handover(None, "s3://bucket/prefix/", preset="redshift"))

    Raises the errors that a delivery would raise before its first byte, except those that need an answer of a store.
    """
    return page_for(frame, resolve(SinkOptions.of("handover", target, options)))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the sender adds to the page: the table, dialect and access of the statement, and its own account or ARN."""

    table: str = TABLE
    dialect: str | None = None
    access: str | None = None
    principal: str | None = None


def page_for(frame: Frame | None, spec: DeliverySpec, wishes: Wishes = Wishes()) -> ReceiverPage:
    """Return the page of a specification; see `handover`."""
    content = _content(frame, spec)
    _, number = files_of(None, spec)
    parts = [
        Section("What arrives", tuple(_arrival(spec, content, number))),
        Section("When a delivery is whole", tuple(_completeness(spec, number))),
        Section("How to check a file", tuple(_checking(spec))),
        Section("How to load it", tuple(_loading(spec, content, number, wishes))),
    ]
    if spec.target.protocol == "s3":
        parts.append(Section("What the bucket's owner grants", tuple(_granting(spec, wishes))))
        if spec.target.is_prefix:
            parts.append(Section("What the bucket should clean up", tuple(_cleaning(spec))))
    return ReceiverPage(f"Deliveries to {spec.target.url}", tuple(parts))


def _content(frame: object, spec: DeliverySpec) -> Content | None:
    plan = None if frame is None else plan_of(frame)
    if plan is None:
        return None
    with panics_as_query_errors(), open_rows(plan, replace(spec, previous=None)) as rows:
        spec.check(rows.delivered)
        return content_of(spec, rows)


def _arrival(spec: DeliverySpec, content: Content | None, number: int | None) -> Iterator[str | FactTable | CodeBlock]:
    yield (
        "A run id such as the one in these names is new for each delivery: the time in UTC and six hex digits."
        if not spec.run_id_given
        else "The run id is part of the names. A repeated run has the same names."
    )
    facts = {
        "names": spec.names.pattern,
        "run id": spec.names.run_id,
        "files": "as many as the rows fill" if number is None else counted(number, "file"),
        "manifest": spec.manifest.url if spec.manifest else "none",
        "success marker": spec.success_marker.url if spec.success_marker else None,
        "format": spec.format.extension.removeprefix("."),
        "partitioned by": ", ".join(spec.partition_by) or None,
        "encrypted": str(spec.cipher.facts) if spec.cipher else None,
        "schema": content.schema if content else None,
    }
    yield FactTable(tuple((name, value) for name, value in facts.items() if value))
    dialect = {name: value for name, value in options_of(spec.format).items() if value is not None}
    yield "The dialect of every file:"
    yield FactTable(
        tuple((name, json.dumps(value, default=str, ensure_ascii=False)) for name, value in dialect.items())
    )
    if content:
        yield "The columns, in their order, with their Polars dtypes:"
        yield FactTable(tuple(content.columns.items()))
    if spec.cipher:
        yield "Files are encrypted for the keys above. The manifest and the success marker are not."


def _completeness(spec: DeliverySpec, number: int | None) -> Iterator[str]:
    yield (
        "Each file appears whole or not at all. No existing object is replaced."
        if spec.if_exists == "fail"
        else ("Each file appears whole or not at all. A delivery may replace objects of an earlier one.")
    )
    if spec.manifest:
        yield (
            "Read the files that the manifest lists, once the manifest is there: it is written after all of them. "
            "Before that, some of the files may be visible and others not."
        )
    elif number == 1:
        yield "The delivery is one file, so it is whole when the file is there."
    else:
        yield "No manifest is written, so ask the sender which files belong to a delivery."
    if spec.success_marker:
        yield "The success marker is written last of all. It has the same name for all deliveries under the prefix."


def _checking(spec: DeliverySpec) -> Iterator[str | CodeBlock]:
    where = "The manifest has" if spec.manifest_form == "mc_sink" and spec.manifest else "The sender's receipt has"
    yield (
        f"{where} the size and the CRC32 of each whole file as stored, as in crc32:91f5f7b8. An ETag of S3 is not a "
        "checksum of the whole file. Each of these lines prints the checksum of a downloaded file:"
    )
    yield CodeBlock(ONE_FILE, "console")
    if spec.cipher:
        yield "These are checksums of the encrypted bytes. The key clear has size and CRC32 of the decrypted file."
    if where.startswith("The manifest"):
        yield (
            "This program checks every file of a manifest below a folder, into which the prefix was copied. Save it as "
            "check.py, and run python3 check.py MANIFEST FOLDER. Its exit code is 0 if every file is as it was sent."
        )
        yield CodeBlock(ALL_FILES, "python")


def _loading(
    spec: DeliverySpec, content: Content | None, number: int | None, wishes: Wishes
) -> Iterator[str | CodeBlock]:
    dialect = wishes.dialect or (spec.preset.name if spec.preset else None)
    if wishes.dialect is None and dialect not in DIALECTS:
        yield (
            "No receiver is named that has a load statement. The sender can add one with the dialect "
            f"{', '.join(DIALECTS)}."
        )
        return
    if content is None:
        yield "The statement needs the columns. The sender has it after each delivery: mc-sink show RUN_ID --load"
        return
    is_known = number is not None and not spec.partition_by
    first, _ = files_of(None, spec)
    files: dict[str, Mapping[str, str | None] | None] = dict.fromkeys(first) if is_known else {spec.names.glob: {}}
    manifest = spec.manifest.url if spec.manifest else None
    try:
        text = load_statement(content, spec.target.url, files, manifest, wishes.table, dialect, wishes.access)
    except ConfigurationError as error:
        if wishes.dialect is not None and dialect not in DIALECTS:
            raise
        yield f"{error.message} The sender has the statement of each delivery in its receipt."
        return
    yield f"For {dialect}, with the run id above:"
    yield CodeBlock(text, "python" if dialect in {"pandas", "spark"} else "sql")


def _granting(spec: DeliverySpec, wishes: Wishes) -> Iterator[str | CodeBlock]:
    sent = spec.object_options.request("") if spec.object_options else {}
    key = str(sent.get("SSEKMSKeyId", ""))
    client: dict[str, Any] = without_secrets(spec.storage_options).get("client_kwargs", {})
    region = client.get("region_name")
    needed = permissions_of(spec.object_options)
    also = [one for one in ("s3:PutObjectTagging", "s3:PutObjectRetention", "s3:PutObjectLegalHold") if one in needed]
    made = platforms.policy(spec.target.url, kms_key=key if key.startswith("arn:") else None, also=also, region=region)
    yield (
        "The sender's user or role needs this policy and nothing else. Its key can neither read nor delete an object. "
        "S3 lets s3:PutObject replace one, which mc_sink refuses by default. s3:PutObjectAcl is used with an ACL only."
    )
    yield CodeBlock(json.dumps(made, indent=2), "json")
    if wishes.principal:
        yield "The bucket's policy, which lets the sender's account in. It replaces the present policy of the bucket:"
        yield CodeBlock(
            json.dumps(platforms.bucket_policy(spec.target.url, wishes.principal, region=region), indent=2), "json"
        )


def _cleaning(spec: DeliverySpec) -> Iterator[str | CodeBlock]:
    yield (
        "Uploads that were cut off stay invisible, and are paid for until they are aborted. This lifecycle "
        "configuration aborts them after 7 days. It replaces all rules of a bucket, so add the present ones to it:"
    )
    yield CodeBlock(json.dumps(platforms.lifecycle(spec.target.url), indent=2), "json")
