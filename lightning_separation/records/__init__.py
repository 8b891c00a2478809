"""What one analysed validation found, and its file. NumPy only."""

from .findings import Findings
from .record import Record
from .storage import load_record, load_run_info, save_record, save_run_info

__all__ = ["Findings", "Record", "load_record", "load_run_info", "save_record", "save_run_info"]
