"""A monitor can be copied and sent to other processes: before a fit, after one and in the middle of it."""

import copy
import pickle
import pickletools

import cloudpickle
import pytest
import pytorch_lightning
from pytorch_lightning import Callback

from lightning_separation import HenzePenrose, LayerInformation, SeparationMonitor, load_run
from tests.ecosystem.fits import assert_same_records, seeded_loaders, trainer
from tests.helpers import Classifier, hooks

COPIES = {
    "pickle": lambda monitor: pickle.loads(pickle.dumps(monitor)),
    "cloudpickle": lambda monitor: pickle.loads(cloudpickle.dumps(monitor)),
    "deepcopy": copy.deepcopy,
}


def new_monitor():
    return SeparationMonitor(
        [HenzePenrose(num_trees=2), LayerInformation(bins=4)],
        layers=["net.*"],
        splits=("val", "train"),
        class_names={0: "a", 1: "b", 2: "c"},
        on_error="raise",
        seed=5,
    )


def fit(root, monitor, *callbacks, **settings):
    pytorch_lightning.seed_everything(1, verbose=False)
    t = trainer(pytorch_lightning, root, monitor, *callbacks, **settings)
    module = Classifier()
    t.fit(module, *seeded_loaders())
    return load_run(root), t, module


class CopyInBatch(Callback):
    """Copies the monitor while it watches."""

    def __init__(self):
        self.copies, self.sent = {}, b""

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        (monitor,) = (c for c in trainer.callbacks if isinstance(c, SeparationMonitor))
        if trainer.current_epoch == 1 and batch_idx == 1:
            assert hooks(pl_module) > 0
            self.copies = {name: make(monitor) for name, make in COPIES.items()}
            self.sent = pickle.dumps(monitor)


@pytest.fixture(scope="module")
def moments(tmp_path_factory):
    """The records of a fit, its folder, and copies of the monitor from before it, of its middle and from behind it."""
    monitor, during = new_monitor(), CopyInBatch()
    copies = {("before", name): make(monitor) for name, make in COPIES.items()}
    root = tmp_path_factory.mktemp("original")
    run, *_ = fit(root, monitor, during)
    copies |= {("during", name): made for name, made in during.copies.items()}
    copies |= {("after", name): make(monitor) for name, make in COPIES.items()}
    return run, monitor, copies, {"during": during.sent, "after": pickle.dumps(monitor)}


ALL = [(how, when) for when in ("before", "during", "after") for how in COPIES]
QUICK = [("cloudpickle", "before"), ("pickle", "during"), ("deepcopy", "during"), ("pickle", "after")]


@pytest.mark.parametrize("how, when", ALL)
def test_a_copy_has_the_settings(moments, how, when):
    _, monitor, copies, _ = moments
    made = copies[when, how]
    for name, value in vars(new_monitor()).items():
        if not name.startswith("_") and name != "analyses":
            assert getattr(made, name) == value == getattr(monitor, name), name
    assert made.analyses == monitor.analyses


@pytest.mark.parametrize(
    "how, when", [pytest.param(*each, marks=[] if each in QUICK else pytest.mark.slow) for each in ALL]
)
def test_a_copy_makes_the_same_records(moments, tmp_path, how, when):
    run, _, copies, _ = moments
    again, _, module = fit(tmp_path, copies[when, how])
    assert_same_records(run, again)
    assert hooks(module) == 0


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_goes_on_with_the_samples_and_the_bins_of_the_original(moments, how):
    _, monitor, copies, _ = moments
    made = copies["after", how]
    assert made._analysed == monitor._analysed == {"henze_penrose": 1, "layer_information": 1}
    assert made._training_sample.state_dict() == monitor._training_sample.state_dict()
    assert made._training_sample.indices
    assert made._sample.state_dict()["labels"] == monitor._sample.state_dict()["labels"]
    states = [m.analyses[1].state_dict() for m in (made, monitor)]
    assert states[0].keys() == states[1].keys() != set()


@pytest.mark.parametrize("when", ["during", "after"])
def test_nothing_of_the_fit_is_sent_along(moments, when):
    """Neither the user's module, nor datasets, loggers, Trainers or hooks."""
    sent = [argument for _, argument, _ in pickletools.genops(moments[3][when]) if isinstance(argument, str)]
    homes = {name.split(".")[0] for name in sent if "." in name} | set(sent)
    assert "SeparationMonitor" in sent
    assert not {"tests", "pytorch_lightning", "lightning", "Linear", "TensorDataset", "RemovableHandle"} & homes
