#!/bin/bash
# A search on a SLURM cluster; all flags are those of `nas search`:
#   export NAS_STORAGE=postgresql+psycopg://USER@HOST/DB       # the password belongs into ~/.pgpass
#   sbatch cluster/slurm.sh --space mlp_family --data cifar10 --budget 500 --out /shared/nas-runs
# At the end of its time it stops cleanly, and SLURM queues it again; it goes on where it was.
# `nas` and `ray` have to be on the PATH of every node: submit with the environment activated, on a file system they share.
# The home folder has to be shared too: the token lies there that keeps other users out of this search's Ray.
#SBATCH --job-name=nas
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=nas-%j.log

set -euo pipefail
: "${NAS_STORAGE:?is the URL of the database, postgresql+psycopg://USER@HOST/DB}"

export RAY_AUTH_MODE=token
ray get-auth-token --generate > /dev/null

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
# Several searches may share a node, so each has ports and a folder of its own.
address=$ip:$((20000 + SLURM_JOB_ID % 10000))
# A short path: Ray's sockets lie in it.
folder=/tmp/ray-$SLURM_JOB_ID

# Workers never see the database.
ray_start() {
    local where=$1
    shift
    # shellcheck disable=SC2086 # `where` is several options
    env --unset=NAS_STORAGE srun --overlap $where ray start "$@" \
        --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --disable-usage-stats --block &
}

# End the steps that hold Ray, and this job with them.
stop() {
    # shellcheck disable=SC2046 # one word for each
    kill $(jobs -p) 2> /dev/null || true
    exit "${1:-0}"
}

ray_start "--nodes=1 --ntasks=1 --nodelist=$head" --head --node-ip-address="$ip" --port="${address##*:}" \
    --temp-dir="$folder" --include-dashboard=false
for _ in $(seq 60); do
    ray health-check --address "$address" > /dev/null 2>&1 && break
    sleep 2
done
if ((${#nodes[@]} > 1)); then
    others=$((${#nodes[@]} - 1))
    ray_start "--nodes=$others --ntasks=$others --ntasks-per-node=1 --exclude=$head" --address="$address"
fi

# The database's URL goes by the environment: command lines can be read by everybody on the node.
nas search --address "$address" "$@" &
search=$!
requeue() {
    kill -TERM "$search"
    wait "$search" || true
    scontrol requeue "$SLURM_JOB_ID"
    stop
}
trap requeue TERM
wait "$search" || { status=$?; stop "$status"; }
stop
