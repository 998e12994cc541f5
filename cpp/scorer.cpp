// See scorer.h.
#include "scorer.h"

#include "ggml-backend.h"
#include "llama-logits-reader.h"
#include "softmax.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace ppldelta {

namespace {

// The arrays of a llama_batch whose tokens belong to one sequence each.
class batch {
  public:
    explicit batch(size_t capacity) : batch_(llama_batch_init(static_cast<int32_t>(capacity), 0, 1)) {}
    ~batch() { llama_batch_free(batch_); }
    batch(const batch &) = delete;
    batch & operator=(const batch &) = delete;

    void clear() { batch_.n_tokens = 0; }

    void add(int32_t token, size_t pos, size_t sequence, bool output) {
        const int32_t i = batch_.n_tokens++;
        batch_.token[i]     = token;
        batch_.pos[i]       = static_cast<llama_pos>(pos);
        batch_.n_seq_id[i]  = 1;
        batch_.seq_id[i][0] = static_cast<llama_seq_id>(sequence);
        batch_.logits[i]    = output;
    }

    size_t size() const { return static_cast<size_t>(batch_.n_tokens); }

    const llama_batch & get() const { return batch_; }

  private:
    llama_batch batch_;
};

constexpr size_t staged_rows = 32; // 20 MB of a vocabulary of 150 thousand, and enough for every thread's reduction

} // namespace

scorer::scorer(std::shared_ptr<const model> m, const scorer_params & params) :
    model_(std::move(m)), params_(params) {
    llama_context_params p = llama_context_default_params();
    p.n_ctx           = params.n_ctx;
    p.n_batch         = params.n_seq_max > 1 ? params.n_ctx : params.n_ubatch;
    p.n_ubatch        = params.n_ubatch;
    p.n_outputs_max   = params.n_seq_max > 1 ? params.n_ctx : params.n_outputs_max;
    p.n_seq_max       = params.n_seq_max;
    p.kv_unified      = params.n_seq_max > 1; // else each sequence would get an n_seq_max-th of n_ctx, used or not
    p.n_threads       = params.n_threads;
    p.n_threads_batch = params.n_threads;
    p.type_k          = GGML_TYPE_F16;
    p.type_v          = GGML_TYPE_F16;
    p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    p.no_perf         = true;
    context_.reset(llama_init_from_model(model_->get(), p));
    if (!context_) {
        throw std::runtime_error("llama.cpp cannot make a context");
    }
    if (!llama_get_causal_attn(context_.get()) || llama_get_memory(context_.get()) == nullptr) {
        throw std::runtime_error("the model does not read from left to right");
    }
    llama_set_logits_reader(
        context_.get(),
        [](const ggml_tensor * logits, const int32_t * batch_idxs, uint32_t n_outputs, void * self) {
            static_cast<scorer *>(self)->read(logits, batch_idxs, n_outputs);
        },
        this);
}

void scorer::score(const std::vector<window> & windows, const std::function<void(size_t)> & on_step) {
    llama_context * ctx = context_.get();
    const bool   several = windows.size() > 1; // these go in at once
    const size_t n_step  = std::min<size_t>(several ? params_.n_ctx : params_.n_ubatch, llama_n_batch(ctx));
    const size_t n_outputs_max = several ? params_.n_ctx : params_.n_outputs_max;

    llama_memory_clear(llama_get_memory(ctx), false);

    size_t n_outputs = 0;
    batch  step(n_step);
    const auto decode = [&] {
        const int32_t status = llama_decode(ctx, step.get());
        if (error_) {
            std::rethrow_exception(std::exchange(error_, nullptr));
        }
        if (status != 0) {
            throw std::runtime_error("llama_decode returned " + std::to_string(status) + " for " +
                                     std::to_string(step.size()) + " tokens of " + std::to_string(windows.size()) +
                                     (windows.size() == 1 ? " window" : " windows"));
        }
        llama_synchronize(ctx); // so that progress and interrupts are seen where the time is spent
        on_step(step.size());
        step.clear();
        targets_.clear();
        n_outputs = 0;
    };

    targets_.clear();
    for (size_t sequence = 0; sequence < windows.size(); sequence++) {
        const window & w = windows[sequence];
        for (size_t i = 0; i < w.n_tokens; i++) {
            const bool   output = i >= w.first_output;
            const size_t row    = output ? i - w.first_output : 0;
            step.add(w.tokens[i], i, sequence, output);
            n_outputs += output;
            targets_.push_back(output ? target{ w.targets[row], w.logp + row } : target{});
            // A step of one token is attended in parts, one for each thread, so that its numbers would depend on how
            // many there are: rather a step with one token less, and two in the last.
            const size_t n_left      = w.n_tokens - i - 1;
            const size_t n_held_back = !several && n_left == 2 && step.size() > 1 ? 1 : 0;
            if (step.size() + n_held_back >= n_step || n_outputs + n_held_back >= n_outputs_max) {
                decode();
            }
        }
    }
    if (step.size() > 0) {
        decode();
    }
}

void scorer::read(const ggml_tensor * logits, const int32_t * batch_idxs, size_t n_rows) try {
    if (error_) {
        return;
    }
    const size_t n_vocab = static_cast<size_t>(model_->n_vocab());

    ggml_backend_buffer_t buffer = logits->view_src ? logits->view_src->buffer : logits->buffer;
    const bool            staged = !ggml_backend_buffer_is_host(buffer);
    if (staged && !staging_) {
        ggml_backend_dev_t         device = ggml_backend_buft_get_device(ggml_backend_buffer_get_type(buffer));
        ggml_backend_buffer_type_t pinned = device ? ggml_backend_dev_host_buffer_type(device) : nullptr;
        staging_.reset(ggml_backend_buft_alloc_buffer(pinned ? pinned : ggml_backend_cpu_buffer_type(),
                                                      staged_rows * n_vocab * sizeof(float)));
        if (!staging_) {
            throw std::runtime_error("no memory to copy logits to");
        }
    }

    std::vector<int32_t> tokens(n_rows);
    std::vector<float>   logp(n_rows);
    for (size_t row = 0; row < n_rows; row++) {
        tokens[row] = targets_[static_cast<size_t>(batch_idxs[row])].token;
    }
    const size_t n_part = staged ? staged_rows : n_rows;
    for (size_t begin = 0; begin < n_rows; begin += n_part) {
        const size_t  n    = std::min(n_part, n_rows - begin);
        const float * rows = static_cast<const float *>(logits->data);
        if (staged) {
            float * copy = static_cast<float *>(ggml_backend_buffer_get_base(staging_.get()));
            ggml_backend_tensor_get(logits, copy, begin * n_vocab * sizeof(float), n * n_vocab * sizeof(float));
            rows = copy;
        }
        log_softmax_rows(rows, n_vocab, tokens.data() + begin, n, params_.n_threads, logp.data() + begin);
    }
    for (size_t row = 0; row < n_rows; row++) {
        *targets_[static_cast<size_t>(batch_idxs[row])].logp = logp[row];
    }
} catch (...) {
    error_ = std::current_exception();
}

} // namespace ppldelta
