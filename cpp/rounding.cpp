// See rounding.h.
#include "rounding.h"

#include <cstring>
#include <utility>
#include <vector>

namespace ppldelta {

bool layer_rounder::attend(ggml_tensor * t, bool ask, void * self) {
    auto & rounder = *static_cast<layer_rounder *>(self);
    if (ask) { // llama.cpp's graphs name a layer's output so, and its number follows
        return std::strncmp(t->name, "l_out-", 6) == 0 && t->type == GGML_TYPE_F32 && ggml_is_contiguous(t);
    }
    try {
        const auto n = static_cast<size_t>(ggml_nelements(t));
        std::vector<float>       values(n);
        std::vector<ggml_bf16_t> rounded(n);
        ggml_backend_tensor_get(t, values.data(), 0, ggml_nbytes(t));
        ggml_fp32_to_bf16_row(values.data(), rounded.data(), static_cast<int64_t>(n));
        ggml_bf16_to_fp32_row(rounded.data(), values.data(), static_cast<int64_t>(n));
        ggml_backend_tensor_set(t, values.data(), 0, ggml_nbytes(t));
        rounder.n_rounded_++;
    } catch (...) {
        rounder.error_ = std::current_exception();
    }
    return true;
}

size_t layer_rounder::take() {
    if (error_) {
        std::rethrow_exception(std::exchange(error_, nullptr));
    }
    return std::exchange(n_rounded_, 0);
}

} // namespace ppldelta
