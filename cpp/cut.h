// Which tokens of some windows llama.cpp gets in one call. Knows neither llama.cpp nor Python.
#pragma once

#include <cstddef>
#include <vector>

namespace ppldelta {

// A window as far as the cut looks at it: rows of logits are needed from `first_output` on.
struct window_shape {
    size_t n_tokens;
    size_t first_output;
};

// The tokens begin … end - 1 of a window.
struct token_range {
    size_t window;
    size_t begin;
    size_t end;
};

// What goes in together.
using step = std::vector<token_range>;

// The steps of all windows in their order: at most `n_tokens` tokens, and for a window that is alone at most `n_outputs`
// rows of logits, in each. Several windows fill a step together.
std::vector<step> cut(const std::vector<window_shape> & windows, size_t n_tokens, size_t n_outputs);

} // namespace ppldelta
