// Keeps what each layer hands on to the next one, the hidden states, while a graph is computed: llama.cpp's evaluation
// callback shows them where they are, so that no patch is needed. The states of each token stay until they are taken.
#pragma once

#include <ggml-backend.h>

#include <cstddef>
#include <exception>
#include <map>
#include <vector>

namespace ppldelta {

// Rows of n_embd numbers, one for each token, in order.
struct hidden_states {
    size_t             n_embd = 0;
    std::vector<float> rows;
};

class state_keeper {
  public:
    // Places among the states beside those of the layers, which are 1, 2, …: before the first layer, and what the head gets.
    static constexpr int of_embedding = 0;
    static constexpr int of_head      = -1;

    // A ggml_backend_sched_eval_callback; `self` is a state_keeper.
    static bool attend(ggml_tensor * t, bool ask, void * self);

    // Forgets all states.
    void clear();

    // The graph that comes next reads so many tokens of one window.
    void begin_step(size_t n_tokens);

    // Throws what failed in the graph: it may not pass through llama.cpp.
    void end_step();

    // By place. Throws std::runtime_error if the graphs named none, or not the same ones in each step.
    std::map<int, hidden_states> take();

  private:
    void keep(ggml_tensor * t);

    std::map<int, hidden_states> states_;
    size_t                       n_before_ = 0; // tokens of the steps before this one
    size_t                       n_step_   = 0;
    std::exception_ptr           error_;
};

} // namespace ppldelta
