"""The check of shapes: that it is at work in the library, and that it finds what is wrong."""

import importlib
from types import ModuleType
from typing import Annotated

import pytest
import torch
from torch import Tensor

from bilp_core.distillers.regression import regressed
from bilp_core.pruning.classwise import keep
from bilp_core.synthetic import SyntheticSet

from . import shapes

BORDERS = [
    "data.images.ImageData.__init__", "data.images.ImageData.batch", "data.whitening.Whitening.apply",
    "indicators.scoring.score", "pruning.classwise.keep", "pruning.ite.Treatments.mixtures", "pruning.ite.sketch",
    "distillers.batches.ClassBatches.__call__", "distillers.regression.regressed",
    "synthetic.set.SyntheticSet.materialise", "nets.ensemble.Ensemble.logits", "nets.training.measure",
    "coresets.herding.herding",
]  # fmt: skip


@pytest.mark.parametrize("name", BORDERS)
def test_where_tensors_pass_they_are_checked(name):
    room, _, rest = name.partition(".")
    importlib.import_module(f"bilp_core.{room}.{rest.partition('.')[0]}")
    assert f"bilp_core.{name}" in shapes.CHECKED


def test_names_stand_for_one_size():
    features, labels = torch.rand(3, 4), torch.eye(3)
    assert regressed(features, labels, torch.rand(5, 4), ridge=0.1).shape == (5, 3)
    with pytest.raises(shapes.WrongShape, match=r"regressed: labels is torch.int64 .* \(M = 3, E = 4\)"):
        regressed(features, labels.long(), torch.rand(5, 4), ridge=0.1)


def test_a_function_refuses_in_its_own_words():
    with pytest.raises(ValueError, match=r"must both be \[N\]"):
        keep(torch.rand(3, 1), torch.zeros(3, dtype=torch.int64), 0.5)
    with pytest.raises(shapes.WrongShape, match="labels is torch.int32"):
        keep(torch.rand(3), torch.zeros(3, dtype=torch.int32), 0.5)


def test_fields_are_checked_and_bind_the_names_of_methods():
    fields = (("a", "b"), (0.5,), (0.5,))
    made = SyntheticSet(torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), *fields)
    assert made.pixels().shape == (2, 1, 4, 4)
    with pytest.raises(shapes.WrongShape, match=r"self.labels .* \(M = 3, C = 1, H = 4, W = 4\)"):
        SyntheticSet(torch.rand(3, 1, 4, 4), torch.tensor([0, 1]), *fields)


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (torch.rand(2, 3), Annotated[Tensor, "float [N, 3]"], True),
        (torch.rand(2, 3), Annotated[Tensor, "float [N, N]"], False),
        (torch.rand(2, 3), Annotated[Tensor, "float64 [N, 3]"], False),
        (torch.rand(2, 3), Annotated[Tensor, "[N]"], False),
        (torch.rand(5, 2, 3), Annotated[Tensor, "[..., N, 3]"], True),
        (torch.rand(2, 3), Annotated[Tensor, "int64 [N] or float [N, C]"], True),
        (None, Annotated[Tensor, "[N]"] | None, True),
        (torch.rand(2, 3), Annotated[Tensor, "[N]"] | None, False),
        ((torch.rand(2), 3.0), tuple[Annotated[Tensor, "[N]"], float], True),
        ((torch.rand(2), torch.rand(3)), tuple[Annotated[Tensor, "[N]"], Annotated[Tensor, "[N]"]], False),
        ({"loss": torch.rand(2, 2)}, dict[str, Annotated[Tensor, "[N]"]], False),
        ([torch.rand(2), torch.rand(3)], list[Annotated[Tensor, "[n]"]], True),
    ],
)
def test_forms(value, hint, right):
    if right:
        shapes.check(value, hint, "it", {})
    else:
        with pytest.raises(shapes.WrongShape):
            shapes.check(value, hint, "it", {})


def test_annotations_that_are_text(tmp_path, monkeypatch):
    """As in modules that import annotations from __future__; names that only type checkers know do not matter."""
    module = ModuleType("later")
    source = (
        "from __future__ import annotations\nfrom typing import Annotated\nfrom torch import Tensor\n"
        "def twice(x: Annotated[Tensor, '[N]'], how: Unknown = None) -> Annotated[Tensor, '[N]']:\n"
        "    return x.repeat(2)\n"
    )
    exec(source, vars(module))
    shapes.attach(module)
    with pytest.raises(shapes.WrongShape, match=r"later.twice: what it returns is .*\[4\]"):
        module.twice(torch.rand(2))
