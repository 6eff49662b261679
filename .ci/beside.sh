#!/usr/bin/env bash
# Install this package beside awswrangler and an older Polars, in an environment of its own, and deliver with it: to a
# local folder, and to the tests' S3 server. Run by `make test-beside`.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv-beside}"
"${PYTHON:-python3}" -m venv --clear "$venv"
# The tests' server needs aiohttp, which s3fs brings.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable . \
    ${BESIDE_PACKAGES:-"awswrangler<4" "polars<2"}
"$venv/bin/python" -m pip check
"$venv/bin/python" .ci/beside.py
