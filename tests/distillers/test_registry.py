"""A method is one file: the registry finds it, and how it is evaluated."""

import subprocess
import sys
from pathlib import Path

import bilp_core

NEW = '''
"""The images are drawn to the mean of their class (nobody's method)."""

from dataclasses import dataclass
from typing import ClassVar

from .method import Distiller


@dataclass(frozen=True)
class Mean(Distiller):
    name: ClassVar[str] = "mean"
    summary: ClassVar[str] = "class means"
    judged_like: ClassVar[str] = "dc"
    iterations: int = 5
    image_lr: float = 0.5

    def step(self, run):
        means = [run.data.batch(run.data.of_class(c)).mean(0) for c in range(run.data.num_classes)]
        loss = sum((run.images_of(c) - mean).square().mean() for c, mean in enumerate(means))
        loss.backward(inputs=[run.images])
        run.descend()
        return loss.detach()
'''
PROGRAM = """
from bilp_core import distill, evaluate, load, make, protocol
train, test = load("digits")
network = "convnet:depth=1,width=4"
made = distill(make("mean", iterations=3), train, ipc=1, network=network)
judged = protocol("mean", train, network, epochs=2)
print(judged.augment, len(evaluate(made, test, network=network, protocol=judged, repeats=1).values))
"""


def test_a_new_method_is_one_file(tmp_path):
    package = Path(bilp_core.__file__).parent
    copy = tmp_path / "bilp_core"
    copy.mkdir()
    for item in package.iterdir():
        if item.name not in ("distillers", "__pycache__"):
            (copy / item.name).symlink_to(item)
    (copy / "distillers").mkdir()
    for item in (package / "distillers").glob("*.py"):
        (copy / "distillers" / item.name).symlink_to(item)
    (copy / "distillers/mean.py").write_text(NEW)
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.stdout == "dc:crop_scale_rotate 1\n", said.stderr
