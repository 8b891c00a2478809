"""Whether low separation of two classes foretells that the network confuses them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..comparison import mantel_test
from ..records import ALL_LAYERS
from .compare import separations
from .run import Moment, Run


def confusion_forecast(run: Run) -> dict[Moment, dict[str, tuple[float, float]]]:
    """See :meth:`Run.confusion_forecast`."""
    last = run.last("confusion")
    if last is None:
        raise ValueError("no record has a confusion matrix (analysis Confusion)")
    confused = confused_share(last[1].findings["confusion"][ALL_LAYERS]["confusion"])
    found: dict[Moment, dict[str, tuple[float, float]]] = {}
    for moment, record in run.moments.items():
        matrices = separations(record) if record.class_names == last[1].class_names else {}
        if matrices:
            tests = {layer: mantel_test(-matrix, confused) for layer, matrix in matrices.items()}
            found[moment] = {layer: (test.correlation, test.p_value) for layer, test in tests.items()}
    if not found:
        raise ValueError("no record with the classes of the last confusion matrix has their separation")
    return found


def confused_share(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the samples of two classes the share that is taken for the other of the two, ``[K, K]``.

    Args:
        confusion: Counts ``[K, K]``, true x predicted.

    Example:
        >>> confused_share(np.array([[8.0, 2.0], [0.0, 10.0]]))
        array([[0. , 0.1],
               [0.1, 0. ]])
    """
    both = confusion + confusion.T
    np.fill_diagonal(both, 0)
    counts = confusion.sum(1)
    with np.errstate(invalid="ignore"):
        return both / (counts[:, None] + counts)
