// See backend.h.
#include "backend.h"

#include "ggml-backend.h"
#include "llama.h"

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <utility>

#include <unistd.h>

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

} // namespace ppldelta
