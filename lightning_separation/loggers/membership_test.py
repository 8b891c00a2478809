"""What is shown of the test whether samples were trained on."""

from __future__ import annotations

from ..records import Record
from ..tables import Table, plain, signed
from .display import Display, History, prefixed
from .gap import of_input


def display(record: Record, history: History, name: str) -> Display:
    """Scalars and table of one record.

    Args:
        record: With findings of ``MembershipTest``.
        history: Not used.
        name: The monitor's name.

    Returns:
        For each layer the scalar ``membership_p/<layer>``, and the table ``membership_test_tables/layers``. The
        monitor's name stands before each unless it is "separation".
    """
    found = record.findings["membership_test"]
    shown = Display()
    layers = {layer: found[layer] for layer in record.layers if layer in found}
    for layer, values in layers.items():
        shown.scalars[f"{prefixed(name, 'membership_p')}/{layer}"] = values["p_value"].item()
    if layers:
        rows = [
            [layer, signed(values["gap"]), plain(values["p_value"], ".2g"), plain(values["q_value"], ".2g")]
            for layer, values in layers.items()
        ]
        caption = (
            f"How much further the training sample is separated than the validation sample, {record.when}: mean over "
            "pairs of classes. p: how often it would be at least as much if it were chance which samples of a class "
            "are trained on; q: corrected for the number of layers. "
            f"{of_input({layer: values['q_value'].item() for layer, values in layers.items()})}"
        )
        header = ["layer", "training minus validation", "p-value", "q-value"]
        shown.tables[f"{prefixed(name, 'membership_test_tables')}/layers"] = Table(header, rows, caption)
    return shown
