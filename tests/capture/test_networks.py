"""What is captured of networks that are not a plain stack of modules."""

import warnings
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_separation import HenzePenrose, SeparationMonitor, analyze, load_run
from lightning_separation.analyses import Findings
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer


class Keep:
    """An analysis that keeps the snapshot's activations."""

    name = "keep"
    needs_classes = False

    def __init__(self):
        self.seen = {}
        self.target = self.values = None

    def compute(self, snapshot):
        self.seen = {layer: snapshot.activations(layer).clone() for layer in snapshot.layers}
        self.target, self.values = snapshot.target, snapshot.values
        return Findings({"rows": ()}, {layer: {"rows": len(x)} for layer, x in self.seen.items()})


def captured(network, data=None, **settings):
    keep = Keep()
    analyze(network, loader(blobs()) if data is None else data, [keep], **settings)
    return keep.seen


def test_every_layer_is_what_a_rewritten_forward_gives():
    net = mlp().eval()
    x, _ = blobs().tensors
    seen = captured(net)
    assert list(seen) == ["input", "0", "1", "3"]
    with torch.no_grad():
        for layer in ("0", "1", "3"):
            x_after = net[: int(layer) + 1](x)
            torch.testing.assert_close(seen[layer], x_after, rtol=0, atol=1e-6)
    assert torch.equal(seen["input"], x)


def test_in_place_operations_behind_a_layer_do_not_change_what_was_captured():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True))
    seen = captured(net)
    assert (seen["0"] < 0).any()
    assert torch.equal(seen["1"], seen["0"].relu())


def test_a_module_used_twice_counts_as_two_layers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.relu = nn.Linear(6, 8), nn.Linear(8, 3), nn.ReLU()

        def forward(self, x):
            return self.relu(self.b(self.relu(self.a(x))))

    for memory in ("2GB", "15KB"):
        seen = captured(Net(), max_memory=memory)
        assert list(seen) == ["input", "a", "relu", "b", "relu#2"]
        assert torch.equal(seen["relu"], seen["a"].relu())
        assert torch.equal(seen["relu#2"], seen["b"].relu())


Pair = namedtuple("Pair", "hidden rest")


@dataclass
class Output:
    logits: torch.Tensor


@pytest.mark.parametrize(
    "wrap", [lambda x: (x, None), lambda x: [x], lambda x: {"logits": x}, lambda x: Pair(x, 1), Output]
)
def test_outputs_of_any_kind(wrap):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Part()

        def forward(self, x):
            self.part(x)
            return x

    class Part(nn.Module):
        def forward(self, x):
            return wrap(x + 1)

    seen = captured(Net())
    assert torch.equal(seen["part"], seen["input"] + 1)


@pytest.mark.parametrize("batch_first", [True, False])
def test_lstm_and_convolution(batch_first):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.lstm = nn.LSTM(2, 5, batch_first=batch_first)

        def forward(self, x):
            image = x.view(-1, 1, 2, 3)
            self.conv(nn.functional.pad(image, (1, 1, 1, 1)))
            steps = x.view(-1, 3, 2)
            return self.lstm(steps if batch_first else steps.transpose(0, 1))[0]

    seen = captured(Net())
    assert seen["conv"].shape == (60, 4, 2, 3)
    assert seen["lstm"].shape == (60, 3, 5)


def test_sequences_that_differ_in_length_are_pooled():
    class Words(Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, i):
            return torch.full((3 + (i // 8) % 2, 4), float(i)), i % 2

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Identity()
            self.out = nn.Linear(4, 2)

        def forward(self, x):
            return self.out(x)

    net = Net()
    seen = captured(net, DataLoader(Words(), batch_size=8))
    assert seen["input"].shape == (40, 4)
    assert torch.equal(seen["input"][:, 0], torch.arange(40.0))
    torch.testing.assert_close(seen["out"], net.out(seen["input"]).detach())


def test_keyword_arguments_and_mapping_batches():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, *, pixels, labels=None):
            return self.fc(pixels)

    x, y = blobs().tensors
    batches = [{"pixels": a, "labels": b} for a, b in zip(x.split(16), y.split(16), strict=True)]
    record = analyze(Net(), batches)
    assert record.layers == ["input", "fc"]
    assert record.counts.tolist() == [20, 20, 20]


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.float(),
        lambda y: y.unsqueeze(1),
        lambda y: y.unsqueeze(1).double(),
        lambda y: nn.functional.one_hot(y),
        lambda y: nn.functional.one_hot(y).float(),
        lambda y: y.to(torch.int8),
        lambda y: y - 7,
    ],
)
def test_targets_of_any_kind_are_the_same_classes(convert):
    x, y = blobs().tensors
    plain, other = Keep(), Keep()
    analyze(mlp(), zip(x.split(16), y.split(16), strict=True), [plain])
    analyze(mlp(), zip(x.split(16), convert(y).split(16), strict=True), [other])
    assert torch.equal(plain.target, other.target)


@pytest.mark.parametrize("target", [torch.rand(60), torch.rand(60, 3), torch.ones(60, 3), torch.zeros(60, 4, 4).long()])
def test_targets_that_are_no_classes(target):
    x, _ = blobs().tensors
    keep = Keep()
    batches = list(zip(x.split(16), target.split(16), strict=True))
    with pytest.warns(UserWarning, match="what needs classes is left out: henze_penrose$"):
        analyze(mlp(), batches, [HenzePenrose(), keep], max_samples=33)
    assert keep.target is None
    assert torch.equal(keep.values, target[:33])
    assert len(keep.seen["input"]) == 33


def test_target_fn():
    x, y = blobs().tensors
    keep = Keep()
    analyze(mlp(), [(x, "no label", y)], [keep], target_fn=lambda batch: batch[2])
    assert keep.target.bincount().tolist() == [20, 20, 20]
    analyze(mlp(), [(x, y)], [keep], target_fn=False)
    assert keep.target is None


def test_a_transformer_computes_in_its_fused_way_while_it_is_watched(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(6, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)
            self.out = nn.Linear(6, 3)

        def forward(self, x):
            return self.out(self.encoder(x.unsqueeze(1)).squeeze(1))

    losses, runs = [], []
    for callbacks in ([], [SeparationMonitor(on_error="raise")]):
        torch.manual_seed(0)
        t = trainer(tmp_path, *callbacks)
        losses.append(t.validate(Classifier(Net()), loader(blobs()), verbose=False)[0]["val_loss"])
        runs.append(t)
    assert losses[0] == losses[1]
    layers = load_run(runs[1].log_dir).layers
    assert "net.encoder.layers.1.linear2" in layers
    assert layers[-1] == "net.out"
    assert not any("out_proj" in layer for layer in layers)


def test_loss_metrics_and_what_computes_nothing_are_no_layers(tmp_path):
    from torchmetrics.classification import MulticlassAccuracy

    module = Classifier()
    module.accuracy = MulticlassAccuracy(3)
    module.loss = type("Focal", (nn.CrossEntropyLoss,), {})()
    t = trainer(tmp_path, SeparationMonitor(on_error="raise"))
    t.validate(module, loader(blobs()), verbose=False)
    assert load_run(t.log_dir).layers == ["input", "net.0", "net.1", "net.3"]


def test_the_network_is_what_the_step_calls(tmp_path):
    class Both(Classifier):
        def __init__(self):
            super().__init__(nn.Linear(6, 4))
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.net(x))

    class CallsSelf(Both):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.loss(self(batch[0]), batch[1]))

    class CallsChildren(Both):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.loss(self.head(self.net(batch[0]).relu()), batch[1]))

    class CallsGrandchild(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.net[0](batch[0]).mean())

    class CallsTwice(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.net(batch[0])
            self.log("val_loss", self.net(-batch[0]).mean())

    expected = {
        CallsSelf: ([""], ["input", "net", "head"]),
        CallsChildren: (["net", "head"], ["input", "net", "head"]),
        CallsGrandchild: (["net.0"], ["input", "net.0"]),
        CallsTwice: (["net"], ["input", "net.0", "net.1", "net.3"]),
    }
    for kind, (networks, layers) in expected.items():
        for memory in ("2GB", "15KB"):
            keep = Keep()
            t = trainer(tmp_path, SeparationMonitor([keep], max_memory=memory))
            module = kind()
            t.validate(module, loader(blobs()), verbose=False)
            run = load_run(t.log_dir)
            assert run.info["settings"]["network"] == networks
            assert run.layers == layers
            assert torch.equal(keep.seen["input"], blobs().tensors[0])
            assert hooks(module) == 0


def test_network_narrows_the_layers_and_gives_the_input(tmp_path):
    module = Classifier(nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 3))))
    x, _ = blobs().tensors
    for network in ("net.1", module.net[1]):
        keep = Keep()
        t = trainer(tmp_path, SeparationMonitor([keep], network=network, on_error="raise"))
        t.validate(module, loader(blobs()), verbose=False)
        record = load_run(t.log_dir).records[0]
        assert record.layers == ["input", "net.1.0", "net.1.1"]
        torch.testing.assert_close(keep.seen["input"], module.net[0](x).detach())


def test_nothing_of_the_network_changes():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    state = torch.get_rng_state()
    analyze(net, DataLoader(blobs(), batch_size=16, shuffle=True), max_memory="15KB")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert hooks(net) == 0


def test_analyze_leaves_no_hook_when_the_network_raises():
    class Net(nn.Sequential):
        def forward(self, x):
            raise RuntimeError("mine")

    net = Net(*mlp()).train()
    with pytest.raises(RuntimeError, match="mine"):
        analyze(net, loader(blobs()))
    assert hooks(net) == 0
    assert net.training


def test_a_compiled_network_is_run_again_in_eager_mode(tmp_path):
    net = mlp()
    module = Classifier(torch.compile(net, backend="eager"))
    with torch.no_grad():
        module.net.eval()(blobs().tensors[0][:16])  # compiled before any hook is there
    t = trainer(tmp_path, SeparationMonitor())
    t.validate(module, loader(blobs()), verbose=False)
    assert len(load_run(t.log_dir).layers) == 4


def test_a_loss_of_the_users_own_is_not_the_network(tmp_path):
    class Each(nn.Module):
        def forward(self, logits, target):
            return nn.functional.cross_entropy(logits, target, reduction="none")

    class Module(Classifier):
        def __init__(self):
            super().__init__()
            self.loss = Each()

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.loss(self.net(batch[0]), batch[1]).mean())

    t = trainer(tmp_path, SeparationMonitor())
    t.validate(Module(), loader(blobs()), verbose=False)
    assert load_run(t.log_dir).layers == ["input", "net.0", "net.1", "net.3"]


def test_parametrized_layers_are_layers():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    assert list(captured(net)) == ["input", "0", "1", "2"]


@pytest.mark.parametrize("steps", [3, 16, 60])
def test_sequences_that_come_first(steps):
    """Also where there are as many steps as samples."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(6, 2, 12)

        def forward(self, x):
            return self.layer(x.expand(steps, -1, -1))

    seen = captured(Net(), layers=["layer"])
    assert seen["layer"].shape == (60, steps, 6)
    torch.testing.assert_close(seen["layer"][:, 0], seen["layer"][:, -1])  # the steps of one sample are the same
    assert not torch.allclose(seen["layer"][0], seen["layer"][1])


class OfMapping(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, batch):
        return self.fc(batch["x"])


def test_containers_that_cannot_be_built_from_their_items():
    from collections import defaultdict

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = OfMapping()

        def forward(self, x):
            batch = defaultdict(list)
            batch["x"] = x
            return self.net(batch)

    assert list(captured(Outer(), max_memory="9KB")) == ["input", "net.fc"]


def test_a_network_that_cannot_be_run_again_costs_only_the_layers_that_need_it():
    class Picky(nn.Sequential):
        def forward(self, x):
            if len(x) != 20:
                raise RuntimeError("only 20")
            return super().forward(x)

    with pytest.warns(UserWarning, match="only 20"):
        record = analyze(Picky(*mlp()), loader(blobs(), 20), samples_per_class=15, max_memory="11KB")
    assert "input" in record.findings["henze_penrose"]


def test_arguments_that_cannot_be_copied_cost_only_the_input(tmp_path):
    class Stubborn(dict):
        def __copy__(self):
            raise TypeError("not me")

    class Module(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("val_loss", self.net(Stubborn(x=batch[0])).mean())

    t = trainer(tmp_path, SeparationMonitor())
    with pytest.warns(UserWarning, match="could not be kept.*not me"):
        t.validate(Module(OfMapping()), loader(blobs()), verbose=False)
    assert list(load_run(t.log_dir).records[0].findings["henze_penrose"]) == ["net.fc"]


def test_a_layer_that_only_later_batches_run_is_reported_by_name():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.rare, self.never = nn.Linear(6, 3), nn.Linear(3, 3), nn.Linear(3, 3)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return self.rare(self.fc(x)) if self.calls > 1 else self.fc(x)

    with pytest.warns(UserWarning, match="rare: it ran for 44 of 60 samples only"):
        record = analyze(Net(), loader(blobs()))
    assert record.layers == ["input", "fc"]


class CheckReplay:
    """An analysis that says whether the network, run again, gives what it gave; each of two asks anew."""

    needs_classes = False

    def __init__(self, name="check", before=lambda network: None):
        self.name, self.before, self.reason = name, before, None

    def compute(self, snapshot):
        self.before(snapshot.network)
        try:
            snapshot.check_replay()
        except ValueError as error:
            self.reason = str(error)
        return Findings({}, {})


def reasons(network, data=None, before=lambda network: None):
    checks = [CheckReplay("first", before), CheckReplay("second")]
    analyze(network, loader(blobs()) if data is None else data, checks, layers=[])
    assert checks[0].reason == checks[1].reason
    return checks[0].reason


class Returns(nn.Sequential):
    def __init__(self, make, dtype=torch.float32):
        super().__init__(*mlp())
        self.make, self.gain = make, 1.0
        self.to(dtype)

    def forward(self, x):
        return self.make(super().forward(x.to(self[0].weight.dtype)) * self.gain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda h: h,
        lambda h: {"logits": h, "rest": None},
        lambda h: (h, h.mean()),
        lambda h: h.squeeze(1)[:, 0],
        lambda h: h * 0,
        lambda h: torch.where(torch.arange(len(h)).unsqueeze(1) == 3, torch.nan, h),
        lambda h: torch.where(h > 0, torch.inf, h),
    ],
)
def test_a_second_run_that_gives_the_same_is_recognised(make, dtype):
    assert reasons(Returns(make, dtype)) is None


def scaled(factor):
    """Another output of the same weights."""

    def before(network):
        network.gain = factor

    return before


@pytest.mark.parametrize(
    ("make", "dtype", "factor"),
    [
        (lambda h: h, torch.float32, 1.001),
        (lambda h: h, torch.bfloat16, 1.2),
        (lambda h: (h, None), torch.float64, 0.9),
        (lambda h: torch.where(torch.arange(len(h)).unsqueeze(1) == 3, torch.nan, h), torch.float32, 1.1),
        (lambda h: torch.where(h > 0, torch.inf, h), torch.float32, -1),
        (lambda h: h.relu() * 0 + (h.mean() > 1e3), torch.float32, 1e9),
    ],
)
def test_another_output_is_recognised(make, dtype, factor):
    torch.manual_seed(1)
    network = Returns(make, dtype)
    network[3].bias.data.fill_(0.1)  # of which 1e9 times is above 1e3
    assert "gives another output than in the validation" in reasons(network, before=scaled(factor))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_weights_are_recognised_however_little_they_change_the_output(dtype):
    def nudged(network):
        with torch.no_grad():
            network[0].weight[0, 0] += network[0].weight.abs().max() / 50

    assert "weights are no longer those of the validation" in reasons(Returns(lambda h: h, dtype), before=nudged)


def test_an_output_that_nobody_knows_is_nothing_to_check_by():
    for make in (lambda h: None, lambda h: "no tensor", lambda h: h.sum(0), lambda h: h.argmax(1)):
        assert "is not known" in reasons(Returns(make))


def test_a_network_that_cannot_be_run_again_fails_each_check():
    class Once(nn.Sequential):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 4:
                raise ValueError("only four times")
            return super().forward(x)

    assert reasons(Once(*mlp())) == "only four times"


def test_random_numbers_are_recognised_and_dropout_in_eval_mode_is_none():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    with pytest.warns(UserWarning, match="network: it draws random numbers"):
        assert reasons(nn.Sequential(Noisy(), *mlp())) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reasons(nn.Sequential(nn.Dropout(0.5), *mlp())) is None


def test_a_network_that_looks_at_whole_batches_is_recognised():
    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    x, y = blobs().tensors
    few = [(x[:30], y[:30]), (x[30:], y[30:])]
    network = nn.Sequential(Centred(), *mlp())
    assert reasons(network, few) is None  # all samples of both batches are looked at
    check = CheckReplay()
    analyze(network, few, [check], layers=[], samples_per_class=4)
    assert "looks at whole batches" in check.reason


def test_a_last_batch_whose_only_sample_is_squeezed_away_is_not_held_against_it():
    data = loader(blobs(), 59)  # and one more
    assert reasons(Returns(lambda h: h[:, :1].squeeze()), data) is None
    assert "another output" in reasons(Returns(lambda h: h[:, :1].squeeze()), data, before=scaled(2))
