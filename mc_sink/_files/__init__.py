"""Batches → finished, invisible files: where each one ends, and what is in it."""

from mc_sink._files._file import FilePlan, write_file
from mc_sink._files._rolls import DeliveryPlan, write_files

__all__ = ["DeliveryPlan", "FilePlan", "write_file", "write_files"]
