"""The examples that `--help` shows, one block for each command."""

from __future__ import annotations

_EXAMPLES = {
    "mc-sink": """
mc-sink platforms add acme
mc-sink platforms check acme s3://bucket/prefix/
mc-sink send 'data/*.parquet' s3://bucket/prefix/ --platform acme --schema audience
mc-sink connections check nightly.toml
mc-sink run nightly.toml --dry-run
mc-sink run nightly.toml
mc-sink schedule nightly.toml hourly.toml
mc-sink history
mc-sink verify RUN_ID
""",
    "run": """
mc-sink run nightly.toml
mc-sink run nightly.toml --dry-run                       schema, sample and keys; writes nothing
mc-sink run nightly.toml --dry-run --rows all            judges every row; writes nothing
mc-sink run nightly.toml --run-id nightly-2026-11-22     repeated runs deliver once
mc-sink run nightly.toml --min-rows 1000                 fails, with nothing visible, for fewer rows
mc-sink run nightly.toml --json | jq .num_rows
""",
    "send": """
mc-sink send 'data/*.parquet' s3://bucket/prefix/ --schema audience
mc-sink send a.csv s3://bucket/p/ --format csv.gz --set max_rows_per_file=1000000
mc-sink send a.csv s3://bucket/p/ --region eu-west-1 --on-invalid reject --if-exists overwrite
mc-sink send a.csv s3://bucket/p/ --set object_options.acl=bucket-owner-full-control
""",
    "preview": """
mc-sink preview nightly.toml
mc-sink preview nightly.toml --run-id nightly-2026-11-22     the exact keys of that run
""",
    "schedule": """
mc-sink schedule nightly.toml hourly.toml
mc-sink schedule nightly.toml --next 5               the coming times; runs nothing
mc-sink schedule *.toml --at-once 2 --json
mc-sink schedule *.toml --metrics-file /var/lib/node_exporter/mc_sink.prom
""",
    "resume": "mc-sink resume nightly.toml",
    "metrics": """
mc-sink metrics
mc-sink metrics /var/lib/node_exporter/mc_sink.prom
""",
    "history": """
mc-sink history
mc-sink history --connection nightly --status failed --limit 5
mc-sink history --json | jq -r .run_id
""",
    "show": """
mc-sink show last
mc-sink show 20261122T1015     the beginning of a run's id
mc-sink show 20261122T101530Z-4f2a9c --load --table sales --dialect redshift
""",
    "report": """
mc-sink report                                             of the last run
mc-sink report 20261122T101530Z-4f2a9c --output run.html
mc-sink report --all --output reports                      open reports/index.html
""",
    "verify": """
mc-sink verify last
mc-sink verify 20261122T101530Z-4f2a9c     exit code 9 if a file is missing or has changed
""",
    "recover": """
mc-sink recover                                        lists unfinished deliveries
mc-sink recover 20261122T101530Z-4f2a9c                publishes the remaining files
mc-sink recover 20261122T101530Z-4f2a9c --discard      discards the remaining files
mc-sink recover 20261122T101530Z-4f2a9c --platform acme
""",
    "handover": """
mc-sink handover s3://bucket/prefix/ --preset redshift --columns 'data/*.parquet' --output handover.md
mc-sink handover nightly.toml --table sales --output handover.html
""",
    "platforms": """
mc-sink platforms add acme --region eu-west-1
mc-sink platforms check acme s3://bucket/prefix/
mc-sink platforms list
""",
    "platforms add": """
mc-sink platforms add acme --region eu-west-1 --bucket s3://bucket/prefix/     prompts for the key
mc-sink platforms add acme --from new_user_credentials.csv --replace
mc-sink platforms add acme --role-arn arn:aws:iam::123456789012:role/deliver --external-id new --ambient
""",
    "platforms list": """
mc-sink platforms list
mc-sink platforms list --json | jq -r '.[] | select(.status != "Configured") | .name'
""",
    "platforms show": "mc-sink platforms show acme",
    "platforms check": """
mc-sink platforms check acme s3://bucket/prefix/
mc-sink platforms check acme s3://bucket/prefix/ --write-probe          a store that is not AWS
mc-sink platforms check acme s3://bucket/prefix/ --write-probe --json | jq .status
""",
    "platforms remove": "mc-sink platforms remove acme --yes",
    "platforms export": "mc-sink platforms export acme > acme.json",
    "policy": """
mc-sink policy s3://bucket/prefix/ > policy.json
aws iam put-user-policy --user-name acme --policy-name mc-sink --policy-document file://policy.json
""",
    "lifecycle": """
mc-sink lifecycle s3://bucket/prefix/ > lifecycle.json
aws s3api put-bucket-lifecycle-configuration --bucket bucket --lifecycle-configuration file://lifecycle.json
""",
    "connections": "mc-sink connections check nightly.toml hourly.toml",
    "connections check": "mc-sink connections check nightly.toml hourly.toml",
}
_CODES = """
  0 done                   6 the key exists
  1 failed                 7 partly or perhaps visible: mc-sink recover
  2 usage error            8 upload failed: retry later
  3 invalid options        9 verification failed
  4 invalid rows          75 locked by another run or scheduler
  5 permission denied    124 timed out, 130 Ctrl-C, 143 SIGTERM
"""


def example(command: str) -> str:
    """Return the end of a command's help. Typer leaves the lines after a backspace as they are."""
    lines = "\n".join(f"  {line}" for line in _EXAMPLES[command].strip().splitlines())
    block = f"\b\nExamples:\n{lines}"
    return f"{block}\n\n\b\nExit codes:{_CODES.rstrip()}" if command in {"mc-sink", "run"} else block
