"""The paper's numbers in book/published: complete, in range, unambiguous, and consistent with each other."""

import pandas as pd
import pytest

from bilp_core.utils import paths

FOLDER = paths.root() / "book" / "published"
SETTING = ["table", "data", "method", "ipc", "network", "evaluate_on", "init", "criterion", "ratio"]
COLUMNS = [*SETTING, "quantity", "value", "std", "note"]
SIZES = {
    "table01": 31,  # 5 criteria x 6 ratios, and full data once
    "table02": 21,  # 5 x 4, and full data once
    "table03": 18,  # 3 data sets x 2 IPC x 3 methods
    "table04": 12,  # 2 IPC x 3 initialisations x 2 methods
    "table05": 14,  # 5 networks at IPC 1 and 2 at IPC 10, x 2 methods
    "table06": 144,  # 6 x 6 networks x 4 ratios
    "table07": 24,  # 6 networks x 4 ratios
    "table08": 8,  # 4 networks x 2 ratios
    "table09": 24,  # 4 networks x 2 methods x 3 IPC
    "table10": 11,  # 2 methods x 5 IPC, and the caption's full data
    "table11": 4,  # 2 methods x 2 IPC
    "table12": 24,  # 3 hyper-parameters x 8 settings
    "main": 29,  # 6 methods x 5 settings, one of them absent
    "large-scale": 15,  # full, BiLP and change of time x 5 settings
}
WORDS = {
    "data": {"cifar10", "cifar100", "svhn", "mnist", "imagenet", "imagenet-64", "kinetics-400"},
    "network": {"convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18"},
    "evaluate_on": {"convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18", "efficientnet", "densenet"},
    "init": {"noise", "real", "herd"},
    "criterion": {"random", "loss", "craig", "gradmatch", "glister"},
}
RANGES = {  # lowest and highest value; a ratio of 0 or 100 per cent would be no maximum
    "accuracy": (1, 99),
    "full_accuracy": (1, 99),
    "max_ratio": (1, 99.5),
    "alpha": (0.1, 0.6),
    "beta": (0.2, 0.3),
    "update_frequency": (5, 10),
    "time_change": (-50, 0),
}


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return pd.concat([pd.read_csv(FOLDER / f"{name}.csv") for name in SIZES], ignore_index=True)


def one(frame: pd.DataFrame, **where) -> pd.Series:
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted]
    assert len(frame) == 1, where
    return frame.iloc[0]


def test_the_files_are_those_and_no_others():
    assert {file.stem for file in FOLDER.iterdir()} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_shape_and_types(name):
    frame = pd.read_csv(FOLDER / f"{name}.csv")
    assert list(frame.columns) == COLUMNS
    assert len(frame) == SIZES[name]
    assert set(frame["table"]) == {name.replace("table0", "table")}
    assert frame[["data", "method", "ipc", "quantity", "value"]].notna().all(axis=None)
    assert frame["ipc"].dtype == "int64"
    for column in ("ratio", "value", "std"):
        assert pd.api.types.is_numeric_dtype(frame[column]), column
    texts = frame[["data", "method", "network", "evaluate_on", "init", "criterion", "quantity", "note"]]
    for column in texts:
        assert all(text == text.strip() for text in texts[column].dropna()), column


def test_one_number_for_one_setting(published):
    twice = published.duplicated([*SETTING, "quantity"], keep=False)
    assert not twice.any(), published[twice]


def test_words_and_ranges(published):
    for column, words in WORDS.items():
        assert set(published[column].dropna()) == words
    assert published["method"].str.fullmatch(r"[a-z0-9+]+( \(factor 3\))?").all()
    for quantity, group in published.groupby("quantity"):
        assert group["value"].between(*RANGES[quantity]).all(), quantity
    assert published["ratio"].dropna().between(0, 0.99).all(), "a share removed, not a percentage"
    assert published["std"].dropna().between(0, 3.1).all()
    assert published.loc[published["quantity"] != "accuracy", "std"].isna().all()


def test_full_data_has_no_criterion_and_pruned_data_has_one(published):
    assert published.loc[published["ratio"] == 0, "criterion"].isna().all()
    assert published.loc[published["ratio"] > 0, "criterion"].notna().all()
    for table in (1, 2, 6, 7, 8):
        of_table = published[published["table"] == f"table{table}"]
        assert 0 in set(of_table["ratio"]), f"table {table}: nothing to compare with"


SPOTS = [
    ("table1", {"criterion": "random", "ratio": 0.99}, 25.6, 0.6),
    ("table1", {"criterion": "loss", "ratio": 0.97}, 29.7, 0.0),
    ("table1", {"criterion": "glister", "ratio": 0.9}, 21.3, 0.6),
    ("table1", {"ratio": 0}, 28.3, 0.5),
    ("table2", {"criterion": "loss", "ratio": 0.3}, 56.0, 0.2),
    ("table2", {"criterion": "craig", "ratio": 0.7}, 48.8, 0.4),
    ("table2", {"ratio": 0}, 54.1, 0.3),
    ("table3", {"data": "mnist", "ipc": 1, "method": "idc"}, 99.5, None),
    ("table3", {"data": "mnist", "ipc": 10, "method": "cafe"}, 1, None),
    ("table3", {"data": "svhn", "ipc": 1, "method": "linba"}, 50, None),
    ("table4", {"ipc": 10, "init": "real", "method": "dm"}, 60, None),
    ("table5", {"ipc": 1, "network": "mlp", "method": "dc"}, 97, None),
    ("table5", {"ipc": 1, "network": "vgg11", "method": "dm"}, 95, None),
    ("table6", {"evaluate_on": "mlp", "network": "mlp", "ratio": 0}, 24.3, 1.8),
    ("table6", {"evaluate_on": "lenet", "network": "mlp", "ratio": 0.8}, 18.9, 1.5),
    ("table6", {"evaluate_on": "mlp", "network": "lenet", "ratio": 0.8}, 24.3, 0.7),
    ("table6", {"evaluate_on": "vgg11", "network": "alexnet", "ratio": 0.6}, 24.0, 0.6),
    ("table6", {"evaluate_on": "resnet18", "network": "resnet18", "ratio": 0.95}, 18.3, 0.7),
    ("table7", {"evaluate_on": "convnet", "ratio": 0.3}, 55.96, 0.40),
    ("table7", {"evaluate_on": "resnet18", "ratio": 0.5}, 25.81, 1.04),
    ("table8", {"evaluate_on": "resnet18", "ratio": 0.1}, 48.6, 0.4),
    ("table9", {"evaluate_on": "densenet", "method": "bilp+idc", "ipc": 10}, 64.6, 0.4),
    ("table9", {"evaluate_on": "efficientnet", "method": "idc", "ipc": 50}, 71.4, 1.5),
    ("table10", {"method": "bilp+datm", "ipc": 1000}, 84.6, None),
    ("table10", {"quantity": "full_accuracy"}, 84.8, None),
    ("table11", {"method": "bilp+sre2l", "ipc": 10}, 27.0, None),
    ("table12", {"data": "cifar100", "ipc": 1, "quantity": "alpha"}, 0.6, None),
    ("table12", {"data": "svhn", "ipc": 50, "quantity": "update_frequency"}, 5, None),
    ("main", {"method": "bilp+idc (factor 3)", "data": "cifar100", "ipc": 1}, 34.0, None),
    ("main", {"method": "mtt", "data": "cifar10", "ipc": 50}, 71.6, None),
    ("large-scale", {"method": "dm", "data": "kinetics-400", "ipc": 10}, 9.48, None),
    ("large-scale", {"data": "imagenet-64", "ipc": 50, "quantity": "time_change"}, -41, None),
]


@pytest.mark.parametrize(("table", "where", "value", "std"), SPOTS)
def test_spot_values(published, table, where, value, std):
    row = one(published, table=table, **where)
    assert row["value"] == value
    assert pd.isna(row["std"]) if std is None else row["std"] == std


def test_tables_agree_where_they_speak_of_the_same_runs(published):
    idc = published[published["method"].isin(["idc", "bilp+idc"]) & (published["data"] == "cifar10")]
    for method in ("idc", "bilp+idc"):
        for ipc in (1, 10, 50):
            settings = {"method": method, "ipc": ipc}
            cross = one(idc, table="table9", evaluate_on="convnet", **settings)
            assert cross["value"] == one(idc, table="main", **settings)["value"]
    for method, init in (("dc", "noise"), ("dm", "real")):  # the defaults of Sec. 6.3
        for ipc in (1, 10):
            settings = {"method": method, "ipc": ipc, "init": init, "network": "convnet"}
            by_init, by_network = (one(published, table=name, **settings) for name in ("table4", "table5"))
            assert by_init["value"] == by_network["value"]


def test_what_the_page_of_slips_counts_in_table_6(published):
    table = published[published["table"] == "table6"]
    pair = ["network", "evaluate_on"]
    full = table[table["ratio"] == 0].set_index(pair)["value"]
    gains = table[table["ratio"] > 0].pivot(index=pair, columns="ratio", values="value").sub(full, axis=0).round(2)
    best = gains.max(axis=1)
    assert (best.size, (best > 0).sum(), (best >= 0).sum()) == (36, 29, 33)
    assert (gains.size, (gains >= 0).sum().sum(), (gains > 0).sum().sum()) == (108, 70, 53)
    text = (paths.root() / "book/appendix/slips.md").read_text("utf-8")
    for count in ("29 of the 36", "33 of the 36", "70 of the 108", "53 of the 108"):
        assert count in text, count


def test_random_pruning_in_table_1_is_comparable_up_to_90_per_cent_as_table_4_says(published):
    table = published[published["table"] == "table1"]
    full = one(table, ratio=0)
    floor = full["value"] - full["std"]
    random = table[(table["criterion"] == "random") & (table["value"] >= floor)]
    limit = one(published, table="table4", method="dc", ipc=1, init="noise")["value"]
    assert 100 * random["ratio"].max() == limit == 90


def test_the_report_reads_them_all(published):
    from bilp_core import report

    assert len(report.published()) == sum(SIZES.values())
    assert len(report.published("table4", method="dm")) == 6
