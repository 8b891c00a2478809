"""DirectionAblation on real networks, against a plain loop over its directions."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.decomposition import PCA
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_separation import Ablation, DirectionAblation, SeparationMonitor, analyze, load_run
from lightning_separation.interventions import remove_direction, search_direction
from lightning_separation.records import DIRECTION_KINDS
from tests.analyses.test_group_ablation import trained
from tests.helpers import Classifier, blobs, hooks, loader, mlp, trainer

KINDS = ["random", "principal", "class_means", "search"]


def found(network, data, analysis, **settings):
    record = analyze(network, data, [analysis], **settings)
    return record, record.findings["direction_ablation"]


def outcome(logits, target):
    logs = logits.double().log_softmax(-1)
    loss = nn.functional.cross_entropy(logs, target, reduction="none")
    return loss, (logs.argmax(1) == target).double(), -(logs.exp() * logs).sum(1), logs


def plain(network, layer, x, target, directions):
    """KL, loss, accuracy and entropy without each direction, one run of the whole network for each."""
    with torch.no_grad():
        loss, correct, entropy, logs = outcome(network(x), target)
        rows = []
        for direction in directions:
            with remove_direction(network, layer, direction):
                new_loss, new_correct, new_entropy, new = outcome(network(x), target)
            kl = (logs.exp() * (logs - new)).sum(1)
            rows.append(torch.stack([kl, new_loss - loss, new_correct - correct, new_entropy - entropy]).mean(1))
    names = ("kl", "loss", "accuracy", "entropy")
    return dict(zip(names, torch.stack(rows, 1), strict=True)), loss.mean(), correct.mean()


def test_given_directions_as_in_the_plain_loop():
    network, dataset = trained()
    x, y = dataset.tensors
    given = {"0": torch.randn(5, 24), "3": torch.eye(16)[:3] * 7}
    with torch.inference_mode():
        record, values = found(network, loader(dataset), DirectionAblation(directions=given, count=1))
    assert not record.notes
    assert set(values) == {"0", "3"}
    for layer, vectors in given.items():
        expected, loss, accuracy = plain(network, layer, x, y, vectors)
        for quantity, value in expected.items():
            np.testing.assert_allclose(values[layer][quantity], value, atol=1e-5)
        assert expected["kl"].max() > 0.01
        np.testing.assert_allclose(values[layer]["clean_loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(values[layer]["clean_accuracy"], accuracy)
        assert values[layer]["max_kl"] == values[layer]["kl"].max()
        best = vectors[values[layer]["kl"].argmax()]
        np.testing.assert_allclose(values[layer]["strongest"], best / best.norm(), rtol=1e-6)
        assert [DIRECTION_KINDS[kind] for kind in values[layer]["kind"]] == ["given"] * len(vectors)


@pytest.mark.parametrize("layer", ["0", "1", "4"])
def test_principal_directions_and_class_means(layer):
    network, dataset = trained()
    x, y = dataset.tensors
    with torch.no_grad():
        h = network[: int(layer) + 1](x).double()
    names = ["principal", "class_means"]
    _, values = found(network, loader(dataset), DirectionAblation(directions=names, count=3, layers=[layer]))
    one = values[layer]
    components = torch.as_tensor(PCA(3).fit(h.numpy()).components_)
    means = [h[y == k].mean(0) for k in range(3)]
    differences = torch.stack([means[1] - means[0], means[2] - means[0], means[2] - means[1]])
    expected = plain(network, layer, x, y, torch.cat([components, differences]))[0]  # a sign does not matter
    kinds = [DIRECTION_KINDS[kind] for kind in one["kind"]]
    assert kinds == ["principal"] * 3 + ["class_means"] * 3
    np.testing.assert_allclose(one["kl"], expected["kl"], atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(one["loss"], expected["loss"], atol=1e-4, rtol=1e-3)
    assert one["kl"][3:].max() > 0.05


def test_the_search_beats_all_others_and_all_that_it_is_given_counts():
    network, dataset = trained()
    x = dataset.tensors[0]
    _, values = found(network, loader(dataset), DirectionAblation(directions=KINDS, count=16))
    assert list(values) == ["0", "1", "2", "3", "4"]
    for layer, one in values.items():
        kinds = np.array(DIRECTION_KINDS)[one["kind"]]
        assert (kinds == "random").sum() == 16
        assert (kinds == "search").sum() == 1
        assert kinds[-1] == "search"
        assert one["kl"].argmax() == len(kinds) - 1
        assert one["kl"][-1] == one["max_kl"]
        with torch.no_grad():
            again = plain(network, layer, x, dataset.tensors[1], [torch.as_tensor(one["strongest"])])[0]
        np.testing.assert_allclose(again["kl"], one["max_kl"], rtol=1e-3)
        np.testing.assert_allclose(again["loss"], one["loss"][-1], rtol=1e-3)
        assert one["max_kl"] > 0.9 * float(search_direction(network, layer, x).kl)


def test_only_the_first_samples_of_each_class_count():
    network, dataset = trained()
    x, y = dataset.tensors
    first = torch.cat([(y == k).nonzero()[:4, 0] for k in range(3)]).sort().values
    vectors = torch.randn(4, 24)
    analysis = DirectionAblation(directions={"1": vectors}, max_samples=14)
    _, values = found(network, loader(dataset, 7), analysis)
    expected, loss, _ = plain(network, "1", x[first], y[first], vectors)
    np.testing.assert_allclose(values["1"]["kl"], expected["kl"], atol=1e-5)
    np.testing.assert_allclose(values["1"]["clean_loss"], loss, rtol=1e-5)


def test_one_seed_gives_one_result_and_nothing_else_changes():
    network, dataset = trained()
    network.zero_grad()
    network[0].weight.grad = torch.ones_like(network[0].weight)
    network.train()
    state, random, batches = deepcopy(network.state_dict()), torch.get_rng_state(), list(loader(dataset))
    torch.set_rng_state(random)

    def look(seed, **settings):
        return found(network, batches, DirectionAblation(directions=KINDS, count=8, **settings), seed=seed)[1]

    first = look(3)
    assert torch.equal(random, torch.get_rng_state())
    torch.rand(5)
    second, other, alone = look(3), look(4), look(3, layers=["1"])
    for layer, one in first.items():
        for quantity, value in one.items():
            np.testing.assert_array_equal(value, second[layer][quantity])
    np.testing.assert_array_equal(alone["1"]["kl"], first["1"]["kl"])
    assert (other["1"]["kl"][:8] != first["1"]["kl"][:8]).any()
    assert hooks(network) == 0
    assert network.training
    assert (network[0].weight.grad == 1).all()
    assert network[2].weight.grad is None
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"directions": "best"}, "directions"),
        ({"directions": ["random", "pca"]}, "directions"),
        ({"count": 0}, "count"),
        ({"max_samples": 0}, "max_samples"),
        ({"directions": {"0": torch.zeros(1, 3)}}, "finite and not zero"),
        ({"directions": {"0": torch.tensor([[1.0, torch.nan]])}}, "finite and not zero"),
        ({"directions": {"0": torch.ones(1, 3, 1)}}, "directions of 0 must have shape"),
        ({"every_n_epochs": 0}, "every_n_epochs"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        DirectionAblation(**settings)


def test_what_does_not_fit_is_said_of_its_layer():
    network, dataset = trained()
    given = {"0": torch.randn(2, 7), "1": torch.randn(2, 24), "nowhere": torch.randn(1, 3)}
    with (
        pytest.warns(UserWarning, match="given for nowhere, but looked at are 0, 1"),
        pytest.warns(UserWarning, match="0: direction_ablation: directions of 7 numbers for 24 units"),
    ):
        _, values = found(network, loader(dataset), DirectionAblation(directions=given))
    assert list(values) == ["1"]


def test_a_dead_layer():
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    network[0].bias.data.fill_(-1e3)
    with pytest.warns(UserWarning, match="1, 2: direction_ablation: there is no direction to remove"):
        _, values = found(network, loader(blobs()), DirectionAblation(directions=["principal", "class_means"]))
    assert list(values) == ["0"]
    _, values = found(network, loader(blobs()), DirectionAblation(directions=["random", "search"], count=3))
    assert values["1"]["kl"].tolist() == [0] * 4
    assert values["1"]["max_kl"] == 0


def test_a_network_without_a_distribution_is_left_out_of_the_search():
    class Values(nn.Module):
        def forward(self, x):
            return torch.stack([x, x], 2)  # [N, 3, 2]: no class for each of the N samples

    network = nn.Sequential(nn.Linear(6, 3), Values())
    with pytest.warns(UserWarning, match="0: direction_ablation: .*there is no distribution to compare"):
        _, values = found(network, loader(blobs()), DirectionAblation(directions=["search"], layers=["0"]))
    assert not values


@pytest.mark.parametrize("directions", ["random", KINDS])
def test_in_a_real_fit_and_validation(tmp_path, directions):
    torch.manual_seed(0)
    logger = TensorBoardLogger(tmp_path, name="tb")
    analyses = [DirectionAblation(directions=directions, count=8), Ablation()]
    t = trainer(tmp_path, SeparationMonitor(analyses, on_error="raise"), max_epochs=2, logger=logger)
    module = Classifier(nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)))
    t.fit(module, loader(blobs(seed=1)), loader(blobs()))
    t.validate(module, loader(blobs()), verbose=False)
    records = {record.label: record for record in load_run(t.log_dir).records}
    assert len(records) == 3
    last, validated = (record.findings["direction_ablation"] for record in list(records.values())[1:])
    for layer in ("net.0", "net.1", "net.2"):
        np.testing.assert_allclose(validated[layer]["kl"], last[layer]["kl"], rtol=1e-3, atol=1e-5)
    events = EventAccumulator(t.log_dir, size_guidance=dict.fromkeys(("images", "histograms", "tensors"), 0))
    events.Reload()
    for layer in last:
        logged = [event.value for event in events.Scalars(f"direction_max_kl/{layer}")]
        expected = [record.findings["direction_ablation"][layer]["max_kl"].item() for record in records.values()]
        np.testing.assert_allclose(logged, expected, rtol=1e-6)
        assert len(events.Histograms(f"direction_kl/{layer}")) == 3
    assert len(events.Images("direction_figures/kl")) == 3
    text = events.Tensors("direction_tables/strongest/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "best single unit" in text
    assert ("found by search" in text) == (directions != "random")
    assert "| net.1 |" in text
    if directions != "random":
        unit = list(records.values())[1].findings["ablation"]["net.1"]["kl"].max()
        assert last["net.1"]["max_kl"] > unit


def test_layers_and_rhythm_of_its_own(tmp_path):
    analysis = DirectionAblation(count=4, layers=["net.[01]"], every_n_epochs=2)
    t = trainer(tmp_path, SeparationMonitor([analysis, Ablation()]), max_epochs=4)  # the last epoch always
    t.fit(Classifier(mlp()), loader(blobs(seed=1)), loader(blobs()))
    run = load_run(t.log_dir)
    there = {record.epoch: list(record.findings.get("direction_ablation", ())) for record in run.records}
    assert there == {0: ["net.0", "net.1"], 1: [], 2: ["net.0", "net.1"], 3: ["net.0", "net.1"]}
