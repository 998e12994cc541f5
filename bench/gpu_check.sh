#!/usr/bin/env bash
# Proves the package on a machine with an NVIDIA GPU, which need not have a network.
#
#     bench/gpu_check.sh pack DIR          where there is a network: puts all that the other machine lacks into DIR
#     bench/gpu_check.sh run DIR [OUT]     on the GPU machine, with this checkout and DIR: builds, then checks
#     bench/gpu_check.sh build DIR         the first half of `run`; what is built stays in WORK
#     bench/gpu_check.sh check [OUT]       the second half
#
# OUT (`gpu-check` by default) gets `verdicts.txt`, `results.json` and the logs. The GPU machine needs nvcc with cuBLAS
# (the toolkit's or the Python package's), a C++ compiler, CMake, and a Python with its headers and pip.
#
# Variables: WORK=FOLDER (/tmp/ppldelta-gpu), SECONDS_IN_ALL (480) for `run`, PYTHON (python3),
# PYTHON_VERSION (3.12) for `pack`, and REHEARSAL=1: without CUDA, on an RPC server on loopback and with small models. A
# rehearsal shows that everything runs; its figures mean nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

work=${WORK:-/tmp/ppldelta-gpu}
python=${PYTHON:-python3}
in_all=${SECONDS_IN_ALL:-480}
most_mb=48

say() { echo "[$(date +%T), after $SECONDS s] $*"; }
stop() { echo "error: $*" >&2; exit 1; }

# polars, plotly and jinja2 are too large to travel: what is checked works without them
requirements=(cloudpickle loky numpy platformdirs tqdm gguf pytest scikit-build-core pybind11 pathspec packaging ninja)

pack() {
    local to=$1 into
    mkdir -p "$to"
    rm -rf "$to/wheels" "$to/llama.cpp.tar.xz"
    into=$(mktemp -d)
    local platforms=()
    for platform in manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux2010 \
        manylinux_2_5 manylinux1; do
        platforms+=(--platform "${platform}_x86_64")
    done
    "$python" -m pip download -q --disable-pip-version-check --only-binary=:all: --implementation cp \
        --python-version "${PYTHON_VERSION:-3.12}" "${platforms[@]}" -d "$to/wheels" "${requirements[@]}"

    "$python" cmake/stage_llama_cpp.py --patches patches --into "$into/llama.cpp" --downloads "${DOWNLOADS:-$into/downloads}"
    rm "$into/llama.cpp/ppldelta-stage.json"
    mkdir "$into/llama.cpp/.git" # where the build looks for the commit of a checkout
    sed -n 's/^# llama\.cpp commit: //p' patches/llama_cpp.txt >"$into/llama.cpp/.git/HEAD"
    tar -C "$into" -cJf "$to/llama.cpp.tar.xz" llama.cpp
    rm -rf "$into"

    du -k "$to"/wheels/* "$to/llama.cpp.tar.xz" | sort -rn | head -5
    local kb
    kb=$(du -sk "$to" | cut -f1)
    echo "$to: $((kb / 1024)) MB in $(find "$to" -type f | wc -l) files"
    ((kb <= most_mb * 1024)) || stop "more than $most_mb MB, too much to travel"
}

build() {
    local from cuda=() toolkit card architecture
    from=$(cd "$1" && pwd)
    [[ -f $from/llama.cpp.tar.xz ]] || stop "$1 holds no llama.cpp.tar.xz: \`$0 pack $1\` makes it"
    mkdir -p "$work"
    rm -rf "$work/site" "$work/package" "$work/llama.cpp"
    say "installing into $work/site"
    "$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile \
        --target "$work/site" "$from"/wheels/*.whl
    export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
    tar -C "$work" -xJf "$from/llama.cpp.tar.xz"

    if [[ -z ${REHEARSAL:-} ]]; then
        toolkit=$("$python" bench/cuda_toolkit.py "$work/toolkit")
        card=$(nvidia-smi --query-gpu=compute_cap,name,memory.total,driver_version --format=csv,noheader | head -1) ||
            stop "nvidia-smi shows no GPU"
        say "toolkit $toolkit; compute capability, name, memory, driver: $card"
        architecture=$(cut -d, -f1 <<<"$card" | tr -d '. ')-real
        cuda=(-DGGML_CUDA=ON -DGGML_CUDA_NO_VMM=ON -DGGML_CUDA_NCCL=OFF "-DCMAKE_CUDA_ARCHITECTURES=$architecture"
            "-DCUDAToolkit_ROOT=$toolkit" "-DCMAKE_CUDA_COMPILER=$toolkit/bin/nvcc")
    fi
    say "building (log: $work/build.log)"
    export CMAKE_ARGS="-DPPLDELTA_LLAMA_CPP_DIR=$work/llama.cpp \
-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir) ${cuda[*]} ${CMAKE_ARGS:-}"
    export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
    "$python" -m pip install -v --disable-pip-version-check --no-index --no-deps --no-build-isolation \
        --target "$work/package" -C build-dir="$work/build" . >"$work/build.log" 2>&1 ||
        { grep -n -m5 -E "error|Error|FAILED" "$work/build.log"; tail -40 "$work/build.log"; stop "the build failed"; }
    say "built; now llama-bench"
    local cmake # that built the rest; it need not be on the path
    cmake=$(sed -n 's/^CMAKE_COMMAND:INTERNAL=//p' "$work/build/CMakeCache.txt")
    "$cmake" --build "$work/build" --target llama-bench >>"$work/build.log" 2>&1 ||
        { tail -20 "$work/build.log"; echo "llama-bench could not be built: its claim will be unknown" >&2; }
    say "built all"
}

check() {
    local out
    mkdir -p "$1"
    out=$(cd "$1" && pwd)
    cp "$work/build.log" "$out/" 2>/dev/null || true
    export PYTHONPATH="$work/package:$work/site${PYTHONPATH:+:$PYTHONPATH}"
    "$python" bench/gpu_check.py --out "$out" --work "$work" --seconds "$((in_all - SECONDS))" \
        --llama-bench "$(find "$work/build" -name llama-bench -type f -perm -u+x | head -1)" \
        ${REHEARSAL:+--rehearsal}
}

case "${1:-} $#" in
    "pack 2") pack "$2" ;;
    "build 2") build "$2" ;;
    "check 1" | "check 2") check "${2:-gpu-check}" ;;
    "run 2" | "run 3") build "$2"; check "${3:-gpu-check}" ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
