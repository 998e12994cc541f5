// See cut.h.
#include "cut.h"

#include <utility>

namespace ppldelta {

std::vector<step> cut(const std::vector<window_shape> & windows, size_t n_tokens, size_t n_outputs) {
    const bool        alone = windows.size() == 1;
    std::vector<step> steps;
    step   open;
    size_t n_open = 0, n_open_outputs = 0;
    for (size_t w = 0; w < windows.size(); w++) {
        const window_shape & window = windows[w];
        size_t               begin  = 0;
        for (size_t i = 0; i < window.n_tokens; i++) {
            n_open++;
            n_open_outputs += i >= window.first_output;
            // A step of one token is attended in parts, one for each thread, so that its numbers would depend on how
            // many threads there are. So the step before the last takes one token less, and the last takes two.
            const size_t n_left      = window.n_tokens - i - 1;
            const size_t n_held_back = alone && n_left == 2 && n_open > 1 ? 1 : 0;
            const bool   full        = n_open + n_held_back >= n_tokens ||
                              (alone && n_open_outputs + n_held_back >= n_outputs);
            if (full || n_left == 0) {
                open.push_back({ w, begin, i + 1 });
                begin = i + 1;
            }
            if (full) {
                steps.push_back(std::move(open));
                open.clear();
                n_open = n_open_outputs = 0;
            }
        }
    }
    if (!open.empty()) {
        steps.push_back(std::move(open));
    }
    return steps;
}

} // namespace ppldelta
