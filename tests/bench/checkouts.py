"""Rounds of IDC and MTT by the code of their authors: its functions, called in the order of its main programs.

IDC : snu-mllab/Efficient-Dataset-Condensation. It names CUDA in its functions; where there is none, its files are read
with the CPU's name in place of it. MTT : GeorgeCazenavette/mtt-distillation. What the two import and such a round never
calls (kornia, efficientnet_pytorch, an old path of SciPy) is left out where it is not installed.
"""

import importlib
import sys
import types
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path

import numpy as np
import torch
from ours import CLASSES, PER_CLASS, SHAPE, Expert, Side, cifar_shaped
from torch import nn

vars(np)["int"] = int  # an old name, which the code of IDC uses
UNUSED = ("kornia", "efficientnet_pytorch", "scipy.ndimage.interpolation")


def imported(folder: str, name: str, device: str) -> types.ModuleType:
    """A module of a checkout, as it would be on a machine whose only device is `device`."""

    class Loader(SourceFileLoader):
        def get_data(self, path: str) -> bytes:
            text = super().get_data(path)
            if path.endswith(".py") and device == "cpu":
                text = text.replace(b"'cuda'", b"'cpu'").replace(b".cuda()", b"")
            return text

    def hook(path: str) -> FileFinder:
        if Path(folder).resolve() not in (Path(path).resolve(), *Path(path).resolve().parents):
            raise ImportError(path)
        return FileFinder(path, (Loader, [".py"]))

    for unused in UNUSED:
        try:
            importlib.import_module(unused)
        except ImportError:
            stand_in = types.ModuleType(unused)
            stand_in.rotate = stand_in.EfficientNet = None
            sys.modules[unused] = stand_in
    sys.path.insert(0, folder)
    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
    sys.dont_write_bytecode = True  # what is read here is not what the files say
    return importlib.import_module(name)


def idc(device: str, folder: str, network_images: int) -> Side:
    """A round with one inner loop at IPC 1."""
    code = imported(folder, "condense", device)
    data = cifar_shaped(PER_CLASS, device)
    args = types.SimpleNamespace(
        dataset="cifar10", nclass=CLASSES, nch=SHAPE[0], size=SHAPE[1], net_type="convnet", depth=3, width=1.0,
        norm_type="instance", ipc=1, factor=2, decode_type="single", batch_real=64, batch_syn_max=128, match="grad",
        metric="mse", bias=False, fc=False, aug_type="color_crop_cutout", mixup_net="cut", mix_p=0.5, beta=1.0,
        verbose=False, print_freq=1000, epoch_print_freq=1000,
    )  # fmt: skip
    images = list(zip(data.images.cpu(), data.labels.tolist(), strict=True))
    loader = code.ClassMemDataLoader(Listed(images), batch_size=args.batch_real, device=device)
    made = code.Synthesizer(args, CLASSES, *SHAPE, device=device)
    augment, augment_network = code.diffaug(args, device=device)
    pixels = torch.optim.SGD(made.parameters(), lr=5e-3, momentum=0.5)

    def run() -> None:
        net = code.define_model(args, CLASSES).to(device).train()
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        made.data.data = made.data.data.clamp(0, 1)
        for c in range(CLASSES):
            real, label = loader.class_sample(c)
            own, own_label = made.sample(c, max_size=args.batch_syn_max)
            both = augment(torch.cat([real, own]))
            loss = code.matchloss(args, both[: len(real)], both[len(real) :], label, own_label, net)
            loss.item()
            pixels.zero_grad()
            loss.backward()
            pixels.step()
        code.train_epoch(
            args, loader, net, nn.CrossEntropyLoss(), optimizer, n_data=network_images, aug=augment_network,
            mixup=args.mixup_net,
        )  # fmt: skip

    return run


class Listed(list):
    """Images and labels, as the checkout wants a data set."""

    nclass = CLASSES

    @property
    def targets(self) -> list[int]:
        return [label for _, label in self]


def mtt(device: str, folder: str, steps: int) -> Side:
    """A round at IPC 1: so many steps of a student, and the way back through them."""
    utils = imported(folder, "utils", device)
    student = importlib.import_module("reparam_module").ReparamModule(
        utils.get_network("ConvNet", SHAPE[0], CLASSES, SHAPE[1:], dist=False).to(device)
    )
    expert, parameters = Expert("convnet"), utils.ParamDiffAug()
    start, target = (
        torch.cat([p.flatten() for p in expert.parameters(0, epoch, device).values()]).to(device) for epoch in (0, 2)
    )
    images = torch.randn(CLASSES, *SHAPE, device=device, requires_grad=True)
    labels = torch.arange(CLASSES, device=device)
    rate = torch.tensor(0.02, device=device, requires_grad=True)
    optimizers = (torch.optim.SGD([images], 30.0, momentum=0.5), torch.optim.SGD([rate], 1e-6, momentum=0.5))
    loss_of = nn.CrossEntropyLoss()

    def run() -> None:
        student.train()
        weights = start.clone().requires_grad_()
        for _ in range(steps):
            order = torch.randperm(CLASSES)
            shown = utils.DiffAugment(images[order], "color_crop_cutout_flip_scale_rotate", param=parameters)
            loss = loss_of(student(shown, flat_param=weights), labels[order])
            weights = weights - rate * torch.autograd.grad(loss, weights, create_graph=True)[0]
        missed = nn.functional.mse_loss(weights, target, reduction="sum")
        missed = missed / nn.functional.mse_loss(start, target, reduction="sum")
        for optimizer in optimizers:
            optimizer.zero_grad()
        missed.backward()
        for optimizer in optimizers:
            optimizer.step()
        missed.item()

    return run
