"""Hydra instantiates a monitor from a config, with its analyses, as it would be made in code."""

import pytest
import pytorch_lightning
from hydra.utils import instantiate
from omegaconf import OmegaConf

import lightning_separation
from lightning_separation import (
    DirectionAblation,
    HenzePenrose,
    LayerInformation,
    Modularity,
    PermutationImportance,
    SeparationMonitor,
    load_run,
)
from tests.ecosystem.fits import ANALYSES, assert_same_records, seeded_loaders, trainer
from tests.helpers import Classifier

CONFIG = """
every: 1
classes: {0: a, 1: b, 2: c}
monitor:
  _target_: lightning_separation.SeparationMonitor
  every_n_epochs: ${every}
  layers: ["net.*"]
  class_names: ${classes}
  splits: [val, train]
  epochs: [1, 0]
  emit: [scalars]
  max_memory: 1GB
  on_error: raise
  analyses:
    - _target_: lightning_separation.HenzePenrose
      num_trees: 2
    - _target_: lightning_separation.LayerInformation
      edges: [-1, 4.0]
      layers: [net.0, net.1]
      every_n_epochs: ${every}
    - _target_: lightning_separation.Modularity
      modules: {net.0: [0, 0, 0, 0, 1, 1, 1, 1], net.1: [0, 0, 0, 0, 1, 1, 1, 1]}
      num_permutations: 9
    - _target_: lightning_separation.PermutationImportance
      groups: {both: [0, b]}
      feature_names: [a, b, c, d, e, f]
      repeats: 3
    - _target_: lightning_separation.DirectionAblation
      directions: {net.0: [[1, 0, 0, 0, 0, 0, 0, 0]], net.1: [0, 1, 0, 0, 0, 0, 0, 0]}
"""
SELF = "lightning_separation.SeparationMonitor"
FIRST, SECOND = [1.0] + 7 * [0.0], [0.0, 1.0] + 6 * [0.0]


def in_code():
    halves = 4 * [0] + 4 * [1]
    analyses = [
        HenzePenrose(num_trees=2),
        LayerInformation(edges=(-1.0, 4.0), layers=["net.0", "net.1"], every_n_epochs=1),
        Modularity({"net.0": halves, "net.1": halves}, num_permutations=9),
        PermutationImportance(groups={"both": [0, "b"]}, feature_names=list("abcdef"), repeats=3),
        DirectionAblation({"net.0": [FIRST], "net.1": SECOND}),
    ]
    names = {0: "a", 1: "b", 2: "c"}
    return SeparationMonitor(
        analyses,
        layers=["net.*"],
        epochs=[0, 1],
        class_names=names,
        splits=("val", "train"),
        emit=["scalars"],
        max_memory=10**9,
        on_error="raise",
    )


def fit(root, monitor):
    pytorch_lightning.seed_everything(1, verbose=False)
    trainer(pytorch_lightning, root, monitor).fit(Classifier(), *seeded_loaders())
    return load_run(root)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("code"), in_code())


@pytest.mark.parametrize("name", ANALYSES)
def test_each_analysis_in_a_list_needs_no_conversion(name):
    """Without ``_convert_`` Hydra makes configs of dataclasses in lists, and knows no unions of containers in them."""
    config = {"_target_": SELF, "analyses": [{"_target_": f"lightning_separation.{name}", "every_n_epochs": 2}]}
    (found,) = instantiate(OmegaConf.create(config)).analyses
    expected = getattr(lightning_separation, name)(every_n_epochs=2)
    assert type(found) is type(expected)
    assert (found, repr(found)) == (expected, repr(expected))


@pytest.mark.parametrize("convert", ["none", "partial", "object", "all"])
def test_the_monitor_of_a_config_is_that_of_code(tmp_path, expected, convert):
    monitor, code = instantiate(OmegaConf.create(CONFIG).monitor, _convert_=convert), in_code()
    for name in set(vars(code)) - {"analyses"}:
        if not name.startswith("_"):
            assert getattr(monitor, name) == getattr(code, name), name
            assert type(getattr(monitor, name)) is type(getattr(code, name)), name
    assert monitor.analyses[:4] == code.analyses[:4]
    run = fit(tmp_path, monitor)
    assert run.info["settings"] == expected.info["settings"]
    assert_same_records(expected, run)


def test_a_part_of_the_settings_can_be_left_for_later():
    make = instantiate({"_target_": SELF, "_partial_": True, "seed": 4})
    assert (make(name="mine").seed, make(name="mine").name) == (4, "mine")


def test_a_function_is_given_by_its_path(tmp_path):
    config = {
        "_target_": SELF,
        "target_fn": {"_target_": "hydra.utils.get_method", "path": "tests.ecosystem.test_lightning_cli.first_class"},
    }
    assert instantiate(config).target_fn((1, 2)) == 2
