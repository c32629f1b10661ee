"""Clips go where images go: as images of all their frames' channels, by networks that know the frames."""

import re
from dataclasses import replace

import pytest
import torch

from bilp_core.data import ImageData, fingerprint, strips
from bilp_core.distillers import METHODS, check_augment, distill, make
from bilp_core.errors import InputError
from bilp_core.evaluation import card, evaluate, judge_of, protocol
from bilp_core.evaluation.protocols import METHODS as JUDGED
from bilp_core.indicators import score
from bilp_core.nets import PROBES, probe_for
from bilp_core.nets.networks import default_network, doubts
from bilp_core.synthetic import SyntheticSet, exported, imported, initial, merged

from .distillers.common import short

NET = "convnet-gru:depth=1,width=4,frames=2"


@pytest.fixture
def clips():
    """Twelve clips of two frames of three colours."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 6, 8, 8), generator=rng, dtype=torch.uint8)
    return ImageData(images, torch.arange(12) % 3, ("a", "b", "c"), (0.5,) * 6, (0.25,) * 6, "tiny", frames=2)


def test_frames_of_clips(clips):
    assert torch.equal(clips.clips(torch.tensor([3]))[0, 1], clips.images[3, 3:])
    assert clips.positions == 2 * 8 * 8
    assert replace(clips, frames=1).positions == 8 * 8
    assert len({fingerprint(replace(clips, frames=t)) for t in (1, 2, 3)}) == 3
    with pytest.raises(InputError, match="frames = 4: must divide the 6 channels"):
        replace(clips, frames=4)


def test_pictures_of_clips_have_frames_side_by_side(clips, tmp_path):
    seen = strips(clips.images, 2)
    assert seen.shape == (12, 3, 8, 16)
    assert torch.equal(seen[:, :, :, 8:], clips.images[:, 3:])
    made = initial(clips, 2, "real", torch.Generator().manual_seed(0))
    assert torch.equal(made.pictures()[0, :, :, 8:], made.pixels()[0, 3:])
    assert made.grid(least=16).size == (2 * 17 + 1, 3 * 9 + 1)
    made.save(tmp_path / "s.safetensors")
    again = SyntheticSet.load(tmp_path / "s.safetensors")
    assert again.frames == 2
    assert "clips of 2 frames of 3x8x8" in card(again, "s.safetensors")
    assert judge_of(again) == "convnet-gru:depth=2,width=32,frames=2"
    with pytest.raises(InputError, match="frames = 4 of the synthetic set: must divide its 6 channels"):
        replace(made, frames=4).check()


def test_sets_of_clips_travel(clips, tmp_path):
    made = initial(clips, 2, "real", torch.Generator().manual_seed(0))
    exported(made, tmp_path / "npz", "npz")
    assert "a clip of 2 frames" in (tmp_path / "npz/README.md").read_text()
    again = imported([tmp_path / "npz"], "npz", clips)
    assert again.frames == 2
    assert torch.equal(again.images, made.images)
    with pytest.raises(InputError, match="clips of 2 frames: a PNG holds one image; --to pt or npz"):
        exported(made, tmp_path / "png", "folder")
    other = replace(made, classes=("d", "e", "f"))
    assert merged({"one": made, "two": other}).frames == 2
    with pytest.raises(InputError, match="frames 2 in one, 1 in two: must be the same"):
        merged({"one": made, "two": replace(other, frames=1)})
    with pytest.raises(InputError, match="the synthetic set has 2 frames a sample, tiny has 3"):
        evaluate(made, replace(clips, frames=3), protocol=protocol("dm", clips))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore")
def test_every_method_distils_clips_or_says_why_not(name, clips, tmp_path):
    loops = {key: 1 for key in ("outer", "inner") if hasattr(METHODS[name], key)}
    method = short(name, iterations=1, **loops)
    if refused := {"dsa": "take dc", "sre2l": "no views are defined"}.get(name):
        with pytest.raises(InputError, match=refused):
            distill(method, clips, 1, network=NET, home=tmp_path)
        return
    made = distill(method, clips, 1, network=NET if name not in ("kip", "rfad") else None, home=tmp_path)
    assert made.frames == 2
    assert torch.isfinite(made.images).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("dc", {"augment": True}), ("linba", {"augment": True}), ("frepo", {"flip": "on"})),
        *(("idc", {"augment": "idc:color"}), ("idc", {"cutmix": "on"})),
    ],
)
def test_an_augmentation_that_is_asked_for_is_refused(name, options, clips):
    with pytest.raises(InputError, match=r"on clips, of which (none|no augmentation) is defined"):
        distill(short(name, iterations=1, **options), clips, 1, network=NET)


def test_no_augmentation_of_clips_by_itself(clips):
    for name in ("dm", "mtt"):  # what is told and kept says so
        assert make(name).augment
        assert make(name).resolved(clips, 1).augment is False
        assert make(name).resolved(replace(clips, frames=1), 1).augment is True
    made = distill(make("dm", iterations=1), clips, 1, network=NET)
    assert made.meta["options"]["augment"] is False
    check_augment(make("dm"), {"iterations": 1}, clips)
    with pytest.raises(InputError, match="dm: augment = true: must be false on clips"):
        check_augment(make("dm"), {"augment": True}, clips)
    assert make("dm").strategy(clips) == make("mtt").strategy(clips) == "none"
    for kind in set(JUDGED) - {"sre2l"}:
        judged = protocol(kind, clips, NET)
        assert (judged.augment, judged.cutmix) == ("none", 0.0), kind
    assert protocol("dm", clips).epochs == protocol("mtt", clips).epochs == 500
    made = initial(clips, 1, "real", torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="augment = 'color', cutmix = 0 of the evaluation: must be 'none' and 0"):
        evaluate(made, clips, network=NET, protocol=protocol("dm", clips, augment="color"))


def test_a_network_of_other_frames_is_refused(clips):
    """Three frames of two colours would run as well as two of three."""
    made = initial(clips, 1, "real", torch.Generator().manual_seed(0))
    other = NET.replace("frames=2", "frames=3")
    message = "network .*frames=3' sees 3 frames, and the data have 2: convnet-gru:depth=1,width=4,frames=2"
    for use in (
        lambda: distill(make("dm", iterations=1), clips, 1, network=other),
        lambda: evaluate(made, clips, network=other, protocol=protocol("dm", clips, epochs=1)),
        lambda: score(clips, "loss", trials=1, epochs=1, network=other),
    ):
        with pytest.raises(InputError, match=message):
            use()


def test_networks_of_clips_by_themselves(clips):
    assert PROBES["kinetics-400"].network == default_network((24, 64, 64), 8) == "convnet-gru"
    assert probe_for(clips).network == "convnet-gru:depth=2,width=32,frames=2"
    assert make("dm").network(clips) == probe_for(clips).network
    assert score(clips, "loss", trials=1, epochs=10, lr=0.1).shape == (12,)
    hint = r"over 4 positions at last: take 16 or more \(convnet-gru:depth=2,width=32,frames=2 has 16\)"
    assert re.search(hint, doubts("convnet-gru:depth=3,frames=2", (6, 8, 8)))
