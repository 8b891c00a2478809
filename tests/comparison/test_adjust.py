"""Benjamini-Hochberg over arrays against the package's own over tensors and by hand."""

import numpy as np
import pytest
import torch

from lightning_separation.comparison import adjusted
from lightning_separation.functional import false_discovery_control


def test_any_shape():
    p = np.random.default_rng(0).random((3, 4, 5)) ** 4
    p[1, 2] = np.nan
    given = p.copy()
    np.testing.assert_allclose(adjusted(p).ravel(), false_discovery_control(torch.from_numpy(p.ravel())), rtol=1e-12)
    np.testing.assert_array_equal(p, given)


def test_by_hand():
    np.testing.assert_allclose(adjusted([[0.9, 0.01], [0.02, 0.04]]), [[0.9, 0.04], [0.04, 0.16 / 3]])
    assert adjusted(0.3) == 0.3


def test_without_comparisons():
    assert adjusted([]).shape == (0,)
    assert np.isnan(adjusted([np.nan, np.nan])).all()


@pytest.mark.parametrize("bad", [[0.5, -1e-9], [1.1], [np.inf]])
def test_outside(bad):
    with pytest.raises(ValueError):
        adjusted(bad)
