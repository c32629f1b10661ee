"""What was tried computes the same as what is kept, on a GPU, too."""

from functools import partial

import attempts
import ours
import pytest
import torch

from bilp_core.distillers.unrolling import Student
from tests.emulated_gpu import emulated_gpu


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(ours, "SHAPE", (3, 8, 8))
    monkeypatch.setattr(ours, "PER_CLASS", 16)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["dc", "dm"])
def test_products_in_one_call_are_those_of_many(name):
    with emulated_gpu():
        (together,), apart = (attempts.products("cuda", name, way, ipc=1, count=2)() for way in (True, False))
        torch.testing.assert_close(together.flatten(1), torch.stack(apart))


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # PyTorch's own, while it traces
def test_a_compiled_student_is_the_student(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # traced as ever, in less time
    (loss, slopes), (same, others) = (
        attempts.student("cpu", kind, images=2, steps=2)() for kind in (Student, attempts.Compiled)
    )
    torch.testing.assert_close(same, loss)
    torch.testing.assert_close(list(others), list(slopes))
