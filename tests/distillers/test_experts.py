"""Expert buffers: kept, resumed, checked."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from bilp_core.data import ImageData, whitening
from bilp_core.distillers import experts
from bilp_core.errors import InputError
from bilp_core.nets import Ensemble, fit, initialise, network
from bilp_core.utils.seeds import seeds

NET = "convnet:depth=1,width=4"
TRAINING = experts.Training(epochs=3, lr=0.1, batch=16, augment="crop")


@pytest.fixture(scope="module")
def data():
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageData(images, torch.arange(40) % 2, ("a", "b"), (0.5,), (0.3,), "tiny", False)


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    return experts.build(data, NET, TRAINING, 3, tmp_path_factory.mktemp("experts"))


@pytest.fixture
def copy(made, tmp_path):
    """The same buffer, to be damaged."""
    shutil.copytree(made.folder, tmp_path / made.folder.name)
    return tmp_path / made.folder.name


def test_an_expert_is_a_network_trained_by_itself(data, made):
    seed = seeds("expert", 0, 3)[2]
    fresh = network(NET, data.shape, 2)
    initialise(fresh, torch.Generator().manual_seed(seed))
    for name, p in fresh.named_parameters():
        assert torch.equal(made.parameters(2, 0)[name], p)
    alone = Ensemble(NET, data.shape, 2, [seed], stacked=False)
    fit(alone, data, replace(TRAINING, epochs=2).recipe())
    for name, p in alone.members[0].named_parameters():
        torch.testing.assert_close(made.parameters(2, 2)[name], p.detach(), rtol=1e-4, atol=1e-5)
    assert made.trajectory(1).shape == (4, sum(p.numel() for p in fresh.parameters()))


def test_an_interrupted_stage_goes_on(data, made, tmp_path, monkeypatch):
    monkeypatch.setattr(experts, "TOGETHER", 1)
    trained = []

    def stop(done, total, note):
        trained.append(note)
        if note == "expert 2 of 3" and done % 3 == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experts.build(data, NET, TRAINING, 3, tmp_path, stop)
    finished = sorted(path.name for path in (tmp_path / made.folder.name).glob("*.safetensors"))
    assert finished == ["expert-0000.safetensors"]
    before = (tmp_path / made.folder.name / finished[0]).stat().st_mtime_ns
    again = experts.build(data, NET, TRAINING, 3, tmp_path)
    assert (again.folder / finished[0]).stat().st_mtime_ns == before
    for k in range(3):
        torch.testing.assert_close(again.trajectory(k), made.trajectory(k), rtol=1e-4, atol=1e-5)


def test_more_experts_extend_a_buffer(data, copy):
    again = experts.build(data, NET, TRAINING, 4, copy.parent)
    assert len(again) == 4
    assert len(experts.load(copy, 2)) == 2


def test_the_key_follows_what_decides_the_experts(data):
    own = experts.key(data, NET, TRAINING)
    pruned = data.subset(torch.arange(39))
    others = [
        experts.key(pruned, NET, TRAINING),
        experts.key(data.subset(torch.arange(39, -1, -1)), NET, TRAINING),
        experts.key(data, "convnet:depth=1,width=8", TRAINING),
        experts.key(data, NET, replace(TRAINING, lr=0.2)),
        experts.key(whitening.whitened(data, "absolute"), NET, TRAINING),
    ]
    assert len({own, *others}) == 6
    assert own == experts.key(replace(data, name="other"), NET, TRAINING)


def test_the_key_follows_what_a_whitening_was_fitted_on(data):
    """Not its last digits, which depend on the machine and the number of threads."""
    white = whitening.whitened(data, "absolute")
    own = experts.key(white, NET, TRAINING)
    rounded = replace(white.whitening.to("cpu"), matrix=white.whitening.matrix * (1 + 1e-6))
    assert experts.key(whitening.with_whitening(data, rounded), NET, TRAINING) == own
    others = [
        whitening.fit(data, "relative"),
        whitening.fit(data.subset(torch.arange(39)), "absolute"),
        replace(rounded, source=""),
        replace(white.whitening, source=""),
    ]
    assert len({own, *(experts.key(whitening.with_whitening(data, w), NET, TRAINING) for w in others)}) == 5


def test_what_another_process_has_finished_stays(data, made, tmp_path, monkeypatch):
    """While expert 0 is trained, another process finishes all of them, with other last digits."""
    monkeypatch.setattr(experts, "TOGETHER", 1)
    folder, real, trained = tmp_path / made.folder.name, experts.fit, []

    def slow(*args, **options):
        trained.append(1)
        shutil.copytree(made.folder, folder, dirs_exist_ok=True)
        for name in made.files:
            other = {n: p + 1e-4 for n, p in load_file(folder / name).items()}
            save_file(other, folder / name)
        manifest = json.loads((folder / "manifest.json").read_text())
        for name in made.files:
            manifest["files"][name] |= experts.seal(folder / name)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return real(*args, **options)

    monkeypatch.setattr(experts, "fit", slow)
    again = experts.build(data, NET, TRAINING, 3, tmp_path)
    assert len(trained) == 1
    torch.testing.assert_close(again.trajectory(0), made.trajectory(0) + 1e-4)


def test_only_as_many_experts_together_as_fit(data, tmp_path, monkeypatch):
    monkeypatch.setattr(experts, "fitting", lambda positions, device: 2 if positions == 16 * 64 else 0)
    groups, real = [], experts._train
    monkeypatch.setattr(experts, "_train", lambda *args: groups.append(args[3]) or real(*args))
    built = experts.build(data, NET, replace(TRAINING, epochs=1), 3, tmp_path)
    assert groups == [[0, 1], [2]]
    assert built.seconds > 0


def test_damage_is_refused_by_name(data, made, copy):
    path = copy / "expert-0001.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"expert-0001\.safetensors is truncated"):
        experts.load(copy, 3)
    assert len(experts.load(copy, 1)) == 1
    path.write_bytes((copy / "expert-0002.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"expert-0001\.safetensors is not the expert that was written"):
        experts.build(data, NET, TRAINING, 3, copy.parent)
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"expert-0001\.safetensors is truncated"):
        experts.load(copy, 3)
    path.unlink()
    with pytest.raises(InputError, match=r"expert-0001\.safetensors: this expert is missing"):
        experts.load(copy, 3)


def test_a_manifest_of_other_experts_is_refused(data, made, copy):
    other = copy.with_name(experts.key(data, NET, replace(TRAINING, lr=0.2)))
    copy.rename(other)
    with pytest.raises(InputError, match=r"manifest\.json is of other experts"):
        experts.build(data, NET, replace(TRAINING, lr=0.2), 3, other.parent)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "format": "bilp-experts-0"}))
    with pytest.raises(InputError, match="format 'bilp-experts-0', this version reads 'bilp-experts-1'"):
        experts.load(other, 1)
    (other / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json is not a list of experts"):
        experts.load(other, 1)


def test_what_a_buffer_does_not_have(made, tmp_path):
    with pytest.raises(InputError, match="has 3 experts, 5 were asked for"):
        experts.load(made.folder, 5)
    with pytest.raises(InputError, match="there are no experts"):
        experts.load(tmp_path, 1)
    with pytest.raises(InputError, match="epoch 4: the experts in .* were trained for 3 epochs"):
        made.parameters(0, 4)
    with pytest.raises(InputError, match="expert 3: the buffer"):
        made.parameters(3, 0)


def test_room_on_the_disk(data, made, tmp_path, monkeypatch):
    parameters = made.trajectory(0).shape[1]
    size = sum((made.folder / name).stat().st_size for name in made.files)
    assert experts.disk_bytes(3, 3, parameters) == pytest.approx(size, rel=0.6)  # headers weigh in tiny files
    assert experts.disk_bytes(3, 3, parameters) == 3 * 4 * parameters * 4
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(InputError, match="the experts need .* GB .* are free"):
        experts.build(data, NET, TRAINING, 3, tmp_path)
    notes = []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    experts.build(data, NET, TRAINING, 1, tmp_path, lambda done, total, note: notes.append(note))
    assert notes[0].startswith("1 expert will take ")


def test_an_expert_that_diverges_leaves_the_others(data, copy):
    wild = replace(TRAINING, lr=1e30)
    with pytest.raises(FloatingPointError, match="experts 0 to 0: .*lower lr"):
        experts.build(data, NET, wild, 1, copy.parent)
    assert not (copy.parent / experts.key(data, NET, wild) / "manifest.json").exists()
    assert len(json.loads((copy / "manifest.json").read_text())["files"]) == 3
