#pragma once

#include <cstddef>
#include <type_traits>

// How many values a launcher's struct is made of. Whoever fills one, from Python (arguments.h) or from a stream
// (tests/emulated/driver.cpp), needs no list of its fields.
namespace awsrn_fast {
namespace detail {

// Becomes whatever it initialises; never evaluated.
struct AnyValue {
  template <class T>
  operator T() const;
};

template <class T, class... Values>
constexpr auto takes(int, Values... values) -> decltype(T{values..., AnyValue{}}, true) {
  return true;
}
template <class T, class... Values>
constexpr bool takes(long, Values...) {
  return false;
}

// Fields of T, each element of an array as one.
template <class T, class... Values>
constexpr std::size_t fields(Values... values) {
  if constexpr (takes<T>(0, Values{}...)) return fields<T>(values..., AnyValue{});
  return sizeof...(Values);
}

}  // namespace detail

template <class T, class = void>
struct Arguments {
  static constexpr std::size_t count = detail::fields<T>(detail::AnyValue{}, detail::AnyValue{});
};

// A struct whose last fields are no arguments, but planned in C++, says how many are.
template <class T>
struct Arguments<T, std::void_t<decltype(T::kArguments)>> {
  static constexpr std::size_t count = T::kArguments;
};

}  // namespace awsrn_fast
