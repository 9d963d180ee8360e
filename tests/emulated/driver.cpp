// The CPU kernels in a process of their own, which may run on an emulated processor: reads calls from standard input,
// writes what they gave to standard output (tests/emulate.py has the other end).
//
// A call, little-endian: the function's name; the buffers, each as a size and its bytes; then the arguments in the
// order of the struct's fields, each a letter and 8 bytes: n and a whole number, f and a double, p and a buffer (-1:
// null, as is the whole number 0), followed by the offset in it. A struct inside the struct is its fields. The answer: a byte, 1 if the function
// threw; the message; the result; then the buffers.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/fields.h"
#include "cpu/calls.h"

using namespace awsrn_fast;

namespace {

void read_bytes(void* to, std::size_t count) {
  if (std::fread(to, 1, count, stdin) != count) std::exit(count ? 0 : 1);  // the other end has closed
}

void write_bytes(const void* from, std::size_t count) { std::fwrite(from, 1, count, stdout); }

template <class T>
T read_number() {
  T value;
  read_bytes(&value, sizeof value);
  return value;
}

template <class T>
void write_number(T value) {
  write_bytes(&value, sizeof value);
}

std::string read_text() {
  std::string text(read_number<std::uint32_t>(), '\0');
  read_bytes(text.data(), text.size());
  return text;
}

// Bytes at an address that is aligned to a cache line, as PyTorch's are.
struct Memory {
  std::size_t size = 0;
  void* bytes = nullptr;
};
std::vector<Memory> buffers;

void read_buffers() {
  for (Memory& each : buffers) std::free(each.bytes);
  buffers.assign(read_number<std::uint32_t>(), Memory{});
  for (Memory& each : buffers) {
    each.size = read_number<std::uint64_t>();
    each.bytes = std::aligned_alloc(64, (each.size / 64 + 1) * 64);
    read_bytes(each.bytes, each.size);
  }
}

void check(bool holds, const char* expected) {
  if (holds) return;
  std::fprintf(stderr, "%s was expected\n", expected);
  std::exit(1);
}

template <class T>
T read_argument();

// One argument, which becomes whatever field it initialises.
struct Argument {
  template <class T>
  operator T() const {
    return read_argument<T>();
  }
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"  // of planned fields
template <class T, std::size_t... I>
T read_fields(std::index_sequence<I...>) {
  return T{(void(I), Argument{})...};  // in order, as braces are
}
#pragma GCC diagnostic pop

template <class T>
T read_argument() {
  if constexpr (std::is_class_v<T> || std::is_array_v<T>) {
    return read_fields<T>(std::make_index_sequence<Arguments<T>::count>());
  } else {
    const char kind = read_number<char>();
    if constexpr (std::is_pointer_v<T>) {
      if (kind == 'n') {
        check(read_number<std::int64_t>() == 0, "a pointer");
        return nullptr;
      }
      check(kind == 'p', "a pointer");
      const auto buffer = read_number<std::int64_t>(), offset = read_number<std::int64_t>();
      return buffer < 0 ? nullptr : reinterpret_cast<T>(static_cast<char*>(buffers.at(buffer).bytes) + offset);
    } else if constexpr (std::is_floating_point_v<T>) {
      check(kind == 'f', "a double");
      return T(read_number<double>());
    } else {
      check(kind == 'n', "a whole number");
      return T(read_number<std::int64_t>());
    }
  }
}

void answer(bool failed, const std::string& message, std::int64_t result) {
  write_number(std::uint8_t(failed));
  write_number(std::uint32_t(message.size()));
  write_bytes(message.data(), message.size());
  write_number(result);
  for (const Memory& each : buffers) write_bytes(each.bytes, each.size);
  std::fflush(stdout);
}

template <class T, class Result>
void call(Result (*function)(T)) {
  const auto given = read_argument<std::decay_t<T>>();
  try {
    if constexpr (std::is_void_v<Result>) {
      function(given);
      answer(false, "", 0);
    } else {
      answer(false, "", std::int64_t(function(given)));
    }
  } catch (const std::exception& error) {
    answer(true, error.what(), 0);
  }
}

void serve(const std::string& name) {
#define AWSRN_FAST_SERVE(function) \
  if (name == #function) return call(function);
  AWSRN_FAST_CALLS(AWSRN_FAST_SERVE)
#undef AWSRN_FAST_SERVE
  std::fprintf(stderr, "no function %s\n", name.c_str());
  std::exit(1);
}

}  // namespace

int main() {
  for (;;) {
    const std::string name = read_text();
    read_buffers();
    if (name == "poison") {
      poisoned = read_argument<bool>();
      answer(false, "", 0);
    } else {
      serve(name);
    }
  }
}
