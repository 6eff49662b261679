"""docs/operations.md tells of tests that exist, one in every row, and of metrics that exist."""

from __future__ import annotations

import re
from typing import Any

import yaml

from mc_sink.connector import metrics
from tests.faults.test_fault_table import NAMED, TABLE, defined

PAGE = TABLE.with_name("operations.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## What goes wrong unattended")[1].split("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ")][1:]


def test_every_row_names_a_test_that_exists() -> None:
    """What goes wrong, what is seen, what to do, and the test that holds it."""
    assert len(ROWS) > 10
    assert [row for row in ROWS if len(NAMED.findall(row)) != 1 or row.count(" | ") != 3] == []
    named = [found for row in ROWS for found in NAMED.findall(row)]
    assert [f"{file}::{name}" for file, name in named if name not in defined(file)] == []


def test_the_alert_rule_is_valid_and_names_metrics_that_exist() -> None:
    """The rule is YAML of the form that Prometheus reads, and the page lists every metric."""
    rule: Any = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    rules = [one for group in rule["groups"] for one in group["rules"]]
    assert len(rules) == 4
    known = {*metrics.GAUGES, "mc_sink_runs"}
    for one in rules:
        assert set(one) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Z][A-Za-z]+", one["alert"])
        assert one["expr"].count("(") == one["expr"].count(")")
        names = set(re.findall(r"mc_sink_\w+", one["expr"]))
        assert names
        assert names <= known
    table = PAGE.split("## Metrics")[1].split("\n## ")[0]
    begin = "mc_sink_last_success"
    assert {name for name in known if name not in table and name.replace(begin, "") not in table} == set()
