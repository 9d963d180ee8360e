#include "cuda/conv_launch.h"

namespace awsrn_fast {
template void launch_conv_instance<__half, 75>(const ConvParams&, const Target&);
template void launch_conv_instance<__half, 80>(const ConvParams&, const Target&);
}  // namespace awsrn_fast
