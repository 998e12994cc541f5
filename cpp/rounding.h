// Rounds each layer's output to bfloat16, as engines do that keep activations in this type. The change says nothing of the
// model, so that it measures the model's noise floor. exllamav3's qbench adds noise of this size in the same place.
#pragma once

#include <ggml-backend.h>

#include <cstddef>
#include <exception>

namespace ppldelta {

class layer_rounder {
  public:
    // A ggml_backend_sched_eval_callback; `self` is a layer_rounder.
    static bool attend(ggml_tensor * t, bool ask, void * self);

    // How many tensors were rounded since the last call. Throws what failed on the way: it may not pass through llama.cpp.
    size_t take();

  private:
    size_t             n_rounded_ = 0;
    std::exception_ptr error_;
};

} // namespace ppldelta
