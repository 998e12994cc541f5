// What the files of the extension module have in common.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

namespace py = pybind11;

namespace ppldelta {

template <typename T> using array = py::array_t<T, py::array::c_style | py::array::forcecast>;

// Files say what they like, and a fragment of a log line may end inside a character.
inline py::object decoded(const std::string & text) {
    return py::bytes(text).attr("decode")("utf-8", "replace");
}

} // namespace ppldelta

// The functions of module_numerics.cpp.
void add_numerics(py::module_ & m);

// The classes of module_model.cpp.
void add_models(py::module_ & m);
