"""LayerInformation against NumPy's histograms of what a rewritten forward pass makes."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from torch.utils.data import TensorDataset

from lightning_separation import LayerInformation, SeparationMonitor, analyze, load_run
from lightning_separation.analyses.run_bins import RunBins
from tests.helpers import Classifier, blobs, loader, mlp, trainer

X, Y = blobs(3).tensors


def found(network, analysis=None, x=X, y=Y, sizes=None, **settings):
    """The record, its findings, and what was warned of."""
    batches = [(x, y)] if sizes is None else list(zip(x.split(sizes), y.split(sizes), strict=True))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = analyze(network, batches, [analysis or LayerInformation()], **settings)
    return record, record.findings["layer_information"], [str(w.message) for w in said]


def forward(network, x=X):
    """An MLP's activations by layer, in NumPy."""
    first, last = network[0], network[3]
    weights = [part.detach().numpy() for part in (first.weight, first.bias, last.weight, last.bias)]
    hidden = x.numpy() @ weights[0].T + weights[1]
    active = np.maximum(hidden, 0)
    return {"input": x.numpy(), "0": hidden, "1": active, "3": active @ weights[2].T + weights[3]}


def edges_of(values, bins=10):
    return np.histogram_bin_edges(np.asarray(values, np.float64), bins)


def entropy_of(*columns, corrected=False):
    """Plug-in entropy of columns taken together, each (values, edges), as np.histogram2d counts."""
    clipped = [np.clip(np.asarray(values, np.float64), edges[0], edges[-1]) for values, edges in columns]
    counts, _ = np.histogramdd(np.stack(clipped, 1), [edges for _, edges in columns])
    share = counts[counts > 0] / counts.sum()
    return -(share * np.log(share)).sum() + corrected * (len(share) - 1) / (2 * counts.sum())


def information_of(first, second, corrected=False):
    alone = entropy_of(first, corrected=corrected) + entropy_of(second, corrected=corrected)
    return alone - entropy_of(first, second, corrected=corrected)


def columns(values, bins=10):
    """Each unit with bins of its own, those of a constant one from end to end of the layer."""
    whole = edges_of(values, bins)
    return [(unit, edges_of(unit, bins) if np.ptp(unit) else whole) for unit in values.T]


@pytest.mark.parametrize("correction", [None, "miller-madow"])
@pytest.mark.parametrize("bins", [4, 10])
def test_entropy_and_information_of_every_unit(bins, correction):
    torch.manual_seed(0)
    network, corrected = mlp(), correction is not None
    record, layers, said = found(network, LayerInformation(bins, correction=correction), sizes=(25, 7, 28))
    assert not said
    assert list(layers) == record.layers == ["input", "0", "1", "3"]
    classes = Y.numpy(), np.arange(4) - 0.5
    before = None
    for layer, values in forward(network).items():
        units, one = columns(values, bins), layers[layer]
        np.testing.assert_allclose(one["edges"], [edges for _, edges in units], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one["entropy"], [entropy_of(unit, corrected=corrected) for unit in units])
        assert one["entropy_mean"] == pytest.approx(one["entropy"].mean())
        np.testing.assert_allclose(
            one["label_information"], [information_of(unit, classes, corrected) for unit in units], atol=1e-9
        )
        assert one["label_entropy"] == pytest.approx(np.log(3) + corrected * 2 / 120)
        assert one["label_excess_mean"] == pytest.approx(one["label_excess"].mean())
        assert one["outside"] == 0
        if before is not None:
            matrix = [[information_of(unit, other, corrected) for other in before] for unit in units]
            np.testing.assert_allclose(one["previous_information"], np.mean(matrix, 1), atol=1e-9)
            assert one["previous_excess_mean"] == pytest.approx(one["previous_excess"].mean())
        before = units
    assert not {"previous_information", "previous_excess", "pooled_information"} & layers["input"].keys()


@pytest.mark.parametrize("pairing", ["truncate", "all"])
def test_all_activations_of_two_layers_binned_together(pairing):
    torch.manual_seed(0)
    network = mlp()
    _, layers, _ = found(network, LayerInformation(pairing=pairing))
    activations = list(forward(network).items())
    first = activations[0][1]
    whole = entropy_of((first.ravel(), edges_of(first)))
    assert layers["input"]["pooled_entropy"] == pytest.approx(whole)
    for (_, before), (layer, values) in pairwise(activations):
        x, y = values, before
        if pairing == "truncate":
            width = min(x.shape[1], y.shape[1])
            x, y = x[:, :width], y[:, :width]
        else:
            x, y = np.repeat(x, before.shape[1], 1), np.tile(y, (1, values.shape[1]))
        x, y = (x.ravel(), edges_of(values)), (y.ravel(), edges_of(before))
        one, h_x, h_y, joint = layers[layer], entropy_of(x), entropy_of(y), entropy_of(x, y)
        assert one["pooled_entropy"] == pytest.approx(h_x)
        assert one["pooled_joint_entropy"] == pytest.approx(joint)
        assert one["pooled_conditional_entropy"] == pytest.approx(joint - h_y)
        assert one["pooled_information"] == pytest.approx(h_x + h_y - joint, abs=1e-9)


@pytest.mark.parametrize("layers", [["input", "3"], ["[03]"]])
def test_before_means_among_the_chosen_layers(layers):
    torch.manual_seed(0)
    network = mlp()
    _, found_layers, _ = found(network, LayerInformation(layers=layers))
    first, second = found_layers
    activations = forward(network)
    matrix = [[information_of(u, o) for o in columns(activations[first])] for u in columns(activations[second])]
    np.testing.assert_allclose(found_layers[second]["previous_information"], np.mean(matrix, 1))
    assert "previous_information" not in found_layers[first]


def test_of_wide_layers_evenly_spaced_units_are_compared_with_those_before():
    torch.manual_seed(0)
    network = mlp()
    _, layers, _ = found(network, LayerInformation(max_units=3))
    activations = forward(network)
    before = [columns(activations["input"])[i] for i in (0, 2, 5)]  # 0, 2.5 and 5: halves to even
    after = columns(activations["0"])
    expected = np.full(8, np.nan)
    for unit in (0, 4, 7):
        expected[unit] = np.mean([information_of(after[unit], other) for other in before])
    np.testing.assert_allclose(layers["0"]["previous_information"], expected)
    assert np.isfinite(layers["0"]["entropy"]).all()
    assert np.isfinite(layers["0"]["label_information"]).all()
    assert layers["0"]["previous_excess_mean"] == pytest.approx(np.nanmean(layers["0"]["previous_excess"]))


def test_the_numbers_of_classes_do_not_matter_and_chance_is_taken_off():
    numbers = torch.tensor([3, 7, 11])
    _, plain, _ = found(nn.Identity(), layers=[])
    record, other, _ = found(nn.Identity(), y=numbers[Y], layers=[])
    assert record.class_names == ["3", "7", "11"]
    for quantity in ("label_information", "label_excess", "label_entropy"):
        np.testing.assert_array_equal(plain["input"][quantity], other["input"][quantity])
    noise = torch.randn(1000, 40, generator=torch.Generator().manual_seed(0))
    _, layers, _ = found(nn.Identity(), x=noise, y=torch.arange(1000) % 10, layers=[])
    assert layers["input"]["label_information"].mean() == pytest.approx(81 / 2000, rel=0.3)  # by chance alone
    assert abs(layers["input"]["label_excess_mean"]) < 0.004


def test_one_class_tells_nothing():
    _, layers, said = found(nn.Identity(), y=torch.full((60,), 4), layers=[])
    assert not said
    assert layers["input"]["label_entropy"] == 0
    np.testing.assert_array_equal(layers["input"]["label_information"], 0)


def test_a_constant_unit_has_no_entropy_wherever_it_lies():
    """Nor do its values count as outside: the layer's own range holds them."""
    x = torch.cat([X, torch.full((60, 4), 1000.0)], 1)
    _, layers, said = found(nn.Identity(), x=x, layers=[])
    one = layers["input"]
    assert not said
    assert one["outside"] == 0
    np.testing.assert_array_equal(one["entropy"][6:], 0)
    np.testing.assert_array_equal(one["label_excess"][6:], 0)
    np.testing.assert_allclose(one["edges"][6], edges_of(x.numpy()))
    assert one["pooled_entropy"] == pytest.approx(entropy_of((x.numpy().ravel(), edges_of(x.numpy()))))


class Gives(nn.Module):
    """Some units replaced by a value."""

    def __init__(self, value, units=slice(None)):
        super().__init__()
        self.value, self.units = value, units

    def forward(self, x):
        x = x.clone()
        x[:, self.units] = self.value
        return x


def test_a_dead_layer_has_neither_entropy_nor_information():
    network = nn.Sequential(nn.Linear(6, 5), Gives(0.0), nn.Linear(5, 3))
    _, layers, said = found(network)
    assert not said
    for quantity in ("entropy", "label_information", "label_excess", "previous_information", "previous_excess"):
        np.testing.assert_array_equal(layers["1"][quantity], 0)
    for quantity in ("entropy_mean", "pooled_entropy", "pooled_information"):
        assert layers["1"][quantity] == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(layers["2"]["previous_information"], 0)
    assert (np.diff(layers["1"]["edges"]) > 0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_units_with_nan_cost_these_units_only(value):
    torch.manual_seed(0)
    linear = nn.Linear(6, 5)
    _, layers, _ = found(nn.Sequential(linear, Gives(value, [1, 3])))
    _, whole, _ = found(nn.Sequential(linear, nn.Identity()), layers=["0"])
    one, others = layers["1"], [0, 2, 4]
    for quantity in ("entropy", "label_information"):
        assert np.isnan(one[quantity][[1, 3]]).all()
        np.testing.assert_allclose(one[quantity][others], whole["0"][quantity][others])
    assert one["entropy_mean"] == pytest.approx(whole["0"]["entropy"][others].mean())
    assert np.isnan(one["previous_excess"][[1, 3]]).all()
    assert np.isfinite(one["previous_excess_mean"])
    assert np.isnan(one["pooled_entropy"])


def test_a_layer_of_nan_costs_that_layer_only():
    network = nn.Sequential(nn.Linear(6, 5), Gives(torch.nan), nn.Linear(5, 3))
    _, layers, said = found(network)
    assert list(layers) == ["input", "0"]
    assert "analyze: 1, 2: layer_information: its activations hold NaN or infinite values" in said
    assert np.isfinite(layers["0"]["entropy_mean"])


def test_a_sample_of_nan_is_left_out():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
    x = X.clone()
    x[7, 2] = torch.nan
    kept = [i for i in range(60) if i != 7]
    _, layers, said = found(network, x=x)
    _, expected, _ = found(network, x=X[kept], y=Y[kept])
    assert [message for message in said if "the network gives NaN for 1 samples: they are left out" in message]
    for layer, values in expected.items():
        for quantity, value in values.items():
            np.testing.assert_allclose(layers[layer][quantity], value, err_msg=f"{layer} {quantity}")


def test_bins_are_laid_once_a_unit_has_no_nan():
    bins = RunBins(10, "run")
    broken = X.clone()
    broken[0, 2] = torch.inf
    first, then = bins.of_units("fc", broken), bins.of_units("fc", X * 2)
    assert torch.equal(then[[0, 1, 3, 4, 5]], first[[0, 1, 3, 4, 5]])
    torch.testing.assert_close(then[2, [0, -1]], 2 * torch.stack(X[:, 2].aminmax()).double())
    assert torch.equal(bins.of_units("fc", X), then)
    assert bins.outside("fc", broken) == 0


@pytest.mark.parametrize("num", [1, 2, 4])
def test_fewer_samples_than_bins(num):
    _, layers, _ = found(nn.Identity(), x=X[:num], y=Y[:num], layers=[])
    np.testing.assert_allclose(layers["input"]["entropy"], [entropy_of(unit) for unit in columns(X[:num].numpy())])
    if num == 1:
        np.testing.assert_array_equal(layers["input"]["entropy"], 0)


def test_whole_numbers_and_single_numbers_as_input():
    tokens = torch.randint(0, 20, (60,), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    _, layers, _ = found(nn.Sequential(nn.Embedding(20, 4)), x=tokens)
    assert layers["input"]["entropy"].shape == (1,)
    assert layers["input"]["entropy"][0] == pytest.approx(entropy_of((tokens.numpy(), edges_of(tokens.numpy()))))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_units_of_images_are_channels(pooling):
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU()), torch.randn(60, 2, 6, 6)
    _, layers, _ = found(network, LayerInformation(pooling=pooling), x=x)
    with torch.no_grad():
        maps = network(x)
    pooled = (maps.mean((2, 3)) if pooling == "mean" else maps.amax((2, 3))).numpy()
    np.testing.assert_allclose(layers["1"]["entropy"], [entropy_of(unit) for unit in columns(pooled)])
    assert layers["input"]["entropy"].shape == (2,)


def test_sequences_of_other_length_in_each_batch():
    torch.manual_seed(0)
    embedding = nn.Embedding(20, 4)
    words = [torch.randint(0, 20, (20, length)) for length in (3, 5, 9)]
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        record = analyze(
            nn.Sequential(embedding, nn.Linear(4, 3)), list(zip(words, Y.split(20), strict=True)), [LayerInformation()]
        )
    with torch.no_grad():
        pooled = torch.cat([embedding(batch).mean(1) for batch in words]).numpy()
    expected = [entropy_of(unit) for unit in columns(pooled)]
    np.testing.assert_allclose(record.findings["layer_information"]["0"]["entropy"], expected)


def test_without_classes_there_is_nothing_about_classes():
    record, layers, said = found(mlp(), target_fn=False)
    assert not said
    assert record.class_names == []
    for one in layers.values():
        assert not [quantity for quantity in one if quantity.startswith("label")]
        assert np.isfinite(one["entropy_mean"])


def test_it_is_the_same_each_time_and_leaves_random_numbers_alone():
    torch.manual_seed(0)
    network = mlp()
    before = torch.get_rng_state()
    one, two, other = found(network)[1], found(network)[1], found(network, seed=1)[1]
    assert torch.equal(before, torch.get_rng_state())
    for layer in one:
        for quantity in one[layer]:
            np.testing.assert_array_equal(one[layer][quantity], two[layer][quantity])
    assert (one["3"]["label_excess"] != other["3"]["label_excess"]).any()
    np.testing.assert_array_equal(one["3"]["label_information"], other["3"]["label_information"])


# Bins of a run


class Activations(Callback):
    """Keeps what the network computes at every validation."""

    def __init__(self, x=X):
        self.x, self.seen = x, []

    def on_validation_epoch_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            with torch.no_grad():
                self.seen.append(pl_module.net(self.x).numpy())


def fit(root, analysis, *callbacks, module=None, monitor=None, data=None, **settings):
    monitor = monitor or SeparationMonitor([analysis], on_error="raise")
    t = trainer(root, monitor, *callbacks, **{"max_epochs": 3, **settings})
    val = loader(blobs() if data is None else data, batch_size=60)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        t.fit(module or Classifier(), loader(blobs(seed=1)), val, ckpt_path=settings.pop("ckpt_path", None))
    return t, [str(w.message) for w in said if "SeparationMonitor" in str(w.message)]


def test_bins_of_the_first_epoch_are_kept(tmp_path):
    torch.manual_seed(0)
    seen = Activations()
    t, _ = fit(tmp_path, LayerInformation(), seen)
    records = load_run(t.log_dir).records
    first = columns(seen.seen[0])
    for epoch, record in enumerate(records):
        one = record.findings["layer_information"]["net.3"]
        np.testing.assert_array_equal(one["edges"], records[0].findings["layer_information"]["net.3"]["edges"])
        units = [(unit, edges) for unit, (_, edges) in zip(seen.seen[epoch].T, first, strict=True)]
        np.testing.assert_allclose(one["entropy"], [entropy_of(unit) for unit in units], atol=1e-9)
        outside = [(values < edges[0]) | (values > edges[-1]) for values, edges in units]
        assert one["outside"] == pytest.approx(np.mean(outside), abs=1e-6)
    assert records[-1].findings["layer_information"]["net.3"]["outside"] > 0


def test_bins_laid_anew_each_epoch(tmp_path):
    torch.manual_seed(0)
    seen = Activations()
    t, said = fit(tmp_path, LayerInformation(edges="epoch"), seen)
    assert not said
    for values, record in zip(seen.seen, load_run(t.log_dir).records, strict=True):
        one = record.findings["layer_information"]["net.3"]
        np.testing.assert_allclose(one["edges"], [edges for _, edges in columns(values)], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one["entropy"], [entropy_of(unit) for unit in columns(values)])
        assert one["outside"] == 0


@pytest.mark.parametrize("edges", [(-1.0, 1.0), [-1, 1]])
def test_a_given_range_is_that_of_every_unit_of_every_layer(edges):
    torch.manual_seed(0)
    network = mlp()
    _, layers, said = found(network, LayerInformation(bins=5, edges=edges))
    laid = np.linspace(-1, 1, 6)
    for layer, values in forward(network).items():
        np.testing.assert_allclose(layers[layer]["edges"], np.tile(laid, (values.shape[1], 1)))
        np.testing.assert_allclose(layers[layer]["entropy"], [entropy_of((unit, laid)) for unit in values.T], atol=1e-9)
        assert layers[layer]["outside"] == pytest.approx((np.abs(values) > 1).mean(), abs=1e-6)
        pooled = values[:, : len(layers["3"]["entropy"])] if layer == "3" else values
    assert layers["3"]["pooled_entropy"] == pytest.approx(entropy_of((pooled.ravel(), laid)))
    (message,) = said
    assert "lie outside the given range" in message


class Grows(Classifier):
    """One layer more has outgrown its bins every epoch."""

    def on_validation_start(self):
        if not self.trainer.sanity_checking and self.current_epoch:
            with torch.no_grad():
                self.net[{1: 3, 2: 0, 3: 0}[self.current_epoch]].weight.mul_(8)


def test_values_outside_are_said_once_and_are_no_error(tmp_path):
    t, said = fit(tmp_path, LayerInformation(), module=Grows(), max_epochs=4)
    (message,) = said
    assert "of a layer's values lie outside the bins of the run's first epoch" in message
    records = load_run(t.log_dir).records
    assert [any("lie outside" in note for note in record.notes) for record in records] == [False, True, True, True]
    assert records[-1].findings["layer_information"]["net.0"]["outside"] > 0.2


def edges_in(t, layer="net.3"):
    return [record.findings["layer_information"][layer]["edges"] for record in load_run(t.log_dir).records]


def test_a_run_that_is_resumed_keeps_its_bins_and_a_new_one_does_not(tmp_path):
    torch.manual_seed(0)
    t, _ = fit(tmp_path / "a", LayerInformation(), max_epochs=2)
    monitor = SeparationMonitor([LayerInformation()])
    resumed = trainer(tmp_path / "b", monitor, max_epochs=4)
    resumed.fit(Classifier(), loader(blobs(seed=1)), loader(blobs()), ckpt_path=t.checkpoint_callback.best_model_path)
    assert load_run(resumed.log_dir).epochs == [2, 3]
    for edges in edges_in(resumed):
        np.testing.assert_array_equal(edges, edges_in(t)[0])
    fresh, _ = fit(tmp_path / "c", None, monitor=monitor, max_epochs=2)
    np.testing.assert_array_equal(*edges_in(fresh))
    assert (edges_in(fresh)[0] != edges_in(t)[0]).all()


def test_a_fit_goes_on_with_the_bins_of_a_validation_before_it(tmp_path):
    torch.manual_seed(0)
    monitor, module, seen = SeparationMonitor([LayerInformation()]), Classifier(), Activations()
    far = TensorDataset(100 * X, Y)
    trainer(tmp_path / "a", monitor).validate(module, loader(far), verbose=False)
    (before,) = load_run(tmp_path / "a" / "lightning_logs" / "version_0").records
    t, _ = fit(tmp_path / "b", None, seen, module=module, monitor=monitor)
    expected = before.findings["layer_information"]["net.3"]["edges"]
    assert np.ptp(expected) > 100
    np.testing.assert_array_equal(edges_in(t)[0], expected)
    t, _ = fit(tmp_path / "c", None, seen, module=module, monitor=monitor)  # another fit begins anew
    assert np.ptp(edges_in(t)[0]) < 100


def test_bins_are_not_carried_from_one_analysis_to_the_next():
    analysis = LayerInformation()
    for x in (X, 100 * X):
        _, layers, said = found(nn.Identity(), analysis, x=x, layers=[])
        np.testing.assert_allclose(layers["input"]["edges"], [edges for _, edges in columns(x.numpy())])
        assert not said


def test_units_that_wake_up_and_layers_that_change_their_width_lay_bins_anew_or_use_the_layers(tmp_path):
    class Wakes(Classifier):
        def on_validation_start(self):
            with torch.no_grad():
                if self.current_epoch == 0:
                    self.net[0].weight[0], self.net[0].bias[0] = 0, 0.25
                else:
                    self.net[0].weight[0] = 1

        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                self.net[3] = nn.Linear(8, 5)

    t, _ = fit(tmp_path, LayerInformation(), module=Wakes(), data=blobs())
    layers = [record.findings["layer_information"]["net.0"] for record in load_run(t.log_dir).records]
    assert layers[0]["entropy"][0] == 0
    assert layers[1]["entropy"][0] > 0.5
    np.testing.assert_allclose(layers[0]["edges"][0][[0, -1]], [layers[0]["edges"].min(), layers[0]["edges"].max()])
    assert [len(edges) for edges in edges_in(t)] == [3, 3, 5]


@pytest.mark.parametrize(
    "settings",
    [
        {"bins": 0},
        {"bins": 2.5},
        {"max_units": 0},
        {"edges": "fixed"},
        {"edges": (1.0, -1.0)},
        {"edges": (0, 1, 2)},
        {"edges": (0, float("nan"))},
        {"edges": 3},
        {"correction": "jackknife"},
        {"pairing": "each"},
        {"pooling": "median"},
        {"every_n_epochs": 0},
    ],
)
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LayerInformation(**settings)


def test_layers_that_do_not_exist_are_said():
    _, layers, said = found(mlp(), LayerInformation(layers=["nett"]))
    assert not len(layers)
    (message,) = said
    assert "layers=['nett'] fit none of input, 0, 1, 3" in message
