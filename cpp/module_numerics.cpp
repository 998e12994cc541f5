// Functions of the extension module that need no model: what is computed of rows of logits, cutting, kernels.
#include "module.h"

#include "cut.h"
#include "kernels.h"
#include "pairs.h"
#include "signed-deltas.h"
#include "softmax.h"

#include <pybind11/stl.h>

#include <optional>
#include <utility>
#include <vector>

namespace {

using ppldelta::array;

// Rows of logits of shape [n_rows, n_vocab] and a target for each.
array<ppldelta::row_values> describe_rows(const array<float> & logits, const array<int32_t> & targets, int n_threads) {
    array<ppldelta::row_values> values(targets.size());
    ppldelta::describe_rows(logits.data(), static_cast<size_t>(logits.shape(1)), targets.data(),
                            static_cast<size_t>(targets.size()), n_threads, values.mutable_data());
    return values;
}

array<ppldelta::pair_values> compare_rows(const array<float> & ref, const array<float> & cmp, const array<int32_t> & targets,
                                          int n_threads) {
    const array<ppldelta::row_values> described = describe_rows(ref, targets, n_threads);
    array<ppldelta::pair_values>      values(targets.size());
    ppldelta::compare_rows(ref.data(), described.data(), cmp.data(), static_cast<size_t>(cmp.shape(1)), targets.data(),
                           static_cast<size_t>(targets.size()), n_threads, values.mutable_data());
    return values;
}

// The most probable tokens of rows, of shape [n_rows, n_top].
array<ppldelta::top_token> top_tokens(const array<float> & logits, size_t n_top, int n_threads) {
    const auto                        n_rows = static_cast<size_t>(logits.shape(0));
    const std::vector<int32_t>        targets(n_rows);
    std::vector<ppldelta::row_values> values(n_rows);
    array<ppldelta::top_token>        tops(std::vector<size_t>{ n_rows, n_top });
    ppldelta::describe_rows(logits.data(), static_cast<size_t>(logits.shape(1)), targets.data(), n_rows, n_threads,
                            values.data(), { n_top, tops.mutable_data() });
    return tops;
}

// Takes windows as (n_tokens, first_output), and gives for each step the ranges (window, begin, end) that it feeds.
py::list cut(const std::vector<std::pair<size_t, size_t>> & windows, size_t n_tokens, size_t n_outputs) {
    std::vector<ppldelta::window_shape> shapes;
    for (const auto & [n, first_output] : windows) {
        shapes.push_back({ n, first_output });
    }
    py::list steps;
    for (const ppldelta::step & step : ppldelta::cut(shapes, n_tokens, n_outputs)) {
        py::list ranges;
        for (const ppldelta::token_range & range : step) {
            ranges.append(py::make_tuple(range.window, range.begin, range.end));
        }
        steps.append(ranges);
    }
    return steps;
}

array<float> log_softmax(const array<float> & logits, const array<int32_t> & targets, int n_threads) {
    array<float> logp(targets.size());
    float *      out = logp.mutable_data();
    {
        const py::gil_scoped_release release;
        ppldelta::log_softmax_rows(logits.data(), static_cast<size_t>(logits.shape(1)), targets.data(),
                                   static_cast<size_t>(targets.size()), n_threads, out);
    }
    return logp;
}

py::tuple signed_sums(const array<float> & logp_ref, const array<float> & logp_cmp) {
    signed_delta_sums sums;
    for (py::ssize_t i = 0; i < logp_ref.size(); i++) {
        sums.add(logp_ref.data()[i], logp_cmp.data()[i]);
    }
    return py::make_tuple(sums.gain, sums.loss, sums.count);
}

py::list tensor_types() {
    py::list list;
    for (const auto & type : ppldelta::tensor_types()) {
        list.append(py::make_tuple(type.name, type.block_size, type.block_bytes));
    }
    return list;
}

array<uint8_t> quantize(const std::string & type, const array<float> & rows) {
    std::vector<uint8_t> bytes;
    {
        const py::gil_scoped_release release;
        bytes = ppldelta::quantize(type, rows.data(), rows.shape(0), rows.shape(1));
    }
    return array<uint8_t>(static_cast<py::ssize_t>(bytes.size()), bytes.data());
}

array<float> dequantize(const std::string & type, const array<uint8_t> & rows, py::ssize_t n_rows, py::ssize_t n_columns) {
    array<float> values(std::vector<py::ssize_t>{ n_rows, n_columns });
    ppldelta::dequantize(type, rows.data(), n_rows, n_columns, values.mutable_data());
    return values;
}

py::object multiply(const std::string & device, const std::string & buffer_type, const std::string & type,
                    const array<uint8_t> & weights, const array<float> & vectors, py::ssize_t n_rows, int n_threads,
                    int n_repeats) {
    array<float> products(std::vector<py::ssize_t>{ vectors.shape(0), n_rows });
    float * out = products.mutable_data();
    std::optional<double> time_s;
    {
        const py::gil_scoped_release release;
        time_s = ppldelta::multiply({ device, buffer_type, type, n_rows, vectors.shape(1), vectors.shape(0), n_threads,
                                      n_repeats }, weights.data(), vectors.data(), out);
    }
    return time_s ? py::object(py::make_tuple(products, *time_s)) : py::none();
}

} // namespace

void add_numerics(py::module_ & m) {
    m.def("describe_rows", &describe_rows, py::arg("logits"), py::arg("targets"), py::arg("n_threads"));
    m.def("compare_rows", &compare_rows, py::arg("ref"), py::arg("cmp"), py::arg("targets"), py::arg("n_threads"));

    m.def("top_tokens", &top_tokens, py::arg("logits"), py::arg("n_top"), py::arg("n_threads"));

    m.def("cut", &cut, py::arg("windows"), py::arg("n_tokens"), py::arg("n_outputs"));
    m.def("log_softmax", &log_softmax, py::arg("logits"), py::arg("targets"), py::arg("n_threads"));
    m.def("softmax_fuses", &ppldelta::softmax_fuses);
    m.def("signed_sums", &signed_sums, py::arg("logp_ref"), py::arg("logp_cmp"));
    m.def("tensor_types", &tensor_types);
    m.def("quantize", &quantize, py::arg("type"), py::arg("rows"));
    m.def("dequantize", &dequantize, py::arg("type"), py::arg("rows"), py::arg("n_rows"), py::arg("n_columns"));
    m.def("multiply", &multiply, py::arg("device"), py::arg("buffer_type"), py::arg("type"), py::arg("weights"),
          py::arg("vectors"), py::arg("n_rows"), py::arg("n_threads"), py::arg("n_repeats"));
}
