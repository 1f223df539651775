#include "launcher/doctor/control_variables.h"

#include <cstdint>

namespace longspan::doctor {
namespace {

std::string word_of(MPI_T_enum words, int64_t number) {
  int count = 0, value = 0;
  char text[128];
  int length = sizeof text;
  if (words == MPI_T_ENUM_NULL || MPI_T_enum_get_info(words, &count, text, &length) != MPI_SUCCESS) {
    return std::to_string(number);
  }
  for (int i = 0; i < count; ++i) {
    length = sizeof text;
    if (MPI_T_enum_get_item(words, i, &value, text, &length) == MPI_SUCCESS && value == number) return text;
  }
  return std::to_string(number);
}

}  // namespace

ControlVariables::ControlVariables() {
  int provided = 0, count = 0;
  if (MPI_T_init_thread(MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) return;
  started_ = true;
  if (MPI_T_cvar_get_num(&count) != MPI_SUCCESS) return;
  for (int i = 0; i < count; ++i) {
    Variable variable{.index = i};
    char name[256];
    int length = sizeof name, verbosity, bind, scope;
    if (MPI_T_cvar_get_info(i, name, &length, &verbosity, &variable.type, &variable.words, nullptr, nullptr, &bind,
                            &scope) == MPI_SUCCESS) {
      all_[name] = variable;
    }
  }
}

ControlVariables::~ControlVariables() {
  if (started_) MPI_T_finalize();
}

std::vector<std::string> ControlVariables::endings(const std::string& prefix) const {
  std::vector<std::string> found;
  for (auto it = all_.lower_bound(prefix); it != all_.end() && it->first.starts_with(prefix); ++it) {
    found.push_back(it->first.substr(prefix.size()));
  }
  return found;
}

std::string ControlVariables::read(const std::string& name) const {
  const auto it = all_.find(name);
  MPI_T_cvar_handle handle;
  int count = 0;
  if (it == all_.end() || MPI_T_cvar_handle_alloc(it->second.index, nullptr, &handle, &count) != MPI_SUCCESS) return "";
  std::vector<int64_t> value(static_cast<size_t>(count) + 1);  // as many bytes as the widest type has, and an end
  const bool done = MPI_T_cvar_read(handle, value.data()) == MPI_SUCCESS;
  MPI_T_cvar_handle_free(&handle);
  if (!done) return "";
  if (it->second.type == MPI_CHAR) return reinterpret_cast<const char*>(value.data());
  const bool is_long = it->second.type == MPI_UNSIGNED_LONG || it->second.type == MPI_UNSIGNED_LONG_LONG;
  return word_of(it->second.words, is_long ? value[0] : *reinterpret_cast<const int32_t*>(value.data()));
}

}  // namespace longspan::doctor
