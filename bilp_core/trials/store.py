"""The folder that keeps records, scores, synthetic sets and first stages."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..utils import paths
from ..utils.files import atomic
from .trial import Trial

if TYPE_CHECKING:
    import numpy as np

    from ..synthetic.set import SyntheticSet


class Store:
    """A folder: records/<key>.json, scores/<key>.npz, scoring/<key>/, experts/<key>/, synthetic/<key>.safetensors.

    $BILP_STORE or "records".

    >>> from bilp_core.trials import Store, Trial
    >>> store, trial = Store("records"), Trial("digits")
    >>> store.get(trial) is None
    True
    >>> store.put({"key": trial.key, "accuracies": [0.5, 0.75]})
    >>> store.get(trial)["accuracies"]
    [0.5, 0.75]
    >>> store.record_path(trial.key).parent.name, store.synthetic(trial.synthetic_key) is None
    ('records', True)
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path).absolute() if path else paths.store()

    def record_path(self, key: str) -> Path:
        return self.path / "records" / f"{key}.json"

    def scores_path(self, key: str) -> Path:
        return self.path / "scores" / f"{key}.npz"

    def synthetic_path(self, key: str) -> Path:
        return self.path / "synthetic" / f"{key}.safetensors"

    @property
    def stages(self) -> Path:
        """Where first stages are kept, such as expert trajectories."""
        return self.path / "experts"

    @property
    def unfinished(self) -> Path:
        """Where jobs that were stopped left what they had."""
        return self.path / "unfinished"

    @property
    def scoring(self) -> Path:
        """Where the trials of indicators are kept, from which scores of more trials go on."""
        return self.path / "scoring"

    def get(self, trial: Trial) -> dict[str, Any] | None:
        """The record of a trial, None if there is none, or if it lacks the curves that the trial asks for.

        A damaged file is moved aside with a warning.
        """
        path = self.record_path(trial.key)
        try:
            record = json.loads(path.read_text())
            if record["key"] != trial.key or not record["accuracies"]:
                raise ValueError("it is of another trial")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _set_aside(path, error)
            return None
        return None if trial.evaluation.get("test_every") and "curves" not in record else record

    def records(self) -> Iterator[dict[str, Any]]:
        """All records there are, of whatever revision; what cannot be read is left out."""
        for path in sorted((self.path / "records").glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                yield json.loads(path.read_text())

    def put(self, record: Mapping[str, Any]) -> None:
        """Write a record under its `key`, whole or not at all; JSON values only."""
        with atomic(self.record_path(record["key"])) as path:
            path.write_text(json.dumps(record, indent=1))

    def scores(self, key: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Scores and labels stored under a key, each [N]; None if there are none."""
        found = self._scores(key)
        return (found["scores"], found["labels"]) if found else None

    def score_seconds(self, key: str) -> float:
        """What the scores under a key took to compute."""
        found = self._scores(key)
        return float(found["seconds"]) if found else 0.0

    def score_spread(self, key: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Spread and number of the trials of each sample, each [N]; None where there are none, as in older files."""
        found = self._scores(key)
        return (found["spread"], found["count"]) if found and {"spread", "count"} <= found.keys() else None

    def put_scores(
        self, key: str, scores: np.ndarray, labels: np.ndarray, seconds: float,
        spread: np.ndarray | None = None, count: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Write scores and labels, each [N], the seconds that the scores took and, of an indicator with trials, their
        spread and number, each [N]; whole or not at all."""
        import numpy as np

        more: dict[str, Any] = {} if spread is None or count is None else {"spread": spread, "count": count}
        with atomic(self.scores_path(key)) as path:
            np.savez(path, scores=scores, labels=labels, seconds=np.array(seconds), **more)

    def _scores(self, key: str) -> dict[str, np.ndarray] | None:
        import zipfile

        import numpy as np

        path = self.scores_path(key)
        try:
            # opened here, since NumPy does not close a damaged file
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in {"scores", "labels", "seconds", *file}}
        except FileNotFoundError:
            return None
        except (EOFError, KeyError, ValueError, AttributeError, zipfile.BadZipFile) as error:
            _set_aside(path, error)
            return None

    def synthetic(self, key: str) -> SyntheticSet | None:
        """The synthetic set stored under a key, None if there is none."""
        from ..synthetic.set import SyntheticSet

        path = self.synthetic_path(key)
        try:
            return SyntheticSet.load(path) if path.exists() else None
        except InputError as error:
            _set_aside(path, error)
            return None


def _set_aside(path: Path, error: Exception) -> None:
    """Keep a damaged file for a look at it, out of the way of the one that replaces it."""
    aside = path.with_name(path.name + ".corrupt")
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        path.replace(aside)
    warnings.warn(f"{path} is damaged ({error}); it is now {aside.name}, and made again", stacklevel=3)
