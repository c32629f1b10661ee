"""Small last layers to choose from."""

import torch

from bilp_core.coresets import LastLayer


def random_layer(count: int, *, classes: int = 3, size: int = 5, seed: int = 0, labels=None) -> LastLayer:
    """Half-trained: the logits lean towards the label. float64, classes in turn unless `labels` are given."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes if labels is None else labels
    features = torch.rand(count, size, generator=rng, dtype=torch.float64)
    logits = features @ torch.randn(size, classes, generator=rng, dtype=torch.float64)
    logits[torch.arange(count), labels] += 1
    return LastLayer(features, logits, labels)


def gradients(layer: LastLayer) -> torch.Tensor:
    """Gradients of each sample's loss by the weights and biases, by autograd: [N, C (E + 1)]."""
    weight = torch.zeros(layer.logits.shape[1], layer.features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(layer.logits.shape[1], dtype=torch.float64, requires_grad=True)
    rows = []
    for h, z, y in zip(layer.features, layer.logits, layer.labels, strict=True):
        out = z + weight @ h + bias
        loss = torch.nn.functional.cross_entropy(out[None], y[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, [weight, bias])]))
    return torch.stack(rows)
