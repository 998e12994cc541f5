// See softmax.h.
#include "softmax.h"

#include "vector_math.h"

#include <cmath>

namespace ppldelta {

namespace {

// Meanwhile `next`, as long as x, is fetched from memory: this loop computes, while that of the maximum only reads.
PPLDELTA_INLINE double sum_exp_loop(const float * x, size_t n, float max, const float * next) {
    double lanes[n_lanes] = {};
    size_t i = 0;
    for (; i + n_lanes <= n; i += n_lanes) {
        __builtin_prefetch(next + i, 0, 2); // to be read, by way of the second-level cache
        for (size_t l = 0; l < n_lanes; l++) {
            lanes[l] += exp_nonpositive(x[i + l] - max);
        }
    }
    double sum = 0.0;
    for (const double lane : lanes) {
        sum += lane;
    }
    for (; i < n; i++) {
        sum += exp_nonpositive(x[i] - max);
    }
    return sum;
}

#if defined(PPLDELTA_VECTORS_TWICE) && defined(__x86_64__)

// A build that is not made for the processor at hand holds the loops twice, and asks once which the processor can run.
// (GCC's `target_clones` with an `arch=` goes by the processor's model: where a hypervisor hides one of its features, the
// process ends in SIGILL.)
__attribute__((target("avx2,fma"))) float max_avx2(const float * x, size_t n) {
    return max_loop(x, n);
}

__attribute__((target("avx2,fma"))) double sum_exp_avx2(const float * x, size_t n, float max, const float * next) {
    return sum_exp_loop(x, n, max, next);
}

float max_of(const float * x, size_t n) {
    return has_avx2 ? max_avx2(x, n) : max_loop(x, n);
}

double sum_exp(const float * x, size_t n, float max, const float * next) {
    return has_avx2 ? sum_exp_avx2(x, n, max, next) : sum_exp_loop(x, n, max, next);
}

#else

float max_of(const float * x, size_t n) {
    return max_loop(x, n);
}

double sum_exp(const float * x, size_t n, float max, const float * next) {
    return sum_exp_loop(x, n, max, next);
}

#endif

float log_probability(float logit, float max, double sum) {
    return static_cast<float>(static_cast<double>(logit) - max - std::log(sum));
}

} // namespace

bool softmax_fuses() {
#if defined(__FMA__) || defined(__aarch64__)
    return true;
#elif defined(PPLDELTA_VECTORS_TWICE) && defined(__x86_64__)
    return has_avx2;
#else
    return false;
#endif
}

void log_softmax_rows(const float * logits, size_t n_vocab, const int32_t * targets, size_t n_rows, int n_threads,
                      float * logp) {
    spread(n_rows, n_vocab, n_threads, [=](size_t begin, size_t end) {
        for (size_t row = begin; row < end; row++) {
            const float * x   = logits + row * n_vocab;
            const float   max = max_of(x, n_vocab);
            const double  sum = sum_exp(x, n_vocab, max, row + 1 < end ? x + n_vocab : x);
            logp[row] = log_probability(x[targets[row]], max, sum);
        }
    });
}

void log_softmax_columns(const float * logits, size_t n_vocab, const int32_t * columns, size_t n_columns, size_t n_rows,
                         int n_threads, float * logp) {
    spread(n_rows, n_vocab, n_threads, [=](size_t begin, size_t end) {
        for (size_t row = begin; row < end; row++) {
            const float * x   = logits + row * n_vocab;
            const float   max = max_of(x, n_vocab);
            const double  sum = sum_exp(x, n_vocab, max, row + 1 < end ? x + n_vocab : x);
            for (size_t i = 0; i < n_columns; i++) {
                logp[row * n_columns + i] = log_probability(x[columns[i]], max, sum);
            }
        }
    });
}

} // namespace ppldelta
