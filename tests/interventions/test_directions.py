"""The direction that a network needs most, against brute force, random directions and single units."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.data import DataLoader

from examples import digits
from lightning_separation.interventions import ablation_deltas, remove_direction, search_direction
from lightning_separation.interventions.directions import (
    class_mean_directions,
    principal_directions,
    random_directions,
)
from tests.helpers import blobs, hooks


def log_probabilities(output):
    return output.detach().double().log_softmax(-1)


def kl_of(network, layer, x, directions, axis=1, logs=log_probabilities):
    """KL(clean || without) of each direction by a hook of its own: one run of the network for each."""
    module = dict(network.named_modules())[layer]
    modes = {part: part.training for part in network.modules()}
    network.eval()
    found = []
    with torch.no_grad():
        clean = logs(network(x))
        for direction in directions:

            def remove(_, __, output, v=direction):
                h = output[0] if isinstance(output, tuple) else output
                rows = h.movedim(axis, -1).double()
                rows = rows - (rows @ v).unsqueeze(-1) * v
                new = rows.movedim(-1, axis).to(h.dtype)
                return (new, *output[1:]) if isinstance(output, tuple) else new

            handle = module.register_forward_hook(remove)
            found.append((clean.exp() * (clean - logs(network(x)))).sum(-1).mean())
            handle.remove()
    for part, mode in modes.items():
        part.training = mode
    return torch.stack(found)


@pytest.fixture(scope="module")
def trained_digits():
    """The network of the example after 10 epochs, and 256 samples that it was not trained on."""
    torch.manual_seed(0)
    data = digits.load_data(random_labels=False)
    model = digits.Classifier()
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar", "barebones"), False
    )
    t = Trainer(max_epochs=10, accelerator="cpu", limit_val_batches=0, **quiet)
    t.fit(model, DataLoader(data["train"], batch_size=32, shuffle=True))
    return model, data["validation"].tensors[0][:256]


@pytest.mark.parametrize("layer", ["layer2", "layer3.0"])
def test_it_beats_random_directions_and_single_units_on_the_digits(trained_digits, layer):
    model, x = trained_digits
    found = search_direction(model, layer, x)
    width = len(found.direction)
    drawn = torch.nn.functional.normalize(torch.randn(128, width, dtype=torch.float64))
    best_random = kl_of(model, layer, x, drawn).max()
    units = kl_of(model, layer, x, torch.eye(width, dtype=torch.float64)[torch.arange(width)])
    torch.testing.assert_close(units, ablation_deltas(model, layer, x).kl, atol=1e-5, rtol=1e-4)
    assert found.kl > 2 * best_random
    assert found.kl > 1.2 * units.max()
    torch.testing.assert_close(kl_of(model, layer, x, [found.direction])[0], found.kl, rtol=1e-4, atol=1e-6)


class Narrow(nn.Module):
    """Two units between two layers, and what torch forbids in a graph behind them: work in place."""

    def __init__(self):
        super().__init__()
        self.hidden, self.relu = nn.Linear(6, 2), nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.Linear(2, 16), nn.ReLU(inplace=True), nn.Linear(16, 3))

    def forward(self, x):
        h = self.hidden(x)
        h += 1
        h[:, 0] *= 2
        return self.head(self.relu(h))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layer", ["hidden", "relu"])
def test_brute_force_over_all_angles_finds_nothing_better(seed, layer):
    torch.manual_seed(seed)
    network = Narrow()
    for parameter in network.parameters():
        parameter.data *= 3
    x = blobs().tensors[0]
    angles = torch.linspace(0, torch.pi, 2001, dtype=torch.float64)
    everywhere = kl_of(network, layer, x, torch.stack([angles.cos(), angles.sin()], 1))
    found = search_direction(network, layer, x)
    assert found.kl > 0.01
    torch.testing.assert_close(found.kl, everywhere.max(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("guard", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_it_works_in_every_mode_and_nothing_of_the_network_changes(guard):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(7, 3))
    network[1].eval()
    kept = torch.randn(7)
    network[1].weight.grad = kept
    state, modes = deepcopy(network.state_dict()), [part.training for part in network.modules()]
    random = torch.get_rng_state()
    with guard():
        x = blobs().tensors[0] + 0.0  # in inference mode a tensor that no graph may hold
        before = x.clone()
        found = search_direction(network, "0", x)
    assert torch.equal(x, before)
    assert torch.equal(random, torch.get_rng_state())
    assert network[1].weight.grad is kept
    assert all(p.grad is None for p in network.parameters() if p is not network[1].weight)
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert hooks(network) == 0
    assert found.direction.dtype == torch.float64
    assert not found.direction.requires_grad
    assert abs(found.direction.norm() - 1) < 1e-12
    again = search_direction(network, "0", blobs().tensors[0])
    assert torch.equal(found.direction, again.direction)
    assert torch.equal(found.kl, again.kl)
    unit = kl_of(network, "0", before, torch.eye(7, dtype=torch.float64)).max()
    assert found.kl > unit


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.b(self.a(x.unsqueeze(1) * torch.arange(1, 4).view(1, 3, 1)).relu().mean(1))


class Recurrent(nn.Module):
    def __init__(self, final):
        super().__init__()
        self.lstm, self.b, self.final = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 3), final

    def forward(self, x):
        sequence, (h, _) = self.lstm(x.view(-1, 3, 2))
        return self.b(h[-1] if self.final else sequence.sum(1))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.embed, self.encoder, self.b = nn.Linear(2, 4), nn.TransformerEncoder(layer, 2), nn.Linear(4, 3)

    def forward(self, x):
        return self.b(self.encoder(self.embed(x.view(-1, 3, 2))).mean(1))


def image():
    convolution = [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3)]
    return nn.Sequential(*convolution)


@pytest.mark.parametrize(
    ("make", "layer", "axis", "width"),
    [
        (image, "1", 1, 4),
        (image, "2", 1, 4),
        (Words, "a", 2, 5),
        (lambda: Recurrent(False), "lstm", 2, 5),
        (Encoder, "embed", 2, 4),
        (Encoder, "encoder.layers.0", 2, 4),
        (Encoder, "encoder.layers.1.linear1", 2, 8),
    ],
)
def test_layers_of_every_kind(make, layer, axis, width):
    torch.manual_seed(2)
    network, x = make(), 3 * blobs().tensors[0]
    with torch.inference_mode():
        found = search_direction(network, layer, x)
    assert found.direction.shape == (width,)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would not call what is inside
    try:
        torch.testing.assert_close(kl_of(network, layer, x, [found.direction], axis)[0], found.kl, rtol=1e-3, atol=1e-6)
        others = kl_of(network, layer, x, torch.cat([random_directions(40, width), torch.eye(width).double()]), axis)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    assert found.kl >= others.max() * (1 - 1e-3)
    assert found.kl > 0


def test_the_final_state_of_an_lstm_goes_along():
    torch.manual_seed(2)
    network, x = Recurrent(True), 3 * blobs().tensors[0]
    found = search_direction(network, "lstm", x)
    with torch.no_grad():
        h = network.lstm(x.view(-1, 3, 2))[1][0][-1].double()
        clean = log_probabilities(network(x))
        without = (h - (h @ found.direction).unsqueeze(1) * found.direction).float()
        changed = log_probabilities(network.b(without))
    expected = (clean.exp() * (clean - changed)).sum(1).mean()
    assert expected > 0.001
    torch.testing.assert_close(found.kl, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("head", [nn.Identity, nn.Sigmoid])
def test_binary_outputs(head):
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1), head())
    network[2].weight.data *= 3
    x = blobs().tensors[0]
    found = search_direction(network, "1", x)

    def logs(output):
        p = output.double().squeeze(1)
        p = p.sigmoid() if head is nn.Identity else p
        return torch.stack([1 - p, p], 1).log()

    torch.testing.assert_close(kl_of(network, "1", x, [found.direction], logs=logs)[0], found.kl, rtol=1e-3, atol=1e-6)
    assert found.kl > kl_of(network, "1", x, random_directions(128, 4), logs=logs).max()
    # One linear output: what it reads is the direction.
    along = nn.functional.normalize(network[2].weight.double(), dim=1)
    assert found.kl >= kl_of(network, "1", x, along, logs=logs)[0] * (1 - 1e-4)


def test_probabilities_and_their_logarithms_are_read_as_such():
    torch.manual_seed(3)
    body = [nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)]
    x = blobs().tensors[0]
    expected = search_direction(nn.Sequential(*body), "0", x).kl
    for head in (nn.Softmax(1), nn.LogSoftmax(1)):
        torch.testing.assert_close(search_direction(nn.Sequential(*body, head), "0", x).kl, expected, rtol=1e-3, atol=0)


def test_a_dead_layer_has_no_direction_that_counts():
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    network[0].bias.data.fill_(-1e3)
    found = search_direction(network, "1", blobs().tensors[0])
    assert found.kl == 0
    assert abs(found.direction.norm() - 1) < 1e-12
    network[0].bias.data[0] = 1e3  # a unit that is always the same, beside dead ones
    found = search_direction(network, "1", blobs().tensors[0])
    assert found.kl > 0
    assert found.direction.isfinite().all()


class Inverse(nn.Module):
    def forward(self, x):
        return 1 / (x + 5)


def test_a_unit_whose_loss_makes_everything_infinite_is_not_the_answer():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), Inverse(), nn.Linear(4, 3))
    network[1].register_forward_hook(lambda *given: torch.where(given[2] == 0, -5.0, given[2]))
    x = blobs().tensors[0]
    assert kl_of(network, "0", x, torch.eye(4).double()).isnan().all()
    found = search_direction(network, "0", x)
    assert found.kl >= kl_of(network, "0", x, random_directions(128, 4)).max() * (1 - 1e-3)


def test_a_layer_that_nothing_depends_on():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 3)

        def forward(self, x):
            self.a(x)
            return self.b(x)

    assert search_direction(Net(), "a", blobs().tensors[0]).kl == 0


def test_a_network_that_cuts_the_graph_leaves_the_best_beginning():
    class Cut(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x).detach())

    torch.manual_seed(0)
    network, x = Cut(nn.Linear(6, 4), nn.Linear(4, 3)), blobs().tensors[0]
    found = search_direction(network, "0", x)
    assert found.kl >= kl_of(network, "0", x, torch.eye(4).double()).max() * (1 - 1e-4)
    for parameter in network.parameters():
        parameter.requires_grad = False
    torch.testing.assert_close(search_direction(network, "0", x).direction, found.direction)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    torch.manual_seed(4)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).to(dtype)
    x = blobs().tensors[0].to(dtype)
    found = search_direction(network, "0", x)
    assert found.kl.dtype == found.direction.dtype == torch.float64
    torch.testing.assert_close(kl_of(network, "0", x, [found.direction])[0], found.kl, rtol=0.03, atol=1e-3)
    assert found.kl > 1.2 * kl_of(network, "0", x, random_directions(64, 8)).max()


def test_what_cannot_be_searched_raises():
    network, x = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)), blobs().tensors[0]
    for settings in ({"candidates": 0}, {"restarts": 0}, {"steps": 0}, {"steps": 1.5}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            search_direction(network, "0", x, **settings)
    with pytest.raises(ValueError, match="nearest names: 2"):
        search_direction(network, "22", x)

    class Whole(nn.Module):
        def forward(self, x):
            return x.round().long()

    with pytest.raises(ValueError, match="int64"):
        search_direction(nn.Sequential(nn.Linear(6, 4), Whole(), Float(), nn.Linear(4, 3)), "1", x)

    class Unused(nn.Sequential):
        def forward(self, x):
            return self[1](x)

    with pytest.raises(ValueError, match="without calling it"):
        search_direction(Unused(nn.Linear(6, 3), nn.Linear(6, 3)), "0", x)


class Float(nn.Module):
    def forward(self, x):
        return x.float()


def test_the_seed_decides():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 3)), blobs().tensors[0]

    def search(seed):
        generator = torch.Generator().manual_seed(seed)
        return search_direction(network, "1", x, candidates=4, restarts=40, steps=2, generator=generator)

    first, second = search(1), search(1)
    assert torch.equal(first.direction, second.direction)
    drawn = [random_directions(5, 30, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    torch.testing.assert_close(drawn[0].norm(dim=1), torch.ones(5).double())
    mean = random_directions(4000, 3).mean(0)
    assert mean.abs().max() < 0.05


def test_removing_what_was_found_by_name_is_the_same(trained_digits):
    model, x = trained_digits
    found = search_direction(model, "layer3", x)
    with torch.no_grad():
        clean = log_probabilities(model(x))
        with remove_direction(model, "layer3", 5 * found.direction):
            changed = log_probabilities(model(x))
    torch.testing.assert_close((clean.exp() * (clean - changed)).sum(1).mean(), found.kl, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(50, 6), (20, 6, 4, 3)])
def test_principal_directions_as_scikit_learn_has_them(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).movedim(1, -1)
    x = (x * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1]) + 7).movedim(-1, 1)
    found = principal_directions(x, 1, 4)
    rows = x.movedim(1, -1).flatten(0, -2).double().numpy()
    expected = PCA(4).fit(rows).components_
    assert found.shape == (4, 6)
    np.testing.assert_allclose(np.abs((found.numpy() * expected).sum(1)), 1, atol=1e-6)


def test_there_are_no_more_principal_directions_than_variance():
    x = torch.zeros(20, 5)
    assert principal_directions(x, 1, 3).shape == (0, 5)
    x[:, 2] = torch.arange(20)
    assert principal_directions(x + 3, 1, 3).abs().tolist() == [[0, 0, 1, 0, 0]]


def test_class_mean_directions_by_hand():
    units = torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 5.0], [3.0, 5.0], [0.0, 1.0]])
    target = torch.tensor([0, 0, 1, 1, 2])  # means (0, 1), (3, 5), (0, 1)
    found = class_mean_directions(units, target, 10)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [-0.6, -0.8]]).double())
    assert class_mean_directions(units, target, 1).tolist() == found[:1].tolist()
    assert class_mean_directions(units[:2], target[:2], 5).shape == (0, 2)
