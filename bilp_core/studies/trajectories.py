"""Figures about expert trajectories and the students that follow them."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..report.figures import style


def plane(expert: Tensor) -> tuple[Tensor, Tensor, float]:
    """The plane of most variance of a trajectory [E, P]: its mean [P], two directions [P, 2], their share of the
    variance.

    >>> import torch
    >>> from bilp_core.studies.trajectories import plane
    >>> line = torch.arange(4.0).view(4, 1) * torch.tensor([[3.0, 0.0, 4.0]])
    >>> mean, directions, share = plane(line)
    >>> mean.tolist(), directions.shape, round(share, 4)
    ([4.5, 0.0, 6.0], torch.Size([3, 2]), 1.0)
    """
    mean = expert.mean(0)
    _, values, directions = torch.linalg.svd(expert - mean, full_matrices=False)
    share = float(values[:2].square().sum() / values.square().sum().clamp(min=1e-30))
    return mean, directions[:2].T, share


def trajectories(expert: Tensor, students: Mapping[str, Tensor], target: int) -> Figure:
    """An expert's parameters after each epoch, and those of students after each step, in the plane in which the
    expert moves most.

    expert : [epochs + 1, P]. students : name -> [steps + 1, P]. target : the epoch where students should end; left,
    the paths; right, each student's distance from there as a share of its distance at the start.

    >>> import matplotlib.pyplot as plt
    >>> import torch
    >>> from bilp_core.studies.trajectories import trajectories
    >>> expert = torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0], [4.0, 0.0, 0.0]])
    >>> student = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    >>> figure = trajectories(expert, {"student": student}, target=2)
    >>> figure.axes[1].lines[0].get_ydata().tolist()
    [1.0, 0.25]
    >>> plt.close(figure)
    """
    style()
    mean, axes_of_plane, share = plane(expert)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.0), width_ratios=(3, 2))
    path = (expert - mean) @ axes_of_plane
    left.plot(*path.T, color="0.55", marker="o", markersize=3, linewidth=1, label="expert, each epoch")
    left.scatter(*path[target], marker="*", s=90, color="0.3", zorder=3, label=f"epoch {target}")
    for name, student in students.items():
        (line,) = left.plot(*((student - mean) @ axes_of_plane).T, marker=".", markersize=3, linewidth=1, label=name)
        distance = (student - expert[target]).norm(dim=1)
        right.plot(distance / distance[0], color=line.get_color(), marker=".", markersize=3, linewidth=1)
    left.set_xlabel(f"first direction (both: {share:.0%} of the variance)")
    left.set_ylabel("second direction")
    right.axhline(1, color="0.6", linewidth=1)
    right.set_xlabel("step of the student")
    right.set_ylabel("distance / distance at the start")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure
