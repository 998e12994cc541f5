// See model.h.
#include "model.h"

#include "placement.h"

#include "ggml-backend.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include <unistd.h>

#ifdef __GLIBC__
#    include <malloc.h>
#endif

namespace ppldelta {

namespace {

// llama.cpp logs from any thread and in fragments that end without a line break.
class log_buffer {
  public:
    void append(ggml_log_level level, const char * text) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (level != GGML_LOG_LEVEL_CONT) {
            flush();
            level_ = level;
        }
        pending_ += text;
        size_t start = 0;
        for (size_t end; (end = pending_.find('\n', start)) != std::string::npos; start = end + 1) {
            push(pending_.substr(start, end - start));
        }
        pending_.erase(0, start);
    }

    std::vector<log_line> drain(int least_level) {
        const std::lock_guard<std::mutex> lock(mutex_);
        flush();
        lines_.erase(std::remove_if(lines_.begin(), lines_.end(),
                                    [&](const log_line & line) { return line.level < least_level; }),
                     lines_.end());
        return std::exchange(lines_, {});
    }

    void mirror(int fd) {
        const std::lock_guard<std::mutex> lock(mutex_);
        fd_ = fd;
    }

    void print_last(FILE * file, size_t most) {
        if (!mutex_.try_lock()) {
            return; // the process ends: better without these lines than never
        }
        flush();
        if (fd_ < 0) {
            for (size_t i = lines_.size() - std::min(most, lines_.size()); i < lines_.size(); i++) {
                std::fprintf(file, "%s\n", lines_[i].text.c_str());
            }
        }
        mutex_.unlock();
    }

  private:
    void flush() {
        if (!pending_.empty()) {
            push(std::exchange(pending_, {}));
        }
    }

    void push(std::string text) {
        if (fd_ >= 0 && level_ != GGML_LOG_LEVEL_DEBUG) {
            const std::string line = text + '\n';
            [[maybe_unused]] const ssize_t n = write(fd_, line.data(), line.size()); // nobody to tell where it fails
        }
        constexpr size_t max_lines = 4096; // nobody drains while a model runs for hours
        if (lines_.size() >= max_lines) {
            lines_.erase(lines_.begin(), lines_.begin() + max_lines / 2);
        }
        lines_.push_back({ static_cast<int>(level_), std::move(text) });
    }

    std::mutex            mutex_;
    ggml_log_level        level_ = GGML_LOG_LEVEL_INFO;
    std::string           pending_;
    std::vector<log_line> lines_;
    int                   fd_ = -1;
};

log_buffer & the_log() {
    static log_buffer * buffer = new log_buffer; // never destroyed: backends may log while the process ends
    return *buffer;
}

// A large part of what the C library freed stays with the process, as do some 100 MB that parsing a vocabulary leaves.
void return_freed_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void on_abort(const char * message) {
    the_log().print_last(stderr, 16); // a backend says what went wrong in lines before its abort
    std::fprintf(stderr, "%s\n", message);
    std::fflush(stderr);
}

std::string & backend_folder() {
    static std::string folder;
    return folder;
}

} // namespace

void initialize_backend() {
    static std::once_flag once;
    std::call_once(once, [] {
        llama_log_set([](ggml_log_level level, const char * text, void *) { the_log().append(level, text); }, nullptr);
        ggml_set_abort_callback(&on_abort);
#ifdef GGML_BACKEND_DL
        // before anything asks for backends: llama.cpp would look beside Python's executable and in the working folder
        ggml_backend_load_all_from_path(backend_folder().c_str());
        if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
            throw std::runtime_error("no kernels for this processor can be loaded from " + backend_folder());
        }
#endif
        llama_backend_init();
    });
}

namespace {

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

} // namespace

std::vector<log_line> drain_log(int least_level) {
    return the_log().drain(least_level);
}

void mirror_log(int fd) {
    the_log().mirror(fd);
}

void find_backends(const std::string & folder) {
    backend_folder() = folder;
}

std::string system_info() {
    initialize_backend();
    return llama_print_system_info();
}

void add_rpc_server(const std::string & endpoint) {
    initialize_backend();
    ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
    if (rpc == nullptr) {
        throw std::runtime_error("this build has no RPC backend");
    }
    using add_server = ggml_backend_reg_t (*)(const char * endpoint);
    const auto add = reinterpret_cast<add_server>(ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server"));
    ggml_backend_reg_t server = add ? add(endpoint.c_str()) : nullptr;
    if (server == nullptr) {
        throw std::runtime_error("the server has no devices");
    }
    ggml_backend_register(server);
}

std::vector<std::string> idle_backends() {
    initialize_backend();
    std::vector<std::string> names;
    for (size_t i = 0; i < ggml_backend_reg_count(); i++) {
        ggml_backend_reg_t reg  = ggml_backend_reg_get(i);
        const std::string  name = ggml_backend_reg_name(reg);
        if (ggml_backend_reg_dev_count(reg) == 0 && name != "RPC") { // the devices of RPC are those of other machines
            names.push_back(name);
        }
    }
    return names;
}

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
    info.causal       = !llama_model_has_encoder(m) && !llama_model_is_diffusion(m) &&
                  meta_value(m, (info.architecture + ".attention.causal").c_str()) != "false";
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
