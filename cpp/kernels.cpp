// See kernels.h.
#include "kernels.h"

#include "backend.h"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "ggml.h"
#include "gguf.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <stdexcept>

namespace ppldelta {

namespace {

template <typename function> function proc_address(ggml_backend_dev_t device, const char * name) {
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(device);
    return reg ? reinterpret_cast<function>(ggml_backend_reg_get_proc_address(reg, name)) : nullptr;
}

// In the order in which llama.cpp tries them: first those that lay weights out for faster kernels.
std::vector<ggml_backend_buffer_type_t> buffer_types(ggml_backend_dev_t device) {
    std::vector<ggml_backend_buffer_type_t> types;
    if (auto extra = proc_address<ggml_backend_dev_get_extra_bufts_t>(device, "ggml_backend_dev_get_extra_bufts")) {
        for (ggml_backend_buffer_type_t * type = extra(device); type && *type; type++) {
            types.push_back(*type);
        }
    }
    types.push_back(ggml_backend_dev_buffer_type(device));
    return types;
}

ggml_type type_by_name(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const char * known = ggml_type_name(static_cast<ggml_type>(i));
        if (known && name == known) {
            return static_cast<ggml_type>(i);
        }
    }
    throw std::runtime_error("ggml knows no tensor type `" + name + "`");
}

ggml_context_ptr make_context(size_t n_tensors) {
    return ggml_context_ptr(ggml_init({ n_tensors * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true }));
}

// There is one for each device, and none is freed: making one takes long on a GPU, and a process may end in any order.
ggml_backend_t backend_of(ggml_backend_dev_t device) {
    static std::mutex mutex;
    static auto *     backends = new std::map<ggml_backend_dev_t, ggml_backend_t>;

    const std::lock_guard<std::mutex> lock(mutex);
    ggml_backend_t &                  backend = (*backends)[device];
    if (!backend) {
        backend = ggml_backend_dev_init(device, nullptr);
    }
    return backend;
}

ggml_backend_dev_t device_by_name(const std::string & name) {
    initialize_backend();
    if (ggml_backend_dev_t device = ggml_backend_dev_by_name(name.c_str())) {
        return device;
    }
    throw std::runtime_error("there is no device `" + name + "`");
}

} // namespace

std::vector<device_info> devices() {
    initialize_backend();
    std::vector<device_info> infos;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        device_info        info;
        info.name        = ggml_backend_dev_name(device);
        info.description = ggml_backend_dev_description(device);
        info.backend     = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device));
        const auto kind  = ggml_backend_dev_type(device);
        info.gpu         = kind == GGML_BACKEND_DEVICE_TYPE_GPU || kind == GGML_BACKEND_DEVICE_TYPE_IGPU;
        ggml_backend_dev_memory(device, &info.memory_free, &info.memory_total);
        for (ggml_backend_buffer_type_t type : buffer_types(device)) {
            info.buffer_types.push_back(ggml_backend_buft_name(type));
        }
        if (auto features = proc_address<ggml_backend_get_features_t>(device, "ggml_backend_get_features")) {
            for (ggml_backend_feature * each = features(ggml_backend_dev_backend_reg(device)); each->name; each++) {
                info.features.emplace_back(each->name, each->value);
            }
        }
        infos.push_back(std::move(info));
    }
    return infos;
}

std::vector<tensor_type> tensor_types() {
    std::vector<tensor_type> types;
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const auto                    type   = static_cast<ggml_type>(i);
        const ggml_type_traits *      traits = ggml_get_type_traits(type);
        const bool is_float = type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16;
        // activations become Q8_1 and Q8_K; no model holds these
        if (traits->type_name && traits->blck_size > 0 && type != GGML_TYPE_Q8_1 && type != GGML_TYPE_Q8_K &&
            (is_float || (traits->is_quantized && traits->to_float))) {
            types.push_back({ traits->type_name, traits->blck_size, traits->type_size });
        }
    }
    return types;
}

std::vector<tensor_place> tensors_in(const std::string & path) {
    ggml_context *         tensors = nullptr;
    const gguf_context_ptr file(gguf_init_from_file(path.c_str(), { /*.no_alloc =*/ true, /*.ctx =*/ &tensors }));
    const ggml_context_ptr owner(tensors);
    if (!file) {
        throw std::runtime_error("not a GGUF file");
    }
    std::vector<tensor_place> places;
    for (int64_t i = 0; i < gguf_get_n_tensors(file.get()); i++) {
        const char *        name  = gguf_get_tensor_name(file.get(), i);
        const ggml_tensor * each  = ggml_get_tensor(tensors, name);
        std::string         shape = std::to_string(each->ne[0]);
        for (int d = 1; d < ggml_n_dims(each); d++) {
            shape += "x" + std::to_string(each->ne[d]);
        }
        places.emplace_back(name, ggml_type_name(each->type), ggml_nrows(each), each->ne[0], std::move(shape),
                            gguf_get_data_offset(file.get()) + gguf_get_tensor_offset(file.get(), i));
    }
    return places;
}

std::vector<uint8_t> quantize(const std::string & name, const float * rows, int64_t n_rows, int64_t n_columns) {
    const ggml_type          type = type_by_name(name);
    std::vector<uint8_t>     out(ggml_row_size(type, n_columns) * static_cast<size_t>(n_rows));
    const std::vector<float> importance(static_cast<size_t>(n_columns), 1.0f);
    if (type == GGML_TYPE_F32) {
        std::copy_n(reinterpret_cast<const uint8_t *>(rows), out.size(), out.data());
    } else {
        ggml_quantize_chunk(type, rows, out.data(), 0, n_rows, n_columns,
                            ggml_quantize_requires_imatrix(type) ? importance.data() : nullptr);
    }
    return out;
}

void dequantize(const std::string & name, const uint8_t * rows, int64_t n_rows, int64_t n_columns, float * values) {
    const ggml_type type = type_by_name(name);
    if (type == GGML_TYPE_F32) {
        std::copy_n(rows, static_cast<size_t>(n_rows * n_columns) * sizeof(float), reinterpret_cast<uint8_t *>(values));
    } else {
        ggml_get_type_traits(type)->to_float(rows, values, n_rows * n_columns);
    }
}

std::optional<double> multiply(const product_params & params, const uint8_t * weights, const float * vectors, float * products) {
    ggml_backend_dev_t device = device_by_name(params.device);
    const ggml_type    type   = type_by_name(params.type);

    ggml_backend_buffer_type_t buffer_type = nullptr;
    for (ggml_backend_buffer_type_t each : buffer_types(device)) {
        if (params.buffer_type == ggml_backend_buft_name(each)) {
            buffer_type = each;
        }
    }
    if (!buffer_type) {
        throw std::runtime_error("`" + params.device + "` has no buffer type `" + params.buffer_type + "`");
    }

    const ggml_context_ptr weights_context = make_context(1), context = make_context(4);
    ggml_tensor * w = ggml_new_tensor_2d(weights_context.get(), type, params.n_columns, params.n_rows);
    ggml_tensor * x = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, params.n_columns, params.n_vectors);
    ggml_tensor * y = ggml_mul_mat(context.get(), w, x);

    // llama.cpp decides in the same way where weights go: it asks for the operation with weights in an empty buffer
    w->buffer = ggml_backend_buft_alloc_buffer(buffer_type, 0);
    const bool supported = w->buffer && ggml_backend_dev_supports_op(device, y);
    ggml_backend_buffer_free(w->buffer);
    w->buffer = nullptr;
    if (!supported) {
        return std::nullopt;
    }

    ggml_backend_t                backend = backend_of(device);
    const ggml_backend_buffer_ptr weights_buffer(ggml_backend_alloc_ctx_tensors_from_buft(weights_context.get(), buffer_type));
    const ggml_backend_buffer_ptr buffer(backend ? ggml_backend_alloc_ctx_tensors(context.get(), backend) : nullptr);
    if (!backend || !weights_buffer || !buffer) {
        throw std::runtime_error("no memory for a product of " + params.type);
    }
    ggml_backend_buffer_set_usage(weights_buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    if (auto set_n_threads = proc_address<ggml_backend_set_n_threads_t>(device, "ggml_backend_set_n_threads")) {
        set_n_threads(backend, params.n_threads);
    }
    ggml_backend_tensor_set(w, weights, 0, ggml_nbytes(w));
    ggml_backend_tensor_set(x, vectors, 0, ggml_nbytes(x));
    ggml_cgraph * graph = ggml_new_graph(context.get());
    ggml_build_forward_expand(graph, y);

    double shortest = 0.0;
    for (int i = 0; i < params.n_repeats; i++) {
        const auto started = std::chrono::steady_clock::now();
        if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) {
            throw std::runtime_error("the backend cannot multiply " + params.type);
        }
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - started;
        shortest = i == 0 ? time.count() : std::min(shortest, time.count());
    }
    ggml_backend_tensor_get(y, products, 0, ggml_nbytes(y));
    return shortest;
}

} // namespace ppldelta
