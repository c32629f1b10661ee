"""Pools of networks, each as old as chance has it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..nets.networks import initialise
from ..nets.recipe import LOSSES


class Shuffled:
    """Indices of batches of `size`, in a new order every epoch, without end; of everything where there is less."""

    def __init__(self, count: int, size: int, rng: Generator) -> None:
        self.count, self.size, self.rng = count, min(size, count), rng
        self.left: tuple[Tensor, ...] = ()

    def __next__(self) -> Tensor:
        if not self.left:
            order = torch.randperm(self.count, generator=self.rng, device=self.rng.device)
            self.left = order[: self.count // self.size * self.size].split(self.size)
        first, *left = self.left
        self.left = tuple(left)
        return first

    def state_dict(self) -> dict[str, Any]:
        return {"left": torch.cat(self.left) if self.left else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        left = state["left"]
        self.left = () if left is None else left.to(self.rng.device).split(self.size)


class Member:
    """A network of the pool, and how often it was updated."""

    def __init__(self, net: nn.Module, lr: float, rng: Generator, age: int) -> None:
        self.net, self.lr = net, lr
        self.restart(rng, age)

    def restart(self, rng: Generator, age: int = 0) -> None:
        initialise(self.net, rng)
        self.optimizer, self.age = torch.optim.Adam(self.net.parameters(), lr=self.lr), age

    def update(self, images: Tensor, labels: Tensor) -> None:
        self.net.train()
        self.optimizer.zero_grad()
        LOSSES["mse"](self.net(images), labels).mean().backward()
        self.optimizer.step()
        self.age += 1

    def state_dict(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "age": self.age}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.age = state["age"]


class Pool:
    """Networks at different points of their training on the synthetic images.

    A network that was used is updated, or starts anew if it had more than `updates` already. Their counts start apart,
    so that not all start anew together.

    size : networks. lr, batch : Adam of the updates, and how many of the synthetic images they see.
    """

    def __init__(self, net: nn.Module, rng: Generator, *, size: int, updates: int, lr: float, batch: int) -> None:
        self.rng, self.updates, self.batch = rng, updates, batch
        self.members = [Member(deepcopy(net), lr, rng, updates // size * k) for k in range(size)]

    def pick(self, host: Generator) -> Member:
        return self.members[int(torch.randint(len(self.members), (), generator=host))]

    def advance(self, member: Member, images: Tensor, labels: Tensor) -> None:
        if member.age > self.updates:
            member.restart(self.rng)
            return
        if len(images) > self.batch:
            picks = torch.randperm(len(images), generator=self.rng, device=self.rng.device)
            images, labels = (part[picks[: self.batch]] for part in (images, labels))
        member.update(images, labels)

    def state_dict(self) -> dict[str, Any]:
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for member, kept in zip(self.members, state["members"], strict=True):
            member.load_state_dict(kept)
