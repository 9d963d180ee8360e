#include "cuda/conv_launch.h"

namespace awsrn_fast {
template void launch_conv_instance<__nv_bfloat16, 80>(const ConvParams&, const Target&);
}  // namespace awsrn_fast
