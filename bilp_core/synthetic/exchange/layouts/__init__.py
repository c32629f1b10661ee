"""Layouts by name. A new one is a file here with its `LAYOUT`, and nothing else."""

import importlib
import pkgutil
from pathlib import Path

from ..layout import Layout

LAYOUTS: dict[str, Layout] = {
    name: importlib.import_module(f"{__package__}.{name}").LAYOUT
    for name in sorted(file.name for file in pkgutil.iter_modules([str(Path(__file__).parent)]))
}
