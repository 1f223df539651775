// The control variables that the MPI library has in use, by name (MPI_T). Components that it has closed are not among
// them, so that their names tell what messages go by.
#pragma once

#include <mpi.h>

#include <map>
#include <string>
#include <vector>

namespace longspan::doctor {

class ControlVariables {
 public:
  ControlVariables();
  ~ControlVariables();
  ControlVariables(const ControlVariables&) = delete;
  ControlVariables& operator=(const ControlVariables&) = delete;

  bool has(const std::string& name) const { return all_.contains(name); }
  // What follows `prefix` in the names that begin so.
  std::vector<std::string> endings(const std::string& prefix) const;
  // As text; a number that stands for a word is that word. Empty if there is none.
  std::string read(const std::string& name) const;

 private:
  struct Variable {
    int index = 0;
    MPI_Datatype type = MPI_DATATYPE_NULL;
    MPI_T_enum words = MPI_T_ENUM_NULL;
  };
  std::map<std::string, Variable> all_;
  bool started_ = false;
};

}  // namespace longspan::doctor
