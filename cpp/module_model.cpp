// The part of the extension module that has models: what they say of themselves, their vocabulary, chat templates, adapters.
#include "module.h"

#include "chat.h"
#include "model.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using ppldelta::array;
using ppldelta::decoded;

py::dict info_dict(const ppldelta::model & model) {
    ppldelta::model_info info;
    {
        const py::gil_scoped_release release;
        info = model.info();
    }
    py::dict d;
    d["architecture"]  = decoded(info.architecture);
    d["name"]          = decoded(info.name);
    d["file_type"]     = info.file_type;
    d["n_vocab"]       = info.n_vocab;
    d["n_ctx_train"]   = info.n_ctx_train;
    d["n_params"]      = info.n_params;
    d["size_bytes"]    = info.size_bytes;
    d["bos"]           = info.bos < 0 ? py::object(py::none()) : py::int_(info.bos);
    d["eos"]           = info.eos < 0 ? py::object(py::none()) : py::int_(info.eos);
    d["add_bos"]       = info.add_bos;
    d["add_eos"]       = info.add_eos;
    d["recurrent"]     = info.recurrent;
    d["causal"]        = info.causal;
    d["tokenizer"]     = decoded(info.tokenizer);
    d["pre_tokenizer"] = decoded(info.pre_tokenizer);
    d["chat_template"] = py::bytes(info.chat_template);
    d["control"]       = array<int32_t>(static_cast<py::ssize_t>(info.control.size()), info.control.data());
    return d;
}

array<int32_t> tokenize(const ppldelta::model & model, const py::bytes & text, bool parse_special) {
    const auto           view = static_cast<std::string_view>(text);
    std::vector<int32_t> tokens;
    {
        const py::gil_scoped_release release;
        tokens = model.tokenize(view, parse_special);
    }
    return array<int32_t>(static_cast<py::ssize_t>(tokens.size()), tokens.data());
}

py::list control_tokens(const ppldelta::model & model) {
    py::list list;
    for (const auto & name : model.control_tokens()) {
        list.append(py::bytes(name));
    }
    return list;
}

// The parts of a render as tuples (text, whether it comes from a message's content).
py::list render(const ppldelta::chat_template & chat, const std::vector<std::pair<std::string, std::string>> & messages,
                bool generate, const std::string & bos, const std::string & eos) {
    std::vector<ppldelta::rendered_part> parts;
    {
        const py::gil_scoped_release          release;
        std::vector<ppldelta::chat_message> list;
        for (const auto & [role, content] : messages) {
            list.push_back({ role, content });
        }
        parts = chat.render(list, generate, bos, eos);
    }
    py::list list;
    for (const auto & part : parts) {
        list.append(py::make_tuple(py::bytes(part.text), part.content));
    }
    return list;
}

py::list pieces(const ppldelta::model & model, const array<int32_t> & tokens) {
    py::list list;
    for (py::ssize_t i = 0; i < tokens.size(); i++) {
        list.append(py::bytes(model.piece(tokens.data()[i])));
    }
    return list;
}

} // namespace

void add_models(py::module_ & m) {
    py::class_<ppldelta::model, std::shared_ptr<ppldelta::model>>(m, "Model")
        .def(py::init<const std::string &, int32_t, bool>(), py::arg("path"), py::arg("n_gpu_layers"),
             py::arg("vocab_only"), py::call_guard<py::gil_scoped_release>()) // path: bytes, as the file system has it
        .def("info", &info_dict)
        .def_property_readonly("n_embd", [](const ppldelta::model & model) { return llama_model_n_embd(model.get()); })
        .def_property_readonly("n_layer", [](const ppldelta::model & model) { return llama_model_n_layer(model.get()); })
        .def("tokenize", &tokenize, py::arg("text"), py::arg("parse_special") = false)
        .def("control_tokens", &control_tokens)
        .def("chat_template", [](const ppldelta::model & model) { return py::bytes(model.chat_template()); })
        .def("pieces", &pieces, py::arg("tokens"));

    py::class_<ppldelta::chat_template>(m, "ChatTemplate")
        .def(py::init<const std::string &>(), py::arg("source"))
        .def("render", &render, py::arg("messages"), py::arg("generate"), py::arg("bos"), py::arg("eos"));

    py::class_<ppldelta::adapter, std::shared_ptr<ppldelta::adapter>>(m, "Adapter")
        .def(py::init<std::shared_ptr<ppldelta::model>, const std::string &>(), py::arg("model"), py::arg("path"),
             py::call_guard<py::gil_scoped_release>());
}
