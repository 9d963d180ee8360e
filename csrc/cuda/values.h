#pragma once

namespace awsrn_fast {

// Values of a channel or a scalar, in fp32 or in the maps' type: under autocast they stay in fp32.
struct Values {
  const void* at;  // null: none
  bool fp32;
};

}  // namespace awsrn_fast
