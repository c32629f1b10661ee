"""Coresets: subsets that stand for a data set. Each method gives the order in which it takes the samples of a class.

    CRAIG      the gradients of all are near those of the chosen    facility location      craig.py
    GradMatch  a weighted sum of theirs is the sum of all           matching pursuit       gradmatch.py
    GLISTER    a step on them lowers the loss on held-out samples   greedy, step by step   glister.py
    herding    their mean feature is the mean of all                greedy                 herding.py

All stand on one trained network: on its features and, but for herding, on the gradients of its last layer
(`LastLayer`). All are greedy, so that one order serves every size: `ranks` makes scores of it, small for the samples
taken first, and `pruning.keep(..., drop="largest")` keeps the coreset. The weights that CRAIG and GradMatch give
their samples are not used, since pruning has no place for them. `indicators` registers them by name.

Tables 1 and 2 of the supplement were made with the CORDS package. In its per-class CRAIG the gradients are gathered
through a sampler that shuffles the class, while the chosen rows are read as positions in the class as it is stored;
what it returns is therefore a random subset of the class, and its weights belong to other samples. The published row
of CRAIG at IPC 1, within about one point of random selection, agrees with that; the row at IPC 50, some five points
below random selection whatever the ratio, is not explained by it. Ours keeps the order.
"""

from .craig import craig, facility_location
from .glister import check_glister, glister, taylor_greedy
from .gradmatch import check_gradmatch, gradmatch, matching_pursuit
from .herding import herding
from .last_layer import LastLayer, check_gradient
from .ranks import completed, ranks

__all__ = [
    "LastLayer",
    "check_glister",
    "check_gradient",
    "check_gradmatch",
    "completed",
    "craig",
    "facility_location",
    "glister",
    "gradmatch",
    "herding",
    "matching_pursuit",
    "ranks",
    "taylor_greedy",
]
