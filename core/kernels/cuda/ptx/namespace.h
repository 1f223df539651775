// LS_CUDA: the namespace of what is compiled for a GPU, and once more for the emulator of tests/support/simt, under another name
// so that one program can hold both.
#pragma once

#ifndef LS_CUDA
#define LS_CUDA cuda
#endif
