// See placement.h.
// llama.cpp asks whether AMX can multiply a tensor as if what it is multiplied with were contiguous, and AMX says yes for
// stacks of matrices too. But it packs only the first matrix of a stack and makes room for that one (amx/mmq.cpp), and
// in MLA's graph the other operand is permuted, so that no backend can multiply with what lies there, and ggml aborts.
#include "placement.h"

#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "gguf.h"

#include <cstring>

namespace ppldelta {

namespace {

// Of the tensors that src/models/*.cpp creates with three dimensions, those for GGML_OP_MUL_MAT: MLA's (deepseek2 and
// others), deepseek4's, rwkv6's, gemma3n's.
constexpr const char * stacks = "(attn_k_b|attn_v_b|attn_output_a|time_mix_w2|altup_proj|altup_unembd_proj)\\.weight$";

bool has_amx() {
    ggml_backend_dev_t cpu   = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_reg_t reg   = cpu ? ggml_backend_dev_backend_reg(cpu) : nullptr;
    auto               extra = reg ? reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
                           ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts"))
                                   : nullptr;
    for (ggml_backend_buffer_type_t * type = extra ? extra(cpu) : nullptr; type && *type; type++) {
        if (std::strcmp(ggml_backend_buft_name(*type), "AMX") == 0) {
            return true;
        }
    }
    return false;
}

bool has_gpu() {
    return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU) || ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU);
}

// 0 if the file does not say, or cannot be read: then llama.cpp cannot load it either, and says why.
int32_t n_blocks_in(const std::string & path) {
    const gguf_context_ptr file(gguf_init_from_file(path.c_str(), { /*.no_alloc =*/ true, /*.ctx =*/ nullptr }));
    const int64_t architecture = file ? gguf_find_key(file.get(), "general.architecture") : -1;
    if (architecture < 0 || gguf_get_kv_type(file.get(), architecture) != GGUF_TYPE_STRING) {
        return 0;
    }
    const std::string key = std::string(gguf_get_val_str(file.get(), architecture)) + ".block_count";
    const int64_t     at  = gguf_find_key(file.get(), key.c_str());
    return at >= 0 && gguf_get_kv_type(file.get(), at) == GGUF_TYPE_UINT32 ? static_cast<int32_t>(gguf_get_val_u32(file.get(), at)) : 0;
}

// The type of plain memory. llama.cpp takes ggml_backend_cpu_buffer_type() for leave to choose AMX again. ggml has another
// type of plain memory, for memory that the caller owns, and only a buffer of this type gives access to it.
ggml_backend_buffer_type_t plain_memory() {
    alignas(64) static char       any[64];
    const ggml_backend_buffer_ptr buffer(ggml_backend_cpu_buffer_from_ptr(any, sizeof(any)));
    return ggml_backend_buffer_get_type(buffer.get());
}

} // namespace

std::string stacks_pattern(std::optional<int32_t> n_blocks) {
    if (!n_blocks) {
        return std::string("(^|\\.)") + stacks;
    }
    std::string numbers;
    for (int32_t i = 0; i < *n_blocks; i++) {
        numbers += (i > 0 ? "|" : "") + std::to_string(i);
    }
    return "^blk\\.(" + numbers + ")\\." + stacks;
}

placement::placement(const std::string & path, int32_t n_gpu_layers) {
    if (!has_amx()) {
        return;
    }
    if (n_gpu_layers == 0 || !has_gpu()) {
        pattern_ = stacks_pattern(std::nullopt);
    } else {
        // the last blocks are on the GPU, after the output; what is there stays there
        const int32_t n_blocks = n_gpu_layers < 0 ? 0 : n_blocks_in(path) + 1 - n_gpu_layers;
        if (n_blocks <= 0) {
            return;
        }
        pattern_ = stacks_pattern(n_blocks);
    }
    overrides_ = { { pattern_.c_str(), plain_memory() }, { nullptr, nullptr } };
}

} // namespace ppldelta
