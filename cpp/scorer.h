// RAII over llama_context: windows → micro-batches → rows of logits, which a reader gets.
// The reader sees the rows where each micro-batch's graph leaves them, so that memory neither grows with
// n_ctx × n_vocab nor holds a second copy.
#pragma once

#include "logits.h"
#include "model.h"
#include "rounding.h"
#include "states.h"

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace ppldelta {

struct scorer_params {
    uint32_t n_ctx;         // most tokens that the windows of one call may feed, all together
    uint32_t n_ubatch;      // most tokens per micro-batch
    uint32_t n_outputs_max; // most rows of logits per micro-batch of a window that is alone in its call
    uint32_t n_seq_max;     // most windows in one call
    int32_t  n_threads;
    bool     bf16;          // round each layer's output to bfloat16 (rounding.h)
    bool     states;        // keep the hidden states of a window that is alone (states.h)
    bool     flash;         // flash attention where llama.cpp can, else nowhere
};

// An adapter that a context applies to its model, and the factor by which the adapter's change is scaled.
using scaled_adapter = std::pair<std::shared_ptr<adapter>, float>;

// What is added to what layers hand on: n_embd values for each layer from the second (layer 1) on; none where it is empty.
struct control_vector {
    std::vector<float> values;
    int32_t            n_embd = 0;
};

// One fresh sequence: its tokens at the positions 0 … n_tokens - 1, and a row of logits for each from first_output on. Its
// first `prefix` tokens go in by themselves, and windows that have them in common may share them.
struct window {
    const int32_t * tokens;
    size_t          n_tokens;
    size_t          first_output;
    size_t          prefix; // at most first_output
};

class scorer {
  public:
    // Keeps `m` and the adapters alive. The model's weights stay as they are, for other contexts. Throws
    // std::runtime_error if the context cannot be made or reads the text in both directions, or llama.cpp refuses what
    // is to be applied.
    scorer(std::shared_ptr<const model> m, const scorer_params & params, std::vector<scaled_adapter> adapters = {},
           const control_vector & control = {});
    scorer(const scorer &) = delete; // llama.cpp knows the address
    scorer & operator=(const scorer &) = delete;

    // Feeds the windows side by side, each as a sequence of its own, and hands the rows to `reader`. A window that is
    // alone goes in micro-batch by micro-batch. Several windows go in at once, and llama.cpp cuts them into
    // micro-batches. A recurrent model needs the same number of tokens of each window in a micro-batch, and llama.cpp
    // sees to that. Windows with a prefix, which must be the same for all of them, go in one after the other: the prefix
    // once, then what each has behind it, with the numbers that it would have alone, to the last bit. `on_step` is called
    // after each step with the number of tokens in it. `reader` and `on_step` may throw; the scorer stays usable.
    void run(const std::vector<window> & windows, logits_reader & reader, const std::function<void(size_t)> & on_step);

    // The hidden states of the last call of `run`, by place (state_keeper); `states` of the parameters must be set.
    std::map<int, hidden_states> take_states() { return states_.take(); }

    int n_threads() const { return params_.n_threads; }

    // Memory of the context beside the model's: the cache of keys and values, what a graph computes in, its outputs.
    size_t size_bytes() const;

  private:
    // Tokens of a window that are fed together. `number` says which window of the call of `run` they belong to.
    struct part {
        const window * from;
        size_t         number;
        size_t         begin;
        size_t         end;
    };

    void feed(const std::vector<part> & parts, const std::function<void(size_t)> & on_step);
    void feed_behind_prefix(const std::vector<window> & windows, const std::function<void(size_t)> & on_step);
    void read(const ggml_tensor * logits, const int32_t * batch_idxs, size_t n_rows);

    struct context_deleter {
        void operator()(llama_context * ptr) const { llama_free(ptr); }
    };
    layer_rounder                                   rounder_; // the context knows the address
    state_keeper                                    states_;  // likewise
    std::shared_ptr<const model>                    model_;
    scorer_params                                   params_;
    std::vector<scaled_adapter>                     adapters_;         // they outlive the context
    std::unique_ptr<llama_context, context_deleter> context_;
    logits_reader *                                 reader_ = nullptr; // of the call of `run`
    std::vector<output>                             outputs_;          // of the step's tokens, by batch index
    std::exception_ptr                              error_;            // from `read`: may not pass through llama.cpp
    staging                                         staging_;
};

} // namespace ppldelta
