#!/usr/bin/env bash
# Install this package beside daft, awswrangler, which hold pyarrow below 26, and the oldest Polars that is supported, in
# an environment of its own. Deliver with it to a local folder and to the tests' S3 server. Run by `make test-beside`;
# NEIGHBOURS names other libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv-beside}"
"${PYTHON:-python3}" -m venv --clear "$venv"
# pip alone finds no AWS libraries that agree; those of constraints.txt do. trustme makes the test server's certificate.
constraints="$(mktemp)"
grep --extended-regexp '^(aiobotocore|boto3|botocore|fsspec|s3fs|s3transfer|trustme)==' constraints.txt >"$constraints"
grep --extended-regexp '^polars(-runtime-32)?==' constraints-oldest.txt >>"$constraints"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" --editable . \
    trustme ${NEIGHBOURS:-daft awswrangler}
"$venv/bin/python" -m pip check
MC_SINK_STATE_DIR="$(mktemp -d)" "$venv/bin/python" .ci/beside.py
