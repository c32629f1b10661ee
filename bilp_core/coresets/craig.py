"""CRAIG: samples whose gradients are near everyone's (Mirzasoleiman et al., ICML 2020)."""

import heapq
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .last_layer import LastLayer


def facility_location(similarity: np.ndarray) -> np.ndarray:
    """All rows in the order in which a greedy maximises sum_i max_{j chosen} similarity[i, j]: int64 [n].

    similarity : [n, n], symmetric, not negative. Any first k are within 1 - 1/e of the best k. Of equal gains the
                 smaller index goes first; rows that gain nothing any more follow by their index.
    A gain can only fall as more is chosen, so one that still tops the old gains of the others needs no comparison
    with their new ones (the lazy greedy of Minoux 1978): about ten evaluations a row instead of n.
    Raises InputError for a matrix that is not square, empty, not finite, or negative somewhere.

    >>> import numpy as np
    >>> from bilp_core.coresets import facility_location
    >>> place = np.array([0.0, 1.0, 2.0, 3.0, 9.0])
    >>> facility_location(9 - np.abs(place[:, None] - place)).tolist()  # the middle one, then the far one
    [2, 4, 0, 1, 3]
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not len(similarity):
        raise InputError(f"similarity is {list(similarity.shape)}: must be [n, n], not empty")
    if not np.isfinite(similarity).all() or similarity.min() < 0:
        raise InputError("similarity must be finite and not negative")
    covered = np.zeros_like(similarity[0])
    surplus = np.empty_like(covered)
    heap = [(-gain, row) for row, gain in enumerate(similarity.sum(1, dtype=np.float64).tolist())]
    heapq.heapify(heap)
    order = []
    while heap:
        row = heap[0][1]
        np.subtract(similarity[row], covered, out=surplus)
        gain = float(np.maximum(surplus, 0, out=surplus).sum(dtype=np.float64))
        heapq.heapreplace(heap, (-gain, row))
        if heap[0][1] == row:
            heapq.heappop(heap)
            np.maximum(covered, similarity[row], out=covered)
            order.append(row)
    return np.array(order)


def craig(layer: LastLayer, gradient: str = "logits", progress: Callable[[int], None] | None = None) -> list[Tensor]:
    """For each class the indices of all its samples in the order CRAIG takes them.

    gradient : see `LastLayer.gram`; the paper bounds a network's gradients by those of the logits.
    progress : called with the number of classes done.
    Similarity is the largest distance of the class minus the Euclidean distance between two gradients. With one
    similarity matrix over all classes, zero between them, the order in each class would be the same: the sum falls
    apart, and classes only share out how many they take, which class-wise pruning fixes.
    Raises InputError for another gradient. Source: Mirzasoleiman et al., ICML 2020.

    >>> import torch
    >>> from bilp_core.coresets import LastLayer, craig
    >>> right = torch.tensor([0.1, 0.3, 0.4, 0.45, 0.95])  # the probability of the true class
    >>> logits = torch.stack([right, 1 - right], 1).log()
    >>> layer = LastLayer(torch.zeros(5, 7), logits, labels=torch.zeros(5, dtype=torch.int64))
    >>> [order.tolist() for order in craig(layer)]
    [[2, 4, 0, 1, 3]]
    """
    orders = []
    for members in layer.classes():
        products = layer.gram(members, gradient)
        norms = products.diag()
        distances = (norms[:, None] + norms - 2 * products).clamp_(min=0).sqrt_()
        distances.fill_diagonal_(0)
        similarity = (distances.max() - distances).float().cpu().numpy()
        orders.append(members[torch.from_numpy(facility_location(similarity)).to(members.device)])
        if progress:
            progress(len(orders))
    return orders
