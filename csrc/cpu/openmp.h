#pragma once

// The one OpenMP function that the kernels call, without omp.h: Clang has none unless libomp is installed with its
// headers. A build without threads ignores the pragmas.
#ifdef _OPENMP
extern "C" int omp_get_thread_num();
#else
static inline int omp_get_thread_num() { return 0; }
#endif
