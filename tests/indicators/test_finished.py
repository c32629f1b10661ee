import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from bilp_core.data import fingerprint, whitening
from bilp_core.indicators import recording, score, timed_score
from bilp_core.indicators.finished import Finished
from bilp_core.utils.files import Unfinished

from .common import PROBED, awkward

pytestmark = pytest.mark.filterwarnings("ignore:the networks have hardly learned")  # three epochs are few
OPTIONS = {**PROBED, "trials": 3, "together": 1}


def scores_of(data, folder, **options):
    with Unfinished(folder) as unfinished:
        return score(data, "loss", unfinished=unfinished, **{**OPTIONS, **options})


def stopped(folder):
    """Score, but be interrupted in the third of three trials."""

    def progress(done, total, note):
        if done > 2 * total / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores_of(awkward(), folder, progress=progress)


@pytest.fixture
def trained(monkeypatch):
    """The number of trials trained since."""
    count, train = [], recording._train
    monkeypatch.setattr(recording, "_train", lambda *args: count.append(len(args[2])) or train(*args))
    return count


def test_a_stopped_job_goes_on(tmp_path, trained):
    stopped(tmp_path)
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 2
    trained.clear()
    scores = scores_of(awkward(), tmp_path)
    assert sum(trained) == 1
    assert torch.equal(scores, score(awkward(), "loss", **OPTIONS))
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_scores_that_were_not_stored_are_not_lost(tmp_path, trained):
    score(awkward(), "loss", unfinished=Unfinished(tmp_path), **OPTIONS)
    trained.clear()
    scores_of(awkward(), tmp_path)
    assert sum(trained) == 0


def test_the_seconds_of_a_stopped_job_count(tmp_path, monkeypatch):
    """On a clock where a trial takes 10 s: two trials before it stops, the third after."""
    clock, train = [0.0], recording._train

    def slow(*args):
        clock[0] += 10
        return train(*args)

    monkeypatch.setattr("bilp_core.indicators.finished.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(recording, "_train", slow)
    stopped(tmp_path)
    clock[0] += 1000  # nobody works
    _, seconds = timed_score(awkward(), "loss", unfinished=Unfinished(tmp_path), **OPTIONS)
    assert seconds == 30


def test_grand_goes_on_too(tmp_path):
    options, kept = {"trials": 3, "network": "mlp"}, Unfinished(tmp_path)

    def progress(done, total, note):
        if done > 2 * 41:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(awkward(), "grand", progress=progress, unfinished=kept, **options)
    seen = []
    scores = score(awkward(), "grand", progress=lambda done, *_: seen.append(done), unfinished=kept, **options)
    assert seen == [3 * 41]
    assert torch.equal(scores, score(awkward(), "grand", **options))


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.5}, {"epochs": 2}, {"sigma": 1.0}])
def test_other_settings_are_another_job(change, tmp_path, trained):
    stopped(tmp_path)
    trained.clear()
    scores_of(awkward(), tmp_path, **change)
    assert sum(trained) == 3


def test_other_data_are_another_job(tmp_path, trained):
    stopped(tmp_path)
    trained.clear()
    scores_of(awkward(seed=1), tmp_path)
    assert sum(trained) == 3
    data = awkward()
    data.labels[5] = 1
    assert fingerprint(data) != fingerprint(awkward())


def test_a_whitening_counts_by_what_it_was_fitted_on():
    """Not by its last digits, which depend on the machine."""
    data = awkward()
    white = whitening.whitened(data, "absolute")
    rounded = replace(white.whitening, matrix=white.whitening.matrix * (1 + 1e-6))
    assert fingerprint(whitening.with_whitening(data, rounded)) == fingerprint(white)
    assert len({fingerprint(d) for d in (data, white, whitening.whitened(data, "relative"))}) == 3


def test_another_process_clears_the_job(tmp_path, monkeypatch):
    parts, save = Finished(Unfinished(tmp_path), {"a": 1}), safetensors.torch.save_file

    def late(tensors, path):
        shutil.rmtree(parts.folder)
        save(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", late)
    parts.put({0: {"a": torch.ones(2)}})
    assert not tmp_path.joinpath(parts.key).exists()
    monkeypatch.setattr(safetensors.torch, "save_file", lambda tensors, path: None)  # no file, though there is a folder
    with pytest.raises(FileNotFoundError):
        parts.put({0: {"a": torch.ones(2)}})


def test_a_damaged_part_is_made_again(tmp_path, trained):
    stopped(tmp_path)
    (part,) = tmp_path.glob("*/1.safetensors")
    part.write_bytes(part.read_bytes()[:50])
    trained.clear()
    scores = scores_of(awkward(), tmp_path)
    assert sum(trained) == 2
    assert torch.equal(scores, score(awkward(), "loss", **OPTIONS))


def test_without_a_place_nothing_is_kept():
    parts = Finished()
    parts.put({0: {"a": torch.ones(2)}})
    assert parts.get(0) is not None  # in memory
    assert Finished().get(0) is None
