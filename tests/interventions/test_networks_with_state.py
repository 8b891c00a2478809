"""Networks that remember, hide or break things: what was found once by looking for trouble."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_separation import Ablation, DirectionAblation, GroupAblation, HenzePenrose, SeparationMonitor, analyze
from lightning_separation.analyses.rerun import sample_batches
from lightning_separation.interventions import ablate, ablation_deltas, remove_direction

from ..helpers import Classifier, blobs, loader, trainer

X, Y = blobs().tensors


def by_hooks(network, layer, units, target, value="zero"):
    """The change of the loss without each unit, by the plain way."""
    with torch.no_grad():
        clean = cross_entropy(network(X), target)
        found = []
        for unit in units:
            with ablate(network, {layer: [unit]}, value):
                found.append(cross_entropy(network(X), target) - clean)
    return torch.stack(found).double()


class Averaging(nn.Module):
    """Keeps a running average of its activations and adds it to them: a buffer that is a new object each time."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("average", torch.zeros(8))

    def forward(self, x):
        h = self.a(x)
        self.average = 0.9 * self.average + 0.1 * h.detach().mean(0)
        return self.b(h + self.average)


def test_a_network_that_averages_what_it_sees():
    torch.manual_seed(0)
    network = Averaging()
    with torch.no_grad():
        network.b.weight[:, :4] = 0
    before = network.average
    deltas = ablation_deltas(network, "a", X, Y)
    assert network.average is before
    assert (deltas.loss[:4].abs() < 1e-7).all()
    with torch.no_grad():
        h = network.a(X)
        clean = cross_entropy(network.b(h + 0.1 * h.mean(0)), Y)
        for unit in range(4, 8):
            h = network.a(X)
            h[:, unit] = 0
            expected = cross_entropy(network.b(h + 0.1 * h.mean(0)), Y) - clean
            torch.testing.assert_close(deltas.loss[unit].float(), expected, rtol=0, atol=1e-5)


def test_the_default_monitor_does_not_change_what_such_a_network_learns(tmp_path):
    weights = []
    for callbacks in ([], [SeparationMonitor()]):
        torch.manual_seed(0)
        model = Classifier(Averaging())
        trainer(tmp_path, *callbacks, max_epochs=3, logger=False).fit(model, loader(blobs()), loader(blobs()))
        weights.append([p.detach().clone() for p in (*model.parameters(), *model.buffers())])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("masked", [False, True])
def test_what_numpy_computes_is_noticed_beside_a_masked_class(masked):
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            h = self.a(x)
            h = h + torch.from_numpy(h.detach().numpy() ** 2)
            logits = self.b(h)
            return torch.where(torch.arange(3) == 2, -torch.inf, logits) if masked else logits

    torch.manual_seed(0)
    network, target = Hidden(), Y % 2
    with pytest.warns(UserWarning, match="a: its code reads values"):
        deltas = ablation_deltas(network, "a", X, target)
    torch.testing.assert_close(deltas.loss, by_hooks(network, "a", range(5), target), rtol=0, atol=1e-5)


class Squeeze(nn.Module):
    def forward(self, x):
        return x.squeeze(1)


def test_a_layer_of_one_number_for_each_sample_is_one_unit():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 1), Squeeze())
    target = (Y > 0).float()
    found = ablation_deltas(network, ["0", "1"], X, target)
    assert len(found["1"].loss) == 1
    torch.testing.assert_close(found["0"].loss, found["1"].loss)
    with torch.no_grad(), ablate(network, {"1": [0]}):
        assert not network(X).any()
    with torch.no_grad(), remove_direction(network, "1", torch.ones(1)):
        assert network(X).abs().max() < 1e-6
    with pytest.raises(ValueError, match="1 units, there is no unit 4"), ablate(network, {"1": [4]}):
        network(X)
    record = analyze(network, loader(blobs(2)), [Ablation(), DirectionAblation(count=4), GroupAblation()])
    assert len(record.findings["ablation"]["1"]["loss"]) == 1
    assert record.findings["direction_ablation"]["1"]["strongest"].shape == (1,)


def test_layers_whose_units_are_on_other_axes_are_not_taken_for_the_same():
    class Turned(nn.Module):
        def forward(self, h):
            return h.relu()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.post, self.a = nn.Linear(36, 3), Turned(), nn.Conv1d(2, 6, 1)

        def forward(self, x):
            return self.head(self.post(self.a(x)).flatten(1))

    torch.manual_seed(0)
    network, x, y = Net(), torch.randn(12, 2, 6), torch.arange(12) % 3
    alone = ablation_deltas(network, "a", x, y)
    together = ablation_deltas(network, ["a", "post"], x, y)["a"]
    torch.testing.assert_close(alone.loss, together.loss, rtol=0, atol=1e-7)


def test_other_weights_are_noticed_in_half_precision_too(tmp_path):
    class Nudge(SeparationMonitor):
        def on_validation_epoch_end(self, trainer, pl_module):
            with torch.no_grad():
                pl_module.net[0].weight.mul_(1.0001)
            super().on_validation_epoch_end(trainer, pl_module)

    monitor = Nudge([HenzePenrose(), Ablation()])
    t = trainer(tmp_path, monitor, precision="bf16-mixed", max_epochs=1, logger=False, num_sanity_val_steps=0)
    with pytest.warns(UserWarning, match="ablation: the network's weights are no longer those of the validation"):
        t.fit(Classifier(), loader(blobs()), loader(blobs()))


def test_a_sample_of_nan_costs_only_itself():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    broken = X.clone()
    broken[7] = torch.nan
    with pytest.warns(UserWarning, match="NaN for 1 samples"):
        record = analyze(network, [(broken, Y)], [Ablation()])
    rows = torch.arange(len(X)) != 7
    expected = ablation_deltas(network, "0", X[rows], Y[rows]).loss
    torch.testing.assert_close(torch.as_tensor(record.findings["ablation"]["0"]["loss"]), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("how", ["foreach", "cond"])
def test_what_cannot_be_recorded_is_run_whole(how):
    class Hard(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            h = self.a(x)
            if how == "foreach":
                parts = [h.clone(), h.clone()]
                torch._foreach_mul_(parts, 2.0)
                return self.b(parts[0] + parts[1])
            return self.b(torch.cond(h.sum() > 0, lambda h: h.sin(), lambda h: h.cos(), (h,)))

    torch.manual_seed(0)
    network = Hard()
    with pytest.warns(UserWarning, match="whole network"):
        deltas = ablation_deltas(network, "a", X, Y)
    torch.testing.assert_close(deltas.loss, by_hooks(network, "a", range(5), Y), rtol=0, atol=1e-5)


def test_a_value_for_each_chosen_unit():
    torch.manual_seed(0)
    network, values = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), torch.tensor([5.0, 7.0])
    deltas = ablation_deltas(network, "0", X, Y, units=[3, 1], value=values)
    for place, unit in enumerate((3, 1)):
        expected = by_hooks(network, "0", [unit], Y, values[place])
        torch.testing.assert_close(deltas.loss[place : place + 1], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="units of 1, which is not among"):
        ablation_deltas(network, "0", X, Y, units={"1": [0]})


def test_memory_of_a_recorded_run_is_bounded():
    """Though only the small last layer is asked for, the tape holds all that runs before."""
    network = nn.Sequential(nn.Linear(6, 2000), nn.ReLU(), nn.Linear(2000, 2000), nn.ReLU(), nn.Linear(2000, 3))
    sizes = []

    class Look(Ablation):
        def compute(self, snapshot):
            sizes.extend(batch.size for batch in sample_batches(snapshot, 60, "look"))
            return super().compute(snapshot)

    analyze(network, loader(blobs()), [Look()], layers=["4"], max_memory="3MB")
    assert sum(sizes) == 60
    assert max(sizes) * 4 * 2000 * 4 < 1.1 * 3e6 / 6  # four layers of 2000 float32 numbers for each sample
