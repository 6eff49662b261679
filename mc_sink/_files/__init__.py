"""Batches → finished, invisible files: where each one ends, and what is in it.

batches ──► one file
batches ──► rolls, by rows or by bytes ──► encoded, and stored a few at a time ──► staged
batches ──► partitions, one after the other ──► rolls ──► …
"""

from mc_sink._files._delivery_plan import DeliveryPlan, check_apart
from mc_sink._files._file import FilePlan, write_file
from mc_sink._files._foreseen import foreseen
from mc_sink._files._write import write_files

__all__ = ["DeliveryPlan", "FilePlan", "check_apart", "foreseen", "write_file", "write_files"]
