#!/bin/bash
# First process of the images: prepares the environment for whoever runs it, and becomes the command.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: docker run IMAGE COMMAND [ARGUMENTS]

  demo [FLAGS]       reproduce the learning curves of two games; figure and JSON go to /out
  test [FLAGS]       run the tests, but the slow ones; flags are pytest's
  bash [ARGUMENTS]   a shell
  mfenvs [ARGUMENTS] the command line: mfenvs list, mfenvs train ...
  python [ARGUMENTS] Python
  help               this text
EOF
}

fail() {
    echo "mfenvs: $1" >&2
    exit "${2:-1}"
}

# A folder of this run's own, made when it is first needed; the root file system may be read-only.
scratch=
need_scratch() {
    local folder
    [[ -n $scratch ]] && return
    for folder in "${TMPDIR:-/tmp}" /tmp /dev/shm; do
        if scratch=$(mktemp -d "$folder/mfenvs.XXXXXX" 2>/dev/null); then
            [[ -w ${TMPDIR:-/tmp} ]] || export TMPDIR=$folder
            return
        fi
    done
    fail "no folder for temporary files can be written to: run with --tmpfs /tmp" 73
}

# Where a prepared folder cannot be written to, a tree of links to its files can.
make_writable() {
    local folder=${!1}
    [[ -w $folder ]] && return
    need_scratch
    mkdir "$scratch/$1"
    if [[ -d $folder ]]; then
        cp -rs "$folder/." "$scratch/$1"
        find "$scratch/$1" -type d -exec chmod u+rwx {} +
    fi
    export "$1=$scratch/$1"
}

prepare() {
    make_writable HOME
    make_writable MPLCONFIGDIR
    make_writable NUMBA_CACHE_DIR
    [[ -w ${TMPDIR:-/tmp} ]] || need_scratch
    # A uid without a name, as with --user.
    if ! id -un >/dev/null 2>&1; then
        export USER=mfenvs LOGNAME=mfenvs
    fi
}

# Choose the best kernels of the image that the CPU at hand runs. numba names machine code by the CPU that it is for, so
# that of another CPU is not found. A NUMBA_CPU_NAME that was given stays; "native" is numba's own choice.
choose_cpu() {
    local name
    if [[ ${NUMBA_CPU_NAME:-native} != native ]]; then
        return
    elif [[ -z ${NUMBA_CPU_NAME:-} && -r $NUMBA_CACHE_DIR/cpus ]]; then
        while read -r name; do
            if cpu_runs "$name"; then
                # Without the second, numba adds the features of the CPU at hand.
                export NUMBA_CPU_NAME=$name NUMBA_CPU_FEATURES=""
                return
            fi
        done < "$NUMBA_CACHE_DIR/cpus"
        echo "mfenvs: the image has no kernels for this CPU: they are compiled when they are first used" >&2
    fi
    unset NUMBA_CPU_NAME
}

demo() {
    local out=${MFENVS_OUT:-/out}
    [[ -d $out && -w $out ]] || fail "$out cannot be written to by uid $(id -u): mount a folder of this user at $out" 73
    export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
    cd "$root"
    exec python -m benchmarks reproduce asymmetric-games --out "$out/asymmetric-games" "$@"
}

run_tests() {
    python -m pytest --version >/dev/null 2>&1 || fail "this image has no tests: build it with EXTRAS=test" 69
    export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 MPLBACKEND=agg
    cd "$root"
    exec python -m pytest -n 2 --dist worksteal -m "not slow" -p no:cacheprovider "$@"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=docker/cpu.sh
source "$root/docker/cpu.sh"
command=${1-help}
shift || true
case $command in
    help | -h | --help)
        usage
        exit
        ;;
    demo | test | bash | mfenvs | python) ;;
    *)
        echo "mfenvs: unknown command '$command'" >&2
        usage >&2
        exit 64
        ;;
esac
prepare
choose_cpu
case $command in
    demo) demo "$@" ;;
    test) run_tests "$@" ;;
    *) exec "$command" "$@" ;;
esac
