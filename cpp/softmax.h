// The numerics of scoring: log-probability of one target under one row of logits.
// Knows neither llama.cpp nor Python, so that it can be tested and timed on its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ppldelta {

// ln softmax(row)[target] = row[target] - max - ln(sum_i exp(row[i] - max)), in nats, for n_rows contiguous rows with one
// target each. Up to n_threads threads share the rows. The exponentials are float32 (error about 1 ulp), and their sum
// is float64. The result is not finite if a row holds NaN or +inf, or if a target's logit is -inf; the caller counts
// such results.
void log_softmax_rows(const float * logits, size_t n_vocab, const int32_t * targets, size_t n_rows, int n_threads,
                      float * logp);

// The same for several tokens of each row: writes ln softmax(row)[columns[i]] for all n_columns columns, row after row. A
// token's value is that of log_softmax_rows bit for bit.
void log_softmax_columns(const float * logits, size_t n_vocab, const int32_t * columns, size_t n_columns, size_t n_rows,
                         int n_threads, float * logp);

// Whether this code runs as fused multiply-adds, which round once instead of twice. How wide the vectors are makes
// no difference.
bool softmax_fuses();

} // namespace ppldelta
