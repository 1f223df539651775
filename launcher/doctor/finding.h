// What the doctor says: a finding has a status, what was found, and for all that is not ok what to do.
#pragma once

#include <string>

namespace longspan::doctor {

enum class Status { kOk, kNote, kWarning, kError };

enum class Topic { kMachine, kMpi, kBinding, kMemory, kStorage, kClocks, kNetwork, kEnvironment };
constexpr int kNumTopics = 8;

struct Finding {
  Topic topic = Topic::kMachine;
  Status status = Status::kOk;
  std::string text;
  std::string advice;  // empty only where the status is kOk
};

}  // namespace longspan::doctor
