"""Modularity: planted modules, networkx, scikit-learn, and NumPy for what modules of two layers say of each other."""

import warnings

import networkx
import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from lightning_separation import Modularity, SeparationMonitor, analyze, load_run
from lightning_separation.functional import module_comparisons
from tests.helpers import Classifier, blobs, loader, mlp, trainer

X, Y = blobs(3, per_class=40).tensors
COMPARISONS = ("others_alone", "all_over_module", "all_over_others")


def found(network, analysis=None, x=X, y=Y, **settings):
    """The findings, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, [(x, y)], [analysis or Modularity()], samples_per_class=1000, **settings)
    return record.findings["modularity"], [str(w.message) for w in said]


def drawn(units, seed=0, samples=400):
    """Units with nothing to do with each other."""
    return torch.randn(samples, units, generator=torch.Generator().manual_seed(seed))


def planted(seed=0, samples=400):
    """Units 0, 2, 4, ... follow one latent, the others another."""
    latent = drawn(2, seed, samples)
    return latent.repeat(1, 6) + 0.4 * drawn(12, seed + 1000, samples)


def codes(values, edges):
    return np.clip(np.digitize(np.float64(values), edges[1:-1]), 0, len(edges) - 2)


def information_matrix(values, rows, edges=None):
    """Between all pairs of columns on some rows, in bins that are laid over all."""
    values = np.float64(values)
    edges = [np.histogram_bin_edges(column, 10) for column in values.T] if edges is None else edges
    coded = [codes(column[rows], e) for column, e in zip(values.T, edges, strict=True)]
    return np.array([[mutual_info_score(a, b) for b in coded] for a in coded])


def q_of(weights, modules):
    graph = networkx.from_numpy_array(np.where(np.eye(len(weights), dtype=bool), 0, weights))
    parts = [set(np.flatnonzero(modules == module)) for module in np.unique(modules)]
    return networkx.community.modularity(graph, parts)


def by_hand(weights, modules, permutations=2000):
    """Q and its null, partitions of the same sizes drawn by NumPy."""
    random = np.random.default_rng(0)
    null = np.array([q_of(weights, random.permutation(modules)) for _ in range(permutations)])
    return q_of(weights, modules), null


def test_planted_modules_are_found():
    one = found(nn.Identity(), x=planted(), y=torch.zeros(400), layers=[])[0]["input"]
    assert one["module"].tolist() == [0, 1] * 6
    assert one["num_modules"] == 2
    assert one["p_value"] == 1 / 1001
    assert one["modularity"] > 0.4
    assert abs(one["null_mean"]) < 0.12
    assert not set(COMPARISONS) & one.keys()


@pytest.mark.parametrize("with_classes", [True, False])
def test_information_is_scikit_learns_and_q_is_networkxs(with_classes):
    x, y = planted(samples=120), torch.arange(120) // 40
    settings = {} if with_classes else {"target_fn": False}
    one = found(nn.Identity(), Modularity(weights="information"), x, y, layers=[], **settings)[0]["input"]
    place = np.arange(120) % 40 if with_classes else np.arange(120)  # in its class
    first, second = (information_matrix(x, place % 2 == half) for half in (0, 1))
    weight = one["weight"] - np.diag(np.diag(one["weight"])) + np.diag(np.diag(second))
    np.testing.assert_allclose(weight, second, rtol=1e-5, atol=1e-7)
    assert one["weight"].dtype == np.float32
    alone = networkx.from_numpy_array(np.where(np.eye(12, dtype=bool), 0, first))
    parts = networkx.community.louvain_communities(alone, seed=0)
    together = one["module"][:, None] == one["module"]
    np.testing.assert_array_equal(
        together, [[any({i, j} <= part for part in parts) for j in range(12)] for i in range(12)]
    )
    q, null = by_hand(second, one["module"], 500)
    assert one["modularity"] == pytest.approx(q, abs=1e-6)
    assert one["null_mean"] == pytest.approx(null.mean(), abs=4 * null.std() / 500**0.5)
    assert one["null_std"] == pytest.approx(null.std(), rel=0.2)
    assert one["num_modules"] == len(parts)


def test_chance_is_taken_off_the_weights():
    x = planted(samples=200)
    excess, information = (
        found(nn.Identity(), Modularity(weights=w, modules="random"), x, torch.zeros(200), layers=[])[0]["input"]
        for w in ("excess", "information")
    )
    random = np.random.default_rng(0)
    edges = [np.histogram_bin_edges(np.float64(column), 10) for column in x.T]
    coded = [codes(column, e) for column, e in zip(x.numpy().T, edges, strict=True)]
    for i, j in ((0, 1), (0, 2), (3, 8)):
        chance = [mutual_info_score(coded[i], random.permutation(coded[j])) for _ in range(100)]
        expected = max(information["weight"][i, j] - np.mean(chance), 0)
        assert excess["weight"][i, j] == pytest.approx(expected, abs=2 * np.std(chance))
    assert (excess["weight"] >= 0).all()
    np.testing.assert_allclose(excess["weight"], excess["weight"].T)


def test_in_noise_modules_are_not_significant():
    """Found and measured on one half all of them would be."""
    p_values = []
    for seed in range(80):
        for settings in ({}, {"target_fn": False}):
            x, y = drawn(12, seed, 120), torch.arange(120) % 3
            one = found(nn.Identity(), Modularity(num_permutations=200), x, y, layers=[], **settings)[0]["input"]
            p_values.append(one["p_value"])
    assert np.mean(np.array(p_values) < 0.05) <= 0.1
    assert 0.4 < np.mean(p_values) < 0.6


def test_a_partition_that_is_given_is_measured_on_all_samples():
    x = planted(samples=150)
    given = [0] * 6 + [7] * 6
    analysis = Modularity(modules={"input": given}, weights="information")
    one = found(nn.Identity(), analysis, x, torch.zeros(150), layers=[])[0]["input"]
    q, null = by_hand(information_matrix(x, slice(None)), np.array(given), 500)
    assert one["modularity"] == pytest.approx(q, abs=1e-6)
    assert one["p_value"] == pytest.approx((null >= q).mean(), abs=0.1)
    assert one["module"].tolist() == given


def test_random_modules_are_of_about_one_size():
    network = mlp(6, 10)
    layers, _ = found(network, Modularity(modules="random", num_modules=3))
    for layer, width in (("input", 6), ("0", 8), ("3", 10)):
        sizes = np.bincount(layers[layer]["module"], minlength=3)
        assert sizes.sum() == width
        assert np.ptp(sizes) <= 1
    assert layers["0"]["p_value"] > 0.01
    assert np.isfinite([layers["0"][name] for name in COMPARISONS]).all()
    again = found(network, Modularity(modules="random", num_modules=3))[0]
    np.testing.assert_array_equal(again["0"]["module"], layers["0"]["module"])
    other = found(network, Modularity(modules="random", num_modules=3), seed=5)[0]
    assert any((other[layer]["module"] != layers[layer]["module"]).any() for layer in layers)


# What modules of two layers say of each other


def entropy_of(*coded):
    counts = np.unique(np.stack(coded), axis=1, return_counts=True)[1]
    share = counts / counts.sum()
    return -(share * np.log(share)).sum()


def compared(first, second, own, module, pairing, rows=slice(None)):
    """The three comparisons of the notebook, all activations of a slice binned together."""
    edges_first, edges_second = (np.histogram_bin_edges(np.float64(layer), 10) for layer in (first, second))
    first, second = codes(first[rows], edges_first), codes(second[rows], edges_second)

    def given(known):
        later = second[:, module]
        if pairing == "all":
            later, known = np.repeat(later, known.shape[1], 1), np.tile(known, (1, later.shape[1]))
        width = min(known.shape[1], later.shape[1])
        x, y = later[:, :width].ravel(), known[:, :width].ravel()
        return entropy_of(x, y) - entropy_of(y), entropy_of(x)

    others, alone = given(first[:, ~own])
    by_module, by_all = given(first[:, own])[0], given(first)[0]
    return [others - alone, by_all - by_module, by_all - others]


def activations(network, x=X):
    with torch.no_grad():
        return {str(i): network[: i + 1](x).numpy() for i in range(len(network))}


@pytest.mark.parametrize("pairing", ["truncate", "all"])
def test_given_modules_of_two_layers_are_compared_as_by_numpy(pairing):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 7))
    before, after = np.array([0] * 4 + [1] * 3 + [5] * 2), np.array([1, 0, 0, 1, 0, 3, 1])  # 3 is in one layer only
    layers, said = found(network, Modularity(modules={"0": before.tolist(), "2": after}, pairing=pairing))
    assert not said
    first, second = activations(network)["0"], activations(network)["2"]
    by_numpy = np.mean([compared(first, second, before == m, after == m, pairing) for m in (0, 1)], 0)
    np.testing.assert_allclose([layers["2"][name] for name in COMPARISONS], by_numpy, atol=1e-9)
    by_function = [
        module_comparisons(
            torch.tensor(first), torch.tensor(second), np.flatnonzero(before == m), np.flatnonzero(after == m),
            pairing=pairing,
            edges=tuple(torch.from_numpy(np.histogram_bin_edges(np.float64(v), 10)) for v in (first, second)),
        )
        for m in (0, 1)
    ]  # fmt: skip
    np.testing.assert_allclose([layers["2"][name] for name in COMPARISONS], np.mean(by_function, 0), atol=1e-9)
    assert not set(COMPARISONS) & layers["0"].keys()


def test_a_module_that_is_found_goes_with_the_one_before_that_tells_most_of_it():
    x = planted(samples=200)
    network = nn.Sequential(nn.Linear(12, 6, bias=False))
    picked = [1, 0, 3, 2, 5, 4]
    network[0].weight.data = torch.eye(12)[picked]
    layers, _ = found(network, x=x, y=torch.zeros(200))
    assert layers["input"]["module"].tolist() == [0, 1] * 6
    own = np.array([[u % 2 == picked[i] % 2 for u in range(12)] for i in range(6)])
    modules = layers["0"]["module"]
    second = np.arange(200) % 2 == 1
    expected = []
    for module in np.unique(modules):
        of_module = modules == module
        expected.append(compared(x.numpy(), x.numpy()[:, picked], own[of_module][0], of_module, "truncate", second))
    np.testing.assert_allclose([layers["0"][name] for name in COMPARISONS], np.mean(expected, 0), atol=1e-9)


def test_modules_of_the_whole_layer_before_leave_nothing_to_compare():
    network = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4))
    layers, said = found(network, Modularity(modules={"0": [0] * 4, "1": [0, 0, 1, 1]}))
    assert not said
    assert np.isnan([layers["1"][name] for name in COMPARISONS]).all()
    assert layers["0"]["modularity"] == 0
    assert layers["0"]["p_value"] == 1


# Odd layers and settings


@pytest.mark.parametrize("given", [[0.0] * 8, [[0] * 8], "01", None])
def test_modules_that_are_no_integers_raise_at_once(given):
    with pytest.raises(ValueError, match="modules of 0 must be"):
        Modularity(modules={"0": given})


@pytest.mark.parametrize("given", [[0, 1], [0, 0, 1, 1, 1, 1, 1, 1, 1]])
def test_modules_that_do_not_fit_are_said_by_name(given):
    layers, said = found(mlp(), Modularity(modules={"0": given, "3": [0, 0, 1]}))
    assert list(layers) == ["3"]
    assert not set(COMPARISONS) & layers["3"].keys()  # there is no layer before
    assert [m for m in said if "0: modularity: modules of 0: one integer for each of its 8 units is needed" in m]


def test_modules_of_a_layer_that_does_not_exist_are_said():
    layers, said = found(mlp(), Modularity(modules={"0": [0, 1] * 4, "nett.3": [0, 0, 1], "a": [1]}))
    assert list(layers) == ["0"]
    (message,) = said
    assert message == "analyze: modularity: modules are given of a, nett.3, which are no layers here"


class Only(nn.Module):
    """Only some units vary."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def forward(self, x):
        kept = torch.full_like(x, 2.0)
        kept[:, self.units] = x[:, self.units]
        return kept


@pytest.mark.parametrize("units", [[], [3]])
def test_a_layer_with_nothing_to_divide_is_left_out_by_name(units, tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), Only(units), nn.Linear(5, 4))
    layers, said = found(network)
    assert "1" not in layers
    assert f"analyze: 1: modularity: {len(units)} of its 5 units vary: there is nothing to divide" in said
    if units:
        assert set(layers) == {"input", "0", "2"}
        assert np.isfinite(layers["2"]["all_over_others"]) or layers["2"]["num_modules"] > 0


def test_a_single_output_is_no_trouble(tmp_path):
    class Regressor(Classifier):
        def training_step(self, batch, batch_idx):
            return (self.net(batch[0]).squeeze(1) - batch[1]).square().mean()

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.training_step(batch, batch_idx))

    t = trainer(tmp_path, SeparationMonitor([Modularity()], on_error="raise"), max_epochs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.fit(Regressor(mlp(6, 1)), loader(blobs(2)), loader(blobs(2)))
    assert not [w for w in caught if "SeparationMonitor" in str(w.message) and "outside" not in str(w.message)]
    assert list(load_run(t.log_dir).records[0].findings["modularity"]) == ["input", "net.0", "net.1"]


def test_only_units_that_vary_are_divided():
    x = planted(samples=200)
    x[:, [1, 6]] = 3.0
    x[0, 9] = torch.nan
    layers, said = found(nn.Sequential(nn.Identity()), x=x, y=torch.zeros(200), layers=[])
    assert any("gives NaN for 1 samples" in message for message in said)
    one = layers["input"]
    assert one["example_unit"].tolist() == [0, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    parts = [set(one["example_unit"][one["module"] == m].tolist()) for m in (0, 1)]
    assert parts == [{0, 2, 4, 8, 10}, {3, 5, 7, 9, 11}]
    given = found(
        nn.Sequential(nn.Identity()), Modularity(modules={"input": list(range(12))}), x, torch.zeros(200), layers=[]
    )[0]
    assert given["input"]["module"].tolist() == one["example_unit"].tolist()


def test_layers_of_two_units():
    layers, said = found(nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 2)))
    assert not said
    for layer in ("0", "1"):
        assert layers[layer]["weight"].shape == (2, 2)
        assert layers[layer]["modularity"] <= 0  # two units can only be one module, or be two with nothing inside
        assert layers[layer]["p_value"] == 1


def test_wide_layers_are_measured_on_units_evenly_spaced():
    x = planted(samples=200)
    one = found(nn.Identity(), Modularity(max_units=4, weights="information"), x, torch.zeros(200), layers=[])[0][
        "input"
    ]
    assert one["example_unit"].tolist() == [0, 4, 7, 11]
    expected = information_matrix(x[:, [0, 4, 7, 11]], np.arange(200) % 2 == 1)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(one["weight"][off], expected[off], rtol=1e-5)


def test_channels_of_images():
    torch.manual_seed(0)
    x = torch.randn(60, 2, 6, 6)
    network = nn.Sequential(nn.Conv2d(2, 5, 3))
    one = found(network, Modularity(modules={"0": [0, 0, 1, 1, 1]}, weights="information"), x, Y[:60])[0]["0"]
    with torch.no_grad():
        pooled = network(x).mean((2, 3))
    assert one["modularity"] == pytest.approx(q_of(information_matrix(pooled, slice(None)), one["module"]), abs=1e-6)


@pytest.mark.parametrize("per_class", [1, 2])
def test_few_samples(per_class):
    """One of each class cannot be divided in halves, two can."""
    layers, said = found(nn.Identity(), x=X[: 3 * per_class], y=Y[: 3 * per_class], layers=[])
    assert ("input" in layers) == (per_class > 1)
    if per_class == 1:
        assert "input: modularity: no class has two samples" in said[0]
    else:
        assert np.isfinite(layers["input"]["modularity"])
        assert not said


def test_bins_of_the_first_epoch_are_kept(tmp_path):
    class Watched(Classifier):
        def __init__(self):
            super().__init__()
            self.seen = []

        def on_validation_epoch_end(self):
            if not self.trainer.sanity_checking:
                with torch.no_grad():
                    self.seen.append(self.net(X).numpy())

    torch.manual_seed(0)
    module, given = Watched(), Modularity(modules={"net.3": [0, 0, 1]}, weights="information")
    t = trainer(tmp_path, SeparationMonitor([given]), max_epochs=2)
    t.fit(module, loader(blobs(seed=1)), loader(blobs(3, per_class=40), batch_size=120))
    first = [np.histogram_bin_edges(np.float64(column), 10) for column in module.seen[0].T]
    off = ~np.eye(3, dtype=bool)
    for values, record in zip(module.seen, load_run(t.log_dir).records, strict=True):
        weight = record.findings["modularity"]["net.3"]["weight"]
        np.testing.assert_allclose(weight[off], information_matrix(values, slice(None), first)[off], rtol=1e-5)


def test_it_is_the_same_each_time_and_leaves_random_numbers_alone():
    torch.manual_seed(0)
    network = mlp()
    state, state_of_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, two = found(network)[0], found(network)[0]
    assert torch.equal(state, torch.get_rng_state())
    assert state_of_numpy == np.random.get_state()[1].tolist()  # noqa: NPY002
    for layer in one:
        for quantity in one[layer]:
            np.testing.assert_array_equal(one[layer][quantity], two[layer][quantity])


@pytest.mark.parametrize(
    "settings",
    [
        {"modules": "louvain"},
        {"num_modules": 0},
        {"weights": "correlation"},
        {"bins": 0},
        {"edges": "first"},
        {"pairing": "each"},
        {"num_permutations": 0},
        {"max_units": 0},
        {"pooling": "sum"},
    ],
)
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Modularity(**settings)
