"""Sets that travel: files as six repositories and ours lay them out, read, written and read again."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.data import DATASETS, ImageData, whitening
from bilp_core.errors import InputError
from bilp_core.evaluation import Protocol, evaluate
from bilp_core.nets.recipe import centred
from bilp_core.synthetic import LAYOUTS, Formation, SyntheticSet, Told, describe, exported, imported, merged

NAMES = ("ant", "bee", "cat")
NET, QUICK = "convnet:depth=1,width=4", Protocol(epochs=3, lr=0.05)
LABELS = torch.arange(3).repeat_interleave(2)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def made_of(channels=3, named="", count=40):
    images = torch.randint(0, 256, (count, channels, 8, 8), generator=rng(), dtype=torch.uint8)
    stats = ((0.5, 0.4, 0.3)[:channels], (0.2, 0.3, 0.25)[:channels])
    return ImageData(images, torch.arange(count) % 3, NAMES, *stats, "pets", named=named)


@pytest.fixture
def data():
    return made_of()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(count=6, channels=3, seed=1):
    return torch.rand(count, channels, 8, 8, generator=rng(seed))


def noise(count=6, channels=3):
    return torch.randn(count, channels, 8, 8, generator=rng(2))


def a_set(**changes):
    found = SyntheticSet(noise(), LABELS, NAMES, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), {"method": "dm", "network": NET})
    return replace(found, **changes)


# --- read, as the repositories write ---


def test_dc_dsa_dm(here):
    """Two experiments, and beside them accuracies that are NumPy's numbers, as the code of DC leaves them."""
    accuracies = {"ConvNet": [np.float64(0.25), np.float64(0.75)]}
    torch.save(
        {"data": [[noise(), LABELS], [noise() + 1, LABELS]], "accs_all_exps": accuracies},
        "res_DM_CIFAR10_ConvNet_2ipc.pt",
    )
    data = made_of(named="cifar10")
    with pytest.raises(InputError, match="holds 2 experiments: say which, --experiment 1 to 2"):
        imported(["res_DM_CIFAR10_ConvNet_2ipc.pt"], "dc", data)
    with pytest.raises(InputError, match="experiment = 3"):
        imported(["res_DM_CIFAR10_ConvNet_2ipc.pt"], "dc", data, Told(experiment=3))
    found = imported(["res_DM_CIFAR10_ConvNet_2ipc.pt"], "dc", data, Told(experiment=2))
    assert torch.equal(found.images, noise() + 1)
    assert found.labels.tolist() == LABELS.tolist()
    assert (found.mean, found.std) == (DATASETS["cifar10"].mean, DATASETS["cifar10"].std)
    assert (found.meta["method"], found.meta["told"], found.meta["ipc"]) == ("dm", {"ConvNet": 0.5}, 2)


def test_a_name_that_does_not_tell_the_method(here, data):
    torch.save({"data": [[noise(), LABELS]], "accs_all_exps": {}}, "mine.pt")
    told = Told(mean="data")
    with pytest.raises(InputError, match=r"mine\.pt: no file of the layout dc tells which method made it: --method"):
        imported(["mine.pt"], "dc", data, told)
    assert imported(["mine.pt"], "dc", data, replace(told, method="dsa")).meta["method"] == "dsa"


def test_mtt_whitened_by_the_data(here, data):
    torch.save(noise().requires_grad_(), "images_best.pt")
    torch.save(LABELS, "labels_best.pt")
    files = ["images_best.pt", "labels_best.pt"]
    with pytest.raises(InputError, match="tells the learning rate .*; nor whether its images are whitened"):
        imported(files, "mtt", data)
    with pytest.raises(InputError, match="tells the learning rate that was learned with the images: --lr"):
        imported(files, "mtt", data, Told(zca="none"))
    with pytest.raises(InputError, match="tells whether its images are whitened: --zca none, or a kind"):
        imported(files, "mtt", data, Told(lr=0.02))
    found = imported(files, "mtt", data, Told(lr=0.02, zca="absolute"))
    assert found.whitening.identity == whitening.fit(data, "absolute").identity
    assert torch.equal(found.images, noise())
    assert found.meta["lr"] == 0.02
    by_folder = imported(["."], "mtt", data, Told(lr=0.02, zca="absolute"))
    assert torch.equal(by_folder.images, found.images)
    with pytest.raises(InputError, match=r"no file tells by what its images are normalised: --mean and --std"):
        imported(files, "mtt", data, Told(lr=0.02, zca="none"))


def test_mtt_normalises_cifar100_as_cifar10(here):
    torch.save(noise(), "images_5.pt")
    torch.save(LABELS, "labels_5.pt")
    data = made_of(named="cifar100")
    found = imported(["images_5.pt", "labels_5.pt"], "mtt", data, Told(lr=0.02, zca="none"))
    assert found.mean == DATASETS["cifar10"].mean != DATASETS["cifar100"].mean


def test_a_folder_of_known_images_is_normalised_by_name(here, data):
    torch.save(noise(), "images_5.pt")
    torch.save(LABELS, "labels_5.pt")
    files, told = ["images_5.pt", "labels_5.pt"], Told(lr=0.02, zca="none", mean="cifar100")
    assert imported(files, "mtt", data, told).mean == DATASETS["cifar10"].mean
    with pytest.raises(InputError, match="mean = 'photos': must be numbers, data, or a data set whose numbers"):
        imported(files, "mtt", data, replace(told, mean="photos"))


def test_mtt_images_that_were_turned_back_into_pixels(here, data):
    torch.save(pixels(), "images_zca_5.pt")
    torch.save(LABELS, "labels_5.pt")
    found = imported(["images_zca_5.pt", "labels_5.pt"], "mtt", data, Told(lr=0.02, zca="absolute"))
    assert torch.allclose(found.natural(), pixels(), atol=1e-4)


def test_datm_logits_become_shares_and_the_rate_is_in_a_file(here, data):
    torch.save(noise(), "images_best.pt")
    torch.save(torch.tensor(0.03), "lr_best.pt")
    torch.save(torch.eye(3).repeat_interleave(2, 0) * 2, "labels_best.pt")
    found = imported(["."], "datm", data, Told(zca="none", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)))
    e = np.exp(2)
    assert found.labels[0].tolist() == pytest.approx([e / (e + 2), 1 / (e + 2), 1 / (e + 2)])
    assert (found.meta["lr"], found.mean) == (pytest.approx(0.03), (0.1, 0.2, 0.3))


def test_idc_pixels_that_stand_for_several(here, data):
    torch.save([pixels() * 1.2 - 0.1, LABELS], "data.pt")
    with pytest.raises(InputError, match="how many parts each image was cut into a side: --factor"):
        imported(["data.pt"], "idc", data)
    found = imported(["data.pt"], "idc", data, Told(factor=2))
    assert torch.allclose(found.natural(), pixels() * 1.2 - 0.1, atol=1e-6)
    assert len(found.materialise()[0]) == 24
    assert found.meta["method"] == "idc"


def test_frepo_channels_last_and_whitened(here, data):
    targets = centred(LABELS, 3)
    np.savez("step000010.npz", image=noise().permute(0, 2, 3, 1).numpy(), label=targets.numpy())
    found = imported(["step000010.npz"], "frepo", data)
    assert torch.equal(found.images, noise())
    assert torch.equal(found.labels, targets)
    assert found.whitening.identity == whitening.fit(data, "relative").identity
    assert not imported(["step000010.npz"], "frepo", data, Told(zca="none", mean="data")).whitening
    (here / "checkpoint_5").touch()
    with pytest.raises(InputError, match="a checkpoint of flax is not read"):
        imported(["checkpoint_5"], "frepo", data)


def test_rfad_whitens_about_the_mean_of_a_channel(here, data):
    """Its map, written out: X @ W of standardised images that are centred by channel alone."""
    np.savez("best.npz", images=noise().numpy(), labels=centred(LABELS, 3).numpy(), k=np.float32(1), jit=5e-3)
    found = imported(["best.npz"], "rfad", data)
    real = data.images.double()
    real = ((real - real.mean((0, 2, 3), keepdim=True)) / real.std((0, 2, 3), keepdim=True)).flatten(1)
    covariance = real.T @ real / len(real)
    strength = 0.1 * covariance.trace() / len(covariance)
    values, vectors = torch.linalg.eigh(covariance + strength * torch.eye(len(covariance)))
    expected = real @ (vectors * values.rsqrt()) @ vectors.T
    ours = found.whitening.apply(data.images).flatten(1).double()
    assert torch.allclose(ours, expected, atol=2e-3)  # it counts one value less in the deviation
    with pytest.raises(InputError, match="brings each image of SVHN to length 1"):
        imported(["best.npz"], "rfad", made_of(named="svhn"))


def test_kip_says_in_its_name_whether_it_is_whitened(here, data):
    arrays = {"images": noise().permute(0, 2, 3, 1).numpy(), "labels": centred(LABELS, 3).numpy()}
    name = "ConvNet_ssize6_nozca_l_noaug_ckpt5.npz"
    np.savez(name, **arrays)
    np.savez(name.replace("nozca", "zca"), **arrays)
    np.savez("mine.npz", **arrays)
    assert imported([name], "kip", data).mean == data.mean, "a folder's are its own"
    data = made_of(named="cifar10")
    found = imported([name], "kip", data)
    assert torch.equal(found.images, noise())
    real = data.images.double() / 255
    assert found.mean == pytest.approx(real.mean((0, 2, 3)).tolist())
    assert found.std == pytest.approx(real.std((0, 2, 3), correction=0).tolist())
    with pytest.raises(InputError, match="brings each image to length 1 before it whitens"):
        imported([name.replace("nozca", "zca")], "kip", data)
    with pytest.raises(InputError, match="whether its images are whitened"):
        imported(["mine.npz"], "kip", data)


@pytest.mark.parametrize("names", [("new000", "new001", "new002"), ("cat", "ant", "bee")])
def test_sre2l_folders(here, data, names):
    for label, name in enumerate(names):
        for number in range(2):
            place = here / "syn" / name / f"class{label:03d}_id{number:03d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (50 * label, 10, 10)).save(place, quality=100)
    found = imported(["syn"], "sre2l", data)
    levels = found.pixels()[:, 0].float().mean((1, 2)).round()
    order = [names.index(name) for name in NAMES] if names[0] in NAMES else [0, 1, 2]
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (levels.view(3, 2).mean(1) - torch.tensor(order) * 50).abs().max() < 4
    (here / "syn/dog").mkdir()
    with pytest.raises(InputError, match="its name is no class of the data, nor new and the number of one"):
        imported(["syn"], "sre2l", data)


# --- what cannot be is refused by name ---


def idc(images=None, labels=LABELS):
    torch.save([pixels() if images is None else images, labels], "data.pt")
    return ["data.pt"], "idc", made_of(), Told(factor=1)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (None, LABELS.float(), "labels are torch.float32: hard ones must be whole numbers"),
        (None, LABELS + 1, r"label 3 of data\.pt is not in 0\.\.2"),
        (None, LABELS.clamp(max=1), r"class 'cat', one of 3, has no image in data\.pt"),
        (None, LABELS[:5], r"hard labels \[5\] must be \[6\]"),
        (None, torch.eye(3).repeat_interleave(2, 0), r"hard labels \[6, 3\] must be \[6\]; --labels hard, shares"),
        (pixels().index_fill(0, torch.tensor([4]), float("nan")), LABELS, r"not finite \(NaN"),
        (torch.rand(6, 3, 16, 16), LABELS, r"are \[6, 3, 16, 16\], those of pets \[3, 8, 8\]"),
        (torch.rand(6, 8, 8), LABELS, r"torch\.float32 \[6, 8, 8\]: must be numbers \[M, C, H, W\]"),
        ((pixels() * 255).long(), LABELS, r"images are torch\.int64"),
        (noise() * 3, LABELS, r"and pixels are in \[0, 1\]: --values normalised"),
    ],
)  # fmt: skip
def test_what_cannot_be(here, images, labels, said):
    with pytest.raises(InputError, match=said):
        imported(*idc(images, labels))


def test_pixels_where_normalised_images_are_expected(here, data):
    torch.save({"data": [[pixels(), LABELS]]}, "res_DC_x_1ipc.pt")
    with pytest.raises(InputError, match="as pixels do: --values pixels, or --values normalised if they are"):
        imported(["res_DC_x_1ipc.pt"], "dc", data, Told(mean="data"))
    as_pixels = imported(["res_DC_x_1ipc.pt"], "dc", data, Told(values="pixels"))
    assert torch.allclose(as_pixels.natural(), pixels(), atol=1e-6)
    as_they_are = imported(["res_DC_x_1ipc.pt"], "dc", data, Told(mean="data", values="normalised"))
    assert torch.equal(as_they_are.images, pixels())
    torch.save({"data": [[(pixels() * 255).byte(), LABELS]]}, "res_DC_x_1ipc.pt")
    with pytest.raises(InputError, match="images are bytes, so they are pixels"):
        imported(["res_DC_x_1ipc.pt"], "dc", data, Told(mean="data"))


def test_whitened_and_normalised_is_one_too_many(here, data):
    np.savez("best.npz", images=noise().numpy(), labels=centred(LABELS, 3).numpy())
    with pytest.raises(InputError, match="images are whitened or normalised, not both"):
        imported(["best.npz"], "rfad", data, Told(mean="data"))


def test_a_report_is_of_the_last_import(here, data):
    first = imported(*idc()[:2], data, Told(factor=1))
    exported(first, "out", "npz")
    second = imported(["out"], "npz", data)
    assert second.meta["imported"]["before"] == first.meta["imported"]
    assert describe(second, data)[0].startswith("out, as npz saves it")


def test_shares_that_are_none(here, data):
    np.savez("best.npz", images=noise().numpy(), labels=np.eye(3, dtype=np.float32).repeat(2, 0) * 5)
    with pytest.raises(InputError, match=r"whose rows add up to 5 to 5, are no shares of classes: --labels logits"):
        imported(["best.npz"], "rfad", data, Told(labels="shares"))


def test_classes_in_another_order(here, data):
    files, like, _, told = idc()
    plain = imported(files, like, data, told)
    turned = imported(files, like, data, replace(told, classes=("cat", "ant", "bee")))
    assert plain.classes == turned.classes == NAMES
    assert turned.labels.tolist() == [2, 2, 0, 0, 1, 1]
    with pytest.raises(InputError, match="its classes are not those of pets; only it has dog, only pets cat"):
        imported(files, like, data, replace(told, classes=("ant", "bee", "dog")))


class Evil:
    def __reduce__(self):
        return (open, ("ran.txt", "w"))


def test_nothing_in_a_file_is_run(here, data):
    (here / "data.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match=r"data\.pt"):
        imported(["data.pt"], "idc", data, Told(factor=1))
    torch.save([Evil(), LABELS], "data.pt")
    with pytest.raises(InputError, match=r"holds a pickle of .*open.*: it was not opened, and nothing in it was run"):
        imported(["data.pt"], "idc", data, Told(factor=1))
    np.savez("best.npz", images=np.array([Evil()], dtype=object), labels=np.zeros(1))
    with pytest.raises(InputError, match="damaged, or no file of NumPy arrays"):
        imported(["best.npz"], "rfad", data)
    assert not (here / "ran.txt").exists()


def test_files_that_are_not_there_or_damaged(here, data):
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        imported(["none.pt"], "idc", data, Told(factor=1))
    (here / "data.pt").write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(InputError, match=r"data\.pt cannot be read as a file of torch"):
        imported(["data.pt"], "idc", data, Told(factor=1))
    with pytest.raises(InputError, match="layout 'idcc' is unknown; there are: datm, dc"):
        imported(["data.pt"], "idcc", data)


# --- written and read again ---


def accuracy(synthetic, data):
    return evaluate(synthetic, data, network=NET, protocol=QUICK, repeats=2).values


@pytest.mark.parametrize("to", ["pt", "npz"])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", ["hard", "shares", "targets", "formed", "white", "lr"])
def test_plain_exports_give_the_same_set_and_accuracy(here, data, to, stored, kind):
    one = {
        "hard": a_set(),
        "shares": a_set(labels=torch.rand(6, 3, generator=rng()).softmax(1)),
        "targets": a_set(labels=centred(LABELS, 3)),
        "formed": a_set(formation=Formation(2)),
        "white": a_set(whitening=whitening.fit(data, "absolute")),
        "lr": a_set(meta={"method": "mtt", "network": NET, "lr": 0.03}),
    }[kind]
    exported(one, "out", to, stored=stored)
    again = imported(["out"], to, data)
    images, labels = one.materialise()
    assert torch.equal(again.materialise()[0], images)
    assert torch.equal(again.materialise()[1], labels)
    assert (again.mean, again.std, again.meta.get("lr")) == (one.mean, one.std, one.meta.get("lr"))
    assert again.formation.factor == (one.formation.factor if stored else 1)
    if kind != "targets":  # regression of targets is another protocol
        assert accuracy(again, data) == accuracy(one, data)


@pytest.mark.parametrize("white", [False, True])
def test_pictures_lose_what_bytes_cannot_hold_and_say_so(here, data, white):
    one = a_set(whitening=whitening.fit(data, "absolute") if white else None)
    told = exported(one, "out", "folder")
    outside = (one.natural() < 0) | (one.natural() > 1)
    assert told.clipped == pytest.approx(float(outside.double().mean()))
    assert 0.2 < told.rounding < 0.3  # a quarter of a grey level is what rounding costs on average
    again = imported(["out"], "folder", data)
    assert torch.equal(again.pixels(), one.pixels())
    assert torch.equal(again.labels, one.labels)
    exported(again, "twice", "folder")
    assert accuracy(imported(["twice"], "folder", data), data) == accuracy(again, data)


def test_pictures_keep_soft_labels_and_one_image_a_class(here, data):
    soft = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    exported(a_set(images=noise()[:3], labels=soft), "out", "folder")
    assert [p.name for p in sorted((here / "out/train").rglob("*.png"))] == ["0.png", "1.png", "2.png"]
    assert torch.equal(imported(["out"], "folder", data).labels, soft)


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("dc", Told(mean="data")), ("idc", Told(factor=1)), ("mtt", Told(mean="data", zca="none", lr=0.01)),
        ("datm", Told(mean="data", zca="none", lr=0.01)),
    ],
)  # fmt: skip
def test_layouts_of_repositories_are_read_back(here, data, to, told):
    one = a_set()
    files = [p for p in exported(one, "out", to).files if p.name != "README.md"]
    again = imported(files, to, data, told)
    assert torch.allclose(again.images, one.images, atol=1e-5)
    assert torch.equal(again.hard_labels, one.labels)
    assert again.meta["method"] == ("dm" if to == "dc" else to)


def test_exports_follow_the_numbers_of_the_repository(here):
    one = a_set(meta={"method": "dm", "named": "cifar100"})
    exported(one, "out", "mtt")
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (DATASETS["cifar10"].mean, DATASETS["cifar10"].std))
    assert torch.allclose(torch.load("out/images_best.pt") * std + mean, one.natural(), atol=1e-6)


def test_what_a_layout_cannot_hold(here, data):
    soft = a_set(labels=centred(LABELS, 3))
    with pytest.raises(InputError, match="has soft labels, and sets of the layout dc have one class"):
        exported(soft, "a", "dc")
    with pytest.raises(InputError, match="labels to regress on"):
        exported(soft, "b", "datm")
    with pytest.raises(InputError, match=r"layout 'kip' \(it is only read\): must be one of datm, dc, folder"):
        exported(soft, "c", "kip")
    with pytest.raises(InputError, match="class 'a/b': cannot be the name of a folder"):
        exported(a_set(classes=("a/b", "bee", "cat")), "d", "folder")
    (here / "full").mkdir()
    (here / "full/file").touch()
    with pytest.raises(InputError, match="is there and not an empty folder"):
        exported(a_set(), "full", "pt")


def test_the_readme_says_what_the_numbers_are(here, data):
    exported(a_set(meta={"method": "mtt", "lr": 0.03, "network": NET, "data": "pets"}), "out", "pt")
    text = (here / "out/README.md").read_text()
    for words in (
        "6 images of 3x8x8, made by mtt",
        "mean 0.5, 0.4, 0.3",
        "learned with the images: 0.03",
        "0 ant, 1 bee",
    ):
        assert words in text
    assert "bilp import . --like pt --data DATA --out s.safetensors" in text
    assert json.loads((here / "out/about.json").read_text())["labels"] == "hard"


def test_an_export_that_was_changed(here, data):
    exported(a_set(), "out", "npz")
    about = json.loads((here / "out/about.json").read_text())
    for name, value, said in (
        ("format", "other", "format 'other', this version reads"),
        ("classes", ["ant", "bee", "dog"], "only it has dog"),
        ("values", "bytes", "values = 'bytes': must be one of pixels, normalised"),
        ("zca", "own", "says zca = 'own', and the whitening is absent"),
    ):
        (here / "out/about.json").write_text(json.dumps({**about, name: value}))
        with pytest.raises(InputError, match=said):
            imported(["out"], "npz", data)
    (here / "out/about.json").unlink()
    with pytest.raises(InputError, match=r"is no export of this library: about\.json is absent or damaged"):
        imported(["out"], "npz", data)


def test_every_layout_names_its_source_and_a_report_says_what_was_taken(here, data):
    assert {"dc", "mtt", "idc", "datm", "frepo", "rfad", "kip", "sre2l", "folder", "pt", "npz"} <= set(LAYOUTS)
    lines = "\n".join(describe(imported(*idc()[:2], data, Told(factor=2)), data))
    for words in ("6 images of 3x8x8, 3 classes, 2 a class", "factor 2, single", "pets, seen alike", "ant, bee, cat"):
        assert words in lines


# --- several as one ---


def test_merged_sets_keep_their_pixels(data):
    other = a_set(classes=("cow", "dog", "emu"), mean=(0.3, 0.3, 0.3), std=(0.1, 0.1, 0.1), images=noise() + 1)
    both = merged({"a": a_set(), "b": other})
    assert both.classes == ("ant", "bee", "cat", "cow", "dog", "emu")
    assert torch.allclose(both.natural(), torch.cat([a_set().natural(), other.natural()]), atol=1e-5)
    assert both.mean == pytest.approx((0.4, 0.35, 0.3))
    assert both.std[0] == pytest.approx(((0.2**2 + 0.1**2) / 2 + 0.1**2) ** 0.5)
    order = merged({"a": a_set(), "b": other}, classes=("emu", "ant", "bee", "cat", "cow", "dog"))
    assert order.labels.tolist() == sorted(order.labels.tolist())
    assert torch.allclose(order.natural()[:2], other.natural()[4:], atol=1e-5)


def test_hard_and_soft_labels_merge_as_shares():
    soft = a_set(
        classes=("cow", "dog", "emu"),
        labels=torch.rand(6, 3, generator=rng()).add(torch.eye(3).repeat_interleave(2, 0) * 9).softmax(1),
    )
    both = merged({"a": soft, "b": a_set()})
    assert both.labels.shape == (12, 6)
    assert torch.allclose(both.labels.sum(1), torch.ones(12))
    assert both.hard_labels.tolist() == LABELS.tolist() + (LABELS + 3).tolist()


def test_sets_that_do_not_merge(data):
    other = ("cow", "dog", "emu")
    with pytest.raises(InputError, match="class 'ant' is in a and in b"):
        merged({"a": a_set(), "b": a_set()})
    with pytest.raises(InputError, match="must be at least 2"):
        merged({"a": a_set()})
    with pytest.raises(InputError, match="whitening None in a"):
        merged({"a": a_set(), "b": a_set(classes=other, whitening=whitening.fit(data, "absolute"))})
    with pytest.raises(InputError, match="labels to regress on, have no meaning for more classes"):
        merged({"a": a_set(), "b": a_set(classes=other, labels=centred(LABELS, 3))})
    with pytest.raises(InputError, match="must be those of the sets"):
        merged({"a": a_set(), "b": a_set(classes=other)}, classes=("ant", "bee"))
