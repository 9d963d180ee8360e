#include "dispatch.h"

#include "common/check.h"

// setup.py passes the list of what was compiled, narrowest first: AWSRN_FAST_ISAS(X) = X(portable) X(avx2) ...
#define AWSRN_FAST_RUNS_portable true
#define AWSRN_FAST_RUNS_avx2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define AWSRN_FAST_RUNS_avx512                                                                        \
  (AWSRN_FAST_RUNS_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && \
   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
#define AWSRN_FAST_RUNS_avx512_bf16 \
  (AWSRN_FAST_RUNS_avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"))

namespace awsrn_fast {

#define DECLARE(isa)            \
  namespace isa {               \
  extern const Kernels kernels; \
  }
AWSRN_FAST_ISAS(DECLARE)
#undef DECLARE

namespace {

std::vector<const Kernels*> available() {
  std::vector<const Kernels*> found;
#define ADD(isa) \
  if (AWSRN_FAST_RUNS_##isa) found.push_back(&isa::kernels);
  AWSRN_FAST_ISAS(ADD)
#undef ADD
  return found;
}

const Kernels*& chosen() {
  static const Kernels* kernels = available().back();
  return kernels;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* each : available()) names.emplace_back(each->isa);
  return names;
}

const Kernels& kernels() { return *chosen(); }

void set_isa(const std::string& name) {
  std::string names;
  for (const Kernels* each : available()) {
    if (name == each->isa) {
      chosen() = each;
      return;
    }
    names += std::string(names.empty() ? "" : ", ") + each->isa;
  }
  AWSRN_FAST_CHECK(false, "instruction set '" + name + "' is not available here; available: " + names);
}

}  // namespace awsrn_fast
