#!/usr/bin/env bash
# Install this package beside daft and awswrangler, which hold pyarrow below 26, in an environment of its own. Deliver
# with it to a local folder and to the tests' S3 server. Run by `make test-beside`; NEIGHBOURS names other libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv-beside}"
"${PYTHON:-python3}" -m venv --clear "$venv"
# pip alone finds no AWS libraries that agree; those of constraints.txt do. trustme makes the test server's certificate.
aws="$(mktemp)"
grep --extended-regexp '^(aiobotocore|boto3|botocore|fsspec|s3fs|s3transfer|trustme)==' constraints.txt >"$aws"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$aws" --editable . \
    trustme ${NEIGHBOURS:-daft awswrangler}
"$venv/bin/python" -m pip check
MC_SINK_STATE_DIR="$(mktemp -d)" "$venv/bin/python" .ci/beside.py
