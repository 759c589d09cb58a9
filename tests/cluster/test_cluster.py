"""The command line on a cluster: two nodes on this machine, and a driver that joins them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STUDY = """
bundle: {bundle}
size: 32
seed: 1
trials: 2
search:
  fraction[pore]: {{low: 0.5, high: 0.7, tolerance: 0.05}}
objective: {{maximize: "diffusivity[pore,z]"}}
settings: {{guidance_iterations: 2}}
"""

TWO_NODES = """
import socket, subprocess, sys
from ray.cluster_utils import Cluster
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False, **HEAD})
try:
    cluster.add_node(**node)
    command = [sys.executable, "-c", "from cluster.cli import main; main()", "sweep", *sys.argv[1:]]
    done = subprocess.run([*command, "--address", ADDRESS, "--nodes", "2"], timeout=200)
finally:
    cluster.shutdown()
sys.exit(done.returncode)
"""


@pytest.mark.parametrize(
    ("head", "address"),
    [("{}", "cluster.address"), ('{"ray_client_server_port": port}', 'f"ray://127.0.0.1:{port}"')],
    ids=["node", "client"],
)
def test_a_sweep_on_two_nodes(untrained: Path, repository: Path, tmp_path: Path, head: str, address: str) -> None:
    """The bundle reaches the actors by content hash, from a driver that is a node and from one that is not."""
    (tmp_path / "tiny.yaml").write_text(STUDY.format(bundle=untrained))
    script = TWO_NODES.replace("HEAD", head).replace("ADDRESS", address)
    command = [sys.executable, "-c", script, "tiny.yaml", "--out", "run", "--json"]
    environment = os.environ | {"PYTHONPATH": str(repository), "MESOFORGE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=230)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["trials_done"], summary["structures"], summary["failed"]) == (2, 2, 0)
    assert "Ray cluster of 2 nodes" in done.stderr
    assert len(list((tmp_path / "cache" / "bundles").iterdir())) == 1
