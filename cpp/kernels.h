// What computes: the devices of this machine, the features of their kernels, and single matrix products, by which the
// kernels are checked. This file knows ggml, not Python. It asks backends only through the registry, since they may be
// loaded at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace ppldelta {

struct device_info {
    std::string name;         // such as "CPU" or "CUDA0"
    std::string description;  // such as "AMD EPYC" or "NVIDIA H200"
    std::string backend;      // such as "CPU" or "CUDA"
    bool        gpu;
    size_t      memory_free;  // bytes
    size_t      memory_total;
    std::vector<std::string>                         buffer_types; // where weights may lie, the preferred first
    std::vector<std::pair<std::string, std::string>> features;     // of the kernels, as the backend names them
};

// The devices that the backends of this build find on this machine.
std::vector<device_info> devices();

struct tensor_type {
    std::string name;       // as ggml names it, such as "q4_K"
    int64_t     block_size; // a row's length must be a multiple of it
    size_t      block_bytes;
};

// The types that can be quantised from float32 and back.
std::vector<tensor_type> tensor_types();

// Name and type of a tensor as ggml names them, n_rows (in all dimensions but the first), n_columns, all dimensions such
// as "576x1536", and the offset of its first byte in the file.
using tensor_place = std::tuple<std::string, std::string, int64_t, int64_t, std::string, uint64_t>;

// The tensors of a GGUF file, in its order; nothing is said of whether the file is long enough for them.
// Throws std::runtime_error if the file cannot be read.
std::vector<tensor_place> tensors_in(const std::string & path);

// Rows of float32 in a type; where one needs an importance matrix, all columns are equally important.
std::vector<uint8_t> quantize(const std::string & type, const float * rows, int64_t n_rows, int64_t n_columns);

// The float32 values that such rows stand for, n_rows × n_columns.
void dequantize(const std::string & type, const uint8_t * rows, int64_t n_rows, int64_t n_columns, float * values);

struct product_params {
    std::string device;
    std::string buffer_type; // where the weights lie
    std::string type;        // of the weights
    int64_t     n_rows;
    int64_t     n_columns;
    int64_t     n_vectors;
    int         n_threads;
    int         n_repeats;
};

// products[v * n_rows + r] = weights[r] · vectors[v], as the device computes it. Returns the shortest time of the
// repeats in seconds, or nothing if llama.cpp would not put such weights there.
// Throws std::runtime_error if the backend fails.
std::optional<double> multiply(const product_params & params, const uint8_t * weights, const float * vectors, float * products);

} // namespace ppldelta
