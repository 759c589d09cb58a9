"""The command line on a cluster: two nodes on this machine; a driver that is a job of it, and one that is a client."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.table import read_structures

STUDY = """
bundle: {bundle}
size: 32
seed: 1
trials: 2
search:
  fraction[pore]: {{low: 0.5, high: 0.7, tolerance: 0.05}}
properties: {{share: drivers_models:share}}
objective: {{maximize: share}}
settings: {{guidance_iterations: 1, steps: 1, refine_passes: 0}}
"""

TWO_NODES = """
import os, socket, subprocess, sys, time
from ray.cluster_utils import Cluster
with socket.socket() as one, socket.socket() as other:
    one.bind(("127.0.0.1", 0))
    other.bind(("127.0.0.1", 0))
    port, agent = one.getsockname()[1], other.getsockname()[1]
python = ["env", "PYTHONPATH=" + os.environ["DRIVERS_PATH"], sys.executable]  # nobody else's
sweep = [*python, "-c", "from cluster.cli import main; main()", "sweep", *sys.argv[2:], "--nodes", "2"]
if sys.argv[1] == "job":
    head = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    head |= {"dashboard_agent_listen_port": agent}  # Ray's own is fixed: another Ray of this machine may have it
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", f"http://127.0.0.1:{port}"]
    command = [*submit, "--", *sweep, "--address", "auto"]
else:
    head = {"include_dashboard": False, "ray_client_server_port": port}
    command = [*sweep, "--address", f"ray://127.0.0.1:{port}"]
node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=node | head)
try:
    cluster.add_node(**node)
    for _ in range(60):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if "No available agent" not in done.stdout:  # it is still starting
            break
        time.sleep(1)
    print(done.stdout)
finally:
    cluster.shutdown()
sys.exit(done.returncode)
"""


@pytest.mark.parametrize("driver", ["job", "client"])
def test_a_sweep_on_two_nodes(untrained: Path, repository: Path, tmp_path: Path, driver: str) -> None:
    """The bundle reaches the actors by content hash, from a driver that is a node and from one that is not; so does
    the module of a property of the user's own."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "drivers_models.py").write_text("def share(phases):\n    return phases[0].mean()\n")
    study, out = tmp_path / "tiny.yaml", tmp_path / "run"
    study.write_text(STUDY.format(bundle=untrained))
    command = [sys.executable, "-c", TWO_NODES, driver, str(study), "--out", str(out)]
    drivers = f"{repository}{os.pathsep}{tmp_path / 'own'}"
    environment = os.environ | {"PYTHONPATH": str(repository), "DRIVERS_PATH": drivers}
    environment |= {"MESOFORGE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    [record] = (out / "runs").glob("*.json")
    summary = json.loads(record.read_text())
    assert (summary["trials_done"], summary["structures"], summary["failed"]) == (2, 2, 0)
    assert "Ray cluster of 2 nodes" in said
    assert read_structures(out)["property_share_outcome"].to_pylist() == ["measured"] * 2
    assert len(list((tmp_path / "cache" / "bundles").iterdir())) == 1
