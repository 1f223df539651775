// What the sources of one instruction set hand to its table.cc.
#pragma once

#include "attention/kernels/cpu/head_tasks.h"

namespace longspan::LS_CPU_LEVEL {

template <class T>
void forward(const ForwardTask<T>& task);
template <class T>
void backward(const BackwardTask<T>& task);
template <class Output, class T>
void delta(const DeltaTask<Output, T>& task);

}  // namespace longspan::LS_CPU_LEVEL
