"""The chapter on large data on a Ray cluster of two nodes of this machine, one of which is lost in the middle.

    python -c "from tests.engines import two_nodes; two_nodes.main()" STORE

Nodes have a GPU each that is only declared. The last line that is printed says what was seen, in JSON.
"""

import functools
import json
import os
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from bilp_core import engines
from bilp_core.book import chapters, settings
from bilp_core.studies import large_data
from bilp_core.trials import run, work
from tests.trials.common import TINY


def todo():
    """The trials of the chapter's paper preset that split, on digits and as small as they get."""
    chapter = {chapter.name: chapter for chapter in chapters()}["large-data"]
    values = settings(chapter, "paper")
    small = {"splits": 5, "stop": 1, "options": TINY["options"]}
    cells = [
        {"method": cell["method"], "ipc": cell["ipc"], "ratio": cell["ratio"], **small}
        for cell in values["cells"]
        if "splits" in cell and "data" not in cell and cell["ipc"] <= 10
    ]
    common = {**TINY, "score": {"trials": 1, "epochs": 1}, "seed": [0, 1]}
    del common["options"]
    return large_data.trials_of(cells, common, values["versions"])


def reads(_):
    """Of the worker that does this: its node and process, and how often it has read a data set."""
    time.sleep(0.1)
    return ray.get_runtime_context().get_node_id(), os.getpid(), work._loaded.cache_info().misses


def lose(cluster, node, store, told):
    """A node is gone as soon as some of the work is done."""
    while (done := len(list((store / "synthetic").glob("*.safetensors")))) < 3:
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)
    told["done before"] = done


def main():
    store = Path(sys.argv[1])
    part = functools.partial(dict, num_cpus=1, num_gpus=1, include_dashboard=False)
    cluster = Cluster(initialize_head=True, head_node_args=part())
    second = cluster.add_node(**part())
    os.environ["RAY_ADDRESS"] = cluster.address
    engine = engines.engine("ray")
    told = {"nodes": len(ray.nodes()), "slots": engine.slots}
    thread = threading.Thread(target=lose, args=(cluster, second, store, told))
    thread.start()
    records = run(todo(), store, engine)
    thread.join()
    told["reads"] = sorted({future.result() for future in [engine.submit(reads, (i,)) for i in range(4)]})
    told["accuracies"] = dict(zip(records["key"], records["accuracies"], strict=True))
    print(json.dumps(told))
    engine.close()
    ray.shutdown()
    cluster.shutdown()
