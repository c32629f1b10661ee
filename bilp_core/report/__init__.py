"""Tables and figures of the book: what a chapter shows, made from records and from the paper's numbers.

Two kinds of data frame go around here.
- Records: one row a trial, as `trials.run` returns them; accuracies are fractions.
- Values: some setting columns, then `value` and `std` in per cent, as `book/published/*.csv` holds the
  paper's numbers. `measured` and `max_ratios` turn records into values, so that all three columns of a
  comparison (published, ours at paper scale, this build) have one form.
"""

from .bars import BARS, with_bars, with_goals
from .comparable import max_pruning_ratio
from .examples import examples
from .figures import by_stratum, curves, legend, percentiles, show, style, versions
from .images import image_grid
from .origin import provenance, ran_on
from .photographs import photographs, set_pictures
from .reading import CIFAR10, MEASUREMENTS, asked, committed, committed_curves, measurements, names_of, published
from .tables import (
    ABSENT,
    MARK,
    NOT_RUN,
    max_ratio_table,
    one_by_one,
    over_seeds,
    percent,
    plus_minus,
    results_table,
    table,
    three_columns,
)
from .values import VERSIONS, differences, mark_comparable, max_ratios, measured, name_full, repeat_full, version

__all__ = [
    "ABSENT",
    "BARS",
    "CIFAR10",
    "MARK",
    "MEASUREMENTS",
    "NOT_RUN",
    "VERSIONS",
    "asked",
    "by_stratum",
    "committed",
    "committed_curves",
    "curves",
    "differences",
    "examples",
    "image_grid",
    "legend",
    "mark_comparable",
    "max_pruning_ratio",
    "max_ratio_table",
    "max_ratios",
    "measured",
    "measurements",
    "name_full",
    "names_of",
    "one_by_one",
    "over_seeds",
    "percent",
    "percentiles",
    "photographs",
    "plus_minus",
    "provenance",
    "published",
    "ran_on",
    "repeat_full",
    "results_table",
    "set_pictures",
    "show",
    "style",
    "table",
    "three_columns",
    "version",
    "versions",
    "with_bars",
    "with_goals",
]
