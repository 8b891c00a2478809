import math

import pytest
import torch

from lightning_separation.functional import bayes_error_bounds


def symmetric(values):
    x = torch.tensor(values, dtype=torch.float64)
    return x + x.T


@pytest.mark.parametrize("divergence, lower, upper", [(0.0, 0.5, 0.5), (1.0, 0.0, 0.0), (0.36, 0.2, 0.32)])
def test_equal_classes(divergence, lower, upper):
    bounds = bayes_error_bounds(symmetric([[0, divergence], [0, 0]]), torch.tensor([7, 7]))
    assert bounds.lower[0, 1] == bounds.lower[1, 0] == pytest.approx(lower)
    assert bounds.upper[0, 1] == bounds.upper[1, 0] == pytest.approx(upper)
    assert bounds.total_lower.item() == pytest.approx(lower)
    assert bounds.total_upper.item() == pytest.approx(upper)
    assert bounds.lower.diagonal().tolist() == bounds.upper.diagonal().tolist() == [0, 0]


def test_unequal_classes():
    # p = 1/4, q = 3/4, D = 0.28: u = 4 * 3/16 * 0.28 + 1/4 = 0.46
    bounds = bayes_error_bounds(symmetric([[0, 0.28], [0, 0]]), torch.tensor([5, 15]))
    assert bounds.lower[0, 1].item() == pytest.approx(0.5 - math.sqrt(0.46) / 2)
    assert bounds.upper[0, 1].item() == pytest.approx(0.25)  # 0.27, but guessing the larger class is no worse


@pytest.mark.parametrize("divergence, counts, error", [(-0.2, [5, 5], 0.5), (-0.9, [1, 9], 0.1), (1.1, [5, 5], 0.0)])
def test_bounds_are_clipped_to_what_an_error_can_be(divergence, counts, error):
    bounds = bayes_error_bounds(symmetric([[0, divergence], [0, 0]]), torch.tensor(counts))
    for value in (bounds.lower[0, 1], bounds.upper[0, 1], bounds.total_lower, bounds.total_upper):
        assert value.item() == pytest.approx(error)


def test_three_classes():
    divergence = symmetric([[0, 0.36, 0.84], [0, 0, 1.0], [0, 0, 0]])
    bounds = bayes_error_bounds(divergence, torch.tensor([10, 10, 10]))
    lower = [0.2, 0.5 - math.sqrt(0.84) / 2, 0.0]
    upper = [0.32, 0.08, 0.0]
    assert bounds.upper[0, 2].item() == pytest.approx(0.08)
    assert bounds.total_lower.item() == pytest.approx(2 / 3 * 2 / 3 * sum(lower))
    assert bounds.total_upper.item() == pytest.approx(2 / 3 * sum(upper))


def test_totals_are_capped_by_the_largest_class():
    bounds = bayes_error_bounds(torch.zeros(4, 4), torch.tensor([97, 1, 1, 1]))
    assert bounds.total_upper.item() == pytest.approx(0.03)
    assert bounds.total_lower.item() <= 0.03 + 1e-12


def test_one_class():
    bounds = bayes_error_bounds(torch.zeros(1, 1), torch.tensor([5]))
    assert bounds.total_lower.item() == bounds.total_upper.item() == 0


@pytest.mark.parametrize(
    "divergence, counts",
    [
        (torch.zeros(2, 3), torch.ones(2)),
        (torch.zeros(2, 2), torch.ones(3)),
        (torch.zeros(2, 2), torch.ones(2, 1)),
        (torch.zeros(2), torch.ones(2)),
        (torch.zeros(2, 2), torch.tensor([1, 0])),
        (torch.zeros(2, 2), torch.tensor([1.0, float("nan")])),
    ],
)
def test_bad_input(divergence, counts):
    with pytest.raises(ValueError):
        bayes_error_bounds(divergence, counts)
