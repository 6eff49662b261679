"""Names of files: templates, partitions, and the rules that keep names unique and readable."""

from mc_sink.keys.names import FileNames
from mc_sink.keys.partitions import Partition, Partitioning, column_names
from mc_sink.keys.run_id import check_run_id, new_run_id
from mc_sink.keys.template import parse_template

__all__ = ["FileNames", "Partition", "Partitioning", "check_run_id", "column_names", "new_run_id", "parse_template"]
