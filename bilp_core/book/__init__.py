"""The book: chapters, their parameters, their execution, their pages."""

from .building import build, run_chapter
from .chapter import Chapter, chapters, settings
from .checking import check_parameters
from .distribution import distribute
from .jupyter import notebooks
from .planning import planned
from .render import BuildFailed
from .sweeping import chapter_job, sweep

__all__ = [
    "BuildFailed",
    "Chapter",
    "build",
    "chapter_job",
    "chapters",
    "check_parameters",
    "distribute",
    "notebooks",
    "planned",
    "run_chapter",
    "settings",
    "sweep",
]
