import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation.functional import weight_contributions


def sample(num_classes, per_class=12, sources=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(num_classes).repeat(per_class)
    centres = torch.randn(num_classes, sources, generator=generator)
    return centres[target] + torch.randn(len(target), sources, generator=generator), target


def standardised_difference(values, target, k):
    """Class k against the mean of the other classes' means, by plain NumPy."""
    groups = [values[target == c] for c in np.unique(target)]
    within = np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / (len(values) - len(groups)))
    others = np.mean([g.mean() for i, g in enumerate(groups) if i != k])
    return (groups[k].mean() - others) / within, within


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_the_contributions_sum_to_the_differences_of_the_layers_own_output(num_classes):
    features, target = sample(num_classes)
    layer = nn.Linear(7, 4)
    found = weight_contributions(layer.weight, features, target)
    with torch.no_grad():
        outputs = layer.double()(features.double()).numpy()
    for v in range(4):
        for k in range(num_classes):
            expected, within = standardised_difference(outputs[:, v], target.numpy(), k)
            assert found.difference[v, k].item() == pytest.approx(expected, rel=1e-9)
            assert found.contribution[v, :, k].sum().item() == pytest.approx(expected, rel=1e-9)
            for u in range(7):
                source, spread = standardised_difference(features[:, u].double().numpy(), target.numpy(), k)
                assert found.source_difference[u, k].item() == pytest.approx(source, rel=1e-9)
                term = layer.weight[v, u].item() * source * spread / within
                assert found.contribution[v, u, k].item() == pytest.approx(term, rel=1e-7, abs=1e-12)


def test_amplification_is_one_for_a_copy_and_more_for_a_sum_of_agreeing_units():
    features, target = sample(2, per_class=500, sources=2)
    features = torch.randn(1000, 2) + target.unsqueeze(1)  # two independent units that differ equally
    found = weight_contributions(torch.tensor([[1.0, 0.0], [-3.0, 0.0], [1.0, 1.0], [1.0, -1.0]]), features, target)
    torch.testing.assert_close(found.amplification[:, 0], found.amplification[:, 1])  # of two classes the same
    copy, scaled, agreeing, opposed = found.amplification[:, 0].tolist()
    assert copy == pytest.approx(1) == scaled
    assert agreeing == pytest.approx(2**0.5, rel=0.05)
    assert opposed < 0.3


def test_amplification_by_its_formula():
    features, target = sample(4)
    found = weight_contributions(torch.randn(5, 7, generator=torch.Generator().manual_seed(2)), features, target)
    for v in range(5):
        for k in range(4):
            share = found.contribution[v, :, k].abs()
            before = (share * found.source_difference[:, k].abs()).sum() / share.sum()
            expected = found.difference[v, k].abs() / before
            assert found.amplification[v, k].item() == pytest.approx(expected.item())


def test_neither_offsets_nor_scales_nor_the_order_of_samples_matter():
    features, target = sample(3)
    weight = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    found = weight_contributions(weight, features, target)
    order = torch.randperm(len(target))
    for other in (
        weight_contributions(weight, features.double() + 1e4, target),
        weight_contributions(8 * weight, features, target),
        weight_contributions(weight, features[order], target[order]),
    ):
        torch.testing.assert_close(other.difference, found.difference)
        torch.testing.assert_close(other.amplification, found.amplification)
    flipped = weight_contributions(weight, features, 10 - 3 * target)
    torch.testing.assert_close(flipped.difference, found.difference.flip(1))


def test_a_unit_without_spread_is_nan_and_harms_no_other():
    features, target = sample(2)
    features[:, 3] = 5.0  # a dead source
    weight = torch.randn(3, 7)
    weight[1] = 0  # a dead unit
    found = weight_contributions(weight, features, target)
    assert found.difference[1].isnan().all()
    assert found.amplification[1].isnan().all()
    assert found.source_difference[3].isnan().all()
    assert found.amplification[[0, 2]].isfinite().all()
    assert (found.contribution[[0, 2], 3] == 0).all()


@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.1, 0.3)])
def test_a_source_that_is_the_class_itself_cannot_be_amplified(levels):
    target = torch.arange(200) % 2
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0)) + 0.5 * target
    features = torch.stack([torch.tensor(levels)[target], noise], 1)
    found = weight_contributions(torch.tensor([[1.0, 1.0], [1e-6, 1.0], [0.0, 1.0]]), features, target)
    assert found.source_difference[0].isnan().all()
    assert found.amplification[0].isnan().all()  # much of it comes from the class itself
    assert found.amplification[1, 0].item() == pytest.approx(1, rel=1e-4)
    assert found.amplification[2, 0].item() == pytest.approx(1)


@pytest.mark.parametrize(
    "weight, features, target, message",
    [
        (torch.ones(2, 3), torch.randn(8, 4), torch.arange(8) % 2, "weight must be"),
        (torch.ones(2, 4), torch.randn(8, 4, 1), torch.arange(8) % 2, "weight must be"),
        (torch.ones(2, 4), torch.randn(8, 4), torch.zeros(8, dtype=torch.int64), "two classes"),
        (torch.ones(2, 4), torch.randn(2, 4), torch.arange(2), "more samples than classes"),
        (torch.ones(2, 4), torch.full((8, 4), torch.nan), torch.arange(8) % 2, "NaN"),
    ],
)
def test_bad_input(weight, features, target, message):
    with pytest.raises(ValueError, match=message):
        weight_contributions(weight, features, target)
