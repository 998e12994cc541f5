// What the files of the extension module have in common.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace ppldelta {

template <typename T> using array = py::array_t<T, py::array::c_style | py::array::forcecast>;

} // namespace ppldelta

// The functions of module_numerics.cpp.
void add_numerics(py::module_ & m);
