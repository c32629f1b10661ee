"""Files are written whole, with the permissions of any new file."""

import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from bilp_core.synthetic import SyntheticSet
from bilp_core.utils.files import atomic


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_have_the_permissions_of_the_umask(umask, tmp_path):
    wanted = 0o666 & ~umask
    with atomic(tmp_path / "text.json") as path:
        path.write_text("{}")
    with atomic(tmp_path / "tensors.safetensors") as path:
        save_file({"a": torch.zeros(2)}, path)
    images, labels = torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64)
    SyntheticSet(images, labels, ("a",), (0.5,), (0.5,)).save(tmp_path / "set.safetensors")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("text.json", "tensors.safetensors", "set.safetensors"), wanted)


def test_a_file_that_is_written_again_is_open_to_whom_it_should(umask, tmp_path):
    (tmp_path / "a.txt").touch(0o600)
    with atomic(tmp_path / "a.txt") as path:
        path.write_text("new")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


def test_nothing_is_left_of_a_block_that_fails(tmp_path):
    def fail():
        with atomic(tmp_path / "a.txt") as path:
            path.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_block_that_writes_nothing_leaves_what_there_was(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a.txt"):
        pass
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
