"""Users' modules that change, their own analyses, settings of other libraries: taken, or said in one line."""

import re
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import TensorDataset

from lightning_separation import (
    FeatureInformation,
    GroupAblation,
    HenzePenrose,
    LayerInformation,
    Modularity,
    Selectivity,
    SeparationMonitor,
    Significance,
    load_run,
)
from lightning_separation.functional import henze_penrose_divergence
from lightning_separation.monitor import MonitorError
from lightning_separation.records import Findings
from tests.compatibility.harness import run_twice
from tests.helpers import Classifier, blobs, loader, mlp, trainer

REGRESSION = TensorDataset(blobs().tensors[0], blobs().tensors[0].sum(1, keepdim=True))


def data(dataset=None):
    return loader(dataset or blobs(seed=1)), loader(dataset or blobs())


def separation(network):
    """Mean divergence of what a network gives, computed apart from the monitor."""
    x, y = blobs().tensors
    found = henze_penrose_divergence(network(x), y)
    return found[np.triu_indices(3, 1)].mean().item()


# Modules that change


class Surgery(Classifier):
    """Gets another network after its first epoch."""

    def on_train_epoch_end(self):
        if self.current_epoch == 0:
            self.net = nn.Sequential(nn.Linear(6, 3))
            self.trainer.optimizers = [self.configure_optimizers()]


LOST = (
    "this validation is not analysed further: layers: no module fits 'net.3'; nearest names: net.0, net. Names are "
    "those of named_modules()"
)
GONE = "this validation is not analysed further: network: Surgery has no submodule 'net.3'; nearest names: net.0, net"


@pytest.mark.parametrize(
    ("settings", "epochs", "told"),
    [
        pytest.param({"layers": ["net.3"]}, [0], LOST, id="its layer is gone"),
        pytest.param({"network": "net.3"}, [0], GONE, id="its network is gone"),
        pytest.param({}, [0, 1, 2], None, id="layers that nobody named"),
    ],
)
def test_a_module_that_changes_while_it_is_trained(tmp_path, settings, epochs, told):
    def monitor():
        return SeparationMonitor([HenzePenrose()], emit=["scalars"], **settings)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run, t, module = run_twice(tmp_path, lambda: (Surgery(), data()), monitor, max_epochs=3)
    said = {str(w.message) for w in caught if "not analysed further" in str(w.message)}
    assert said == ({f"SeparationMonitor 'separation': separation: {told}"} if told else set())
    assert t.current_epoch == 3
    assert run.epochs == epochs
    assert all(not record.notes for record in run.records)
    if told is None:
        assert run.records[-1].layers == ["input", "net.0"]
        found = run.records[-1].findings["henze_penrose"]["net.0"]["divergence"]
        assert found[np.triu_indices(3, 1)].mean() == pytest.approx(separation(module.net))


def test_a_module_that_changes_ends_a_fit_that_is_to_raise(tmp_path):
    t = trainer(tmp_path, SeparationMonitor([HenzePenrose()], layers=["net.3"], on_error="raise"))
    with pytest.raises(MonitorError, match=re.escape(LOST)):
        t.fit(Surgery(), *data())
    assert t.current_epoch == 1


# A user's own analysis


class Rows:
    """Counts samples; what it keeps is up to the test."""

    name, needs_classes = "rows", False

    def __init__(self, state=None, **attributes):
        self.state, self.given = state, []
        vars(self).update(attributes)

    def compute(self, snapshot):
        return Findings({"rows": ()}, {layer: {"rows": len(snapshot.activations(layer))} for layer in snapshot.layers})

    def state_dict(self):
        return self.state()

    def load_state_dict(self, state):
        self.given.append(state["kept"])


@pytest.mark.parametrize("rhythm", ["2", 0, 1.5, True])
def test_an_impossible_rhythm_is_refused_by_name(rhythm):
    with pytest.raises(ValueError, match=f"every_n_epochs of 'rows' must be an integer of at least 1, not {rhythm!r}"):
        SeparationMonitor([Rows(every_n_epochs=rhythm)])


def unsaveable():
    return {"kept": lambda: 0}


def broken():
    raise RuntimeError("no state")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        pytest.param(broken, r"rows: its state cannot be saved: RuntimeError\('no state'\)", id="it raises"),
        pytest.param(unsaveable, "rows: its state cannot be saved: .*unsaveable", id="it cannot be pickled"),
        pytest.param(lambda: {"kept": 3}, None, id="it can be kept"),
    ],
)
def test_a_state_that_cannot_be_saved_costs_that_state_alone(tmp_path, state, told):
    def fit(folder, epochs, **settings):
        monitor = SeparationMonitor([Rows(state), LayerInformation()], emit=["scalars"], on_error="raise")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            t = trainer(folder, monitor, ModelCheckpoint(folder, save_last=True), max_epochs=epochs)
            t.fit(Classifier(), *data(), **settings)
        return monitor, load_run(t.log_dir), [str(w.message) for w in caught if ": rows: " in str(w.message)]

    monitor, run, said = fit(tmp_path / "first", 1)
    saved = torch.load(tmp_path / "first/last.ckpt", weights_only=False)["callbacks"][monitor.state_key]["states"]
    assert list(saved) == (["layer_information"] if told else ["rows", "layer_information"])
    assert run.records[0].findings["rows"]["net.3"]["rows"] == 60
    assert [bool(told and re.search(told, line)) for line in said] == [True] * bool(told)
    resumed, run, said = fit(tmp_path / "second", 2, ckpt_path=tmp_path / "first/last.ckpt")
    assert run.epochs == [1]
    assert resumed.analyses[0].given == ([] if told else [3])
    if told:
        assert "rows: it cannot go on from its state: KeyError('kept')" in said[0]


# Settings as other libraries give them


class Listed(Sequence):
    """A sequence that is no list, as configuration libraries have."""

    def __init__(self, *items):
        self.items = items

    def __getitem__(self, index):
        return self.items[index]

    def __len__(self):
        return len(self.items)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        pytest.param("save", np.True_, True, id="save of NumPy"),
        pytest.param("save", np.False_, False, id="no save of NumPy"),
        pytest.param("samples_per_class", torch.tensor(5), 5, id="samples of torch"),
        pytest.param("max_samples", np.int64(5), 5, id="samples of NumPy"),
        pytest.param("max_memory", "2e9", 2 * 10**9, id="memory as a float's text"),
        pytest.param("max_memory", "1.5e3 kB", 1_500_000, id="memory with an exponent and a unit"),
        pytest.param("epochs", torch.arange(2), [0, 1], id="epochs of torch"),
        pytest.param("epochs", Listed(3, 1), [1, 3], id="epochs in a sequence"),
        pytest.param("layers", Listed("net.*"), ["net.*"], id="layers in a sequence"),
        pytest.param("class_names", Listed("a", "b"), {0: "a", 1: "b"}, id="class names in a sequence"),
        pytest.param("class_names", {0: "a", 2: "c"}, {0: "a", 2: "c"}, id="class names by number"),
        pytest.param("class_names", {np.int64(7): 1.5}, {7: "1.5"}, id="class names by NumPy's number"),
    ],
)
def test_a_setting_is_taken_and_kept_plainly(name, given, kept):
    found = getattr(SeparationMonitor(**{name: given}), name)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"class_names": {"a": 0}}, "each key of class_names (a class, its value", id="turned around"),
        pytest.param({"class_names": {-1: "a"}}, "each key of class_names (a class, its value", id="negative class"),
        pytest.param({"class_names": {0: "a", 1: "a"}}, "class_names must differ; there are two 'a'", id="same names"),
        pytest.param({"save": 1}, "save must be True or False, not 1", id="a number for a flag"),
        pytest.param({"max_samples": torch.tensor([2, 3])}, "max_samples must be an integer", id="several numbers"),
        pytest.param({"max_samples": torch.tensor(2.5)}, "max_samples must be an integer", id="torch's fraction"),
        pytest.param({"max_memory": "e9"}, "max_memory must be a positive size", id="an exponent alone"),
    ],
)
def test_a_setting_is_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}[^\n]*$"):
        SeparationMonitor(**settings)


@pytest.mark.parametrize("kind", [LayerInformation, FeatureInformation, Modularity])
@pytest.mark.parametrize(
    "edges",
    [
        pytest.param(np.array([-1.0, 1.0]), id="array"),
        pytest.param(np.float32([-1, 1]), id="array of single precision"),
        pytest.param(Listed(-1, 1), id="sequence"),
    ],
)
def test_a_range_is_kept_as_plain_numbers(kind, edges):
    found = kind(edges=edges).edges
    assert (found, [type(end) for end in found]) == ((-1.0, 1.0), [float, float])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [np.float16, np.float32, np.float64])
def test_numbers_of_numpy_are_checked_without_a_warning(number):
    assert Significance(alpha=number(0.05)).alpha == number(0.05)
    assert Selectivity(threshold=number(0)).threshold == 0
    assert GroupAblation(fraction=number(0.5)).fraction == 0.5
    for refused in (number("nan"), number("inf"), 10**5000):
        with pytest.raises(ValueError, match="threshold must be a number above"):
            Selectivity(threshold=refused)


def test_class_names_with_gaps_name_the_classes_that_there_are(tmp_path):
    x, y = blobs().tensors
    kept = data(TensorDataset(x, 3 * y + 1))  # classes 1, 4, 7
    module = Classifier(mlp(classes=8))
    monitor = SeparationMonitor([HenzePenrose()], class_names={1: "cat", 2: "eel", 7: "fox"}, emit=["scalars"])
    with pytest.warns(UserWarning, match="class_names: 3 names, none for class 4; its number is shown"):
        trainer(tmp_path, monitor, max_epochs=1, logger=False).fit(module, *kept)
    assert load_run(tmp_path).records[0].class_names == ["cat", "4", "fox"]


# No classes


class Regression(Classifier):
    def training_step(self, batch, batch_idx):
        return (self.net(batch[0]) - batch[1]).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))


@pytest.mark.parametrize("analyses", [None, [HenzePenrose()]], ids=["by default", "asked for"])
def test_what_needs_classes_raises_without_them_only_if_asked_for(tmp_path, analyses):
    def monitor():
        return SeparationMonitor(analyses, emit=["scalars"], on_error="raise")

    def make():
        return Regression(mlp(classes=1)), data(REGRESSION)

    reason = "target: the target holds numbers that are not integers; what needs classes is left out: henze_penrose"
    if analyses:
        with pytest.raises(MonitorError, match=reason):
            run_twice(tmp_path, make, monitor)
        return
    with pytest.warns(UserWarning, match=reason):
        run, _, _ = run_twice(tmp_path, make, monitor)
    assert [record.notes for record in run.records] == [[f"{reason}, significance"]] * 2
    assert list(run.records[0].findings) == ["ablation"]


def test_an_unknown_layer_of_modules_that_are_built_late_is_refused_where_nothing_is_trained(tmp_path):
    class Late(Classifier):
        def configure_model(self):
            pass

    with pytest.raises(ValueError, match="no module fits 'body'"):
        trainer(tmp_path, SeparationMonitor(layers=["body"])).validate(Late(), loader(blobs()), verbose=False)
