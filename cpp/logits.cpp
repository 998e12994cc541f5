// See logits.h.
#include "logits.h"

#include "softmax.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace ppldelta {

namespace {

constexpr size_t staged_rows = 32; // 20 MB of a vocabulary of 150 thousand, and enough for every thread's reduction

ggml_backend_buffer_t buffer_of(const ggml_tensor * tensor) {
    return tensor->view_src ? tensor->view_src->buffer : tensor->buffer;
}

} // namespace

float * staging::reserve(ggml_backend_buffer_t device_buffer, size_t size) {
    if (!buffer_ || ggml_backend_buffer_get_size(buffer_.get()) < size) {
        ggml_backend_dev_t device = ggml_backend_buft_get_device(ggml_backend_buffer_get_type(device_buffer));
        ggml_backend_buffer_type_t pinned = device ? ggml_backend_dev_host_buffer_type(device) : nullptr;
        buffer_.reset(ggml_backend_buft_alloc_buffer(pinned ? pinned : ggml_backend_cpu_buffer_type(), size));
        if (!buffer_) {
            throw std::runtime_error("no memory to copy logits to");
        }
    }
    return static_cast<float *>(ggml_backend_buffer_get_base(buffer_.get()));
}

logits_block::logits_block(const ggml_tensor * logits, std::vector<output> outputs, staging & stage) :
    logits_(logits), outputs_(std::move(outputs)), stage_(stage) {
    // Some architectures' graphs make a row for every token and not for those that were asked for (cogvlm).
    if (static_cast<size_t>(ggml_nrows(logits)) != outputs_.size()) {
        throw rows_error("the model's graph gives " + std::to_string(ggml_nrows(logits)) +
                         " rows of logits instead of the " + std::to_string(outputs_.size()) +
                         " that were asked for");
    }
}

void logits_block::on_host(const std::function<void(const float *, size_t, size_t)> & f) const {
    const size_t n_rows = outputs_.size();
    if (ggml_backend_buffer_is_host(buffer_of(logits_))) {
        f(static_cast<const float *>(logits_->data), 0, n_rows);
        return;
    }
    const size_t row_bytes = n_vocab() * sizeof(float);
    float *      rows      = stage_.reserve(buffer_of(logits_), staged_rows * row_bytes);
    for (size_t first = 0; first < n_rows; first += staged_rows) {
        const size_t n = std::min(staged_rows, n_rows - first);
        ggml_backend_tensor_get(logits_, rows, first * row_bytes, n * row_bytes);
        f(rows, first, n);
    }
}

row_numbers::row_numbers(const std::vector<size_t> & n_rows) : first_(1, 0) {
    for (const size_t n : n_rows) {
        first_.push_back(first_.back() + n);
    }
}

namespace {

// Calls f(rows, number, n) for rows in host memory whose numbers follow one another, the first of them `number`.
template <typename F> void in_order(const logits_block & block, const row_numbers & numbers, const F & f) {
    const auto & outputs = block.outputs();
    block.on_host([&](const float * rows, size_t first, size_t n) {
        for (size_t begin = 0; begin < n;) {
            const size_t number = numbers.of(outputs[first + begin]);
            size_t       end    = begin + 1;
            while (end < n && numbers.of(outputs[first + end]) == number + (end - begin)) {
                end++;
            }
            f(rows + begin * block.n_vocab(), number, end - begin);
            begin = end;
        }
    });
}

} // namespace

void target_reader::read(const logits_block & block) {
    in_order(block, numbers_, [&](const float * rows, size_t number, size_t n) {
        log_softmax_rows(rows, block.n_vocab(), targets_ + number, n, n_threads_, logp_ + number);
    });
}

void describing_reader::read(const logits_block & block) {
    in_order(block, numbers_, [&](const float * rows, size_t number, size_t n) {
        describe_rows(rows, block.n_vocab(), targets_ + number, n, n_threads_, values_ + number);
    });
}

void keeping_reader::read(const logits_block & block) {
    const size_t n_vocab = block.n_vocab();
    if (!kept_.logits) {
        kept_.n_vocab = n_vocab;
        kept_.logits.reset(new float[numbers_.count() * n_vocab]);
        kept_.values.resize(numbers_.count());
    }
    in_order(block, numbers_, [&](const float * rows, size_t number, size_t n) {
        describe_rows(rows, n_vocab, targets_ + number, n, n_threads_, kept_.values.data() + number,
                      { kept_.n_top, tops_ + number * kept_.n_top }, kept_.logits.get() + number * n_vocab);
    });
}

void comparing_reader::read(const logits_block & block) {
    if (block.n_vocab() != kept_.n_vocab) {
        throw std::runtime_error("the vocabularies have " + std::to_string(kept_.n_vocab) + " and " +
                                 std::to_string(block.n_vocab()) + " entries");
    }
    in_order(block, numbers_, [&](const float * rows, size_t number, size_t n) {
        compare_rows(kept_.logits.get() + number * kept_.n_vocab, kept_.values.data() + number, rows, kept_.n_vocab,
                     targets_ + number, n, n_threads_, values_ + number,
                     { kept_.n_top, tops_ + number * kept_.n_top });
    });
}

} // namespace ppldelta
