// The rows of logits that a micro-batch's graph has left, and what reads them.
#pragma once

#include "pairs.h"

#include "ggml-backend.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace ppldelta {

// Host memory through which rows come from a device, kept for the next time.
class staging {
  public:
    // Room for `size` bytes, next to the device if it has such memory. Throws std::runtime_error if there is none.
    float * reserve(ggml_backend_buffer_t device_buffer, size_t size);

  private:
    struct deleter {
        void operator()(ggml_backend_buffer * ptr) const { ggml_backend_buffer_free(ptr); }
    };
    std::unique_ptr<ggml_backend_buffer, deleter> buffer_;
};

// Which row of which window a row of logits is: row i of a window's outputs predicts what follows its token
// first_output + i.
struct output {
    size_t window;
    size_t row;
};

// A graph has left other rows than those that were asked for: which is which cannot be told.
struct rows_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A micro-batch's rows, valid as long as the reader runs.
class logits_block {
  public:
    // Throws rows_error.
    logits_block(const ggml_tensor * logits, std::vector<output> outputs, staging & stage);

    const std::vector<output> & outputs() const { return outputs_; }
    size_t n_vocab() const { return static_cast<size_t>(logits_->ne[0]); }

    // float32 [n_vocab, n_rows], where the graph has left it, maybe on a device.
    const ggml_tensor * tensor() const { return logits_; }

    // Calls f(rows, first, n) for consecutive rows in host memory: all at once if they are there already, else as many
    // at a time as the staging memory holds.
    void on_host(const std::function<void(const float *, size_t, size_t)> & f) const;

  private:
    const ggml_tensor * logits_;
    std::vector<output> outputs_;
    staging &           stage_;
};

// A reader does something with the rows. `scorer::run` calls its reader once for each micro-batch; a reader may throw.
class logits_reader {
  public:
    virtual ~logits_reader() = default;
    virtual void read(const logits_block & block) = 0;
};

// Numbers the rows of several windows: first all rows of the first window, then those of the second, and so on.
class row_numbers {
  public:
    // `n_rows` of each window.
    explicit row_numbers(const std::vector<size_t> & n_rows);

    size_t of(const output & o) const { return first_[o.window] + o.row; }
    size_t count() const { return first_.back(); }

  private:
    std::vector<size_t> first_;
};

// Turns each row into the log-probability of the token that really came next.
class target_reader : public logits_reader {
  public:
    // `targets` and `logp` by row number; log-probabilities in nats.
    target_reader(row_numbers numbers, const int32_t * targets, int n_threads, float * logp) :
        numbers_(std::move(numbers)), targets_(targets), n_threads_(n_threads), logp_(logp) {}

    void read(const logits_block & block) override;

  private:
    row_numbers     numbers_;
    const int32_t * targets_;
    int             n_threads_;
    float *         logp_;
};

// Describes each row: what `target_reader` says of it, its most probable token, and more.
class describing_reader : public logits_reader {
  public:
    // `targets` and `values` by row number.
    describing_reader(row_numbers numbers, const int32_t * targets, int n_threads, row_values * values) :
        numbers_(std::move(numbers)), targets_(targets), n_threads_(n_threads), values_(values) {}

    void read(const logits_block & block) override;

  private:
    row_numbers     numbers_;
    const int32_t * targets_;
    int             n_threads_;
    row_values *    values_;
};

// A reference's rows, for comparisons that read the same windows afterwards.
struct kept_rows {
    size_t                   n_vocab = 0;
    std::unique_ptr<float[]> logits; // by row number; a vector would write zeros first
    std::vector<row_values>  values;
    size_t                   n_top = 0; // most probable tokens of each row that are asked for
};

// Keeps each row as it is, and describes it.
class keeping_reader : public logits_reader {
  public:
    keeping_reader(row_numbers numbers, const int32_t * targets, int n_threads, kept_rows & kept, top_token * tops) :
        numbers_(std::move(numbers)), targets_(targets), n_threads_(n_threads), kept_(kept), tops_(tops) {}

    void read(const logits_block & block) override;

  private:
    row_numbers     numbers_;
    const int32_t * targets_;
    int             n_threads_;
    kept_rows &     kept_;
    top_token *     tops_;
};

// Compares each row with the one that was kept for its place. Throws if the vocabularies differ in size.
class comparing_reader : public logits_reader {
  public:
    comparing_reader(row_numbers numbers, const int32_t * targets, int n_threads, const kept_rows & kept,
                     pair_values * values, top_token * tops) :
        numbers_(std::move(numbers)), targets_(targets), n_threads_(n_threads), kept_(kept), values_(values), tops_(tops) {}

    void read(const logits_block & block) override;

  private:
    row_numbers       numbers_;
    const int32_t *   targets_;
    int               n_threads_;
    const kept_rows & kept_;
    pair_values *     values_;
    top_token *       tops_;
};

} // namespace ppldelta
