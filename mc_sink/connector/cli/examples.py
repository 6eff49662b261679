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
mc-sink run nightly.toml --dry-run                       schema, sample and keys; nothing is written
mc-sink run nightly.toml --run-id nightly-2026-11-22     may be repeated, and delivers once
mc-sink run nightly.toml --min-rows 1000                 fewer rows fail before anything is visible
mc-sink run nightly.toml --json | jq .num_rows
""",
    "send": """
mc-sink send 'data/*.parquet' s3://bucket/prefix/ --schema audience
mc-sink send a.csv s3://bucket/p/ --format csv.gz --set max_rows_per_file=1000000
mc-sink send a.csv s3://bucket/p/ --set object_options.acl=bucket-owner-full-control
""",
    "preview": """
mc-sink preview nightly.toml
mc-sink preview nightly.toml --run-id nightly-2026-11-22     exactly the keys of that run
""",
    "schedule": """
mc-sink schedule nightly.toml hourly.toml
mc-sink schedule *.toml --at-once 2 --json
""",
    "history": """
mc-sink history
mc-sink history --connection nightly --status failed --limit 5
mc-sink history --json | jq -r .run_id
""",
    "show": "mc-sink show 20261122T101530Z-4f2a9c",
    "verify": """
mc-sink verify 20261122T101530Z-4f2a9c     exit code 9 where a file is missing or another one
""",
    "recover": """
mc-sink recover                                        lists those that wait
mc-sink recover 20261122T101530Z-4f2a9c                makes the rest visible
mc-sink recover 20261122T101530Z-4f2a9c --discard      throws the rest away
mc-sink recover 20261122T101530Z-4f2a9c --platform acme
""",
    "platforms": """
mc-sink platforms add acme --region eu-west-1
mc-sink platforms check acme s3://bucket/prefix/
mc-sink platforms list
""",
    "platforms add": """
mc-sink platforms add acme --region eu-west-1 --bucket s3://bucket/prefix/     asks for the key
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
mc-sink platforms check acme s3://bucket/prefix/ --write-probe          a store that isn't AWS
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
  0 done                   6 exists already
  1 failed                 7 partly or perhaps visible: mc-sink recover
  2 wrong words            8 upload failed: try again
  3 wrong configuration    9 not there as delivered
  4 invalid rows          75 busy: another run or scheduler is at it
  5 permission denied    130 Ctrl-C, 143 SIGTERM
"""


def example(command: str) -> str:
    """Give the end of a command's help; a backspace tells the command line not to fill the lines that follow."""
    lines = "\n".join(f"  {line}" for line in _EXAMPLES[command].strip().splitlines())
    block = f"\b\nBy example:\n{lines}"
    return f"{block}\n\n\b\nExit codes:{_CODES.rstrip()}" if command in {"mc-sink", "run"} else block
