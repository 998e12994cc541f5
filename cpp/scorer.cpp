// See scorer.h.
#include "scorer.h"

#include "cut.h"
#include "llama-ext.h"
#include "llama-logits-reader.h"

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

} // namespace

scorer::scorer(std::shared_ptr<const model> m, const scorer_params & params, std::vector<scaled_adapter> adapters,
               const control_vector & control) :
    model_(std::move(m)), params_(params), adapters_(std::move(adapters)) {
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
    p.flash_attn_type = params.flash ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    p.swa_full        = false; // as llama-perplexity: layers with a sliding window keep no more than they look at
    p.no_perf         = true;
    if (params.bf16) {
        p.cb_eval           = layer_rounder::attend;
        p.cb_eval_user_data = &rounder_;
    } else if (params.states) {
        p.cb_eval           = state_keeper::attend;
        p.cb_eval_user_data = &states_;
    }
    context_.reset(llama_init_from_model(model_->get(), p));
    if (!context_) {
        throw std::runtime_error("llama.cpp cannot make a context");
    }
    if (!llama_get_causal_attn(context_.get()) || llama_get_memory(context_.get()) == nullptr) {
        throw std::runtime_error("the model does not read from left to right");
    }
    if (!adapters_.empty()) {
        std::vector<llama_adapter_lora *> loras;
        std::vector<float>                scales;
        for (const auto & [lora, scale] : adapters_) {
            loras.push_back(lora->get());
            scales.push_back(scale);
        }
        if (llama_set_adapters_lora(context_.get(), loras.data(), loras.size(), scales.data()) != 0) {
            throw std::runtime_error("llama.cpp cannot apply the adapters");
        }
    }
    if (!control.values.empty() &&
        llama_set_adapter_cvec(context_.get(), control.values.data(), control.values.size(), control.n_embd, 1,
                               llama_model_n_layer(model_->get())) != 0) {
        throw std::runtime_error("llama.cpp cannot apply the control vector");
    }
    llama_set_logits_reader(
        context_.get(),
        [](const ggml_tensor * logits, const int32_t * batch_idxs, uint32_t n_outputs, void * self) {
            static_cast<scorer *>(self)->read(logits, batch_idxs, n_outputs);
        },
        this);
}

void scorer::run(const std::vector<window> & windows, logits_reader & reader,
                 const std::function<void(size_t)> & on_step) {
    llama_memory_clear(llama_get_memory(context_.get()), false);
    reader_ = &reader;
    states_.clear();
    if (windows.front().prefix > 0) {
        feed_behind_prefix(windows, on_step);
        return;
    }
    std::vector<part> parts;
    for (size_t w = 0; w < windows.size(); w++) {
        parts.push_back({ &windows[w], w, 0, windows[w].n_tokens });
    }
    feed(parts, on_step);
}

void scorer::feed_behind_prefix(const std::vector<window> & windows, const std::function<void(size_t)> & on_step) {
    llama_context *    ctx    = context_.get();
    llama_memory_t     memory = llama_get_memory(ctx);
    const size_t       prefix = windows.front().prefix;
    const llama_model * m     = model_->get();
    feed({ { &windows.front(), 0, 0, prefix } }, on_step);

    // Where every token has a cell of its own that nothing overwrites, what came behind the prefix is removed, and the next
    // tokens get the same cells. A recurrent state cannot go back, and a sliding window has given up cells: there the whole
    // state is put back into an empty memory, before the first window as well, so that cells lie in one order for all.
    const bool removes = !llama_model_is_recurrent(m) && !llama_model_is_hybrid(m) && llama_model_n_swa(m) == 0;
    std::vector<uint8_t> state(removes ? 0 : llama_state_seq_get_size(ctx, 0));
    if (!removes && (state.empty() || llama_state_seq_get_data(ctx, state.data(), state.size(), 0) != state.size())) {
        throw std::runtime_error("llama.cpp cannot save the state behind a prefix");
    }
    for (size_t w = 0; w < windows.size(); w++) {
        if (!removes) {
            llama_memory_clear(memory, false);
            if (llama_state_seq_set_data(ctx, state.data(), state.size(), 0) != state.size()) {
                throw std::runtime_error("llama.cpp cannot restore the state behind a prefix");
            }
        } else if (w > 0 && !llama_memory_seq_rm(memory, 0, static_cast<llama_pos>(prefix), -1)) {
            throw std::runtime_error("llama.cpp cannot remove what is behind a prefix");
        }
        feed({ { &windows[w], w, prefix, windows[w].n_tokens } }, on_step);
    }
}

void scorer::feed(const std::vector<part> & parts, const std::function<void(size_t)> & on_step) {
    llama_context * ctx = context_.get();
    const size_t n_step = std::min<size_t>(parts.size() > 1 ? params_.n_ctx : params_.n_ubatch, llama_n_batch(ctx));
    std::vector<window_shape> shapes;
    for (const part & p : parts) {
        shapes.push_back({ p.end - p.begin, p.from->first_output - p.begin });
    }

    batch tokens(n_step);
    for (const step & ranges : cut(shapes, n_step, params_.n_outputs_max)) {
        tokens.clear();
        outputs_.clear();
        for (const token_range & range : ranges) {
            const part &   p = parts[range.window];
            const window & w = *p.from;
            for (size_t i = p.begin + range.begin; i < p.begin + range.end; i++) {
                const bool needed = i >= w.first_output;
                tokens.add(w.tokens[i], i, range.window, needed);
                outputs_.push_back({ p.number, needed ? i - w.first_output : 0 });
            }
        }
        states_.begin_step(tokens.size());
        const int32_t status = llama_decode(ctx, tokens.get());
        if (error_) {
            std::rethrow_exception(std::exchange(error_, nullptr));
        }
        if (status != 0) {
            throw std::runtime_error("llama_decode returned " + std::to_string(status) + " for " +
                                     std::to_string(tokens.size()) + " tokens of " + std::to_string(parts.size()) +
                                     (parts.size() == 1 ? " window" : " windows"));
        }
        states_.end_step();
        if (params_.bf16 && rounder_.take() == 0) {
            throw std::runtime_error("the graph of this architecture does not name what its layers hand on");
        }
        llama_synchronize(ctx); // so that progress and interrupts are seen where the time is spent
        on_step(tokens.size());
    }
}

size_t scorer::size_bytes() const {
    size_t sum = 0;
    for (const auto & [type, used] : llama_get_memory_breakdown(context_.get())) {
        sum += used.context + used.compute;
    }
    return sum;
}

void scorer::read(const ggml_tensor * logits, const int32_t * batch_idxs, size_t n_rows) try {
    if (error_) {
        return;
    }
    std::vector<output> outputs;
    for (size_t row = 0; row < n_rows; row++) {
        outputs.push_back(outputs_[static_cast<size_t>(batch_idxs[row])]);
    }
    reader_->read(logits_block(logits, std::move(outputs), staging_));
} catch (...) {
    error_ = std::current_exception();
}

} // namespace ppldelta
