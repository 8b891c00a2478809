import warnings

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_separation import SeparationMonitor
from lightning_separation.analyses import Findings
from lightning_separation.loggers import displays
from lightning_separation.loggers.adapters import Adapter, adapter_for
from lightning_separation.loggers.adapters.tensorboard import TensorBoardAdapter
from lightning_separation.records import Record
from lightning_separation.tables import Table
from tests.helpers import Classifier, blobs, loader, trainer


def record(num_classes, layers=("input", "fc")):
    rng = np.random.default_rng(0)
    pairs = dict.fromkeys(("divergence", "p_value", "bayes_lower", "bayes_upper"), ("pair",))
    numbers = dict.fromkeys(("separation", "separation_min", "separation_max", "bayes_error"), ())
    values = {
        layer: {name: rng.random((num_classes, num_classes)) for name in pairs} | dict.fromkeys(numbers, 0.5)
        for layer in layers
    }
    names = [f"c|{k}" for k in range(num_classes)]
    found = {"henze_penrose": Findings({**pairs, **numbers}, values)}
    return Record(2, 30, "fit", "val", list(layers), names, np.full(num_classes, 20), found)


def test_the_table_lists_the_hardest_pairs_first():
    made = record(12)
    (shown,) = displays(made, {2: {"input": 0.5, "fc": 0.5}}, "separation").values()
    table = shown.tables["separation_tables/hardest_pairs"]
    last = [float(row[3]) for row in table.rows]
    upper = made.findings["henze_penrose"]["fc"]["divergence"][np.triu_indices(12, 1)]
    np.testing.assert_allclose(last, np.sort(upper)[:10], atol=5e-4)
    assert "The 10 hardest of 66 pairs in `fc`, epoch 2." in table.caption


def test_markdown_keeps_columns_whatever_the_names():
    lines = Table(["a", "b"], [["x|y", "1"]], "caption").to_markdown().splitlines()
    assert lines == ["caption", "", "| a | b |", "| --- | --- |", "| x\\|y | 1 |"]


def test_the_last_value_is_missing_when_the_last_layer_is():
    made = record(3)
    made.layers.append("broken")
    (shown,) = displays(made, {2: {"fc": 0.5}}, "other").values()
    assert "other_last" not in shown.scalars
    assert {"other/fc", "other_min/fc", "other_max/fc", "other_bayes_error/fc"} <= set(shown.scalars)


def test_adapters_are_found_by_the_names_of_base_classes(tmp_path):
    class Mine(TensorBoardLogger):
        pass

    assert isinstance(adapter_for(Mine(tmp_path)), TensorBoardAdapter)
    assert type(adapter_for(object())) is Adapter


def test_a_users_own_analysis_is_logged_by_its_numbers(tmp_path):
    class Norm:
        name = "norm"
        needs_classes = False

        def compute(self, snapshot):
            values = {layer: {"mean": snapshot.activations(layer).norm(dim=1).mean()} for layer in snapshot.layers}
            return Findings({"mean": ()}, values)

    t = trainer(tmp_path, SeparationMonitor([Norm()], target_fn=False, max_samples=11, on_error="raise"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        logged = t.validate(Classifier(), loader(blobs(), num_workers=0), verbose=False)[0]
    assert logged["norm_mean/input"] == float(blobs().tensors[0][:11].norm(dim=1).mean())
