"""Jupyter Book 1 is only maintained any more. The way out: a conf.py made of `_config.yml`, and Sphinx alone."""

import re
import shutil
import subprocess
import sys

from bilp_core import book
from bilp_core.book import render
from bilp_core.utils import paths

# What the generated configuration lists of Jupyter Book itself.
OWN = ("jupyter_book", "sphinx_comments")
ERRORS = """\
# Errors

{py:exc}`~bilp_core.errors.InputError` is raised {cite:p}`xu2024bilp` where $a^2 < 0$.

```{eval-rst}
.. bilp-room:: errors
```

```{bibliography}
```
"""


def test_sphinx_alone_makes_the_same_pages_without_a_warning(project, monkeypatch):
    """Two tiny chapters and a page of the reference, staged as always, under the book's own configuration."""
    root = paths.root()
    shutil.copy(root / "_config.yml", project)
    shutil.copy(root / "book/references.bib", project / "book")
    for folder in ("_static", "_extra"):
        shutil.copytree(root / "book" / folder, project / "book" / folder)
    (project / "book/errors.md").write_text(ERRORS)
    with (project / "book/_toc.yml").open("a") as contents:
        contents.write("- file: errors\n")
    with monkeypatch.context() as patch:  # as far as the rendering
        patch.setattr(render, "_sphinx", lambda *_, **__: None)
        patch.setattr(render, "lost_pages", lambda *_: [])
        book.build(draft=True, root=project)

    source, pages = project / "_build/quick/src", project / "pages"
    shutil.copy(project / "_config.yml", source)  # conf.py is written beside it
    subprocess.run([render._builder(), "config", "sphinx", source], check=True, capture_output=True)
    conf = source / "conf.py"
    conf.write_text(re.sub("|".join(f"'{name}', " for name in OWN), "", conf.read_text("utf-8")))
    assert not [name for name in OWN if name in conf.read_text("utf-8")]
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "-n", "--keep-going", "-q", source, pages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not render.lost_pages(project, pages)
    assert 'href="#bilp_core.errors.InputError"' in (pages / "errors.html").read_text("utf-8")
