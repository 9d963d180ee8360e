#pragma once

// Every source in csrc/cpu is compiled once per instruction set, with AWSRN_FAST_ISA naming it. All that such a
// source defines lives in awsrn_fast::AWSRN_FAST_ISA: were a function shared between two builds (an inline one, a
// template of std), the linker would keep one copy, perhaps the AVX-512 one, and a CPU without those
// instructions would run it.
#ifndef AWSRN_FAST_ISA
#error "AWSRN_FAST_ISA must name the instruction set that this unit is compiled for"
#endif

#define AWSRN_FAST_ISA_STRING_(name) #name
#define AWSRN_FAST_ISA_STRING(name) AWSRN_FAST_ISA_STRING_(name)
#define AWSRN_FAST_ISA_NAME AWSRN_FAST_ISA_STRING(AWSRN_FAST_ISA)
