// See top.h.
#include "top.h"

#include "vector_math.h"

#include <functional>

namespace ppldelta {

namespace {

// Numbers whose places in a chunk differ by a multiple of n_max_lanes are a group, so that the maxima of a chunk's
// groups are found side by side.
constexpr size_t group_size = 64;
constexpr size_t chunk      = group_size * n_max_lanes;

PPLDELTA_INLINE void maxima_loop(const float * x, size_t n, float * maxima) {
    for (size_t begin = 0; begin < n; begin += chunk, maxima += n_max_lanes) {
        const size_t end = std::min(begin + chunk, n);
        float        lanes[n_max_lanes];
        std::fill(lanes, lanes + n_max_lanes, -std::numeric_limits<float>::infinity());
        size_t i = begin;
        for (; i + n_max_lanes <= end; i += n_max_lanes) {
            for (size_t l = 0; l < n_max_lanes; l++) {
                lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
            }
        }
        for (size_t l = 0; i + l < end; l++) {
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
        }
        std::copy(lanes, lanes + n_max_lanes, maxima);
    }
}

#if defined(PPLDELTA_VECTORS_TWICE) && defined(__x86_64__)

__attribute__((target("avx2,fma"))) void maxima_avx2(const float * x, size_t n, float * maxima) {
    maxima_loop(x, n, maxima);
}

void maxima_of(const float * x, size_t n, float * maxima) {
    has_avx2 ? maxima_avx2(x, n, maxima) : maxima_loop(x, n, maxima);
}

#else

void maxima_of(const float * x, size_t n, float * maxima) {
    maxima_loop(x, n, maxima);
}

#endif

} // namespace

top_finder::top_finder(size_t n, size_t k) : n_(n), k_(k) {
    if (k > 0) {
        maxima_.resize((n + chunk - 1) / chunk * n_max_lanes);
    }
}

void top_finder::find(const float * x) {
    maxima_of(x, n_, maxima_.data());
    float least = -std::numeric_limits<float>::infinity(); // none of the k largest numbers is below
    if (k_ <= maxima_.size()) {
        sorted_ = maxima_;
        const auto kth = sorted_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
        std::nth_element(sorted_.begin(), kth, sorted_.end(), std::greater<float>());
        least = *kth;
    }
    found_.clear();
    for (size_t group = 0; group < maxima_.size(); group++) {
        if (maxima_[group] >= least) {
            const size_t begin = group / n_max_lanes * chunk;
            const size_t end   = std::min(begin + chunk, n_);
            for (size_t i = begin + group % n_max_lanes; i < end; i += n_max_lanes) {
                if (x[i] >= least) { // not so if it is NaN
                    found_.push_back(static_cast<uint32_t>(i));
                }
            }
        }
    }
    const size_t n_found = std::min(k_, found_.size());
    std::partial_sort(found_.begin(), found_.begin() + static_cast<std::ptrdiff_t>(n_found), found_.end(),
                      [x](uint32_t a, uint32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); });
    found_.resize(n_found);
}

} // namespace ppldelta
