import pytest
import torch
from pytorch_lightning import LightningModule
from torch import nn
from torchmetrics import MetricCollection

from lightning_separation.functional import henze_penrose_divergence
from lightning_separation.metrics import HenzePenroseDivergence
from tests.helpers import Classifier, blobs, loader, mlp, trainer

X, Y = blobs(num_classes=3, per_class=30).tensors


def update(metric, x=X, y=Y, size=7):
    for a, b in zip(x.split(size), y.split(size), strict=True):
        metric.update(a, b)
    return metric


def test_batches_are_accumulated_and_reduced():
    expected = henze_penrose_divergence(X, Y)
    upper = expected[tuple(torch.triu_indices(3, 3, 1))]
    assert torch.equal(update(HenzePenroseDivergence(reduction="none")).compute(), expected)
    assert torch.equal(update(HenzePenroseDivergence()).compute(), upper.mean())
    assert torch.equal(update(HenzePenroseDivergence(reduction="min")).compute(), upper.min())


def test_the_first_of_each_class_are_kept_and_reset_forgets_them():
    metric = update(HenzePenroseDivergence(samples_per_class=10, reduction="none"))
    assert torch.equal(metric.compute(), henze_penrose_divergence(X[:30], Y[:30]))  # classes are interleaved
    metric.reset()
    update(metric, X[30:], Y[30:])
    assert torch.equal(metric.compute(), henze_penrose_divergence(X[30:60], Y[30:60]))


def test_forward_gives_the_batch_and_keeps_the_cap():
    metric = HenzePenroseDivergence(samples_per_class=10, reduction="none")
    for a, b in zip(X.split(30), Y.split(30), strict=True):
        torch.testing.assert_close(metric(a, b), henze_penrose_divergence(a, b))
    assert torch.equal(metric.compute(), henze_penrose_divergence(X[:30], Y[:30]))


def test_images_distance_and_trees():
    metric = HenzePenroseDivergence("cosine", num_trees=2, reduction="none")
    metric.update(X.view(-1, 2, 3, 1), Y)
    assert torch.equal(metric.compute(), henze_penrose_divergence(X, Y, distance="cosine", num_trees=2))


def test_half_precision_and_the_moves_of_torchmetrics():
    metric = update(HenzePenroseDivergence(reduction="none"), X.bfloat16()).to("cpu")
    assert torch.equal(metric.compute(), henze_penrose_divergence(X.bfloat16(), Y))
    copy = HenzePenroseDivergence(reduction="none")
    copy.load_state_dict(metric.state_dict())
    assert metric.clone().compute().equal(metric.compute())


def test_one_class_is_nan_and_a_warning():
    metric = HenzePenroseDivergence()
    metric.update(X[:5], torch.zeros(5, dtype=torch.int64))
    with pytest.warns(UserWarning, match="saw 1 class: a separation needs two"):
        assert metric.compute().isnan()


@pytest.mark.parametrize("target", [Y[:-1], Y.float(), Y.unsqueeze(1)])
def test_bad_targets(target):
    with pytest.raises(ValueError, match="one integer for each of the 90 rows"):
        HenzePenroseDivergence().update(X, target)


@pytest.mark.parametrize(
    "settings", [{"reduction": "sum"}, {"samples_per_class": 0}, {"distance": "l1"}, {"num_trees": 0}]
)
def test_bad_settings(settings):
    with pytest.raises(ValueError):
        HenzePenroseDivergence(**settings)


def test_a_collection_shares_one_buffer():
    collection = MetricCollection({"mean": HenzePenroseDivergence(), "least": HenzePenroseDivergence(reduction="min")})
    update(collection)
    assert len(collection.compute_groups) == 1
    assert collection.compute()["least"] <= collection.compute()["mean"]
    mean, least = (metric for _, metric in collection.items(keep_base=True, copy_state=False))
    assert mean.features[0] is least.features[0]


def test_in_a_plain_loop_and_logged_by_a_lightning_module(tmp_path):
    class Module(Classifier):
        def __init__(self):
            super().__init__(mlp())
            self.separation = HenzePenroseDivergence()

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.separation.update(self.net(batch[0]), batch[1])
            self.log("hp", self.separation, on_epoch=True)

    module = Module()
    assert isinstance(module, LightningModule)
    t = trainer(tmp_path)
    logged = t.validate(module, loader(blobs()), verbose=False)[0]["hp"]
    module.eval()
    alone = HenzePenroseDivergence()
    with torch.no_grad():
        for x, y in loader(blobs()):
            alone.update(module.net(x), y)
    assert logged == pytest.approx(alone.compute().item())
    assert len(module.separation.target) == 0  # Lightning has reset it


def _rank(rank, port, queue):
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    metric = HenzePenroseDivergence(samples_per_class=20, reduction="none")
    metric.update(X[rank::2], Y[rank::2])
    queue.put((rank, metric.compute().tolist()))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_sample_of_both():
    context = torch.multiprocessing.get_context("spawn")
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    queue = context.Queue()
    processes = [context.Process(target=_rank, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    rows = torch.cat([torch.arange(0, 90, 2), torch.arange(1, 90, 2)])
    x, y = X[rows], Y[rows]
    kept = torch.cat([(y == k).nonzero().squeeze(1)[:20] for k in range(3)])
    expected = henze_penrose_divergence(x[kept], y[kept]).tolist()
    assert results[0] == results[1] == expected


def test_metric_is_a_module_that_can_be_saved():
    holder = nn.Module()
    holder.metric = HenzePenroseDivergence()
    assert holder.state_dict() == {}


def test_metrics_with_different_caps_share_nothing():
    caps = {str(cap): HenzePenroseDivergence(samples_per_class=cap, reduction="none") for cap in (5, 30)}
    collection = update(MetricCollection(caps))
    assert torch.equal(collection.compute()["30"], henze_penrose_divergence(X, Y))
    assert torch.equal(collection.compute()["5"], henze_penrose_divergence(X[:15], Y[:15]))
