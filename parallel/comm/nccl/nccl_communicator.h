// The communicator of GPUs, over NCCL.
//
// It is made, collectively, over a communicator of the host, the bootstrap (MPI, or threads of one process): its first rank makes
// NCCL's unique id, the bootstrap spreads it. The bootstrap also carries barrier and split, and every call whose stream is
// the host's, with its host tensors; send_recv is the device's alone. A split is a new NCCL communicator over a split of the
// bootstrap: each ring has one of its own, so that no two rings wait for each other.
//
// A call starts on a stream of the communicator's own when the compute stream has done what it was given so far (an event says
// so), and overlaps what the compute stream is given afterwards. Collectives, and Work::wait, return when the host has seen the
// end: nothing that another rank can keep from ending is ever left in the way of Stream::synchronize. The compute stream is
// empty by then after a collective; in a ring the next block's attention already runs on it.
//
// What differs from the communicators of the host:
// - The order of a sum is NCCL's choice, by group size, bytes, topology, version and its environment. All ranks get the same
//   bits, and the same run on the same machines repeats to the bit as far as known; NCCL promises neither. Other machines, or
//   other numbers of elements in one call, may add in another order. Sums of int64 are exact.
// - Maxima of int64 are NCCL's. Those of floating-point numbers go through the host, since NCCL's lose a NaN.
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
