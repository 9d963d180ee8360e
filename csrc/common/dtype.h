#pragma once

namespace awsrn_fast {

// What maps are stored in, as the bindings number it for Python. float16 is for CUDA alone.
enum class DType { float32 = 0, bfloat16 = 1, float16 = 2 };

}  // namespace awsrn_fast
