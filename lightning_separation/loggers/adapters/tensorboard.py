"""TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...tables import Table
from ..dashboard import Layout, is_ours, with_more, with_prefix
from .base import Adapter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FINEST_BIN, _MOST_BINS = 0.02, 100


class TensorBoardAdapter(Adapter):
    """TensorBoard: everything, tables as Markdown, the dashboard as "Custom Scalars"."""

    takes = frozenset({"histograms", "figures", "tables", "dashboard"})

    def histograms(self, tag: str, values: NDArray, step: int) -> None:
        """Log the distribution of ``values``."""
        # By default bins grow with the distance from 0, and one would hold all that lies between 0.9 and 1.
        low, high = float(values.min()), float(values.max())
        width = max(_FINEST_BIN, (high - low) / _MOST_BINS)
        edges = width * np.arange(np.floor(low / width), np.floor(high / width) + 2)
        self.logger.experiment.add_histogram(self.tag(tag), values, step, bins=edges)

    def figures(self, tag: str, figure: Figure, step: int) -> None:
        """Log a figure."""
        self.logger.experiment.add_figure(self.tag(tag), figure, step)

    def tables(self, tag: str, table: Table, step: int) -> None:
        """Log a table."""
        self.logger.experiment.add_text(self.tag(tag), table.to_markdown(), step)

    def dashboard(self, layout: Layout) -> None:
        """Lay out charts of scalars, beside those laid out before by this package; where the user did, nothing."""
        # TensorBoard shows the last layout of a folder and only that.
        self.logger.experiment.flush()
        there = _last_layout(self.logger.log_dir)
        complete = with_more(there, with_prefix(layout, self.tag("")))
        if is_ours(there) and complete != there:
            self.logger.experiment.add_custom_scalars(complete)


def _last_layout(folder: str) -> Layout:
    """What the event files of a folder have laid out; empty if nothing."""
    from tensorboard.backend.event_processing.io_wrapper import ListDirectoryAbsolute
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout as Message
    from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG

    last = Message()
    for path in sorted(path for path in ListDirectoryAbsolute(folder) if "tfevents" in path):
        for record in _records(path):
            if CONFIG_SUMMARY_TAG.encode() in record:
                for value in Event.FromString(record).summary.value:
                    if value.tag == CONFIG_SUMMARY_TAG:
                        last = Message.FromString(value.tensor.string_val[0])
    layout: Layout = {}
    for category in last.category:
        charts = layout.setdefault(category.title, {})
        for chart in category.chart:
            if chart.WhichOneof("content") == "multiline":
                charts[chart.title] = ("Multiline", list(chart.multiline.tag))
            else:
                charts[chart.title] = ("Margin", [t for s in chart.margin.series for t in (s.value, s.lower, s.upper)])
    return layout


def _records(path: str) -> Iterator[bytes]:
    """The whole events of a file. TensorBoard's own reader checks their sums, at 9 MB a second."""
    from tensorboard.compat import tf

    with tf.io.gfile.GFile(path, "rb") as file:  # wherever TensorBoard can write
        while len(head := file.read(12)) == 12:  # bytes of the event as 64 bits, their checksum
            (length,) = struct.unpack("<Q", head[:8])
            if len(record := file.read(length)) == length:
                yield record
            file.read(4)  # checksum of the event
