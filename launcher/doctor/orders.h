// Who measures what, and when: rank 0 gives orders, the others follow.
//
// An order is an exchange with rank 0, and so is the report on it; in between the rank measures with the partners that
// the order names. A rank that does not take an order, or does not report, is named in `silences`, and the rest is
// left.
#pragma once

#include "launcher/doctor/dialogue.h"
#include "launcher/doctor/facts.h"

namespace longspan::doctor {

// Rank 0, which has the facts of all ranks: adds what was measured. Raises nothing for ranks that are silent.
void give_orders(Dialogue& dialogue, Examination& found);

// The others, until they are told to end. Raises CommError when rank 0 is silent.
void follow_orders(Dialogue& dialogue);

}  // namespace longspan::doctor
