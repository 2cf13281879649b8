#include "pjrt_c_api.h"

// compile_for_cuda compiles a program for CUDA beside the CPU; compile.c says how it is steered.
void compile_for_cuda(const PJRT_Client_Compile_Args* args);
