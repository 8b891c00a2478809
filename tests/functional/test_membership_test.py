"""The test of memorising against all memberships, and on data that nothing or something is known of."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation.functional import henze_penrose_divergence, membership_test

from .references import clusters


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def two_sets(per_class, seed, memorised=0.0, dim=4):
    """Training samples that lie further from the other classes than others of their kind."""
    generator = seeded(seed)
    y = torch.arange(3).repeat(per_class)
    centres = torch.eye(3, dim)[y]
    train, others = torch.randn(2, len(y), dim, generator=generator) + centres
    return train + memorised * centres, y, others, y


def mean_gap(x, y, member):
    return sum(
        sign * henze_penrose_divergence(x[part], y[part]).numpy()[np.triu_indices(len(y.unique()), 1)].mean()
        for sign, part in ((1, member), (-1, ~member))
    )


def test_all_memberships():
    x = torch.randn(9, 2, generator=seeded(2)) * 2
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    member = torch.tensor([1, 1, 0, 0, 1, 1, 1, 0, 0]).bool()  # 2 of 4, 3 of 5
    every = []
    for first, second in itertools.product(itertools.combinations(range(4), 2), itertools.combinations(range(4, 9), 3)):
        every.append(mean_gap(x, y, torch.isin(torch.arange(9), torch.tensor(first + second))))
    exact = np.mean(np.array(every) >= mean_gap(x, y, member) - 1e-9)
    found = membership_test(x[member], y[member], x[~member], y[~member], num_permutations=99, generator=seeded())
    assert 0.1 < exact < 0.9
    assert found.gap.item() == pytest.approx(mean_gap(x, y, member))
    assert found.p_value.item() == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 99))


def test_memorising_is_found():
    found = membership_test(*two_sets(30, 0, memorised=3.0), num_permutations=49, generator=seeded())
    assert found.gap > 0.3
    assert found.p_value.item() == pytest.approx(1 / 50)
    train, y, others, _ = two_sets(30, 0, memorised=3.0)
    assert membership_test(others, y, train, y, num_permutations=19, generator=seeded()).p_value == 1  # one-sided


def test_uniform_where_nothing_is_memorised():
    p = [
        membership_test(*two_sets(15, seed, dim=2), num_permutations=9, generator=seeded(seed)).p_value.item()
        for seed in range(25)
    ]
    assert np.mean(p) == pytest.approx(0.55, abs=3 * 0.29 / np.sqrt(25))  # equal chances of 0.1, 0.2, ..., 1
    assert stats.kstest(np.array(p) - 0.05, "uniform").pvalue > 0.01


def test_unequal_sets_are_no_memorising():
    # More samples of separated classes give a larger divergence by themselves; the permuted sets have these sizes too.
    x, y = clusters(3, 60, 3, shift=20.0)
    order = y.argsort(stable=True).view(3, 60)
    train, others = order[:, :50].flatten(), order[:, 50:].flatten()
    found = membership_test(x[train], y[train], x[others], y[others], num_permutations=19, generator=seeded())
    assert found.gap > 0.05
    assert found.p_value == 1


def test_classes_of_one_set_are_left_out():
    train, y, others, _ = two_sets(10, 1)
    extra = torch.randn(5, 4, generator=seeded(2))
    sevens, eights = torch.full((5,), 7), torch.full((5,), -8)
    more = membership_test(
        torch.cat([extra, train]), torch.cat([sevens, y]), torch.cat([others, extra]), torch.cat([y, eights]).int(),
        num_permutations=9, generator=seeded(),
    )  # fmt: skip
    assert more == membership_test(train, y, others, y, num_permutations=9, generator=seeded())


def test_duplicates():
    x = torch.zeros(12, 3)
    y = torch.arange(2).repeat(6)
    found = membership_test(x, y, x, y, num_permutations=9)
    assert (found.gap.item(), found.p_value.item()) == (0, 1)


def test_distance_and_shapes():
    train, y, others, _ = two_sets(10, 3)
    lengths = torch.rand(30, 1, generator=seeded()) + 0.1
    plain = membership_test(train, y, others, y, distance="cosine", num_permutations=9, generator=seeded())
    folded = membership_test(
        (train * lengths).view(30, 2, 2), y, others.view(30, 2, 2), y,
        distance="cosine", num_permutations=9, generator=seeded(),
    )  # fmt: skip
    for a, b in zip(plain, folded, strict=True):
        assert a.item() == pytest.approx(b.item())
        assert a.dtype == torch.float64
    assert plain.gap != membership_test(train, y, others, y, num_permutations=9).gap


def test_generator():
    data = two_sets(10, 4)
    state = torch.get_rng_state()
    first = membership_test(*data, num_permutations=19, generator=seeded())
    assert first == membership_test(*data, num_permutations=19, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_input():
    train, y, others, _ = two_sets(5, 0)
    for arguments, message in [
        ((train, y, others[:, :3], y), "same features"),
        ((train, y, others, y + 2), "two classes"),
        ((train, y, others, y[1:]), "target"),
        ((train, y.float(), others, y), "target"),
        ((train, y, others * float("nan"), y), "features"),
        ((train, y, None, y), "features"),
        ((None, y, others, y), "features"),
    ]:
        with pytest.raises(ValueError, match=message):
            membership_test(*arguments)
    for settings in ({"num_permutations": 0}, {"generator": 1}, {"distance": "city"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            membership_test(train, y, others, y, **settings)
