from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from runners.data import (
    DATASETS,
    DatasetInfo,
    Digits,
    describe_dataset,
    load_splits,
    load_test,
    register_dataset,
    validation_images,
)
from runners.data.idx import IdxDataset, read_idx
from runners.data.statistics import channel_statistics
from runners.protocol import DataSpec
from search_space.errors import DataError

WriteIdx = Callable[[Path, torch.Tensor], None]


def test_describing_loads_neither_torch_nor_images() -> None:
    names = [name for name, dataset in DATASETS.items() if not dataset.takes_path]
    program = (
        "import sys\n"
        "from runners.protocol import DataSpec\n"
        "from runners.data import describe_dataset, validation_images\n"
        f"for name in {names}:\n"
        "    spec = DataSpec(name, directory='/nowhere')\n"
        "    describe_dataset(spec), validation_images(spec)\n"
        "print({'torch', 'torchvision', 'sklearn', 'numpy', 'PIL'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("digits", DatasetInfo(8, 1, 10)),
        ("fashion_mnist", DatasetInfo(28, 1, 10)),
        ("mnist", DatasetInfo(28, 1, 10)),
        ("cifar10", DatasetInfo(32, 3, 10)),
        ("cifar100", DatasetInfo(32, 3, 100)),
        ("svhn", DatasetInfo(32, 3, 10)),
    ],
)
def test_sizes_of_known_data_sets(name: str, info: DatasetInfo) -> None:
    assert describe_dataset(DataSpec(name)) == info


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("digits", 360),
        ("fashion_mnist", 10_000),
        ("fashion_mnist_10k", 4_000),
        ("mnist", 10_000),
        ("cifar10", 5_000),
        ("cifar100", 5_000),
        ("svhn", 7_325),  # about a tenth of 73,257
    ],
)
def test_sizes_of_validation_splits(name: str, images: int) -> None:
    assert validation_images(DataSpec(name)) == images


@pytest.mark.parametrize("ask", [describe_dataset, validation_images])
def test_an_unknown_name_is_answered_with_the_nearest(ask: Callable[[DataSpec], object]) -> None:
    with pytest.raises(DataError, match=r"fashion_mnst.*did you mean 'fashion_mnist'"):
        ask(DataSpec("fashion_mnst"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec("imagefolder"), "write imagefolder:PATH"),
        (DataSpec("digits:/tmp"), "no data set named 'digits:/tmp'"),
        (DataSpec("digits", image_size=16), "digits has its own image size"),
    ],
)
def test_settings_that_do_not_fit_are_refused(spec: DataSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        describe_dataset(spec)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'digits' is already registered"):
        register_dataset("digits")(Digits)


def test_digits_are_split_without_overlap_or_loss() -> None:
    from sklearn.datasets import load_digits

    spec = DataSpec("digits")
    splits, test = load_splits(spec), load_test(spec)
    parts = [splits.train.images, splits.validation.images, test.images]

    assert [len(part) for part in parts] == [1077, 360, 360]
    assert validation_images(spec) == len(splits.validation)
    together = sorted(image.numpy().tobytes() for image in torch.cat(parts))
    original = torch.from_numpy(load_digits().images).mul(255 / 16).round().to(torch.uint8)
    assert together == sorted(image.numpy().tobytes() for image in original)
    for part in (splits.validation, test):
        assert part.labels.bincount().sub(36).abs().max() <= 1  # 360 images of ten nearly equal classes


def test_the_split_follows_the_split_seed() -> None:
    first, again, other = (load_splits(DataSpec("digits", split_seed=seed)) for seed in (0, 0, 1))

    assert first.validation.images.equal(again.validation.images)
    assert not first.validation.images.equal(other.validation.images)


def test_statistics_are_those_of_the_pixels_in_0_to_1() -> None:
    images = torch.tensor([[[[0, 255]], [[51, 51]]]], dtype=torch.uint8)  # two channels, the second constant

    mean, std = channel_statistics(images)

    assert mean == pytest.approx((0.5, 0.2))
    assert std == pytest.approx((0.5, 1.0))


def test_idx_development_needs_no_test_file_and_never_reads_it(tmp_path: Path, write_idx: WriteIdx) -> None:
    raw = tmp_path / "MNIST" / "raw"
    images = torch.arange(30 * 28 * 28).view(30, 28, 28).to(torch.uint8)
    write_idx(raw / "train-images-idx3-ubyte", images)
    write_idx(raw / "train-labels-idx1-ubyte.gz", torch.arange(10, dtype=torch.uint8).repeat(3))
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"not an IDX file")
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"not an IDX file")
    mnist = IdxDataset("MNIST", DATASETS["mnist"].augmentation, train=20, validation=10)
    spec = DataSpec("mnist", directory=str(tmp_path))

    train, validation = mnist.load_development(spec)

    assert train.images.shape == (20, 1, 28, 28)
    assert len(validation.labels) == mnist.validation_images(spec)
    assert validation.labels.sort().values.tolist() == list(range(10))
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is not an IDX file"):
        mnist.load_test(spec)


def test_a_truncated_idx_file_is_refused(tmp_path: Path, write_idx: WriteIdx) -> None:
    path = tmp_path / "images-idx3-ubyte"
    write_idx(path, torch.ones(4, 2, 2, dtype=torch.uint8))
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(DataError, match="damaged; delete it"):
        read_idx(path)


def test_a_truncated_gzip_is_refused(tmp_path: Path, write_idx: WriteIdx) -> None:
    path = tmp_path / "images-idx3-ubyte.gz"
    write_idx(path, torch.ones(4, 2, 2, dtype=torch.uint8))
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path)


def test_the_data_directory_comes_from_the_environment(
    tmp_path: Path, write_idx: WriteIdx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path))
    write_idx(tmp_path / "MNIST/raw/t10k-images-idx3-ubyte", torch.full((2, 28, 28), 7, dtype=torch.uint8))
    write_idx(tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte", torch.tensor([3, 9], dtype=torch.uint8))

    test = load_test(DataSpec("mnist"))

    assert test.labels.tolist() == [3, 9]
    assert test.images.unique().tolist() == [7]


def test_a_failed_download_says_what_was_tried_and_where_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.error
    import urllib.request

    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)

    with pytest.raises(DataError, match=f"CIFAR10 is not in {tmp_path}.*no route to host.*NAS_DATA_DIR"):
        load_splits(DataSpec("cifar10", directory=str(tmp_path)))


def test_cifar_is_read_from_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are made here, so their published checksums are not asked for; test_batch does not exist at all."""
    import pickle

    import numpy as np

    from runners.data.torchvision_import import import_torchvision
    from runners.data.torchvision_sets import TorchvisionDataset

    cifar = import_torchvision().datasets.CIFAR10
    monkeypatch.setattr(cifar, "_check_integrity", lambda self: True)
    monkeypatch.setattr(import_torchvision().datasets.cifar, "check_integrity", lambda path, md5=None: True)
    folder = tmp_path / cifar.base_folder
    folder.mkdir()
    pixels = np.zeros((10, 3, 32, 32), np.uint8)
    pixels[:, 2, 0, 1] = 200  # channel 2, row 0, column 1
    for name, _ in cifar.train_list:
        (folder / name).write_bytes(pickle.dumps({"data": pixels.reshape(10, -1), "labels": list(range(10))}))
    (folder / cifar.meta["filename"]).write_bytes(pickle.dumps({"label_names": [str(i) for i in range(10)]}))
    dataset = TorchvisionDataset("CIFAR10", 10, 10, DATASETS["cifar10"].augmentation)

    train, validation = dataset.load_development(DataSpec("cifar10", directory=str(tmp_path)))

    assert train.images.shape == (40, 3, 32, 32)
    assert len(validation.labels) == dataset.validation_images(DataSpec("cifar10"))
    assert train.images.nonzero()[:, 1:].unique(dim=0).tolist() == [[2, 0, 1]]
    assert validation.labels.sort().values.tolist() == list(range(10))
