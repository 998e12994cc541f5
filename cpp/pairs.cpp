// See pairs.h.
#include "pairs.h"

#include "top.h"
#include "vector_math.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace ppldelta {

namespace {

constexpr float least = -87.0f; // exp_nonpositive clamps below: a token there is left out of sums of e times a logarithm

// Sums over one row, with e = exp(x - max).
struct row_sums {
    double exp       = 0.0; // e
    double exp_log   = 0.0; // e (x - max)
    size_t n_greater = 0;   // logits above the target's
};

// Sums over a reference's row x and a comparison's row y.
struct pair_sums {
    row_sums y;
    double   exp_x      = 0.0; // e, with that of x
    double   difference = 0.0; // e (x - y), likewise
};

template <typename T> PPLDELTA_INLINE T added(const T * lanes) {
    T sum = 0;
    for (size_t l = 0; l < n_lanes; l++) {
        sum += lanes[l];
    }
    return sum;
}

// The sums of a row, in lanes. `exp` is added up in the same order as in log_softmax_rows, so that it has the same bits.
struct row_lanes {
    double  exp[n_lanes]       = {};
    double  exp_log[n_lanes]   = {};
    int32_t n_greater[n_lanes] = {};

    PPLDELTA_INLINE void add(size_t l, float x, float max, float target) {
        const float d = x - max;
        const float e = exp_nonpositive(d);
        exp[l] += e;
        exp_log[l] += d < least ? 0.0f : e * d;
        n_greater[l] += x > target;
    }

    PPLDELTA_INLINE row_sums sums() const {
        return { added(exp), added(exp_log), static_cast<size_t>(added(n_greater)) };
    }
};

PPLDELTA_INLINE void add_tail(row_sums & sums, float x, float max, float target) {
    const float d = x - max;
    const float e = exp_nonpositive(d);
    sums.exp += e;
    sums.exp_log += d < least ? 0.0f : e * d;
    sums.n_greater += x > target;
}

PPLDELTA_INLINE row_sums row_loop(const float * x, size_t n, float max, float target) {
    row_lanes lanes;
    size_t    i = 0;
    for (; i + n_lanes <= n; i += n_lanes) {
        for (size_t l = 0; l < n_lanes; l++) {
            lanes.add(l, x[i + l], max, target);
        }
    }
    row_sums sums = lanes.sums();
    for (; i < n; i++) {
        add_tail(sums, x[i], max, target);
    }
    return sums;
}

PPLDELTA_INLINE pair_sums pair_loop(const float * x, const float * y, size_t n, float max_x, float max_y, float target_y) {
    double    exp_x[n_lanes] = {};
    double    differences[n_lanes] = {};
    row_lanes lanes;
    size_t    i = 0;
    for (; i + n_lanes <= n; i += n_lanes) {
        for (size_t l = 0; l < n_lanes; l++) {
            const float d = x[i + l] - max_x;
            const float e = exp_nonpositive(d);
            exp_x[l] += e;
            differences[l] += d < least ? 0.0f : e * (x[i + l] - y[i + l]);
            lanes.add(l, y[i + l], max_y, target_y);
        }
    }
    pair_sums sums;
    sums.exp_x      = added(exp_x);
    sums.y          = lanes.sums();
    sums.difference = added(differences);
    for (; i < n; i++) {
        const float d = x[i] - max_x;
        const float e = exp_nonpositive(d);
        sums.exp_x += e;
        sums.difference += d < least ? 0.0f : e * (x[i] - y[i]);
        add_tail(sums.y, y[i], max_y, target_y);
    }
    return sums;
}

#if defined(PPLDELTA_VECTORS_TWICE) && defined(__x86_64__)

__attribute__((target("avx2,fma"))) row_sums row_avx2(const float * x, size_t n, float max, float target) {
    return row_loop(x, n, max, target);
}

__attribute__((target("avx2,fma"))) pair_sums pair_avx2(const float * x, const float * y, size_t n, float max_x,
                                                        float max_y, float target_y) {
    return pair_loop(x, y, n, max_x, max_y, target_y);
}

row_sums sums_of(const float * x, size_t n, float max, float target) {
    return has_avx2 ? row_avx2(x, n, max, target) : row_loop(x, n, max, target);
}

pair_sums sums_of(const float * x, const float * y, size_t n, float max_x, float max_y, float target_y) {
    return has_avx2 ? pair_avx2(x, y, n, max_x, max_y, target_y) : pair_loop(x, y, n, max_x, max_y, target_y);
}

#else

row_sums sums_of(const float * x, size_t n, float max, float target) {
    return row_loop(x, n, max, target);
}

pair_sums sums_of(const float * x, const float * y, size_t n, float max_x, float max_y, float target_y) {
    return pair_loop(x, y, n, max_x, max_y, target_y);
}

#endif

// The index of the largest logit, of several the first; of a row that holds NaN, any index.
size_t top_of(const float * x, size_t n) {
    const float max = max_loop(x, n);
    // a block at a time, since a search that may end at each number is not vectorised
    constexpr size_t block = 1024;
    for (size_t begin = 0; begin < n; begin += block) {
        const size_t end = std::min(begin + block, n);
        int          n_equal = 0;
        for (size_t k = begin; k < end; k++) {
            n_equal += x[k] == max;
        }
        if (n_equal > 0) {
            return static_cast<size_t>(std::find(x + begin, x + end, max) - x);
        }
    }
    return 0;
}

row_values values_of(const row_sums & sums, size_t top, float max, float target) {
    const double ln_sum = std::log(sums.exp);
    return { max,
             static_cast<float>(static_cast<double>(target) - max - ln_sum),
             static_cast<float>(-ln_sum),
             static_cast<float>(ln_sum - sums.exp_log / sums.exp),
             static_cast<int32_t>(sums.n_greater + 1),
             static_cast<int32_t>(top) };
}

// Finds the most probable tokens of one row after another.
class top_of_rows {
  public:
    top_of_rows(const top_tokens & tops, size_t n_vocab) : tops_(tops), n_vocab_(n_vocab), finder_(n_vocab, tops.n) {}

    // The index of the largest logit; the others are remembered for `write`.
    size_t find(const float * x) {
        if (tops_.n > 0) {
            finder_.find(x);
        }
        return finder_.found().empty() ? top_of(x, n_vocab_) : finder_.found().front();
    }

    // Writes those of the row that was looked at last.
    void write(size_t row, const float * x, float max, double sum_exp) const {
        const std::vector<uint32_t> & found = finder_.found();
        const double                  ln_sum = std::log(sum_exp);
        for (size_t i = 0; i < tops_.n; i++) {
            top_token & out = tops_.tokens[row * tops_.n + i];
            if (i < found.size()) {
                out = { static_cast<int32_t>(found[i]),
                        static_cast<float>(static_cast<double>(x[found[i]]) - max - ln_sum) };
            } else {
                out = { -1, std::numeric_limits<float>::quiet_NaN() };
            }
        }
    }

  private:
    top_tokens tops_;
    size_t     n_vocab_;
    top_finder finder_;
};

} // namespace

void describe_rows(const float * logits, size_t n_vocab, const int32_t * targets, size_t n_rows, int n_threads,
                   row_values * values, top_tokens tops, float * copies) {
    spread(n_rows, n_vocab, n_threads, [=](size_t begin, size_t end) {
        top_of_rows best(tops, n_vocab);
        for (size_t row = begin; row < end; row++) {
            const float *  x      = logits + row * n_vocab;
            const size_t   top    = best.find(x);
            const float    target = x[targets[row]];
            const row_sums sums   = sums_of(x, n_vocab, x[top], target);
            values[row] = values_of(sums, top, x[top], target);
            best.write(row, x, x[top], sums.exp);
            if (copies) {
                std::copy_n(x, n_vocab, copies + row * n_vocab);
            }
        }
    });
}

void compare_rows(const float * ref, const row_values * ref_values, const float * cmp, size_t n_vocab,
                  const int32_t * targets, size_t n_rows, int n_threads, pair_values * values, top_tokens tops) {
    spread(n_rows, n_vocab, n_threads, [=](size_t begin, size_t end) {
        top_of_rows best(tops, n_vocab);
        for (size_t row = begin; row < end; row++) {
            const float *   x      = ref + row * n_vocab;
            const float *   y      = cmp + row * n_vocab;
            const size_t    top    = best.find(y);
            const float     max_x  = ref_values[row].max;
            const float     max_y  = y[top];
            const float     target = y[targets[row]];
            const pair_sums sums   = sums_of(x, y, n_vocab, max_x, max_y, target);
            const double divergence = sums.difference / sums.exp_x - (static_cast<double>(max_x) - max_y) -
                                      (std::log(sums.exp_x) - std::log(sums.y.exp));
            values[row] = { values_of(sums.y, top, max_y, target),
                            static_cast<float>(divergence < 0.0 ? 0.0 : divergence) }; // NaN stays
            best.write(row, y, max_y, sums.y.exp);
        }
    });
}

} // namespace ppldelta
