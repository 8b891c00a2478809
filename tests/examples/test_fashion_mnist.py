"""The Fashion-MNIST example: its reader of files anywhere, the whole of it where the images are."""

import gzip
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightning_separation import load_run

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "fashion_mnist.py"
IMAGES = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def fashion_mnist():
    spec = importlib.util.spec_from_file_location("fashion_mnist_example", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_read_by_their_own_sizes(fashion_mnist, tmp_path):
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", np.array([9, 0], np.uint8))):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    x, y = fashion_mnist.load_data(tmp_path, "train").tensors
    assert x.shape == (2, 1, 28, 28)
    np.testing.assert_array_equal(np.rint(x[:, 0].numpy() * 255), images)
    assert y.tolist() == [9, 0]


def test_without_the_files_it_says_how_to_get_them(fashion_mnist, tmp_path):
    with pytest.raises(SystemExit, match="apt install dataset-fashion-mnist"):
        fashion_mnist.load_data(tmp_path, "train")


@pytest.mark.realdata
@pytest.mark.skipif(not IMAGES.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_one_epoch_on_the_real_images(tmp_path):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    out = subprocess.run(
        [sys.executable, str(SCRIPT), "--epochs", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert out.rstrip().endswith("tensorboard --logdir lightning_logs/fashion_mnist")
    assert "Pullover, Shirt" in out
    run = load_run(tmp_path / "lightning_logs" / "fashion_mnist" / "version_0")
    assert run.records[-1].counts.tolist() == [100] * 10
    separation = dict(zip(run.layers, run.array("henze_penrose", "separation")[-1], strict=True))
    assert separation["logits"] > separation["input"]
    pairs = run.array("henze_penrose", "divergence")[-1, -1]
    trousers, shirt, pullover = 1, 6, 2
    assert pairs[pullover, shirt] < pairs[trousers, shirt]
