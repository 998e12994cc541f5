// The largest numbers of rows: which of a vocabulary's tokens are the most probable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ppldelta {

// Finds the k largest of n numbers, for one row after another. It reads a row once, for the maxima of groups of numbers:
// only the groups whose maximum is among the k largest maxima can hold one of the k largest numbers.
class top_finder {
  public:
    top_finder(size_t n, size_t k);

    // Looks at n numbers.
    void find(const float * x);

    // The indices of the k largest numbers, that of the largest first; of equal numbers the smaller index comes first. NaN
    // is passed over, so that there may be fewer than k.
    const std::vector<uint32_t> & found() const { return found_; }

  private:
    size_t                n_;
    size_t                k_;
    std::vector<float>    maxima_; // of the groups
    std::vector<float>    sorted_; // the same numbers in another order
    std::vector<uint32_t> found_;
};

} // namespace ppldelta
