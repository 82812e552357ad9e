# shellcheck shell=bash disable=SC2034
# The CPUs for which kernels are compiled when an image is built, the fastest first. To be sourced.
# Levels of x86-64 are those of its psABI; only AVX-512 (v4) has the 64-bit products that random numbers are made of.
CPU_NAMES=(x86-64-v4 x86-64-v3 generic)

# Whether the CPU at hand runs code for the CPU of this name.
cpu_runs() {
    local flags flag needed=(avx avx2 bmi1 bmi2 f16c fma abm movbe xsave)
    case $1 in
        generic) return 0 ;;
        x86-64-v3) ;;
        x86-64-v4) needed+=(avx512f avx512bw avx512cd avx512dq avx512vl) ;;
        *) return 1 ;;
    esac
    flags=" $(grep -m1 '^flags' /proc/cpuinfo || true) "
    for flag in "${needed[@]}"; do
        [[ $flags == *" $flag "* ]] || return 1
    done
}
