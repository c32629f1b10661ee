"""A project of two tiny chapters, and the real book where it has been built."""

from pathlib import Path

import pytest

from bilp_core.utils import paths

CHAPTER = """\
---
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

# {title}

```{{code-cell}} ipython3
:tags: [parameters]
seeds = 3  # runs
```

```{{code-cell}} ipython3
{code}
```
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone in small: an intro, the chapters `first` and `second`, one preset, no library code."""

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    write("_config.yml", "title: Tiny\nonly_build_toc_files: true\nexecute:\n  execute_notebooks: 'off'\n")
    write("requirements.lock", "")
    write(
        "book/_toc.yml",
        "format: jb-book\nroot: intro\nchapters:\n- file: chapters/first\n- file: chapters/second\n",
    )
    write("book/intro.md", "# Tiny\n\nText.\n")
    write("book/published/table.csv", "a\n1\n")
    for name in ("first", "second"):
        write(f"book/chapters/{name}.md", CHAPTER.format(title=name, code="print(seeds + 1)"))
        write(f"params/quick/{name}.yaml", "seeds: 2\n")
    return tmp_path


@pytest.fixture(scope="session")
def html() -> Path:
    """The rendered book of the quick preset, which `make test` builds first."""
    folder = paths.root() / "_build/quick/_build/html"
    if not (folder.parents[1] / "rendered.key").is_file():
        pytest.skip("no rendered book: run `make book` first")
    return folder
