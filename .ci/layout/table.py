"""The mapping of the move, all of it: change what goes where here, and nowhere else.

Module names are without `mc_sink.`; "" is the package itself. A package is named like its folder.
"""

# new module → (first paragraph of its docstring or None to keep the old one, old modules in reading order).
# Old modules that the tree doesn't have are passed over, so that entries for what may land can stand here.
TABLE: dict[str, tuple[str | None, list[str]]] = {
    # 8: the door
    "": (None, [""]),
    "_lazy": ("Load the package's parts on first use, so that `import mc_sink` costs little more than importing Polars.", ["_late"]),
    "_namespace": ("Register `frame.sink_madconnect(...)` on Polars' DataFrame and LazyFrame. Forwards its arguments.", ["_namespace"]),
    # 7: the connector
    "connector": ("Run saved connections: the command line, schedules and the history of runs (extra `mc-sink[cli]`).", []),
    "connector.beside": (None, ["_beside"]),
    "connector.cli": ("The `mc-sink` command: thin commands over connections, history and recovery.", ["cli"]),
    "connector.cli.__main__": ("Run `mc-sink` as `python -m mc_sink.connector.cli`.", ["cli.__main__"]),
    "connector.cli.commands": ("Register the commands, in the order in which `mc-sink --help` lists them.", ["cli._app"]),
    "connector.cli.exit": ("How a command ends: one message without a traceback, an exit code, and an orderly end on SIGTERM.", ["cli._ends", "cli._signals"]),
    "connector.cli.run_commands": ("`mc-sink run`, `send`, `preview`, `schedule` and `connections`.", ["cli._deliver", "cli._timetable", "cli._check"]),
    "connector.cli.record_commands": ("`mc-sink history`, `show`, `verify` and `recover`.", ["cli._past"]),
    "connector.cli.platform_commands": ("`mc-sink platforms`, `policy` and `lifecycle`.", ["cli._platforms"]),
    "connector.cli.credentials_input": ("Read credentials from a prompt, a file or the environment; never from the command line, which others can see.", ["cli._credentials"]),
    "connector.cli.output": ("Print results: tables for people, JSON for programs, colour only on a terminal.", ["cli._shown"]),
    "connector.cli.examples": ("The examples that `--help` shows, one block for each command.", ["cli._examples"]),
    "connector.connections": ("A connection: a saved source, target and options, in a TOML file that may be committed.", ["connections"]),
    "connector.connections.settings": ("Every key that a connection file may have, as frozen dataclasses that pydantic validates.", ["connections._settings"]),
    "connector.connections.connection_file": ("Read a connection file, or raise one error that names every wrong key; refuse files that hold secrets.", ["connections._load", "connections._secrets"]),
    "connector.connections.arguments": ("Convert a connection into the arguments of `sink_madconnect` and `preview`.", ["connections._arguments"]),
    "connector.connections.sources": ("Open a connection's source as a frame: files, a query, or a Python function named as `module:function`.", ["connections._sources", "connections._named"]),
    "connector.connections.guard": (None, ["connections._guard"]),
    "connector.connections.database_source": (None, ["connections._database"]),
    "connector.connections.duckdb_source": ("Run a connection's query in DuckDB.", ["connections._duckdb"]),
    "connector.connections.run": ("Run one connection, from its lock to its hooks, or rehearse it. Every run leaves a record, however it ends.", ["connections._deliver", "connections._rehearse", "connections._hooks", "connections._telemetry"]),
    "connector.connections.triggers": ("Convert `[schedule]` into APScheduler's triggers.", ["connections._triggers"]),
    "connector.connections.scheduler": ("Run connections on their schedules, each run in a child of its own.", ["connections._scheduler"]),
    "connector.history": ("The history of runs on this machine: one record for each run, in SQLite, without secrets or cell values.", ["history"]),
    "connector.history.record": ("One run as it is recorded: frozen facts, and their form in a table row.", ["history._record"]),
    "connector.history.runs": ("The table of runs. Every function opens the file, runs one transaction and closes it.", ["history._runs"]),
    "connector.history.redact": ("Reduce an error to what a record may keep: its type, and a text without cell values and secrets.", ["history._redact"]),
    # 6: one delivery
    "sink": ("One delivery, from the call to the receipt: options, specification, pipeline, staging; and its preview.", []),
    "sink.deliver": (None, ["_sink"]),
    "sink.options": ("The options of a delivery, listed once with their types and defaults, and checked against each other.", ["_order._options", "_order._checks"]),
    "sink.spec": ("Resolve the options into a delivery specification, before anything is opened.", ["_order", "_order._resolved", "_order._resolve"]),
    "sink.own_source": (None, ["_order._own_source"]),
    "sink.option_types": ("Check the types of the options before their values are used.", ["_order._types"]),
    "sink.pipeline": ("The rows of a delivery: compared with the previous delivery, validated, counted.", ["_rows"]),
    "sink.prior_attempt": ("Find what a previous attempt of this run published, and check this attempt against it.", ["_earlier"]),
    "sink.previewing": ("Preview a delivery without running it: the keys it would create, the permissions and uploads it needs.", ["_preview._fact", "_preview", "_preview._keys"]),
    # 5: publishing
    "publishing": ("Publish, discard, recover, verify: the only part of the package that makes anything visible.", ["delivery"]),
    "publishing.publication": ("Publish what is staged, or discard it; verify what was published.", ["delivery._publish", "delivery._discard", "delivery._verify", "delivery._run"]),
    "publishing.manifest": ("Close a delivery whose files are all visible: the manifest, which is the commit point, and the success marker.", ["delivery._closing", "manifest"]),
    "publishing.aliases": (None, ["_aliases"]),
    "publishing.stale_files": (None, ["delivery._leftovers"]),
    "publishing.standing_objects": (None, ["delivery._standing"]),
    "publishing.waiting": (None, ["delivery._waiting"]),
    "publishing.journal": ("Record on this machine what is about to be published, so that a crash part way can be rolled forward.", ["journal"]),
    "publishing.recovery": ("Recover a delivery that was interrupted while it was published.", ["delivery._recover"]),
    # 4: platforms
    "platforms": (None, ["platforms"]),
    "platforms.platform": ("A platform: named credentials, the buckets they may be used for, and the options of every object written.", ["platforms._platform", "platforms._bounds"]),
    "platforms.saved": ("Save, load, list and remove platforms. Their files hold no secrets.", ["platforms._saved", "delivery._stores"]),
    "platforms.secret_store": ("Keep secrets in the operating system's keyring or, without one, in a file that only its owner can read.", ["platforms._secrets"]),
    "platforms.checking": ("Check whether a platform can deliver to a target, and record the result.", ["platforms._check"]),
    "platforms.probe_requests": ("The requests of a check. They leave nothing behind and change no existing object.", ["platforms._evidence"]),
    "platforms.check_report": ("Judge the answers of a check, and report a row for each question.", ["platforms._report", "platforms._rows"]),
    "platforms.policies": ("Write the policies and the lifecycle configuration that a bucket's owner may want. Sends nothing to AWS.", ["platforms._policy", "platforms._lifecycle"]),
    "platforms.configuring": ("Ask for a platform's settings in a notebook or at a Python prompt.", ["platforms._configure"]),
    # 4: writing
    "writing": ("Write batches into staged files: where each file ends, and what it holds.", ["_files"]),
    "writing.plan": ("The planned files: their names, their contents, and their limits.", ["_files._delivery_plan"]),
    "writing.write": ("Write batches into staged files, or count the files that they would make.", ["_files._write", "_files._foreseen"]),
    "writing.encoding": ("Encode batches into one staged file: the engine encodes, the writer uploads, and rows are counted.", ["_files._file", "_files._feed"]),
    "writing.splitting": ("Split rows into several files, by rows or by bytes.", ["_files._rolls", "_files._search"]),
    "writing.partitioned": ("Write one set of files for each partition, in bounded memory, whatever the order of the rows.", ["_files._partitions", "_files._shelf"]),
    "writing.upload_queue": ("Encode one file while a few others are uploaded; stage all of them or none.", ["_files._staging"]),
    "writing.replay": ("Rows that can be read again, for a file that must be split differently.", ["_files._rows"]),
    # 3: storage
    "storage": ("Open stores: S3, local files, and every fsspec filesystem that can rename. Uploads stay invisible until published.", ["storage"]),
    "storage.store": ("The interface of a store, and the file object that an engine writes into.", ["storage._store", "storage._writer"]),
    "storage.local": (None, ["storage._local"]),
    "storage.renaming": (None, ["storage._renaming"]),
    "storage.existing": ("Compare the bytes of this attempt with a file that a previous attempt published, without storing them.", ["storage._compare"]),
    "storage.quiet_logs": ("Suppress the DEBUG logs of our own requests, which contain keys and tokens.", ["storage._silence"]),
    "storage.s3": ("S3: multipart uploads, the requests that publish an object, and probes. The only home of s3fs and botocore.", []),
    "storage.s3.bucket": (None, ["storage._s3"]),
    "storage.s3.multipart": ("Upload parts, several at a time. Completes no upload.", ["storage._parts"]),
    "storage.s3.existing_object": ("Compare the parts of this attempt with an object that a previous attempt published.", []),
    "storage.s3.outcome": (None, ["storage._outcome"]),
    "storage.s3.uploads": (None, ["storage._uploads"]),
    "storage.s3.store_ways": (None, ["storage._ways"]),
    "storage.s3.denials": (None, ["storage._denials"]),
    "storage.s3.reasons": (None, ["storage._reasons"]),
    "storage.s3.sent_options": (None, ["storage._sent_options"]),
    "storage.s3.request_body": ("The body of a part upload, sent without joining it, and the clock that sees its progress.", ["storage._body", "storage._clock"]),
    "storage.s3.client": ("Send requests to S3 through a private s3fs filesystem, with one retry layer and typed failures.", ["storage._requests", "storage._sending"]),
    "storage.s3.retry_rules": ("Which requests may be repeated, how often, and after which pause. Sends nothing.", ["storage._retries"]),
    "storage.s3.failures": ("Convert the libraries' exceptions into request failures that keep no reference to them.", ["storage._failures"]),
    "storage.s3.errors": ("Convert S3's error codes into this library's exceptions, with advice. The only place that knows S3's codes.", ["storage._s3_errors"]),
    "storage.s3.client_options": ("Validate `storage_options` for S3 and find the endpoint, before anything is sent.", ["storage._s3_options", "storage._endpoint"]),
    "storage.s3.http": (None, ["storage._http"]),
    "storage.s3.role_session": ("A session that acts in an IAM role. Its temporary credentials are renewed before they expire.", ["storage._session"]),
    "storage.s3.probe": (None, ["storage._probing"]),
    # 3: presets, comparison
    "presets": (None, ["presets"]),
    "presets.catalog": (None, ["presets._receivers"]),
    "presets.preset": ("A receiver's limits as plain values, and the check of batches against them.", ["presets._preset", "presets._watch"]),
    "presets.limit": (None, ["presets._limit"]),
    "presets.schema_limits": ("Check the limits that depend on the schema alone: format, columns, headers and dtypes.", ["presets._schema"]),
    "presets.size_limits": ("Check cells and rows against a receiver's size limits.", ["presets._cells", "presets._rows"]),
    "comparison": (None, ["changes"]),
    "comparison.previous": ("Open the previous delivery and convert it to the columns and dtypes of this run, without loss.", ["changes._previous", "changes._recast", "changes._text"]),
    "comparison.join": ("Match rows by their keys: find the rows added, changed and removed, and the keys that occur twice.", ["changes._difference", "changes._duplicates", "changes._keys"]),
    "comparison.buckets": (None, ["changes._side"]),
    "comparison.ordering": (None, ["changes._ordered"]),
    # 2
    "validation": (None, ["validation", "validation._unchecked"]),
    "validation.schemas": ("Find and read a schema: a Pandera object, a YAML file, or the name of a shipped or registered schema.", ["validation._schemas", "validation._yaml", "validation._registered"]),
    "validation.compiler": (None, ["validation._compile"]),
    "validation.check_expressions": ("Sort a schema's checks by how they can run over a stream, and compile them to Polars expressions.", ["validation._checks", "validation._expressions"]),
    "validation.coercion": (None, ["validation._shape"]),
    "validation.pandera_backend": (None, ["validation._pandera"]),
    "validation.judge": ("Judge a stream of batches by the compiled checks; ask Pandera about suspect rows.", ["validation._judge", "validation._docket"]),
    "validation.failure_report": ("Report failures: exact counts, a bounded number of masked examples, and the rejected rows.", ["validation._failures", "validation._rejects"]),
    "validation.python_values": (None, ["validation._python_values"]),
    "validation.unique": (None, ["validation._unique"]),
    "testing": ("Sample data for the shipped schemas: valid rows without end, and one frame for each kind of violation.", ["validation.samples", "validation.violations"]),
    "formats": (None, ["formats"]),
    "formats.format": (None, ["formats._format"]),
    "formats.csv": ("CSV, plain or gzip-compressed: the dialect as data, and Polars' encoder.", ["formats._csv", "formats._gzip"]),
    "formats.csv_dialect": ("Check that a CSV dialect keeps its cells apart, and that its date formats lose nothing.", ["formats._moments", "formats._dialect"]),
    "formats.csv_cells": ("Check and rewrite cells on their way into a CSV, only where a dtype or an option requires it.", ["formats._cells", "formats._steps"]),
    "formats.csv_values": ("Values that CSV cannot hold as they are: nested values, formulas, dates and times out of range.", ["formats._nested", "formats._formulas", "formats._times"]),
    "formats.parquet": ("Parquet, by Polars' encoder, with columns converted that other readers could not read.", ["formats._parquet", "formats._recast"]),
    "formats.thrift": ("Read and write the Thrift metadata of a Parquet file.", ["formats._thrift"]),
    "formats.parquet_joined": (None, ["formats._joined"]),
    "keys": ("Names of files: templates, partitions, and the rules that keep names unique and readable.", []),
    "keys.names": (None, ["names"]),
    "keys.template": ("Parse a name template: text, and tokens in braces.", ["names._template", "names._tokens"]),
    "keys.rules": ("Check that a template never gives one name to two files, and only names that every reader and store accepts.", ["names._rules", "names._apart"]),
    "keys.run_id": ("Run ids: create and check them, and read the time that they begin with.", ["names._clock"]),
    "keys.partitions": (None, ["partitions"]),
    "staged": (None, ["staged"]),
    # 1
    "target": (None, ["target"]),
    "receipt": ("The receipt of a delivery: frozen facts that people can read and programs can check.", ["receipt", "changed"]),
    "object_options": ("Options for the stored object (ACL, encryption, tags, …), validated on construction.", ["object_options"]),
    "secret": (None, ["secret"]),
    "_frames": (None, ["_plan"]),
    "_arrow": (None, ["_arrow"]),
    "_owned": (None, ["_owned"]),
    "_runtime": ("Tools that know nothing of a delivery: threads, forks, disk, progress. Import the modules directly.", []),
    "_runtime.engine_thread": (None, ["_worker"]),
    "_runtime.fork_guard": (None, ["_fork"]),
    "_runtime.progress": (None, ["_progress"]),
    "_runtime.spill": (None, ["_spill"]),
    "_runtime.batches": (None, ["_batches"]),
    "_runtime.regroup": (None, ["_regroup"]),
    "_runtime.state_dir": ("The folder for state on this machine: its place, its permissions, its locks and its private files.", ["history._locks", "_state"]),
    # 0
    "exceptions": (None, ["exceptions"]),
    "_printable": (None, ["_printable"]),
    "_arns": (None, ["_arns"]),
    "_target_hints": (None, ["_meant"]),
    "_display": ("Render facts in a notebook as small tables. Every value is escaped; nothing is fetched or executed.", ["_html"]),
}

# Definitions that leave the file they are in: "old module.name" → new module. They stand after the table's own.
MOVES = {
    "names.MANIFESTS": "keys.names",
    "target.new_run_id": "keys.run_id",
    "target.check_run_id": "keys.run_id",
    "target._RUN_ID": "keys.run_id",
    "delivery._run.in_order": "staged",
    "delivery._verify.is_visible": "storage",
    "_files._file.FilePlan": "writing.plan",
    "presets.preset_of": "presets.catalog",
    "storage._compare.PartsComparison": "storage.s3.existing_object",
    "storage._compare.multipart_etag": "storage.s3.existing_object",
}

# Only while the tree has no `_state`, the one owner of the folder for state.
MOVES_TO_STATE = {
    "journal.STATE_DIR": "_runtime.state_dir",
    "journal.folder": "_runtime.state_dir",
    "journal.prepare": "_runtime.state_dir",
    "journal._lock": "_runtime.state_dir",
    "journal._wait_for": "_runtime.state_dir",
    "journal._write": "_runtime.state_dir",
    "journal._sync": "_runtime.state_dir",
    "journal._writing": "_runtime.state_dir",
    "platforms._secrets.folder": "_runtime.state_dir",
    "platforms._secrets.prepare": "_runtime.state_dir",
    "platforms._secrets.write_private": "_runtime.state_dir",
}
RENAMES_IN_STATE = {
    "journal.folder": "journals_folder",
    "journal.prepare": "prepare_journals",
    "journal._lock": "lock_file",
    "journal._write": "write_durably",
    "journal._sync": "sync_names",
    "journal._writing": "journal_writing",
    "platforms._secrets.folder": "platforms_folder",
    "platforms._secrets.prepare": "prepare_platforms",
}

# Only where the tree has `_state`: the locks of history stand on the journal, and so above it.
TABLE_WITH_STATE = {
    "_runtime.state_dir": ("The folder for state on this machine: its place, its permissions and its private files.", ["_state"]),
    "connector.history.locks": ("Locks that the operating system releases when their process ends.", ["history._locks"]),
}
# Other entries that replace the table's where the tree has an old module.
TABLE_WITH: dict[str, dict[str, tuple[str | None, list[str]]]] = {
    "_order._own_source": {  # it stands between the two
        "sink.spec": ("A delivery as it will be done: target, names, format and bounds, all of them resolved.", ["_order", "_order._resolved"]),
        "sink.resolution": ("Resolve the options into a delivery specification, before anything is opened.", ["_order._resolve"]),
    },
}
RENAMES_WITH_STATE = {
    "_state.prepare": "prepare_folder",
    "history._locks.state_folder": "prepared_state_folder",
    "platforms._secrets.folder": "platforms_folder",
    "platforms._secrets.prepare": "prepare_platforms",
}

# Merged pages that may become too long: what to keep apart then, one after the other. page → {old module: new page}.
SPLITS: dict[str, dict[str, str]] = {
    "comparison.previous": {"changes._text": "comparison.csv_text"},
    "connector.connections.run": {"connections._hooks": "connector.connections.hooks", "connections._telemetry": "connector.connections.telemetry"},
    "formats.csv": {"formats._gzip": "formats.gzip_file"},
    "formats.csv_cells": {"formats._steps": "formats.csv_steps"},
    "platforms.check_report": {"platforms._rows": "platforms.check_rows"},
    "platforms.platform": {"platforms._bounds": "platforms.bounds"},
    "publishing.publication": {"delivery._run": "publishing.run_order", "delivery._verify": "publishing.verification"},
    "sink.previewing": {"_preview._fact": "sink.preview_report", "_preview._keys": "sink.preview_keys"},
    "storage.s3.client_options": {"storage._endpoint": "storage.s3.endpoint"},
    "storage.s3.client": {"storage._sending": "storage.s3.sending"},
    "validation.judge": {"validation._docket": "validation.suspect_rows"},
    "writing.encoding": {"_files._feed": "writing.batch_source"},
}

# New names of module-level definitions: "old module.name" → new name. Uses are found by scope, not by text.
RENAMES = {
    # new names of types
    "_order._options.Order": "SinkOptions",
    "_order._resolved.Resolved": "DeliverySpec",
    "_earlier.Earlier": "PriorAttempt",
    "_files._feed.Feed": "BatchSource",
    "_files._file.Encoding": "FileEncoder",
    "_files._staging.Staging": "UploadQueue",
    "_files._rolls.RowRolls": "SplitByRows",
    "_files._rolls.ByteRolls": "SplitByBytes",
    "_files._shelf.Shelf": "PartitionBuffer",
    "changes._side.Side": "KeyBuckets",
    "changes._ordered.Ordered": "RowOrderBuffer",
    "validation._docket.Docket": "SuspectRows",
    "validation._docket.Heard": "Verdict",
    "validation._pandera.Authority": "PanderaSchema",
    "validation._shape.Shape": "Coercion",
    "validation._rejects.Spool": "RejectedRows",
    "validation._unchecked.Unchecked": "NoSchema",
    "names.Names": "FileNames",
    # one name for one public class or function
    "storage._compare._md5": "new_md5",
    "storage._compare._S3_FORM": "S3_FORM",
    "presets._limit.Found": "Excess",
    "storage._s3.Found": "FoundObject",
    "_rows.Rows": "DeliveryRows",
    "_rows.rows_of": "open_rows",
    "_files._rows.Rows": "ReplayableRows",
    "platforms._rows.rows_of": "report_rows",
    "formats._cells.Tally": "CellCounts",
    "validation._failures.Tally": "CheckCounts",
    "_order._checks.check": "check_combinations",
    "formats._moments.first_of": "first_cell_end",
    "presets._cells.first_of": "first_excess",
    "_files._feed.note": "note_visibility",
    "platforms._saved.note": "record_check",
    "delivery._run.one_run": "run_of",
    "validation._schemas.resolve": "resolve_schema",
    "_progress.watch": "show_progress",
    "storage._silence.watch": "silence_loggers",
    "_rows.Guard": "RowCountGuard",
    "_files._delivery_plan.check_apart": "check_files_apart",
    "cli._ends.escaped": "escaped_text",
    "validation._python_values.shown": "shown_values",
    "storage._outcome.altered": "altered_object",
    # journal
    "journal.note": "write",
    "journal.strike": "remove",
    "journal.alone": "lock",
    "journal.waits": "holds",
}

# Packages that are no doors: what is in them is imported directly, from the modules or packages in them.
DOORLESS = {"_runtime", "connector"}
# What packages export besides what other packages use. "all": what the old package of that name exported.
PUBLIC: dict[str, str] = {
    "platforms": "all",
    "connector.cli": "app main",
    "connector": "Connection Run Scheduler deliver find_run list_runs load rehearse",
}
# Modules that are used as such from outside, `journal.write(...)`, for these names: alone they say too little.
MODULE_STYLE = {"publishing.journal": {"write", "remove", "lock", "holds", "find", "prepare", "superseded"}}
# Small definitions that every module has for itself.
COPIED = {"_log"}
# Docstrings for functions that were in private files and had none.
DOCSTRINGS = {
    "validation._failures.Failures.lines": "Yield a line for each check that failed, with its examples.",
    "storage._compare._md5": "Return an MD5 sum; stores compare with it, nothing relies on it for security.",
    "delivery._verify.verify_with": "Verify through stores that are already open; see `verify`.",
    "delivery._verify.is_visible": "Return whether something is visible at this URL.",
    "delivery._discard.discard_files": "Discard files, and return a sentence for each one that the store did not remove.",
}

# Fields and properties: (class by its new name, field) → new name. `attributes.py` renames them after the move, and
# finds their uses by what mypy then complains of.
ATTRIBUTES = {
    ("DeliverySpec", "again"): "run_id_given",
    ("FileNames", "several"): "is_numbered",
    ("FilePlan", "several"): "is_numbered",
    ("FilePlan", "there"): "already_published",
    ("DeliveryPlan", "there"): "already_published",
    ("Duplicates", "told"): "label",
}
