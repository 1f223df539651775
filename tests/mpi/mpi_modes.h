// What mpi_comm_test can be asked to do besides checking values: failures, each as a way for all ranks to end.
#pragma once

#include <string>

namespace longspan::test {

// Raises what the mode is about; returns the exit code for those that end by themselves.
int run_failure(const std::string& mode);

}  // namespace longspan::test
