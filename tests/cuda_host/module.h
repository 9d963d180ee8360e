// What the module has under the harness beside the launchers.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>

#include "accesses.h"
#include "records.h"

namespace cuda_host {

inline void bind(pybind11::module_& m) {
  m.def("set_thread_order", &set_thread_order, pybind11::arg("seed"), "0: ascending, else a permutation by this seed.");
  m.def("set_running", &set_running, pybind11::arg("on"), "Off: launches are recorded, not run.");
  m.def("take_launch_count", &take_launch_count, "Launches since the last call.");
  m.def(
      "take_launches",
      [] {
        std::vector<std::tuple<std::string, std::string, unsigned, unsigned, std::size_t, bool>> rows;
        for (const LaunchRecord& r : take_launch_records())
          rows.emplace_back(r.op, r.kernel, r.blocks, r.threads, r.shared_bytes, r.products);
        return rows;
      },
      "(op, mangled kernel, blocks, most threads, most shared bytes, whether mma was used) of each kernel launched "
      "since the last call.");
#ifdef AWSRN_FAST_CUDA_RACE
  m.def("set_counting", &set_counting, pybind11::arg("on"), "Count sectors and bank conflicts from now on.");
  m.def(
      "take_accesses",
      [] {
        std::vector<
            std::tuple<std::string, std::string, std::string, std::string, std::uint64_t, std::uint64_t, std::uint64_t>>
            rows;
        for (const AccessRecord& r : take_access_records())
          rows.emplace_back(r.op, r.kernel, r.place, r.kind, r.requests, r.units, r.ideal);
        return rows;
      },
      "(op, mangled kernel, source line, kind, warps' requests, sectors or wavefronts, ideal) since the last call.");
#endif
}

}  // namespace cuda_host
