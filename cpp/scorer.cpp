// See scorer.h.
#include "scorer.h"

#include "softmax.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace ppldelta {

namespace {

// The arrays of a llama_batch of one sequence.
class batch {
  public:
    explicit batch(size_t capacity) : batch_(llama_batch_init(static_cast<int32_t>(capacity), 0, 1)) {}
    ~batch() { llama_batch_free(batch_); }
    batch(const batch &) = delete;
    batch & operator=(const batch &) = delete;

    void clear() { batch_.n_tokens = 0; }

    void add(int32_t token, size_t pos, bool output) {
        const int32_t i = batch_.n_tokens++;
        batch_.token[i]     = token;
        batch_.pos[i]       = static_cast<llama_pos>(pos);
        batch_.n_seq_id[i]  = 1;
        batch_.seq_id[i][0] = 0;
        batch_.logits[i]    = output;
    }

    const llama_batch & get() const { return batch_; }

  private:
    llama_batch batch_;
};

} // namespace

scorer::scorer(std::shared_ptr<const model> m, const scorer_params & params) :
    model_(std::move(m)), params_(params) {
    llama_context_params p = llama_context_default_params();
    p.n_ctx           = params.n_ctx;
    p.n_batch         = params.n_ubatch;
    p.n_ubatch        = params.n_ubatch;
    p.n_seq_max       = 1;
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
}

void scorer::score(const int32_t * tokens, size_t n_tokens, size_t first_output, const int32_t * targets, float * logp,
                   const std::function<void(size_t)> & on_step) {
    llama_context * ctx     = context_.get();
    const size_t    n_vocab = static_cast<size_t>(model_->n_vocab());
    const size_t    n_step  = std::min<size_t>(params_.n_ubatch, llama_n_batch(ctx));

    llama_memory_clear(llama_get_memory(ctx), false);

    batch step(n_step);
    for (size_t begin = 0; begin < n_tokens; begin += n_step) {
        const size_t end = std::min(begin + n_step, n_tokens);

        step.clear();
        for (size_t i = begin; i < end; i++) {
            step.add(tokens[i], i, i >= first_output);
        }
        const int32_t status = llama_decode(ctx, step.get());
        if (status != 0) {
            throw std::runtime_error("llama_decode returned " + std::to_string(status) + " at token " +
                                     std::to_string(begin) + " of a window of " + std::to_string(n_tokens));
        }

        if (end > first_output) {
            const size_t begin_output = std::max(begin, first_output);
            const size_t i_target     = begin_output - first_output;
            log_softmax_rows(llama_get_logits(ctx), n_vocab, targets + i_target, end - begin_output, params_.n_threads,
                             logp + i_target);
        } else {
            llama_synchronize(ctx); // so that progress and interrupts are seen where the time is spent
        }
        on_step(end - begin);
    }
}

} // namespace ppldelta
