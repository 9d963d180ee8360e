#pragma once

#include <stdexcept>
#include <string>

// Guards the boundary with Python; throws, so it belongs in the bindings and never in a parallel region.
#define AWSRN_FAST_CHECK(condition, message)                                  \
  do {                                                                        \
    if (!(condition)) throw std::invalid_argument(std::string("") + message); \
  } while (0)
