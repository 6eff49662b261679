#!/usr/bin/env bash
# Install this package beside daft, which holds pyarrow below 26, in an environment of its own. Deliver with
# it to a local folder and to the tests' S3 server. Run by `make test-beside`; NEIGHBOURS names other libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv-beside}"
"${PYTHON:-python3}" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable . \
    ${NEIGHBOURS:-daft}
"$venv/bin/python" -m pip check
MC_SINK_STATE_DIR="$(mktemp -d)" "$venv/bin/python" .ci/beside.py
