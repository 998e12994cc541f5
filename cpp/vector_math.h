// What the loops over rows of logits have in common, written so that compilers vectorise the loops: fixed-width lanes,
// no branches, no libm call in a loop, and no -ffast-math, which would lose NaN. Each file that includes this one is
// compiled with the options `vector_flags` of CMakeLists.txt.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

#define PPLDELTA_INLINE inline __attribute__((always_inline))

namespace ppldelta {

constexpr size_t n_lanes = 16; // of a sum: their number fixes the order of additions, and so the sum's bits

// exp(x) for x <= 0 (and NaN). x = n ln 2 + r with |r| <= ln 2 / 2, so exp(x) = 2^n exp(r); ln 2 is split in two
// parts so that n ln 2 is exact, and exp(r) is its Taylor polynomial of degree 7 (remainder below 1e-8).
// Below -87 the result would be subnormal: it is clamped there, at 1.6e-38.
PPLDELTA_INLINE float exp_nonpositive(float x) {
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

#if defined(PPLDELTA_VECTORS_TWICE) && defined(__x86_64__)
inline const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif

constexpr size_t n_max_lanes = 64; // GCC unrolls a loop of 16 whole, and then compares one number at a time

// The largest of n numbers; NaN is passed over.
PPLDELTA_INLINE float max_loop(const float * x, size_t n) {
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

// Calls work(begin, end) for consecutive parts of n_rows rows, in up to n_threads threads.
template <typename Work> void spread(size_t n_rows, size_t n_vocab, int n_threads, const Work & work) {
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
