// The extension module ppldelta._core: scorers, devices. Only module.h and the files module*.cpp know pybind11. Python validates and decides; what arrives here is trusted. Long calls release the GIL. No function returns a
// sentinel: failures are C++ exceptions, which pybind11 turns into Python's RuntimeError.
#include "module.h"

#include "backend.h"
#include "kernels.h"
#include "logits.h"
#include "model.h"
#include "pairs.h"
#include "placement.h"
#include "scorer.h"
#include "softmax.h"
#include "signed-deltas.h"

#include <pybind11/stl.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using ppldelta::array;
using ppldelta::decoded;

// The windows that Python hands over, tuples (tokens, first_output, targets, prefix), in the form that the scorer and its readers
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
            windows.push_back({ tokens.back().data(), static_cast<size_t>(tokens.back().size()), py::cast<size_t>(window[1]),
                                py::cast<size_t>(window[3]) });
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

    // An array of shape [n_rows, n_top] for each window.
    py::list split_tops(const std::vector<ppldelta::top_token> & tops, size_t n_top) const {
        py::list list;
        size_t   first = 0;
        for (const size_t n : n_rows) {
            list.append(array<ppldelta::top_token>(std::vector<size_t>{ n, n_top }, tops.data() + first * n_top));
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

// For each window a structured array of what its rows say.
py::list describe(ppldelta::scorer & scorer, const py::list & windows, const py::function & on_step) {
    const windows_in                  in(windows);
    std::vector<ppldelta::row_values> values(in.targets.size());
    ppldelta::describing_reader       reader(in.numbers(), in.targets.data(), scorer.n_threads(), values.data());
    run(scorer, in, reader, on_step);
    return in.split(values);
}

// For each window a structured array of what its rows say, an array of each row's n_top most probable tokens, and the rows.
py::tuple keep(ppldelta::scorer & scorer, const py::list & windows, size_t n_top, const py::function & on_step) {
    const windows_in                 in(windows);
    std::vector<ppldelta::top_token> tops(in.targets.size() * n_top);
    auto                             kept = std::make_unique<ppldelta::kept_rows>();
    kept->n_top = n_top;
    ppldelta::keeping_reader reader(in.numbers(), in.targets.data(), scorer.n_threads(), *kept, tops.data());
    run(scorer, in, reader, on_step);
    const py::list values = in.split(kept->values);
    return py::make_tuple(values, in.split_tops(tops, n_top), std::move(kept));
}

// For each window a structured array of what its rows say, and of how far each is from the row that was kept; and as many
// of their most probable tokens as were asked for of these.
py::tuple compare(ppldelta::scorer & scorer, const py::list & windows, const ppldelta::kept_rows & kept,
                  const py::function & on_step) {
    const windows_in                   in(windows);
    std::vector<ppldelta::pair_values> values(in.targets.size());
    std::vector<ppldelta::top_token>   tops(in.targets.size() * kept.n_top);
    ppldelta::comparing_reader reader(in.numbers(), in.targets.data(), scorer.n_threads(), kept, values.data(), tops.data());
    run(scorer, in, reader, on_step);
    return py::make_tuple(in.split(values), in.split_tops(tops, kept.n_top));
}

// Log-probabilities of some tokens in each row that was kept, of shape [n_rows, n_columns].
array<float> columns_of(const ppldelta::kept_rows & kept, const array<int32_t> & columns, int n_threads) {
    const size_t n_rows = kept.values.size();
    array<float> logp(std::vector<size_t>{ n_rows, static_cast<size_t>(columns.size()) });
    float *      out = logp.mutable_data();
    {
        const py::gil_scoped_release release;
        ppldelta::log_softmax_columns(kept.logits.get(), kept.n_vocab, columns.data(), static_cast<size_t>(columns.size()),
                                      n_rows, n_threads, out);
    }
    return logp;
}

// The hidden states of a window, place → array of shape [n_tokens, n_embd].
py::dict states(ppldelta::scorer & scorer, const py::list & windows, const py::function & on_step) {
    const windows_in        in(windows);
    std::vector<float>      logp(in.targets.size());
    ppldelta::target_reader reader(in.numbers(), in.targets.data(), scorer.n_threads(), logp.data());
    run(scorer, in, reader, on_step);
    py::dict found;
    for (const auto & [place, kept] : scorer.take_states()) {
        found[py::int_(place)] =
            array<float>(std::vector<size_t>{ kept.rows.size() / kept.n_embd, kept.n_embd }, kept.rows.data());
    }
    return found;
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
    PYBIND11_NUMPY_DTYPE(ppldelta::top_token, token, logp);
    py::class_<ppldelta::kept_rows>(m, "KeptRows") // a reference's logits, for `Scorer.compare` on the same windows
        .def("columns", &columns_of, py::arg("columns"), py::arg("n_threads"));

    add_models(m);

    py::class_<ppldelta::scorer>(m, "Scorer")
        .def(py::init([](std::shared_ptr<ppldelta::model> model, uint32_t n_ctx, uint32_t n_ubatch,
                         uint32_t n_outputs_max, uint32_t n_seq_max, int32_t n_threads, bool bf16,
                         std::vector<ppldelta::scaled_adapter> adapters, const array<float> & directions, bool states,
                         bool flash) {
                 ppldelta::control_vector control; // directions: shape [n, n_embd], that of layer 1 first
                 if (directions.size() > 0) {
                     control = { { directions.data(), directions.data() + directions.size() },
                                 static_cast<int32_t>(directions.shape(1)) };
                 }
                 const py::gil_scoped_release release;
                 return std::make_unique<ppldelta::scorer>(
                     std::move(model),
                     ppldelta::scorer_params{ n_ctx, n_ubatch, n_outputs_max, n_seq_max, n_threads, bf16, states,
                                             flash },
                     std::move(adapters), control);
             }),
             py::arg("model"), py::arg("n_ctx"), py::arg("n_ubatch"), py::arg("n_outputs_max"), py::arg("n_seq_max"),
             py::arg("n_threads"), py::arg("bf16") = false,
             py::arg("adapters") = std::vector<ppldelta::scaled_adapter>(), py::arg("directions") = array<float>(),
             py::arg("states") = false, py::arg("flash") = true)
        .def("score", &score, py::arg("windows"), py::arg("on_step"))
        .def("describe", &describe, py::arg("windows"), py::arg("on_step"))
        .def("keep", &keep, py::arg("windows"), py::arg("n_top"), py::arg("on_step"))
        .def("compare", &compare, py::arg("windows"), py::arg("kept"), py::arg("on_step"))
        .def("states", &states, py::arg("windows"), py::arg("on_step"))
        .def_property_readonly("size_bytes", &ppldelta::scorer::size_bytes);

    add_numerics(m);
    m.def("drain_log", &drain_log, py::arg("least_level"));
    m.def("mirror_log", &ppldelta::mirror_log, py::arg("fd"));
    m.def("idle_backends", &ppldelta::idle_backends);
    m.def("find_backends", &ppldelta::find_backends, py::arg("folder")); // bytes, as the file system has it
    m.def("system_info", &ppldelta::system_info);
    m.def("add_rpc_server", &ppldelta::add_rpc_server, py::arg("endpoint"), py::call_guard<py::gil_scoped_release>());
    m.def("devices", &devices);
    py::register_exception<ppldelta::rows_error>(m, "RowsError", PyExc_RuntimeError);
    m.def("stacks_pattern", &ppldelta::stacks_pattern, py::arg("n_blocks"));
    m.def("tensors_in", &ppldelta::tensors_in, py::arg("path"), py::call_guard<py::gil_scoped_release>());
}
