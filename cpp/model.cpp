// See model.h.
#include "model.h"

#include "backend.h"
#include "placement.h"

#include "ggml-backend.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <utility>

#ifdef __GLIBC__
#    include <malloc.h>
#endif

namespace ppldelta {

namespace {

// A large part of what the C library freed stays with the process, as do some 100 MB that parsing a vocabulary leaves.
void return_freed_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

std::string meta_value(const llama_model * model, const char * key) {
    const int32_t n = llama_model_meta_val_str(model, key, nullptr, 0);
    if (n < 0) {
        return {};
    }
    std::string value(static_cast<size_t>(n) + 1, '\0');
    llama_model_meta_val_str(model, key, value.data(), value.size());
    value.pop_back();
    return value;
}

// Encoders, for which llama.cpp makes no memory (llama_model::create_memory). Not all of their files say that they do not
// read from left to right, and with `vocab_only` nothing else of llama.cpp tells. The scorer refuses those that lack here.
bool is_encoder(const std::string & architecture) {
    static const char * const encoders[] = {
        "bert",     "eurobert",    "gemma-embedding", "jina-bert-v2",   "jina-bert-v3",
        "neo-bert", "modern-bert", "nomic-bert",      "nomic-bert-moe", "wavtokenizer-dec",
    };
    return std::find(std::begin(encoders), std::end(encoders), architecture) != std::end(encoders);
}

} // namespace

model::model(const std::string & path, int32_t n_gpu_layers, bool vocab_only) {
    initialize_backend();
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = n_gpu_layers;
    params.vocab_only   = vocab_only;
    ggml_backend_dev_t nothing[] = { nullptr };
    if (n_gpu_layers == 0) {
        params.devices = nothing; // with any device there, a GPU would multiply large micro-batches, and copy the weights each time
    }
    std::optional<placement> placed;
    if (!vocab_only) {
        params.tensor_buft_overrides = placed.emplace(path, n_gpu_layers).overrides();
    }
    handle_.reset(llama_model_load_from_file(path.c_str(), params));
    if (!handle_) {
        throw std::runtime_error("llama.cpp cannot load the model");
    }
    return_freed_memory();
}

void model::deleter::operator()(llama_model * ptr) const {
    llama_model_free(ptr);
    return_freed_memory();
}

const llama_vocab * model::vocab() const {
    return llama_model_get_vocab(handle_.get());
}

int32_t model::n_vocab() const {
    return llama_vocab_n_tokens(vocab());
}

model_info model::info() const {
    const llama_model * m = handle_.get();
    const llama_vocab * v = vocab();

    model_info info;
    info.architecture = meta_value(m, "general.architecture");
    info.name         = meta_value(m, "general.name");
    info.file_type    = llama_ftype_name(llama_model_ftype(m));
    info.n_vocab      = n_vocab();
    info.n_ctx_train  = std::atoi(meta_value(m, (info.architecture + ".context_length").c_str()).c_str());
    info.n_params     = llama_model_n_params(m);
    info.size_bytes   = llama_model_size(m);
    info.bos          = llama_vocab_bos(v);
    info.eos          = llama_vocab_eos(v);
    info.add_bos      = llama_vocab_get_add_bos(v);
    info.add_eos      = llama_vocab_get_add_eos(v);
    info.recurrent    = llama_model_is_recurrent(m) || llama_model_is_hybrid(m);
    info.causal       = !is_encoder(info.architecture) && !llama_model_has_encoder(m) && !llama_model_is_diffusion(m) &&
                  meta_value(m, (info.architecture + ".attention.causal").c_str()) != "false";
    info.tokenizer     = meta_value(m, "tokenizer.ggml.model");
    info.pre_tokenizer = meta_value(m, "tokenizer.ggml.pre");
    info.chat_template = meta_value(m, "tokenizer.chat_template");
    for (int32_t token = 0; token < info.n_vocab; token++) {
        if (llama_vocab_is_control(v, token)) {
            info.control.push_back(token);
        }
    }
    return info;
}

std::vector<int32_t> model::tokenize(std::string_view text, bool parse_special) const {
    const llama_vocab * v = vocab();

    std::vector<int32_t> tokens(text.size() + 8);
    const auto run = [&] {
        return llama_tokenize(v, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                              static_cast<int32_t>(tokens.size()), /*add_special*/ true, parse_special);
    };
    int32_t n = run();
    if (n < 0) { // a vocabulary that makes more tokens than bytes says how many
        if (n == INT32_MIN) {
            throw std::runtime_error("the text is too long for llama.cpp's tokenizer");
        }
        tokens.resize(static_cast<size_t>(-n));
        n = run();
    }
    tokens.resize(static_cast<size_t>(n));

    if (llama_vocab_get_add_bos(v) && !tokens.empty() && tokens.front() == llama_vocab_bos(v)) {
        tokens.erase(tokens.begin());
    }
    return tokens;
}

std::vector<std::string> model::control_tokens() const {
    std::vector<std::string> names;
    for (int32_t token = 0; token < n_vocab(); token++) {
        const int attributes = llama_vocab_get_attr(vocab(), token);
        if (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) { // see tokenizer_st_partition
            names.emplace_back(llama_vocab_get_text(vocab(), token));
        }
    }
    return names;
}

std::string model::chat_template() const {
    return meta_value(handle_.get(), "tokenizer.chat_template");
}

adapter::adapter(std::shared_ptr<const model> m, const std::string & path) :
    model_(std::move(m)), handle_(llama_adapter_lora_init(model_->get(), path.c_str())) {
    if (!handle_) {
        throw std::runtime_error("llama.cpp cannot load the adapter");
    }
    if (llama_adapter_get_alora_n_invocation_tokens(handle_.get()) > 0) {
        throw std::runtime_error("the adapter waits for tokens that activate it");
    }
}

std::string model::piece(int32_t token) const {
    std::string bytes(64, '\0');
    const auto  run = [&] {
        return llama_token_to_piece(vocab(), token, bytes.data(), static_cast<int32_t>(bytes.size()), /*lstrip*/ 0,
                                    /*special*/ true);
    };
    int32_t n = run();
    if (n < 0) {
        bytes.resize(static_cast<size_t>(-n));
        n = run();
    }
    bytes.resize(static_cast<size_t>(std::max(n, 0)));
    return bytes;
}

} // namespace ppldelta
