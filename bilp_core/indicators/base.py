"""What an indicator is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Indicator:
    """compute(data, seed, progress, **options) -> [N], larger = harder; options(data name) -> their defaults."""

    summary: str
    compute: Callable[..., Tensor]
    options: Callable[[str], dict[str, Any]] = field(default=lambda _: {})
