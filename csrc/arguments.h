// From Python to a launcher: arguments arrive in the order of the fields of the launcher's struct, so that the struct
// is the one place where they are listed. An int is an address (0: null), a size or an enumerator; a tuple is a struct
// inside the struct.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "common/fields.h"

namespace awsrn_fast {

template <class T>
T from_python(PyObject* object);

namespace detail {

// One value, which becomes whatever field it initialises.
struct Value {
  PyObject* object = nullptr;
  template <class T>
  operator T() const {
    return from_python<T>(object);
  }
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"  // of planned fields
template <class T, std::size_t... I>
T from_items(PyObject* tuple, std::index_sequence<I...>) {
  return T{Value{PyTuple_GET_ITEM(tuple, I)}...};
}
#pragma GCC diagnostic pop

inline void no_error() {
  if (PyErr_Occurred()) throw pybind11::error_already_set();
}

}  // namespace detail

template <class T>
T from_python(PyObject* object) {
  if constexpr (std::is_pointer_v<T>) {
    const std::uintptr_t address = PyLong_AsSize_t(object);
    if (address == std::uintptr_t(-1)) detail::no_error();
    return reinterpret_cast<T>(address);
  } else if constexpr (std::is_same_v<T, bool>) {
    const int truth = PyObject_IsTrue(object);
    if (truth < 0) detail::no_error();
    return truth;
  } else if constexpr (std::is_floating_point_v<T>) {
    const double value = PyFloat_AsDouble(object);
    if (value == -1) detail::no_error();
    return T(value);
  } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    const long long value = PyLong_AsLongLong(object);
    if (value == -1) detail::no_error();
    return T(value);
  } else {
    constexpr std::size_t count = Arguments<T>::count;
    if (!PyTuple_Check(object) || std::size_t(PyTuple_GET_SIZE(object)) != count) {
      const std::string given = PyTuple_Check(object) ? std::to_string(PyTuple_GET_SIZE(object)) : "no tuple";
      throw pybind11::type_error(std::to_string(count) + " arguments are needed, got " + given);
    }
    return detail::from_items<T>(object, std::make_index_sequence<count>());
  }
}

// A function of one struct as a Python function of the struct's fields; the lock is released while it runs.
template <class T, class Result>
void define(pybind11::module_& m, const char* name, Result (*function)(T)) {
  m.def(name, [function](const pybind11::args& arguments) {
    const auto given = from_python<std::decay_t<T>>(arguments.ptr());
    const pybind11::gil_scoped_release unlocked;
    return function(given);
  });
}

}  // namespace awsrn_fast
