"""What is counted of a piece of work: operations and bytes against what they are by hand, and the rows."""

import hours
import pytest
import torch
import torch.nn.functional as F

from bilp_core.nets import memory
from bilp_core.nets.recurrent import GRU
from bilp_core.studies.hours import Piece

NET = "convnet:depth=1,width=4"
ROUND = Piece("round", "mnist", "dm", 1, NET)
CONVOLUTION = 2 * 32 * 32 * 9 * 4 / 1e9  # of an image, which is padded to 32x32


def test_bytes_of_tensors_that_are_alive():
    before = torch.zeros(1000)
    with hours.Alive() as alive:
        view = before.view(10, 100)
        assert alive.now == 0
        kept = view + 1
        assert alive.now == 4000
        kept.add_(1).t()
        assert (alive.now, alive.peak) == (4000, 4000)
        doubled = torch.cat([kept, kept])
        assert (alive.now, alive.peak) == (12_000, 12_000)
        del doubled
        assert (alive.now, alive.peak) == (4000, 12_000)
        data = torch.zeros(100, dtype=torch.uint8)
        assert alive.now == 4000
    assert len(data) == 100


def test_bytes_that_autograd_keeps():
    with hours.Alive() as alive:
        leaf = torch.ones(1000, requires_grad=True)
        out = leaf.exp()  # which its derivative needs
        whole = out.sum()
        del out
        assert alive.now == 4000 + 4000 + 4
        whole.backward()
        assert alive.now == 4000 + 4000 + 4  # the gradient in place of what was kept
    assert alive.peak >= 3 * 4000


def test_convolutions_and_products_apart():
    images, kernel, weight = torch.ones(2, 3, 5, 5), torch.ones(4, 3, 3, 3), torch.ones(100, 7)
    found = hours.counted(lambda: lambda: F.conv2d(images, kernel, padding=1).flatten(1) @ weight)
    assert float(found["convolution_gflop"]) * 1e9 == pytest.approx(2 * 2 * 4 * 25 * 27)
    assert float(found["product_gflop"]) * 1e9 == pytest.approx(2 * 2 * 100 * 7)
    assert float(found["peak_mb"]) * 1e6 == pytest.approx(4 * (2 * 4 * 25 + 2 * 7))
    assert float(found["stays_mb"]) == 0


def test_recurrent_units_are_counted():
    """Written in plain operations, they are products: of the inputs, and of the state at every time."""
    clips, times, inputs, hidden = 3, 5, 16, 4
    with torch.no_grad():
        net, sequences = GRU(inputs, hidden), torch.ones(clips, times, inputs)
        for weights in net.parameters():
            weights.zero_()
    forward = 2 * clips * times * 3 * hidden * (inputs + hidden)
    found = hours.counted(lambda: lambda: net(sequences))
    assert float(found["product_gflop"]) * 1e9 == pytest.approx(forward)
    found = hours.counted(lambda: lambda: net(sequences).sum().backward())
    # by all weights, and by every state but the first
    back = forward + 2 * clips * (times - 1) * 3 * hidden * hidden
    assert float(found["product_gflop"]) * 1e9 == pytest.approx(forward + back)


def test_batches_pass_whole_as_on_a_gpu(monkeypatch):
    seen = []
    monkeypatch.setenv("BILP_COMPILE", "1")
    usual = memory.CHUNK
    hours.counted(lambda: lambda: seen.extend(memory.split(torch.zeros(40, 3, 64, 64))))
    assert [len(part) for part in seen] == [40]
    assert usual == memory.CHUNK
    assert len(memory.split(torch.zeros(40, 3, 64, 64))) == 3


@pytest.mark.parametrize(
    ("piece", "settings", "convolution"),
    [
        # the real batch of a class; its image, and back through it
        (ROUND, {"augment": False, "outputs": 10, "batch": 8}, {1: 8 + 2, 2: 2 * (8 + 2)}),
        (Piece("training", "mnist", "", 0, NET, "none"), {}, {1: 2, 2: 4}),  # forward, and by the weights
        (Piece("test", "mnist", "", 0, NET), {}, {1: 1, 2: 2}),
    ],
    ids=lambda part: part.work if isinstance(part, Piece) else "",
)
def test_a_row_of_each_kind(piece, settings, convolution, monkeypatch):
    monkeypatch.setenv("BILP_COMPILE", "0")
    found = {size: hours.row(piece, size, settings) for size in convolution}
    for size, passes in convolution.items():
        assert tuple(found[size]) == (*hours.FIELDS, *hours.PROVENANCE)
        assert float(found[size]["convolution_gflop"]) == pytest.approx(passes * CONVOLUTION)
    assert float(found[2]["peak_mb"]) > float(found[1]["peak_mb"]) > 0
    assert float(found[1]["seconds"]) > 0


def test_a_checkpoint_holds_less_and_computes_more(monkeypatch):
    monkeypatch.setenv("BILP_COMPILE", "0")
    student = {"steps": 10, "span": 1, "starts": 1, "zca": "none", "augment": False}
    whole, one = (
        hours.row(Piece("round", "mnist", "mtt", 1, NET, way), 8, {**student, "checkpoint": bool(way)})
        for way in ("", "checkpoint")
    )
    assert whole["unit"] == one["unit"] == "images"
    assert float(one["peak_mb"]) < 0.7 * float(whole["peak_mb"])
    assert float(one["convolution_gflop"]) > float(whole["convolution_gflop"])


def test_sizes_go_by_frames():
    clips, images = (Piece("training", data, "", 0, NET, "none") for data in ("kinetics-400", "imagenet-64"))
    assert (hours.sizes(clips), hours.sizes(images)) == ([4, 8, 16], [32, 64, 128])
    assert hours.sizes(ROUND) == [1, 2, 4]


def test_all_steps_of_a_student_have_as_many_images():
    """A pass over the set that is cut into them leaves no rest."""
    students = [piece for piece in hours.pieces() if hours.is_student(piece)]
    assert {piece.data for piece in students} == {"imagenet-64", "kinetics-400"}
    for piece in students:
        whole = piece.ipc * hours.shaped(piece.data).num_classes
        assert [whole % size for size in hours.sizes(piece)] == [0, 0, 0]


def test_rows_are_asked_for_by_work_data_and_method(tmp_path, monkeypatch):
    path, asked = tmp_path / "hours.csv", []

    def row(piece, size, settings):
        asked.append((piece, settings))
        return dict.fromkeys((*hours.FIELDS, *hours.PROVENANCE), "") | {"size": size}

    monkeypatch.setattr(hours, "row", row)
    monkeypatch.setattr(hours.speed, "prepare", lambda device: None)
    words = ["--only", "round", "--data", "imagenet-64", "--method", "dc", "mtt", "--threads", "0"]
    monkeypatch.setattr("sys.argv", ["hours.py", *words, "--out", str(path)])
    hours.main()
    assert [piece.method for piece, _ in asked] == ["dc"] * 3 + ["mtt"] * 6
    assert asked[0][1]["outputs"] == 100  # the classes of a tenth, which is a task of its own
    assert "checkpoint" in asked[-1][1]
    assert [int(old["size"]) for old in hours.history.read(path)] == [1, 2, 4, 5, 10, 20, 5, 10, 20]
