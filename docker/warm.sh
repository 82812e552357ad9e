#!/bin/bash
# Compile the kernels of all games while an image is built, and note for which CPUs. Kernels are run in order to be
# compiled: those for a CPU that the building machine is not are left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=docker/cpu.sh
source cpu.sh
# Threads that wait for each other are slow beside a busy neighbour, and nothing here is worth more than one.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

# What the build argument KERNELS_FOR names, by default all.
read -ra wanted <<< "${KERNELS_FOR:-${CPU_NAMES[*]}}"
for name in "${wanted[@]}"; do
    if [[ " ${CPU_NAMES[*]} " != *" $name "* ]]; then
        echo "KERNELS_FOR must name some of ${CPU_NAMES[*]}, got $name" >&2
        exit 64
    fi
done

names=()
for name in "${wanted[@]}"; do
    # "generic" is for machines that run nothing better.
    if cpu_runs "$name" && [[ $name != generic || ${#names[@]} -eq 0 ]]; then
        echo "for $name"
        NUMBA_CPU_NAME=$name NUMBA_CPU_FEATURES="" python warm.py
        names+=("$name")
    fi
done
printf '%s\n' "${names[@]}" > "$NUMBA_CACHE_DIR/cpus"
