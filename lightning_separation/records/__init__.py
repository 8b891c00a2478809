"""What one analysed validation found, and its file. NumPy only."""

from .findings import ALL_LAYERS, DIRECTION_KINDS, INPUT, OBJECTIVES, Findings, check_findings, joined
from .record import Record
from .storage import (
    NewerSchemaError,
    NotARecordError,
    forget_fit,
    load_record,
    load_run_info,
    save_record,
    save_run_info,
)

__all__ = [
    "ALL_LAYERS",
    "DIRECTION_KINDS",
    "INPUT",
    "OBJECTIVES",
    "Findings",
    "NewerSchemaError",
    "NotARecordError",
    "Record",
    "check_findings",
    "forget_fit",
    "joined",
    "load_record",
    "load_run_info",
    "save_record",
    "save_run_info",
]
