// Log-softmax of a target, written so that compilers vectorise it: fixed-width lanes, no branches, no libm call
// in the loop, and no -ffast-math, which would lose NaN.
#include "softmax.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

namespace ppldelta {

namespace {

constexpr size_t n_lanes = 16;     // of a sum: its order of additions, and so its bits
constexpr size_t n_max_lanes = 64; // GCC unrolls a loop of 16 whole, and then compares one number at a time

// exp(x) for x <= 0 (and NaN). x = n ln 2 + r with |r| <= ln 2 / 2, so exp(x) = 2^n exp(r); ln 2 is split in two
// parts so that n ln 2 is exact, and exp(r) is its Taylor polynomial of degree 7 (remainder below 1e-8).
// Below -87 the result would be subnormal: it is clamped there, at 1.6e-38.
inline __attribute__((always_inline)) float exp_nonpositive(float x) {
    constexpr float log2e  = 1.44269504088896341f;
    constexpr float ln2_hi = 0.693359375f;
    constexpr float ln2_lo = -2.12194440e-4f;
    constexpr float round  = 12582912.0f; // 1.5 * 2^23: adding it rounds to the nearest integer

    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * log2e + round;
    const float n = shifted - round;
    const float r = (x - n * ln2_hi) - n * ln2_lo;

    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;

    // the low bits of `shifted` are n; moved into the exponent they scale by 2^n
    int32_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    bits = static_cast<int32_t>((static_cast<uint32_t>(bits) + 127u) << 23);
    float scale;
    std::memcpy(&scale, &bits, sizeof(scale));
    return p * scale;
}

inline __attribute__((always_inline)) float max_loop(const float * x, size_t n) {
    float lanes[n_max_lanes];
    std::fill(lanes, lanes + n_max_lanes, -std::numeric_limits<float>::infinity());
    size_t i = 0;
    for (; i + n_max_lanes <= n; i += n_max_lanes) {
        for (size_t l = 0; l < n_max_lanes; l++) {
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
        }
    }
    float max = *std::max_element(lanes, lanes + n_max_lanes);
    for (; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    return max;
}

// Meanwhile `next`, as long as x, is fetched from memory: this loop computes, while that of the maximum only reads.
inline __attribute__((always_inline)) double sum_exp_loop(const float * x, size_t n, float max, const float * next) {
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

#if defined(PPLDELTA_SOFTMAX_TWICE) && defined(__x86_64__)

// A build that is not made for the processor at hand holds the loops twice, and asks once which the processor can run.
// (GCC's `target_clones` with an `arch=` goes by the processor's model: where a hypervisor hides one of its features, the
// process ends in SIGILL.)
__attribute__((target("avx2,fma"))) float max_avx2(const float * x, size_t n) {
    return max_loop(x, n);
}

__attribute__((target("avx2,fma"))) double sum_exp_avx2(const float * x, size_t n, float max, const float * next) {
    return sum_exp_loop(x, n, max, next);
}

const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");

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

} // namespace

bool softmax_fuses() {
#if defined(__FMA__) || defined(__aarch64__)
    return true;
#elif defined(PPLDELTA_SOFTMAX_TWICE) && defined(__x86_64__)
    return has_avx2;
#else
    return false;
#endif
}

void log_softmax_rows(const float * logits, size_t n_vocab, const int32_t * targets, size_t n_rows, int n_threads,
                      float * logp) {
    const auto work = [=](size_t begin, size_t end) {
        for (size_t row = begin; row < end; row++) {
            const float * x   = logits + row * n_vocab;
            const float   max = max_of(x, n_vocab);
            const double  sum = sum_exp(x, n_vocab, max, row + 1 < end ? x + n_vocab : x);
            logp[row] = static_cast<float>(static_cast<double>(x[targets[row]]) - max - std::log(sum));
        }
    };

    // starting a thread costs about as much as reducing some 100 thousand logits
    constexpr size_t logits_per_thread = 400000;
    const size_t useful = std::max<size_t>(1, n_rows * n_vocab / logits_per_thread);
    const size_t n_workers = std::min({ static_cast<size_t>(std::max(1, n_threads)), useful, std::max<size_t>(1, n_rows) });
    const size_t per_worker = (n_rows + n_workers - 1) / n_workers;

    std::vector<std::thread> threads;
    size_t begin = per_worker;
    try {
        for (; begin < n_rows; begin += per_worker) {
            threads.emplace_back(work, begin, std::min(begin + per_worker, n_rows));
        }
    } catch (const std::system_error &) {
        work(begin, n_rows); // no thread to be had: what is left is done here
    }
    work(0, std::min(per_worker, n_rows));
    for (auto & thread : threads) {
        thread.join();
    }
}

} // namespace ppldelta
