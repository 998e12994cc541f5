// The numerics of a pair of models: what one row of logits says, and how far a second row for the same place is from it.
// Knows neither llama.cpp nor Python. Logarithms are natural; sums are float64 over float32 exponentials.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ppldelta {

// One model's distribution p = softmax(row), and in it the token t that really came next.
struct row_values {
    float   max;      // the largest logit
    float   logp;     // ln p(t), bit for bit that of log_softmax_rows
    float   logp_top; // ln of the largest p
    float   entropy;  // -sum p ln p, in nats
    int32_t rank;     // of t: 1 + the number of tokens that are more probable
    int32_t top;      // the most probable token; of several, the first
};

// One of the most probable tokens of a row.
struct top_token {
    int32_t token;
    float   logp; // ln p, computed as that of the target is
};

// The n most probable tokens of each row, n after n, the best first and of equally probable ones the first first.
struct top_tokens {
    size_t      n      = 0; // at most n_vocab
    top_token * tokens = nullptr;
};

// Writes the values of each of n_rows contiguous rows. Up to n_threads threads share the rows. If `copies` is not null, the
// rows are copied there too. A row that holds NaN or +inf gives values that are not finite, and -1 for tokens that it does
// not have.
void describe_rows(const float * logits, size_t n_vocab, const int32_t * targets, size_t n_rows, int n_threads,
                   row_values * values, top_tokens tops = {}, float * copies = nullptr);

// What a comparison's row says, and how far it is from the reference's.
struct pair_values {
    row_values cmp;
    float      kld; // in nats
};

// Describes the rows of a comparison in the same way, and gives the Kullback-Leibler divergence of each from the
// reference's row in nats: sum p_ref (ln p_ref - ln p_cmp) (Kullback and Leibler 1951). The divergence is never negative.
// It is exactly 0 if the rows are equal, and infinite if the comparison rules out a token that the reference does not.
// `ref_values` are what `describe_rows` gave for `ref`.
void compare_rows(const float * ref, const row_values * ref_values, const float * cmp, size_t n_vocab,
                  const int32_t * targets, size_t n_rows, int n_threads, pair_values * values, top_tokens tops = {});

} // namespace ppldelta
