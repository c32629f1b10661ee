"""A network for clips: a ConvNet that sees one frame after the other, and a recurrent layer over them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import InputError
from .convnet import convnet
from .layers import Shape

SHARE = 8  # of the features of a frame, how many times fewer the recurrent layer has


class EachFrame(nn.Module):
    """Features of each frame of a clip: [N, T*C, H, W], frame by frame -> [N, T, E].

    >>> import torch
    >>> from bilp_core.nets.recurrent import EachFrame
    >>> clips = torch.arange(12.0).view(1, 6, 1, 2)  # of 3 frames of 2 colours
    >>> EachFrame(3, torch.nn.Identity())(clips)[0].tolist()
    [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0]]
    """

    def __init__(self, frames: int, trunk: nn.Module) -> None:
        super().__init__()
        self.frames, self.trunk = frames, trunk

    def forward(self, x: Tensor) -> Tensor:
        each = self.trunk(x.unflatten(1, (self.frames, -1)).flatten(0, 1))
        return each.flatten(1).unflatten(0, (-1, self.frames))


class GRU(nn.Module):
    """One layer of gated recurrent units from a start of zeros, and the mean of its states over time:
    [N, T, inputs] -> [N, hidden].

    In plain operations, for `torch.nn.GRU` has no second derivatives on a GPU and does not run under vmap; its
    parameters have the same names, shapes and order here.
    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014, in PyTorch's form.

    >>> import torch
    >>> from bilp_core.nets.recurrent import GRU
    >>> plain, ours = torch.nn.GRU(5, 3, batch_first=True), GRU(5, 3)
    >>> _ = ours.load_state_dict(plain.state_dict())
    >>> sequences = torch.randn(2, 4, 5)
    >>> torch.allclose(ours(sequences), plain(sequences)[0].mean(1), atol=1e-6)
    True
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden))

    @property
    def hidden(self) -> int:
        return self.weight_hh_l0.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        inputs = nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        state = inputs.new_zeros(len(x), self.hidden)
        states = []
        for now in inputs.unbind(1):
            before = nn.functional.linear(state, self.weight_hh_l0, self.bias_hh_l0)
            (reset, update, new), (r, u, n) = now.chunk(3, 1), before.chunk(3, 1)
            update = torch.sigmoid(update + u)
            candidate = torch.tanh(new + torch.sigmoid(reset + r) * n)
            state = candidate + update * (state - candidate)
            states.append(state)
        return torch.stack(states, 1).mean(1)


def convnet_gru(shape: Shape, depth: int = 3, width: int = 128, frames: int = 8) -> nn.Sequential:
    """A ConvNet with instance norm on every frame, one layer of gated recurrent units over its flat features, an eighth
    as many, and the mean over time: all before the last linear layer.

    shape : (frames x colours, H, W) of a clip.
    Raises InputError where `frames` does not divide the channels.
    Source: the code of Wang et al., Dancing with Still Images, CVPR 2024; supplement Sec. 6.4 (ConvNetD3+GRU).

    >>> from bilp_core.nets import network
    >>> net = network("convnet-gru", (24, 64, 64), 400)  # 8 frames of 3 colours
    >>> sum(p.numel() for p in net.parameters()), net.classifier.in_features
    (29027216, 1024)
    """
    channels, height, side = shape
    if channels % frames:
        raise InputError(
            f"network 'convnet-gru': {channels} channels are no {frames} frames of equal colours: frames must divide "
            "them (1 for single images)"
        )
    trunk = convnet((channels // frames, height, side), depth, width)
    features = trunk(torch.zeros(1, channels // frames, height, side)).numel()
    return nn.Sequential(EachFrame(frames, trunk), GRU(features, max(1, features // SHARE)))
