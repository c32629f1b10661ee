import pytest
import torch

from bilp_core.data import ImageData


@pytest.fixture(autouse=True)
def own_store(monkeypatch, tmp_path):
    """Where first stages go."""
    monkeypatch.setenv("BILP_STORE", str(tmp_path / "store"))


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(30) % 3
    return ImageData(images, labels, ("a", "b", "c"), (0.5,), (0.25,), "tiny", False)
