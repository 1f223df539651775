// What two or more ranks measure together. Each raises CommError when a partner does not answer within seconds.
#pragma once

#include <functional>

#include "launcher/doctor/dialogue.h"
#include "launcher/doctor/facts.h"

namespace longspan::doctor {

// Both ranks call it. Latency is that of 8 bytes, both sending at once; the bandwidth is of messages of up to 8 MiB, as
// much as takes a twentieth of a second, in each direction while the other is in use, too: as in the ring.
PairResult measure_pair(Dialogue& dialogue, int partner);

// How far the clock of `partner` is ahead of ours: rank 0 asks, the partner answers. Of many round trips the shortest
// counts, whose middle is taken for the moment of the answer; half of it is the uncertainty.
ClockResult ask_clock(Dialogue& dialogue, int partner);
void answer_clock(Dialogue& dialogue, int partner, const std::function<double()>& clock);
double wall_clock();  // seconds since 1970

// All ranks call it: each sends `num_bytes` to the next while it receives as much. Of this rank, the best of some
// rounds.
struct RingPass {
  double seconds = 0;
  double exposed = 0;  // share of these seconds left to wait after a pause of twice their length without a call of MPI
};
RingPass measure_ring(Dialogue& dialogue, int64_t num_bytes);

}  // namespace longspan::doctor
