"""The tests, and the servers they run against."""

import os

# botocore would sign with awscrt, which is installed here for the sake of one checksum and which few users have.
os.environ.setdefault("BOTO_DISABLE_CRT", "true")
