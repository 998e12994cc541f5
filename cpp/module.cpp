// The extension module ppldelta._core, and the only file that knows pybind11.
// Python validates and decides; what arrives here is trusted. Long calls release the GIL. Nothing here returns a
// sentinel: failures are C++ exceptions, which pybind11 turns into Python's RuntimeError.
#include "cut.h"
#include "kernels.h"
#include "logits.h"
#include "model.h"
#include "pairs.h"
#include "scorer.h"
#include "signed-deltas.h"
#include "softmax.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

template <typename T> using array = py::array_t<T, py::array::c_style | py::array::forcecast>;

// Files say what they like, and a fragment of a log line may end inside a character.
py::object decoded(const std::string & text) {
    return py::bytes(text).attr("decode")("utf-8", "replace");
}

py::dict info_dict(const ppldelta::model & model) {
    ppldelta::model_info info;
    {
        const py::gil_scoped_release release;
        info = model.info();
    }
    py::dict d;
    d["architecture"] = decoded(info.architecture);
    d["name"]         = decoded(info.name);
    d["file_type"]    = info.file_type;
    d["n_vocab"]      = info.n_vocab;
    d["n_ctx_train"]  = info.n_ctx_train;
    d["n_params"]     = info.n_params;
    d["size_bytes"]   = info.size_bytes;
    d["bos"]          = info.bos < 0 ? py::object(py::none()) : py::int_(info.bos);
    d["eos"]          = info.eos < 0 ? py::object(py::none()) : py::int_(info.eos);
    d["add_bos"]      = info.add_bos;
    d["add_eos"]      = info.add_eos;
    d["recurrent"]    = info.recurrent;
    d["causal"]       = info.causal;
    return d;
}

array<int32_t> tokenize(const ppldelta::model & model, const py::bytes & text) {
    const auto           view = static_cast<std::string_view>(text);
    std::vector<int32_t> tokens;
    {
        const py::gil_scoped_release release;
        tokens = model.tokenize(view);
    }
    return array<int32_t>(static_cast<py::ssize_t>(tokens.size()), tokens.data());
}

py::list pieces(const ppldelta::model & model, const array<int32_t> & tokens) {
    py::list list;
    for (py::ssize_t i = 0; i < tokens.size(); i++) {
        list.append(py::bytes(model.piece(tokens.data()[i])));
    }
    return list;
}

// The windows that Python hands over, tuples (tokens, first_output, targets), in the form that the scorer and its readers
// take.
struct windows_in {
    std::vector<array<int32_t>>   tokens; // kept alive
    std::vector<ppldelta::window> windows;
    std::vector<size_t>           n_rows;
    std::vector<int32_t>          targets; // of all windows, one after the other

    explicit windows_in(const py::list & list) {
        for (const py::handle & item : list) {
            const auto window = py::cast<py::tuple>(item);
            const auto own    = py::cast<array<int32_t>>(window[2]);
            tokens.push_back(py::cast<array<int32_t>>(window[0]));
            windows.push_back({ tokens.back().data(), static_cast<size_t>(tokens.back().size()), py::cast<size_t>(window[1]) });
            n_rows.push_back(static_cast<size_t>(own.size()));
            targets.insert(targets.end(), own.data(), own.data() + own.size());
        }
    }

    ppldelta::row_numbers numbers() const { return ppldelta::row_numbers(n_rows); }

    // An array for each window.
    template <typename T> py::list split(const std::vector<T> & values) const {
        py::list list;
        size_t   first = 0;
        for (const size_t n : n_rows) {
            list.append(array<T>(static_cast<py::ssize_t>(n), values.data() + first));
            first += n;
        }
        return list;
    }
};

void run(ppldelta::scorer & scorer, const windows_in & in, ppldelta::logits_reader & reader, const py::function & on_step) {
    const py::gil_scoped_release release;
    scorer.run(in.windows, reader, [&on_step](size_t n_tokens) {
        const py::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) {
            throw py::error_already_set();
        }
        on_step(n_tokens);
    });
}

// For each window an array of log-probabilities.
py::list score(ppldelta::scorer & scorer, const py::list & windows, const py::function & on_step) {
    const windows_in        in(windows);
    std::vector<float>      logp(in.targets.size());
    ppldelta::target_reader reader(in.numbers(), in.targets.data(), scorer.n_threads(), logp.data());
    run(scorer, in, reader, on_step);
    return in.split(logp);
}

// For each window a structured array of what its rows say, and the rows.
py::tuple keep(ppldelta::scorer & scorer, const py::list & windows, const py::function & on_step) {
    const windows_in         in(windows);
    auto                     kept = std::make_unique<ppldelta::kept_rows>();
    ppldelta::keeping_reader reader(in.numbers(), in.targets.data(), scorer.n_threads(), *kept);
    run(scorer, in, reader, on_step);
    const py::list values = in.split(kept->values);
    return py::make_tuple(values, std::move(kept));
}

// For each window a structured array of what its rows say, and of how far each is from the row that was kept.
py::list compare(ppldelta::scorer & scorer, const py::list & windows, const ppldelta::kept_rows & kept,
                 const py::function & on_step) {
    const windows_in                   in(windows);
    std::vector<ppldelta::pair_values> values(in.targets.size());
    ppldelta::comparing_reader reader(in.numbers(), in.targets.data(), scorer.n_threads(), kept, values.data());
    run(scorer, in, reader, on_step);
    return in.split(values);
}

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

py::list drain_log(int least_level) {
    py::list list;
    for (const auto & line : ppldelta::drain_log(least_level)) {
        list.append(py::make_tuple(line.level, decoded(line.text)));
    }
    return list;
}

py::list devices() {
    std::vector<ppldelta::device_info> infos;
    {
        const py::gil_scoped_release release;
        infos = ppldelta::devices();
    }
    py::list list;
    for (const auto & info : infos) {
        py::dict d;
        d["name"]         = decoded(info.name);
        d["description"]  = decoded(info.description);
        d["backend"]      = decoded(info.backend);
        d["gpu"]          = info.gpu;
        d["memory_free"]  = info.memory_free;
        d["memory_total"] = info.memory_total;
        d["buffer_types"] = info.buffer_types;
        d["features"]     = info.features;
        list.append(d);
    }
    return list;
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

PYBIND11_MODULE(_core, m) {
    m.doc() = "Native half of ppldelta: llama.cpp models, tokenization, log-probabilities of targets.";
    m.attr("__version__")       = PPLDELTA_VERSION;
    m.attr("llama_cpp_commit")  = PPLDELTA_LLAMA_CPP_COMMIT;
    m.attr("patches_hash")      = PPLDELTA_PATCHES_HASH;
    m.attr("patches")           = PPLDELTA_PATCHES;
    m.attr("compiler")          = PPLDELTA_COMPILER;

    PYBIND11_NUMPY_DTYPE(signed_delta_record, chunk, pos, token, logp_ref, logp_cmp, kld);
    m.attr("record_dtype") = py::dtype::of<signed_delta_record>();

    PYBIND11_NUMPY_DTYPE(ppldelta::row_values, max, logp, logp_top, entropy, rank, top);
    PYBIND11_NUMPY_DTYPE(ppldelta::pair_values, cmp, kld);
    py::class_<ppldelta::kept_rows>(m, "KeptRows"); // a reference's logits, for `Scorer.compare` on the same windows

    py::class_<ppldelta::model, std::shared_ptr<ppldelta::model>>(m, "Model")
        .def(py::init<const std::string &, int32_t, bool>(), py::arg("path"), py::arg("n_gpu_layers"),
             py::arg("vocab_only"), py::call_guard<py::gil_scoped_release>()) // path: bytes, as the file system has it
        .def("info", &info_dict)
        .def("tokenize", &tokenize, py::arg("text"))
        .def("pieces", &pieces, py::arg("tokens"));

    py::class_<ppldelta::scorer>(m, "Scorer")
        .def(py::init([](std::shared_ptr<ppldelta::model> model, uint32_t n_ctx, uint32_t n_ubatch,
                         uint32_t n_outputs_max, uint32_t n_seq_max, int32_t n_threads) {
                 const py::gil_scoped_release release;
                 return std::make_unique<ppldelta::scorer>(
                     std::move(model), ppldelta::scorer_params{ n_ctx, n_ubatch, n_outputs_max, n_seq_max, n_threads });
             }),
             py::arg("model"), py::arg("n_ctx"), py::arg("n_ubatch"), py::arg("n_outputs_max"), py::arg("n_seq_max"),
             py::arg("n_threads"))
        .def("score", &score, py::arg("windows"), py::arg("on_step"))
        .def("keep", &keep, py::arg("windows"), py::arg("on_step"))
        .def("compare", &compare, py::arg("windows"), py::arg("kept"), py::arg("on_step"));

    m.def("describe_rows", &describe_rows, py::arg("logits"), py::arg("targets"), py::arg("n_threads"));
    m.def("compare_rows", &compare_rows, py::arg("ref"), py::arg("cmp"), py::arg("targets"), py::arg("n_threads"));

    m.def("cut", &cut, py::arg("windows"), py::arg("n_tokens"), py::arg("n_outputs"));
    m.def("log_softmax", &log_softmax, py::arg("logits"), py::arg("targets"), py::arg("n_threads"));
    m.def("softmax_fuses", &ppldelta::softmax_fuses);
    m.def("signed_sums", &signed_sums, py::arg("logp_ref"), py::arg("logp_cmp"));
    m.def("drain_log", &drain_log, py::arg("least_level"));
    m.def("mirror_log", &ppldelta::mirror_log, py::arg("fd"));
    m.def("idle_backends", &ppldelta::idle_backends);
    m.def("find_backends", &ppldelta::find_backends, py::arg("folder")); // bytes, as the file system has it
    m.def("system_info", &ppldelta::system_info);
    m.def("add_rpc_server", &ppldelta::add_rpc_server, py::arg("endpoint"), py::call_guard<py::gil_scoped_release>());
    m.def("devices", &devices);
    m.def("tensor_types", &tensor_types);
    m.def("tensors_in", &ppldelta::tensors_in, py::arg("path"), py::call_guard<py::gil_scoped_release>());
    m.def("quantize", &quantize, py::arg("type"), py::arg("rows"));
    m.def("dequantize", &dequantize, py::arg("type"), py::arg("rows"), py::arg("n_rows"), py::arg("n_columns"));
    m.def("multiply", &multiply, py::arg("device"), py::arg("buffer_type"), py::arg("type"), py::arg("weights"),
          py::arg("vectors"), py::arg("n_rows"), py::arg("n_threads"), py::arg("n_repeats"));
}
