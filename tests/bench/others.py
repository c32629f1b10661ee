"""The other side of the rows: plain PyTorch, and the code of others, called as they call it."""

import importlib
import logging
import sys
import types
from pathlib import Path

import numpy as np
import torch
from ours import CLASSES, PER_CLASS, SHAPE, Selection, Side, cifar_shaped
from torch.nn.functional import cross_entropy

from bilp_core.data import ImageData
from bilp_core.nets import network


def plain_losses(device: str, per_class: int, trials: int, epochs: int) -> Side:
    """The loss indicator as most would write it: one network after the other, the images in a DataLoader."""
    data = cifar_shaped(per_class, device)

    def run() -> torch.Tensor:
        total = torch.zeros(len(data), device=data.device)
        numbered = torch.utils.data.TensorDataset(data.batch(), data.labels, torch.arange(len(data)))
        for trial in range(trials):
            torch.manual_seed(trial)
            net = network("convnet", data.shape, data.num_classes).to(data.device)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.003, momentum=0.9)
            curve = torch.zeros(epochs, len(data), device=data.device)
            for epoch in range(epochs):
                for images, labels, numbers in torch.utils.data.DataLoader(numbered, batch_size=512, shuffle=True):
                    losses = cross_entropy(net(images), labels, reduction="none")
                    optimizer.zero_grad()
                    losses.mean().backward()
                    optimizer.step()
                    curve[epoch, numbers] = losses.detach()
            total += curve[-1]
        return total / trials

    return run


def reference_step(device: str, folder: str, method: str, batch: int) -> Side:
    return getattr(Reference(folder, cifar_shaped(PER_CLASS, device), batch), f"{method}_step")


def reference_evaluation(device: str, folder: str) -> Side:
    reference, test = Reference(folder, cifar_shaped(PER_CLASS, device), 64), cifar_shaped(1000, device)
    return lambda: reference.evaluate(test)


def cords_selection(device: str, folder: str, name: str) -> Side:
    return getattr(Cords(folder, Selection(device)), name)


class Reference:
    """The reference's own functions, called in the order of its main programs."""

    def __init__(self, folder: str, data: ImageData, batch: int, model: str = "ConvNet") -> None:
        sys.path.insert(0, folder)
        self.utils = importlib.import_module("utils")
        self.batch, self.device, self.model = batch, data.device, model
        self.real = data.batch()
        self.members = [data.of_class(c) for c in range(CLASSES)]
        self.images = torch.randn(CLASSES, *SHAPE, device=self.device, requires_grad=True)
        self.descent = {"dc": torch.optim.SGD([self.images], 0.1, 0.5), "dm": torch.optim.SGD([self.images], 1.0, 0.5)}
        self.args = types.SimpleNamespace(
            device=self.device.type, dis_metric="ours", dsa=False, dsa_strategy="none", dc_aug_param=None,
            lr_net=0.01, epoch_eval_train=300, batch_train=256, dsa_param=self.utils.ParamDiffAug(),
        )  # fmt: skip

    def network(self) -> torch.nn.Module:
        return self.utils.get_network(self.model, 3, CLASSES, SHAPE[1:]).train()

    def batch_of(self, c: int) -> torch.Tensor:
        return self.real[self.members[c][torch.randperm(len(self.members[c]), device=self.device)[: self.batch]]]

    def dc_step(self) -> None:
        net = self.network()
        parameters, optimizer = list(net.parameters()), self.descent["dc"]
        loss = torch.zeros((), device=self.device)
        for c in range(CLASSES):
            real = self.batch_of(c)
            target = torch.autograd.grad(
                cross_entropy(net(real), torch.full((len(real),), c, device=self.device)), parameters
            )
            target = [g.detach().clone() for g in target]
            own = cross_entropy(net(self.images[c : c + 1]), torch.full((1,), c, device=self.device))
            loss = loss + self.utils.match_loss(
                torch.autograd.grad(own, parameters, create_graph=True), target, self.args
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def dm_step(self) -> None:
        net, strategy = self.network().requires_grad_(False), "color_crop_cutout_flip_scale_rotate"
        optimizer = self.descent["dm"]
        loss = torch.zeros((), device=self.device)
        for c in range(CLASSES):
            # its Siamese lines fail on current PyTorch; parameters drawn for each image cost the same
            batches = (self.batch_of(c), self.images[c : c + 1])
            real, own = (self.utils.DiffAugment(x, strategy, seed=-1, param=self.args.dsa_param) for x in batches)
            loss = loss + ((net.embed(real).detach().mean(0) - net.embed(own).mean(0)) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def evaluate(self, test: ImageData) -> list[float]:
        """Accuracies of five networks."""
        labels = torch.arange(CLASSES, device=self.device)
        loader = torch.utils.data.DataLoader(self.utils.TensorDataset(test.batch(), test.labels), batch_size=256)
        judge, images = self.utils.evaluate_synset, self.images.detach()
        return [judge(k, self.network(), images, labels, loader, self.args)[2] for k in range(5)]


class Cords:
    """CORDS's selection strategies on the samples of a `Selection`."""

    PACKAGES = (
        "cords",
        "cords.selectionstrategies",
        "cords.selectionstrategies.helpers",
        "cords.selectionstrategies.SL",
    )

    def __init__(self, folder: str, selection: Selection) -> None:
        for name in self.PACKAGES:  # in place of the packages' own first lines, which import what is gone
            package = types.ModuleType(name)
            package.__path__ = [str(Path(folder, *name.split(".")))]
            sys.modules[name] = package
        with np.errstate():  # it makes NumPy raise at every underflow
            solvers = importlib.import_module(f"{self.PACKAGES[2]}.omp_solvers")
        vars(sys.modules[self.PACKAGES[2]]).update(vars(solvers))
        self.model, self.budget = selection.model, int(selection.SHARE * selection.count)
        samples = torch.utils.data.TensorDataset(selection.features, selection.labels)
        where = torch.arange(len(samples)).split(selection.count)
        subsets = (torch.utils.data.TensorDataset(*samples[part]) for part in where)
        loaders = [torch.utils.data.DataLoader(subset, batch_size=1000) for subset in subsets]
        loss = torch.nn.CrossEntropyLoss(reduction="none")
        self.common = (*loaders, self.model, loss)
        self.place = (selection.features.device.type, CLASSES)
        self.log = logging.getLogger("cords")

    def _select(self, module: str, name: str, *settings: object, **more: object) -> object:
        strategy = getattr(importlib.import_module(f"{self.PACKAGES[3]}.{module}"), name)
        return strategy(*self.common, *settings, self.log, **more).select(self.budget, self.model.state_dict())

    def craig(self) -> object:
        return self._select("craigstrategy", "CRAIGStrategy", *self.place, False, False, "PerClass")

    def gradmatch(self) -> object:
        return self._select("gradmatchstrategy", "GradMatchStrategy", 0.01, *self.place, True, "PerClass", lam=0.5)

    def glister(self) -> object:
        return self._select("glisterstrategy", "GLISTERStrategy", 0.01, *self.place, True, "Supervised", "Naive")
