"""Response times of the dashboard on a large study, compared with Optuna's dashboard on the same database.

python -m benchmarks.dashboard --trials 5000
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

from optuna.trial import TrialState

from benchmarks.common import summary, write
from results.database.optuna_tables import add_intermediate_values, insert_trial, set_state
from results.store.store import Store
from search_space.space import load_space

EPOCHS, ARCHITECTURES = 30, 500
NAME = "large"


def make_study(url: str, trials: int) -> None:
    """Create a study of mlp_family on digits, with a curve for every trial; only Optuna's tables are filled."""
    space, rng = load_space("mlp_family", image_size=8, in_channels=1, classes=10), random.Random(0)
    axes = {axis.name: axis for axis in space.axes}
    architectures = [space.sample(rng, space.limits) for _ in range(min(trials, ARCHITECTURES))]
    store = Store(url)
    study = store.create_study(
        NAME, identity={}, config={}, objectives={"nll": "minimize"}, metric_names=["validation NLL"]
    )
    with store.session() as session, session.begin():
        for number in range(trials):
            architecture = rng.choice(architectures)
            facts = {"key": f"trial-{number:04d}", "origin": "tpe", "seed": 0, "hash": architecture.hash}
            costs = {"params": architecture.params, "macs": architecture.macs, "accuracy": rng.random()}
            choices = space.encode(architecture)
            trial = insert_trial(session, study.row.optuna_study_id, number, choices, axes, {**facts, **costs})
            curve = {epoch: 2.0 / epoch + rng.random() for epoch in range(1, EPOCHS + 1)}
            add_intermediate_values(session, trial, curve)
            set_state(session, trial, TrialState.COMPLETE, [min(curve.values())])
    store.close()


@contextmanager
def serving(url: str, which: str) -> Iterator[str]:
    """The URL at which a dashboard is served."""
    if which == "ours":
        from results.dashboard import Dashboard

        server: Any = Dashboard(url, "127.0.0.1", 0)
    else:
        import optuna
        from optuna_dashboard import wsgi

        server = make_server("127.0.0.1", 0, wsgi(optuna.storages.RDBStorage(url)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield "http://{}:{}".format(*server.server_address[:2])
    server.shutdown()


def fetch(url: str) -> dict[str, float]:
    """Wall time, CPU time of client and server together, and size of the response to one browser-like request."""
    started, computed = time.perf_counter(), time.process_time()
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip, deflate, br"})
    with urllib.request.urlopen(request) as response:
        size = len(response.read())
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - computed, 2),
        "mib": round(size / 2**20, 2),
    }


def measure(url: str, which: str) -> dict[str, dict[str, float]]:
    """Measure the first request to a new server for each page, and the next one for the study."""
    with serving(url, which) as address:
        study = f"{address}/api/studies/1"
        return {
            "study": fetch(f"{study}?after=0"),
            "study_again": fetch(f"{study}?after=0"),
            "importances": fetch(f"{study}/param_importances?evaluator=ped_anova"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3, help="fresh servers for each")
    parser.add_argument("--measure", nargs=2, metavar=("URL", "WHICH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*given.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'nas.db'}"
        make_study(url, given.trials)
        found: dict[str, Any] = {}
        for which in ("optuna_dashboard", "ours"):
            command = [sys.executable, "-m", "benchmarks.dashboard", "--measure", url, which]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for _ in range(given.runs)
            ]
            found[which] = {
                request: {
                    "seconds": summary([run[request]["seconds"] for run in runs], 2),
                    "cpu_seconds": summary([run[request]["cpu_seconds"] for run in runs], 2),
                    "mib": runs[0][request]["mib"],
                }
                for request in runs[0]
            }
    facts = {"optuna_dashboard": version("optuna-dashboard"), "trials": given.trials, "epochs": EPOCHS}
    write("dashboard", {**facts, "requests": found})


if __name__ == "__main__":
    main()
