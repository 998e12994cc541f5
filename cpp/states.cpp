// See states.h.
#include "states.h"

#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace ppldelta {

namespace {

// Where a tensor belongs. llama.cpp's graphs name what a layer hands on and what the head gets; the embeddings have a name
// only where they are scaled, and are known otherwise by the matrix that they are looked up in.
std::optional<int> place_of(const ggml_tensor * t) {
    if (std::strncmp(t->name, "l_out-", 6) == 0) {
        return std::atoi(t->name + 6) + 1;
    }
    if (std::strcmp(t->name, "result_norm") == 0) {
        return state_keeper::of_head;
    }
    const bool looked_up = t->op == GGML_OP_GET_ROWS && std::strcmp(t->src[0]->name, "token_embd.weight") == 0;
    if (looked_up || std::strcmp(t->name, "inp_scaled") == 0) {
        return state_keeper::of_embedding;
    }
    return std::nullopt;
}

} // namespace

bool state_keeper::attend(ggml_tensor * t, bool ask, void * self) {
    if (ask) {
        return t->type == GGML_TYPE_F32 && ggml_is_contiguous(t) && place_of(t).has_value();
    }
    auto & keeper = *static_cast<state_keeper *>(self);
    try {
        keeper.keep(t);
    } catch (...) {
        keeper.error_ = std::current_exception();
    }
    return true;
}

void state_keeper::keep(ggml_tensor * t) {
    const auto n_embd = static_cast<size_t>(t->ne[0]);
    const auto n_rows = static_cast<size_t>(ggml_nrows(t));
    if (n_rows != n_step_) { // several streams side by side (Gemma 3n), or tokens that the last layer leaves out
        throw std::runtime_error("`" + std::string(t->name) + "` holds " + std::to_string(n_rows) + " states for " +
                                 std::to_string(n_step_) + " tokens");
    }
    hidden_states & kept = states_[*place_of(t)];
    kept.n_embd          = n_embd;
    kept.rows.resize((n_before_ + n_rows) * n_embd); // a name that a graph gives twice is that of the later tensor
    ggml_backend_tensor_get(t, kept.rows.data() + n_before_ * n_embd, 0, ggml_nbytes(t));
}

void state_keeper::clear() {
    states_.clear();
    n_before_ = n_step_ = 0;
    error_              = nullptr;
}

void state_keeper::begin_step(size_t n_tokens) {
    n_before_ += n_step_;
    n_step_ = n_tokens;
}

void state_keeper::end_step() {
    if (error_) {
        std::rethrow_exception(std::exchange(error_, nullptr));
    }
}

std::map<int, hidden_states> state_keeper::take() {
    const size_t n_tokens = n_before_ + n_step_;
    if (states_.empty()) {
        throw std::runtime_error("the graph of this architecture does not name what its layers hand on");
    }
    for (const auto & [place, kept] : states_) {
        if (kept.rows.size() != n_tokens * kept.n_embd) {
            throw std::runtime_error("the graph of this architecture does not hand on a state for each token");
        }
    }
    std::map<int, hidden_states> taken = std::move(states_);
    clear();
    return taken;
}

} // namespace ppldelta
