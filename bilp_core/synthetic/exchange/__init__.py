"""Sets that travel: other people's files read, ours written for other code, several as one."""

from .incoming import describe, imported
from .layout import Layout, Told
from .layouts import LAYOUTS
from .merging import in_terms_of, merged
from .outgoing import Exported, exported, layouts

__all__ = [
    "LAYOUTS",
    "Exported",
    "Layout",
    "Told",
    "describe",
    "exported",
    "imported",
    "in_terms_of",
    "layouts",
    "merged",
]
