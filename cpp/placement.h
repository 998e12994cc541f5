// Where weights must not lie: in the layout of AMX, which holds one matrix, if a tensor is a stack of several.
#pragma once

#include "llama.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ppldelta {

// A regular expression for the names of those tensors that llama.cpp multiplies as stacks of matrices and that are no
// experts: of the model, or of its first `n_blocks` blocks.
std::string stacks_pattern(std::optional<int32_t> n_blocks);

// Keeps such tensors of a model out of the AMX buffer; all others go where llama.cpp puts them.
class placement {
  public:
    // `path` is the model's (first) file, and `n_gpu_layers` is meant as in llama_model_params.
    placement(const std::string & path, int32_t n_gpu_layers);
    placement(const placement &) = delete; // the overrides point into it
    placement & operator=(const placement &) = delete;

    // For llama_model_params, as long as this lives; null where nothing is to be said.
    const llama_model_tensor_buft_override * overrides() const { return overrides_.empty() ? nullptr : overrides_.data(); }

  private:
    std::string                                   pattern_;
    std::vector<llama_model_tensor_buft_override> overrides_;
};

} // namespace ppldelta
