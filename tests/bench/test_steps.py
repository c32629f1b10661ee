"""What the profile of a step counts, and of what its rows are made."""

import history
import pytest
import steps
import torch
import torch.nn.functional as F

from bilp_core.nets import network

SPEC = "convnet:depth=1,width=4"
PASS = 2 * 2 * 4 * 5 * 5 * 3 * 3 * 3  # of two 5x5 images through 3x3 kernels, 3 channels to 4, padded


@pytest.fixture
def convolved():
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 5, 5, generator=rng, requires_grad=True)
    kernel = torch.randn(4, 3, 3, 3, generator=rng, requires_grad=True)
    return images, kernel, lambda: F.conv2d(images, kernel, padding=1).square().sum()


def test_operations_of_convolutions_and_of_their_derivatives(convolved):
    images, kernel, loss = convolved

    def matched():
        (slope,) = torch.autograd.grad(loss(), [kernel], create_graph=True)
        slope.square().sum().backward(inputs=[images])

    assert steps.flop(loss) == PASS
    assert steps.flop(lambda: loss().backward(inputs=[kernel])) == 2 * PASS
    assert steps.flop(lambda: loss().backward()) == 3 * PASS
    # forward; by the kernel; then back through that slope, in what it multiplied (both of them), and to the images
    assert steps.flop(matched) == 5 * PASS


def test_operations_of_a_training():
    net = network("convnet", (3, 32, 32), 10)
    blocks = [(1024, 3, 128), (256, 128, 128), (64, 128, 128)]  # pixels, channels in and out
    convolutions = [2 * pixels * before * after * 9 for pixels, before, after in blocks]
    classifier = 2 * 2048 * 10
    forward = sum(convolutions) + classifier
    images = torch.zeros(6, 3, 32, 32)
    assert steps.flop(lambda: net(images)) == 6 * forward
    # the slope by the weights, and by what came in, but for the images
    assert steps.flop(lambda: net(images).sum().backward()) == 6 * (3 * forward - convolutions[0])


def test_the_settings_are_those_of_the_method():
    counted = [steps.flop(steps.built("mtt", 1, SPEC, {"steps": count})) for count in (2, 3, 4)]
    assert counted[2] - counted[1] == counted[1] - counted[0] > 0


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("aten::mkldnn_convolution", "convolutions and products"),
        ("aten::convolution_backward", "convolutions and products"),
        ("aten::addmm", "convolutions and products"),
        ("aten::native_group_norm_backward", "normalisation"),
        ("graph_1_cpp_fused_avg_pool2d_convolution_native_group_norm_relu_1", "normalisation"),
        ("graph_0_cpp_fused_convolution_0", "elementwise"),
        ("aten::linalg_vector_norm", "elementwise"),
        ("aten::avg_pool2d", "pooling"),
        ("aten::grid_sampler_2d_backward", "grids of augmentation"),
        ("aten::copy_", "copies, indices, random numbers"),
        ("aten::randperm", "copies, indices, random numbers"),
        ("aten::as_strided", "other operators"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "Python and autograd"),
        ("Optimizer.step#SGD.step", "Python and autograd"),
        ("round", "Python and autograd"),
    ],
)
def test_groups_of_operators(operator, name):
    assert steps.group(operator) == name


def test_shares_of_a_round_are_of_all_of_it(convolved):
    found = steps.parts(lambda: convolved[2]().backward())
    assert list(found) == list(steps.GROUPS)
    assert sum(found.values()) == pytest.approx(1)
    assert found["convolutions and products"] > 0
    assert found["Python and autograd"] > 0


@pytest.mark.parametrize(("method", "ipc"), steps.ROWS)
def test_a_row_of_each_kind(method, ipc, monkeypatch):
    monkeypatch.setenv("BILP_COMPILE", "0")
    monkeypatch.setattr(steps, "speeds", lambda spec, clock: (50.0, "convolution 1", 40.0))
    smaller = {"evaluation": {"epochs": 1}, "idc": {"network_images": 64}, "mtt": {"steps": 1}}.get(method, {})
    batch = {} if method == "evaluation" else {"batch": 8}
    found = steps.row(method, ipc, SPEC, 1, {**steps.ROWS[method, ipc], **batch, **smaller})
    assert tuple(found) == (*steps.FIELDS, *steps.PROVENANCE)
    seconds, gflop, floor = (float(found[name]) for name in ("seconds", "gflop", "floor_seconds"))
    assert floor == pytest.approx(gflop / 50, rel=1e-2)
    assert float(found["ratio"]) == pytest.approx(seconds / floor, rel=1e-2)
    assert float(found["share_of_convolution"]) == pytest.approx(gflop / 40 / seconds, abs=2e-3)
    assert 0 < float(found["products"]) < 1
    assert "%" in found["parts"]


@pytest.mark.parametrize(("side", "best"), [(8, "convolution 1"), (256, "product of 256x256")])
def test_speeds(side, best):
    now = iter(range(1000))
    found = steps.speeds(SPEC, lambda: next(now), sides=(4, side))  # each run takes a second
    convolution = 2 * 64 * 1024 * 3 * 4 * 9
    assert found == (max(convolution, 2 * side**3) / 1e9, best, convolution / 1e9)


def test_rows_are_asked_for_by_name_and_added(tmp_path, monkeypatch):
    path, asked = tmp_path / "steps.csv", []

    def row(method, ipc, *_):
        asked.append((method, ipc))
        return dict.fromkeys((*steps.FIELDS, *steps.PROVENANCE), "") | {"method": method, "ipc": ipc}

    monkeypatch.setattr(steps, "row", row)
    monkeypatch.setattr(steps.speed, "prepare", lambda device: None)
    monkeypatch.setattr(steps.inductor.cpp, "enable_kernel_profile", False)
    for words in (["--only", "dm", "dc"], ["--only", "dc", "--ipc", "10"]):
        monkeypatch.setattr("sys.argv", ["steps.py", *words, "--threads", "0", "--out", str(path)])
        steps.main()
    assert asked == [("dc", 1), ("dc", 10), ("dm", 1), ("dm", 10), ("dc", 10)]
    assert [(old["method"], int(old["ipc"])) for old in history.read(path)] == asked
    monkeypatch.setattr("sys.argv", ["steps.py", "--runs", "2"])
    with pytest.raises(SystemExit):
        steps.main()
