// The communicator of GPUs, over NCCL.
//
// It is made, collectively, over a communicator of the host, the bootstrap (MPI, or threads of one process): its first rank makes
// NCCL's unique id, the bootstrap spreads it. The bootstrap also carries barrier and split, and every call whose stream is the
// host's, with its host tensors. A split is a new NCCL communicator over a split of the bootstrap: each ring has one of its own,
// so that no two rings wait for each other.
//
// A call starts on a stream of the communicator's own, of the highest priority, when the compute stream has done what it was
// given so far (an event says so), and overlaps what the compute stream is given afterwards. Collectives, and Work::wait,
// return when the host has seen the end.
//
// Why the host waits, where the compute stream could wait for an event while the host goes on: nothing that another rank can
// keep from ending is to stand in a stream that this rank may have to wait for. Behind a transfer that never ends, the host would
// block inside CUDA, in Stream::synchronize, in an allocation, or in a launch once the queue of launches is full, where
// neither the clock nor NCCL's errors are looked at: that takes a second thread, which aborts a communicator in the middle of
// this one's calls. And after an abort, kernels that were queued behind the transfer would compute from what never arrived,
// with the error known only to a later call. As it is, all state has one thread, and no kernel is launched on data that is not
// there.
//
// What that costs. In a ring: nothing while a hop takes less time than the attention it lies under, since that runs on while the
// host waits, and the next is launched before it ends. Where a transfer is the slower one, the launch of the next attention
// follows the end of the transfer (some microseconds a hop). The host is at most one hop ahead. In a step, the gradients are
// summed by one call, before which the compute stream runs empty once. A core of the host looks at events meanwhile.
//
// One gap is left: calls of CUDA that wait for the whole device (memory that a CachingResource gets or gives back) wait for
// transfers under way as well, without the clock. A run that has made its first step has its memory.
//
// What differs from the communicators of the host:
// - The order of a sum is NCCL's choice, by group size, bytes, topology, version and its environment. All ranks get the same
//   bits, and the same run on the same machines repeats to the bit as far as known; NCCL promises neither. Other machines, or
//   other numbers of elements in one call, may add in another order. Sums of int64 are exact.
// - Maxima of int64 are NCCL's. Those of floating-point numbers go through the host, since NCCL's lose a NaN; no step takes any
// of
//   tensors of a device.
// - Bytes are not counted on arrival: peers that disagree about a size get a timeout or wrong data, not an error that says so.
// - A group does not see that a peer has left with an error elsewhere, unless its connection breaks: then the timeout tells.
#pragma once

#include <memory>

#include "parallel/comm/nccl/library.h"

namespace longspan {

// `bootstrap` must outlive what is returned. The group's name and timeout are the bootstrap's.
std::unique_ptr<Communicator> make_nccl_communicator(
    Communicator& bootstrap, std::shared_ptr<nccl::Library> library,
    std::shared_ptr<nccl::Clock> clock = std::make_shared<nccl::Clock>());

}  // namespace longspan
