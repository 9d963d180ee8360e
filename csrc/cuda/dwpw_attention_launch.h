// Which instance of the kernels runs.
#pragma once

#include <stdexcept>
#include <string>
#include <type_traits>

#include "cuda/dwpw_attention.h"
#include "cuda/launch.h"

namespace awsrn_fast {

constexpr const char* kDwpwAttention = "dwpw_attention";

// Channels out that an instance holds.
constexpr int dwpw_attention_width(Index d) { return d <= 32 ? 32 : d <= 64 ? 64 : 128; }

// Calls `run` with a value of the maps' type, and with architecture and width as types.
template <class Run>
void with_instance(const DwpwAttentionMaps& maps, DType dtype, const Target& target, Run run) {
  if (maps.c % 8 || maps.d % 8 || maps.c > kDwpwAttentionMostChannels || maps.d > kDwpwAttentionMostChannels)
    throw std::invalid_argument(std::string(kDwpwAttention) + ": channels must be multiples of 8, at most 128");
  const auto with_arch = [&](auto zero, auto arch) {
    const int width = dwpw_attention_width(maps.d);
    if (width == 32)
      run(zero, arch, std::integral_constant<int, 32>{});
    else if (width == 64)
      run(zero, arch, std::integral_constant<int, 64>{});
    else
      run(zero, arch, std::integral_constant<int, 128>{});
  };
  using Turing = std::integral_constant<int, 75>;
  using Ampere = std::integral_constant<int, 80>;
  switch (dtype) {
    case DType::float32:
      return with_arch(float{}, Turing{});
    case DType::float16:
      return target.arch < 80 ? with_arch(__half{}, Turing{}) : with_arch(__half{}, Ampere{});
    case DType::bfloat16:
      return with_arch(__nv_bfloat16{}, Ampere{});
  }
}

}  // namespace awsrn_fast
