// Which tokens of some windows llama.cpp gets in one call. Knows neither llama.cpp nor Python.
#pragma once

#include <cstddef>
#include <vector>

namespace ppldelta {

// What the cut needs to know of a window: rows of logits are needed from `first_output` on.
struct window_shape {
    size_t n_tokens;
    size_t first_output;
};

// The tokens begin … end - 1 of the window with this index.
struct token_range {
    size_t window;
    size_t begin;
    size_t end;
};

// What goes into one call of llama_decode.
using step = std::vector<token_range>;

// The steps of all windows, in order. A step has at most `n_tokens` tokens and, if the window is alone, at most
// `n_outputs` rows of logits. Several windows fill a step together.
std::vector<step> cut(const std::vector<window_shape> & windows, size_t n_tokens, size_t n_outputs);

} // namespace ppldelta
