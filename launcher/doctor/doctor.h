// `longspan doctor`: what is wrong with this machine, this launch and these hosts, and what to do.
//
// Each process collects facts (collect.h, mpi_facts.h); rank 0 gathers them and has pairs of ranks measured
// (examine.h); a pure function makes findings of all that (judge.h); rank 0 prints them (print.h). Needs no
// configuration.
#pragma once

namespace longspan::doctor {

// Reads the environment and joins the other ranks. Returns 0 if there is no error, 5 if there is one, 6 if a rank does
// not answer. Raises Error where MPI cannot be started.
int run_doctor();

}  // namespace longspan::doctor
