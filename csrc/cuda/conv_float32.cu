#include "cuda/conv_launch.h"

namespace awsrn_fast {
template void launch_conv_instance<float, 75>(const ConvParams&, const Target&);
}  // namespace awsrn_fast
