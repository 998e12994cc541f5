#!/usr/bin/env bash
# Builds the package for CUDA and looks at what came out: on a machine with nvcc, a GPU is not needed.
#
#     bench/cuda_build.sh [WORK]        WORK: `bench/work/cuda` by default; ARCHITECTURES="90" (semicolons between several)
#
# Where the compiler comes without cuBLAS, that is fetched as the Python package `nvidia-cublas`. The last line says how
# long it took and how large the wheel is.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mkdir -p "${1:-bench/work/cuda}" && cd "${1:-bench/work/cuda}" && pwd)
architectures=${ARCHITECTURES:-90}

# --- the toolkit: one folder with compiler, headers and the libraries under the names that a linker looks for

if ! toolkit=$(python3 bench/cuda_toolkit.py "$work/toolkit" --libraries "$work/cublas" 2>/dev/null); then
    python3 -m pip install -q --no-deps --target "$work/cublas" nvidia-cublas
    toolkit=$(python3 bench/cuda_toolkit.py "$work/toolkit" --libraries "$work/cublas")
fi
echo "toolkit: $toolkit ($("$toolkit/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/nvcc \1/p'))"

# --- the wheel

SECONDS=0
rm -rf "$work/wheel"
# NO_VMM: without it the driver is linked, of which no stub may be here
CMAKE_ARGS="-DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=$architectures -DGGML_CUDA_NO_VMM=ON \
-DCUDAToolkit_ROOT=$toolkit -DCMAKE_CUDA_COMPILER=$toolkit/bin/nvcc ${CMAKE_ARGS:-}" \
    python3 -m pip wheel --no-deps -w "$work/wheel" -C build-dir="$work/build" .
seconds=$SECONDS
wheel=$(echo "$work"/wheel/*.whl)

# --- what came out

[[ -d $work/venv ]] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --force-reinstall --no-deps "$wheel"
"$work/venv/bin/pip" install -q "$wheel"
python3 bench/cuda_look.py "$work/venv/bin/python" "$toolkit"

echo "built in $seconds s on $(nproc) cores for CUDA architectures $architectures: $(du -m "$wheel" | cut -f1) MB," \
    "of them libggml-cuda.so $(du -m "$work"/venv/lib/python3*/site-packages/ppldelta/lib/libggml-cuda.so | cut -f1) MB unpacked"
