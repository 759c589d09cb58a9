#!/bin/bash
# One study on a Slurm cluster: Ray on every node of the allocation, the driver on the first.
#
#   sbatch cluster/manifests/slurm.sh berea_transport /shared/runs/berea_transport
#   sbatch --nodes=8 cluster/manifests/slurm.sh STUDY.yaml DIR [further options of mesoforge sweep]
#
# Give the same command again after the time limit: the study goes on where it stopped. DIR must be on a disk that all
# nodes share. MESOFORGE_VENV names the environment with mesoforge, at the same path on every node.
#SBATCH --job-name=mesoforge
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-task=1
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=mesoforge-%j.log

set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: sbatch $0 STUDY DIR [options of mesoforge sweep]" >&2
    exit 2
fi
study=$1
folder=$2
shift 2

if [[ -n "${MESOFORGE_VENV:-}" ]]; then
    # shellcheck source=/dev/null
    source "${MESOFORGE_VENV}/bin/activate"
fi

export RAY_USAGE_STATS_ENABLED=0
# Nodes of an allocation are reached by other users of the machine: Ray must ask for a token, one for this job alone.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

mapfile -t hosts < <(scontrol show hostnames "${SLURM_JOB_NODELIST}")
head_node=${hosts[0]}
head_ip=$(srun --nodes=1 --ntasks=1 --nodelist="${head_node}" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000)) # two jobs on one node do not meet
gpus=${SLURM_GPUS_ON_NODE:-0}
cores=${SLURM_CPUS_PER_TASK:-1}
temporary=/tmp/ray-${SLURM_JOB_ID}

srun --nodes=1 --ntasks=1 --nodelist="${head_node}" \
    ray start --head --block --node-ip-address="${head_ip}" --port="${port}" --num-cpus="${cores}" \
    --num-gpus="${gpus}" --include-dashboard=false --temp-dir="${temporary}" --disable-usage-stats &

if [[ ${SLURM_JOB_NUM_NODES} -gt 1 ]]; then
    sleep 20 # the head comes first
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="${head_node}" \
        ray start --block --address="${head_ip}:${port}" --num-cpus="${cores}" --num-gpus="${gpus}" \
        --disable-usage-stats &
fi

for _ in $(seq 60); do
    ray status --address="${head_ip}:${port}" >/dev/null 2>&1 && break
    sleep 2
done

# In the background, so that the signal before the time limit reaches this script, which passes it on: the sweep keeps
# what is finished.
sweep=
trap '[[ -z "${sweep}" ]] || kill -TERM "${sweep}"' INT TERM
mesoforge sweep "${study}" --out "${folder}" --address "${head_ip}:${port}" --nodes "${SLURM_JOB_NUM_NODES}" "$@" &
sweep=$!
status=0
wait "${sweep}" || status=$?
if kill -0 "${sweep}" 2>/dev/null; then # the wait was cut short by the signal
    status=0
    wait "${sweep}" || status=$?
fi
exit "${status}"
