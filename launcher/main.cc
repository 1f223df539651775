// longspan: the only room that reads the command line and the environment, and the only place that catches.
#include <google/protobuf/stubs/logging.h>

#include <cstdlib>
#include <iostream>

#include "launcher/commands.h"
#include "launcher/doctor/doctor.h"
#include "launcher/exit_status.h"
#include "launcher/run_plan.h"
#include "launcher/stop_signal.h"

namespace longspan {
namespace {

int fail(const std::exception_ptr& exception) {
  const Failure failure = describe(exception);
  std::cerr << "longspan: " << failure.message << std::endl;
  return failure.code;
}

int run(const CommandLine& line, bool answers) {
  if (line.command == Command::kTrain) {
    install_stop_signals();
  } else {
    install_end_signals(answers ? "\nlongspan: stopped by a signal\n" : "");
  }
  try {
    if (line.command == Command::kDoctor) return doctor::run_doctor();
    if (line.command == Command::kPlan) return run_plan(line, detect_launch(std::getenv), std::cout);
    return run_command(line, detect_launch(std::getenv));
  } catch (...) {
    return fail(std::current_exception());
  }
}

int start(int argc, const char* const* argv) {
  google::protobuf::SetLogHandler(nullptr);  // what protobuf says of malformed input, our own errors say better
  // Every process of an MPI launcher sees the same command line; one of them answers.
  const bool answers = is_first_process(std::getenv);
  CommandLine line;
  try {
    line = parse_command_line(argc, argv);
  } catch (...) {
    return answers ? fail(std::current_exception()) : describe(std::current_exception()).code;
  }
  if (line.action == CommandLine::Action::kRun) return run(line, answers);
  if (answers) std::cout << line.text << std::flush;
  return kExitDone;
}

}  // namespace
}  // namespace longspan

int main(int argc, char** argv) { return longspan::start(argc, argv); }
