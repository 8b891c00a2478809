"""The monitor where samples have no classes: autoencoders and regression; what it does, and the one line it says."""

import random
import warnings

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, seed_everything
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from lightning_separation import (
    Ablation,
    FeatureInformation,
    GroupAblation,
    HenzePenrose,
    InputFeatures,
    LayerInformation,
    Modularity,
    NextLayerEffect,
    PermutationImportance,
    Selectivity,
    SeparationMonitor,
    Significance,
    WeightContributions,
    load_run,
)
from lightning_separation.records import OBJECTIVES
from tests.helpers import blobs, hooks, loader, trainer

X, Y = blobs().tensors
NEW = ("layer_information", "feature_information", "modularity", "permutation_importance")
NEEDS_CLASSES = [HenzePenrose, Significance, Selectivity, InputFeatures, WeightContributions, GroupAblation]


def analyses():
    return [
        LayerInformation(),
        FeatureInformation(),
        Modularity(num_permutations=50),
        PermutationImportance(repeats=3),
        Ablation(),
    ]


def watching(wanted, **settings):
    """Without figures, which take longest."""
    return SeparationMonitor(wanted, emit=["scalars", "tables"], **settings)


class Autoencoder(LightningModule):
    """Of the first tensor of a batch."""

    def __init__(self, net=None):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6)) if net is None else net

    def forward(self, x):
        return self.net(x)

    def error(self, batch):
        return mse_loss(self(batch[0]), batch[0])

    def training_step(self, batch, batch_idx):
        return self.error(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.error(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def fit(root, monitor, data, module=None, **settings):
    """The trainer, the records and what the monitor said."""
    module, data = module or Autoencoder(), TensorDataset(*data)
    t = trainer(root, *([monitor] if monitor else []), **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.fit(module, loader(data), loader(data))
    assert hooks(module) == 0
    said = [str(w.message).partition(": ")[2] for w in caught if "SeparationMonitor" in str(w.message)]
    return t, load_run(t.log_dir).records if monitor else [], said


def relative_errors(module, x=X):
    module.eval()
    with torch.no_grad():
        return (100 * (module(x) - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).double()


@pytest.mark.parametrize(
    ("data", "settings", "reason"),
    [
        ((X,), {}, "the batch, a list, has no second element; give target_fn="),
        ((X, X), {}, "the target, of shape (16, 6), is not one class for each sample"),
        ((X, Y), {"target_fn": False}, "target_fn=False"),
    ],
)
def test_everything_that_needs_no_classes_runs_and_one_line_says_what_is_left_out(tmp_path, data, settings, reason):
    torch.manual_seed(0)
    wanted = [*analyses(), *(analysis() for analysis in NEEDS_CLASSES), NextLayerEffect()]
    module = Autoencoder()
    _, records, said = fit(tmp_path, watching(wanted, **settings), data, module)
    left = ", ".join(analysis.name for analysis in wanted if analysis.needs_classes)
    assert left.startswith("henze_penrose, significance, selectivity")
    assert [line for line in said if "left out" in line] == [
        f"target: {reason}; what needs classes is left out: {left}"
    ]
    assert [record.epoch for record in records] == [0, 1]
    for record in records:
        assert list(record.findings) == [*NEW, "ablation"]
        assert record.class_names == []
        assert len(record.to_pandas())
    found, errors = records[-1].findings, relative_errors(module)
    ablated, permuted = found["ablation"]["net.1"], found["permutation_importance"]["input"]
    for one in (ablated, permuted):
        assert OBJECTIVES[int(one["objective"])] == "input"
        assert one["clean_loss"] == pytest.approx(errors.mean().item(), rel=1e-5)
    with torch.no_grad():
        hidden = module.net[:2](X)
        for unit in range(3):
            without = hidden.clone()
            without[:, unit] = 0
            error = 100 * (module.net[2](without) - X).norm(dim=1) / X.norm(dim=1)
            assert ablated["loss"][unit] == pytest.approx((error - errors).mean().item(), rel=1e-4, abs=1e-4)
    assert np.isnan(ablated["accuracy"]).all()


def test_labels_that_are_there_are_used_for_classes_but_the_input_is_what_is_reproduced(tmp_path):
    wanted = [HenzePenrose(), *analyses()]
    _, records, said = fit(tmp_path, watching(wanted), (X, Y))
    assert not [line for line in said if "left out" in line]
    found = records[-1].findings
    assert "label_excess" in found["layer_information"]["net.1"]
    assert found["henze_penrose"]["net.1"]["divergence"].shape == (3, 3)
    assert OBJECTIVES[int(found["permutation_importance"]["input"]["objective"])] == "input"


def test_figures_tables_and_scalars_are_in_tensorboard(tmp_path):
    names = ["age", "pulse", "sugar", "iron", "salt", "fat"]
    wanted = analyses()
    wanted[1], wanted[3] = FeatureInformation(feature_names=names), PermutationImportance(3, feature_names=names)
    t, _, _ = fit(tmp_path, SeparationMonitor(wanted), (X,))
    events = EventAccumulator(t.log_dir, size_guidance=dict.fromkeys(("images", "histograms", "tensors"), 0))
    events.Reload()
    tags = events.Tags()
    steps = [event.step for event in events.Scalars("val_loss")]
    scalars = ["layer_entropy/net.1", "previous_information/net.1", "modularity/net.0", "ablation_max_loss/net.1"]
    for tag in [*scalars, *(f"permutation_importance/{name}" for name in names)]:
        assert [event.step for event in events.Scalars(tag)] == steps, tag
    assert not [tag for tag in tags["scalars"] if "label" in tag or "accuracy" in tag]
    images = ["entropy", "depth"]
    expected = {f"layer_information_figures/{figure}" for figure in images}
    expected |= {f"permutation_importance_figures/{figure}" for figure in ("repeats", "share", "outputs")}
    expected |= {f"feature_information_figures/net.{i}" for i in range(3)}
    expected |= {"modularity_figures/layers", "modularity_figures/net.0", "ablation_figures/net.1"}
    assert expected <= set(tags["images"])
    assert "layer_information_figures/plane" not in tags["images"]
    table = events.Tensors("permutation_importance_tables/features/text_summary")[-1]
    text = table.tensor_proto.string_val[0].decode()
    assert "reconstruction error" in text
    assert all(f"| {name} |" in text for name in names)


def state(t, module):
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002 - that state is what must not change
    weights = [value.clone() for value in module.state_dict().values()]
    moments = [value for entry in t.optimizers[0].state_dict()["state"].values() for value in entry.values()]
    return weights, moments, (torch.get_rng_state().tolist(), legacy, random.getstate())


def with_all():
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 4), nn.ReLU(inplace=True)]
    return Autoencoder(nn.Sequential(*layers, nn.Linear(4, 6)))


def test_training_is_bit_identical(tmp_path):
    results = []
    for monitor in (None, SeparationMonitor(analyses())):
        seed_everything(7, verbose=False)
        module = with_all()
        module.net[0].weight.requires_grad_(False)
        t, records, _ = fit(tmp_path, monitor, (X,), module)
        results.append(state(t, module))
        assert [weight.requires_grad for weight in module.net[0].parameters()] == [False, True]
    assert [list(record.findings) for record in records] == [[*NEW, "ablation"]] * 2
    without, with_monitor = results
    for a, b in zip([*without[0], *without[1]], [*with_monitor[0], *with_monitor[1]], strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    assert without[2] == with_monitor[2]


def test_several_validations_in_an_epoch_and_a_rhythm_of_its_own(tmp_path):
    wanted = [LayerInformation(), PermutationImportance(repeats=2, every_n_epochs=3)]
    _, records, _ = fit(tmp_path, watching(wanted), (X,), max_epochs=5, val_check_interval=0.5)
    assert [record.epoch for record in records] == [0, 1, 2, 3, 4]
    assert [record.epoch for record in records if "permutation_importance" in record.findings] == [0, 3, 4]
    edges = [record.findings["layer_information"]["net.2"]["edges"] for record in records]
    assert all((some == edges[0]).all() for some in edges)


def test_values_that_are_whole_numbers_in_some_batches_are_no_classes_and_that_is_said_once(tmp_path):
    target = torch.arange(60.0)
    target[40:] += 0.5
    monitor = watching([*analyses(), HenzePenrose()])
    _, records, said = fit(tmp_path, monitor, (X, target), Regressor())
    (line,) = (line for line in said if line.startswith("target"))
    assert (
        line == "target: the target holds numbers that are not integers; what needs classes is left out: henze_penrose"
    )
    assert all("ablation" in record.findings and not record.class_names for record in records)


def test_where_nothing_can_be_done_passes_are_no_longer_watched(tmp_path):
    monitor = SeparationMonitor([HenzePenrose()])
    data = TensorDataset(X)
    t, module = trainer(tmp_path, monitor, max_epochs=3), Autoencoder()
    with pytest.warns(UserWarning, match="what needs classes is left out: henze_penrose"):
        t.fit(module, loader(data), loader(data))
    assert not list(tmp_path.rglob("*.npz"))


def test_validate_before_training(tmp_path):
    t, module = trainer(tmp_path, watching(analyses())), Autoencoder()
    t.validate(module, loader(TensorDataset(X)), verbose=False)
    (record,) = load_run(t.log_dir).records
    assert record.label == "before training"
    assert list(record.findings) == [*NEW, "ablation"]
    clean = record.findings["permutation_importance"]["input"]["clean_loss"]
    assert clean == pytest.approx(relative_errors(module).mean().item(), rel=1e-5)


class Regressor(Autoencoder):
    def __init__(self, outputs=1):
        super().__init__(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, outputs)))

    def error(self, batch):
        return mse_loss(self(batch[0]), batch[1].reshape(-1, self.net[2].out_features))


@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 3)])
def test_regression(tmp_path, shape):
    target = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    module = Regressor(3 if shape == (60, 3) else 1)
    _, records, said = fit(tmp_path, watching(analyses()), (X, target), module)
    assert not [line for line in said if line.startswith("target")]  # nothing is left out
    found = records[-1].findings
    assert list(found) == [*NEW, "ablation"]
    module.eval()
    error = mse_loss(module(X).double(), target.double().reshape(60, -1)).item()
    for one in (found["permutation_importance"]["input"], found["ablation"]["net.1"]):
        assert OBJECTIVES[int(one["objective"])] == "values"
        assert one["clean_loss"] == pytest.approx(error, rel=1e-5)


class Variational(Autoencoder):
    """Draws its latent numbers in evaluation, too."""

    def __init__(self):
        super().__init__()
        self.spread = nn.Linear(6, 3)

    def forward(self, x):
        latent = self.net[1](self.net[0](x))
        return self.net[2](latent + self.spread(x).exp() * torch.randn_like(latent))


def test_a_network_that_draws_random_numbers_is_compared_with_itself(tmp_path):
    _, records, said = fit(tmp_path, watching(analyses()), (X,), Variational())
    for record in records:
        assert {"permutation_importance", "ablation"} <= set(record.findings)
        assert (record.findings["permutation_importance"]["input"]["importance"].mean(1) > 0).any()
        assert np.isfinite(record.findings["ablation"]["net.0"]["loss"]).all()
    assert [line for line in said if "random numbers" in line] == [
        "network: it draws random numbers: what is changed in it is compared with it under the same ones"
    ]


def test_an_autoencoder_of_images(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(40, 1, 8, 8)
    down = [nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2, padding=1), nn.Tanh()]
    up = [nn.ConvTranspose2d(2, 4, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, stride=2)]
    module = Autoencoder(nn.Sequential(*down, *up))
    _, records, _ = fit(tmp_path, watching(analyses()), (x,), module, max_epochs=1)
    found = records[0].findings
    assert found["layer_information"]["net.2"]["entropy"].shape == (2,)
    assert found["feature_information"]["net.2"]["information"].shape == (64, 2)
    assert found["permutation_importance"]["input"]["importance"].shape == (1, 3)
    assert found["modularity"]["net.0"]["weight"].shape == (4, 4)
    assert found["ablation"]["net.2"]["loss"].shape == (2,)
    clean = relative_errors(module, x).mean().item()
    assert found["ablation"]["net.2"]["clean_loss"] == pytest.approx(clean, rel=1e-5)


def test_whole_numbers_of_which_most_samples_have_one_of_their_own_are_values(tmp_path):
    class Regressor(Autoencoder):
        def training_step(self, batch, batch_idx):
            return nn.functional.mse_loss(self.net(batch[0]).squeeze(1), batch[1])

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.training_step(batch, batch_idx))

    target = torch.randperm(500, generator=torch.Generator().manual_seed(0))[:60].float()
    wanted = [HenzePenrose(), LayerInformation(edges="epoch"), Ablation()]
    t, records, said = fit(tmp_path, watching(wanted), (X, target), Regressor(nn.Linear(6, 1)))
    reason = "target: the target has 60 different numbers for 60 samples: no classes, but values"
    assert said == [f"{reason}; what needs classes is left out: henze_penrose"]
    assert len(records) == 2
    for record in records:
        assert not record.class_names
        assert "label_excess" not in record.findings["layer_information"]["net"]
    clean = records[-1].findings["ablation"]["net"]["clean_loss"]
    assert clean == pytest.approx(t.callback_metrics["val_loss"].item(), rel=1e-4)
