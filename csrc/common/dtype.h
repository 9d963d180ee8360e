#pragma once

namespace awsrn_fast {

// What maps are stored in, as the bindings number it for Python.
enum class DType { float32 = 0, bfloat16 = 1 };

}  // namespace awsrn_fast
