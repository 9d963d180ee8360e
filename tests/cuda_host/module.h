// What the module has under the harness beside the launchers.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>

#include "records.h"

namespace cuda_host {

inline void bind(pybind11::module_& m) {
  m.def("set_thread_order", &set_thread_order, pybind11::arg("seed"), "0: ascending, else a permutation by this seed.");
  m.def(
      "take_launches",
      [] {
        std::vector<std::tuple<std::string, std::string, unsigned, unsigned, std::size_t>> rows;
        for (const LaunchRecord& r : take_launch_records())
          rows.emplace_back(r.op, r.kernel, r.blocks, r.threads, r.shared_bytes);
        return rows;
      },
      "(op, mangled kernel, blocks, most threads, most shared bytes) of each kernel launched since the last call.");
}

}  // namespace cuda_host
