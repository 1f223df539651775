// The judges of each topic, for judge.cc.
#pragma once

#include "launcher/doctor/roll.h"

namespace longspan::doctor {

void judge_machine(const Examination& found, Roll& roll);
void judge_mpi(const Examination& found, Roll& roll);
void judge_placement(const Examination& found, Roll& roll);
void judge_binding(const Examination& found, Roll& roll);
void judge_memory(const Examination& found, Roll& roll);
void judge_storage(const Examination& found, Roll& roll);
void judge_clocks(const Examination& found, Roll& roll);
void judge_network(const Examination& found, Roll& roll);
void judge_environment(const Examination& found, Roll& roll);

// Threads that training gives each rank, as launcher/host_threads.h shares out a host.
std::vector<int> threads_of_host(const Examination& found, const std::vector<int>& ranks);
// The value of a variable; empty if it is not set.
std::string variable(const Facts& facts, const std::string& name);
// "rank 3 on node2"
std::string name_rank(const Examination& found, int rank);

}  // namespace longspan::doctor
