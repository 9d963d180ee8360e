#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace awsrn_fast {

// The instruction sets in this library that this CPU runs, narrowest first.
std::vector<std::string> available_isas();

// The kernels in use: the widest available instruction set until set_isa() names another.
const Kernels& kernels();

// Throws std::invalid_argument, naming what is available. Not to be called while a kernel runs.
void set_isa(const std::string& name);

}  // namespace awsrn_fast
