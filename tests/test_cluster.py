"""The files that start clusters: in the form that Ray and bash read, and the database's URL for the driver alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parent.parent / "cluster"


@pytest.mark.filterwarnings("ignore")
def test_ray_accepts_the_configuration_for_aws() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = util.prepare_config(yaml.safe_load((FOLDER / "ray-aws.yaml").read_text()))
    util.validate_config(config)
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert config["available_node_types"]["gpu_worker"]["max_workers"] <= config["max_workers"]


def test_on_kubernetes_the_head_alone_has_the_database_and_runs_no_trials() -> None:
    spec = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())["spec"]["rayClusterSpec"]
    [head] = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert [variable["name"] for variable in head["env"]] == ["NAS_STORAGE"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert all("NAS_STORAGE" not in yaml.safe_dump(group) for group in spec["workerGroupSpecs"])


def test_bash_can_read_the_script_for_slurm() -> None:
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)
