// RAII over llama_context: one window at a time → micro-batches → log-probabilities of the targets.
// Logits are consumed micro-batch by micro-batch, so memory does not grow with n_ctx × n_vocab.
#pragma once

#include "model.h"

#include <functional>
#include <memory>

namespace ppldelta {

struct scorer_params {
    uint32_t n_ctx;    // most tokens that a window may feed
    uint32_t n_ubatch; // tokens per micro-batch; also the logical batch, so that the output buffer stays small
    int32_t  n_threads;
};

class scorer {
  public:
    // Keeps `m` alive. Throws std::runtime_error when the context cannot be made, or reads the text in both directions.
    scorer(std::shared_ptr<const model> m, const scorer_params & params);

    // Feeds `tokens` as one fresh sequence and writes to logp[i], for each i in 0 … n_tokens - first_output - 1, the
    // log-probability (nats) of targets[i] after tokens[0 … first_output + i].
    // `on_step` is called after every micro-batch with the number of tokens in it and may throw; the scorer stays
    // usable.
    void score(const int32_t * tokens, size_t n_tokens, size_t first_output, const int32_t * targets, float * logp,
               const std::function<void(size_t)> & on_step);

  private:
    struct deleter {
        void operator()(llama_context * ptr) const { llama_free(ptr); }
    };
    std::shared_ptr<const model>            model_;
    scorer_params                           params_;
    std::unique_ptr<llama_context, deleter> context_;
};

} // namespace ppldelta
